"""What a training samples and trains, and the hours and the disk that it takes, said before it begins.

All of it is at most: every completion is taken to be as long as the limit, and every problem to be sampled as often as
the recipe allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from expo.calibration import Calibration
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig
from expo.train.memory import tokens_of
from expo.train.recipe import SAMPLED, TrainRecipe
from expo.train.steps import batch_of, generations_in, steps_of


@dataclass(frozen=True)
class Work:
    """Samples by what they are for, and sequences trained, over all processes.

    Attributes:
        samples: of `rollouts`, `positives`, `losers` and `evaluations`.
        trained: sequences that go forward and back.
        scored: sequences that go forward alone: old or reference log-probabilities.
        steps: of the optimizer.
    """

    samples: dict[str, int]
    trained: int
    scored: int
    steps: int


def work_of(recipe: TrainRecipe, args: Configuration, problems: int, held_out: int) -> Work:
    """The work of a training on so many problems, evaluated on so many."""
    steps, batch = steps_of(recipe, args, problems), batch_of(args)
    samples = {"rollouts": 0, "positives": 0, "losers": 0}
    trained, scored = steps * batch, 0
    # Problems that a sampling of positives asks, and how often there is one.
    asked, rounds = problems, 1
    if isinstance(args, PairsDPOConfig):
        every = recipe.refresh_steps or steps
        asked, rounds = min(problems, every * batch), steps // every
        samples["losers"] = asked * rounds * recipe.loser_tries
        trained, scored = 2 * trained, 2 * asked * rounds
    if isinstance(args, ExPGRPOConfig):
        groups = steps * batch // args.num_generations
        samples["rollouts"] = generations_in(problems, args) * args.generation_batch_size
        scored = steps * batch * ((args.beta > 0) + (args.num_iterations > 1))
        if recipe.positive != "none" and args.beta_sft > 0:
            trained += groups
        if recipe.refresh_steps:
            rounds = math.ceil(steps / recipe.refresh_steps)
            asked = min(problems, max(1, groups // rounds))
    if recipe.positive in SAMPLED and not recipe.positive_data:
        samples["positives"] = asked * rounds * recipe.positive_tries
    evaluations = 1 + (math.ceil(steps / int(args.eval_steps)) if args.eval_steps else 1)
    samples["evaluations"] = evaluations * held_out * recipe.eval_samples
    return Work({name: n for name, n in samples.items() if n}, trained, scored, steps)


def seconds_of(
    work: Work, recipe: TrainRecipe, args: Configuration, machine: Calibration, weights: int, trained: int, layers: int
) -> dict[str, float]:
    """Seconds on such a machine by part of the work, if it has as many of its devices as there are processes."""
    n, limit, width = args.world_size, args.max_completion_length, tokens_of(args)
    out = {}
    for what, samples in work.samples.items():
        # TRL samples rollouts by `generate`; the rest is this package's sampler's.
        kind = "generate" if what == "rollouts" else "sample"
        rows = min(math.ceil(samples / n), recipe.rows)
        if isinstance(args, ExPGRPOConfig) and kind == "generate":
            rows = args.per_device_train_batch_size * args.steps_per_generation
        out[what] = samples / n / rows * limit * machine.seconds(kind, weights, layers, rows)
    rows = args.per_device_train_batch_size
    tokens = rows * width
    there_and_back = machine.seconds("train", weights, layers, tokens)
    # Forward is a third of it; with checkpointing it is done twice, and without gradients of weights a third is spared.
    passes = work.trained / n / rows + work.scored / n / rows / 3
    share = 1 + (1 / 3 if args.gradient_checkpointing else 0) - (1 / 3 if recipe.use_peft else 0)
    out["backward"] = passes * there_and_back * share
    out["optimizer"] = work.steps * machine.seconds("step", trained, layers, 0)
    return out


def disk_of(recipe: TrainRecipe, args: Configuration, weights: int, trained: int, itemsize: int) -> float:
    """Bytes of the checkpoints that are kept at a time, one more while it is written, and the policy at the end."""
    saved = itemsize * (trained if recipe.use_peft else weights)
    kept = (args.save_total_limit or math.inf) if args.save_total_limit else _saves(args)
    return (kept + 1) * (saved + 2 * itemsize * trained) + saved


def _saves(args: Configuration) -> int:
    return math.ceil(max(args.max_steps, 1) / int(args.save_steps))


def in_words(seconds: float) -> str:
    """A time as one reads it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def tokens_in_words(tokens: float) -> str:
    """A number of tokens, short."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if tokens >= size:
            return f"{tokens / size:.2g} {word}" if tokens < 10 * size else f"{tokens / size:.0f} {word}"
    return f"{tokens:,.0f}"


def shares(parts: dict[str, float]) -> Iterable[str]:
    """Each part with its share of the whole, the largest first."""
    whole = sum(parts.values()) or 1.0
    return (f"{name} {part / whole:.0%}" for name, part in sorted(parts.items(), key=lambda x: -x[1]))
