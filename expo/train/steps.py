"""What TRL's settings amount to: rows per step, how often the policy is sampled, how many steps are taken."""

from __future__ import annotations

import math

from expo.text import plural
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig, PositivesSFTConfig
from expo.train.recipe import TrainRecipe


def batch_of(args: Configuration) -> int:
    """Rows per step: samples, pairs or positives, over all processes."""
    return int(args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps)


def steps_of(recipe: TrainRecipe, args: Configuration, problems: int) -> int:
    """The number of training steps for this many problems, if each of them has what is learnt.

    Raises:
        ValueError: see `steps_in_rounds` and `generations_in`.
    """
    if isinstance(args, PairsDPOConfig):
        return steps_in_rounds(recipe, args, problems)
    if args.max_steps > 0:
        return args.max_steps
    if isinstance(args, PositivesSFTConfig):
        return math.ceil(math.ceil(problems / batch_of(args)) * args.num_train_epochs)
    generations = generations_in(problems, args)
    return math.ceil(generations * args.steps_per_generation * args.num_iterations / args.gradient_accumulation_steps)


def steps_in_rounds(recipe: TrainRecipe, args: PairsDPOConfig, problems: int) -> int:
    """The number of DPO training steps; there are as many pairs as the batches take.

    Raises:
        ValueError: if `refresh_steps` does not divide it.
    """
    steps = args.max_steps if args.max_steps > 0 else math.ceil(problems * args.num_train_epochs / batch_of(args))
    if recipe.refresh_steps and steps % recipe.refresh_steps:
        raise ValueError(f"refresh_steps ({recipe.refresh_steps}) must divide the number of steps ({steps})")
    return steps


def rows_between(args: ExPGRPOConfig, start: int, end: int) -> slice:
    """The prompts of the dataset, in training order, that steps `start` to `end` sample."""
    each = args.generation_batch_size // args.num_generations
    steps = args.steps_per_generation * args.num_iterations
    first = start * args.gradient_accumulation_steps // steps
    return slice(first * each, math.ceil(end * args.gradient_accumulation_steps / steps) * each)


def generations_in(problems: int, args: ExPGRPOConfig) -> int:
    """How often the policy is sampled: once per full batch of the epochs, or as `max_steps` requires.

    Raises:
        ValueError: if the problems do not fill one batch.
    """
    batch = args.generation_batch_size // args.num_generations
    if args.max_steps > 0:
        steps = args.steps_per_generation * args.num_iterations / args.gradient_accumulation_steps
        return math.ceil(args.max_steps / steps)
    if generations := int(problems * args.num_train_epochs) // batch:
        return generations
    raise ValueError(
        f"{plural(problems, 'problem')} and num_train_epochs {args.num_train_epochs:g} make less than one "
        f"generation of {plural(batch, 'problem')}; set more problems or epochs, or a smaller "
        "steps_per_generation or batch size"
    )
