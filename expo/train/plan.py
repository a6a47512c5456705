"""What a training will take, said before it begins: the resolved recipe, its steps, its memory."""

from __future__ import annotations

import math
from contextlib import closing

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from expo.grading import checker_for
from expo.policies.policy import PolicyError, where_is
from expo.records import to_yaml
from expo.train.dpo import PairsDPOConfig
from expo.train.exp_grpo import ExPGRPOConfig
from expo.train.recipe import TrainRecipe, batch_of, configuration
from expo.train.run import generations_in, steps_in_rounds, tasks
from expo.train.sft import PositivesSFTConfig

_GIB = 2**30
# Of a transformer layer's activations in bfloat16, in hidden sizes a token, when they are computed again for the
# backward pass: attention and a gated feed-forward of about 3 hidden sizes, without the attention matrix.
_HIDDEN_SIZES = 34


def describe(recipe: TrainRecipe) -> str:
    """The resolved recipe and what it takes, as text.

    Raises:
        DataError: if the task's data are not found.
    """
    args = configuration(recipe.algorithm, recipe.trl, "unused")
    lines = [to_yaml(recipe.resolved()).rstrip(), ""]
    with closing(checker_for(recipe.task)) as checker:
        task, held_out = tasks(recipe, checker)
    batch = batch_of(args)
    lines += [
        f"trained on    {len(task.problems)} problems ({len(task.skipped)} left out)",
        f"evaluated on  {len(held_out.problems)} problems ({len(held_out.skipped)} left out)",
        f"steps         {_steps(recipe, len(task.problems), args, batch)} of {batch} {_samples(args)}, "
        f"on {args.world_size} process{'es' * (args.world_size > 1)}",
        *_memory(recipe, args),
    ]
    return "\n".join(lines)


def _steps(
    recipe: TrainRecipe, problems: int, args: ExPGRPOConfig | PairsDPOConfig | PositivesSFTConfig, batch: int
) -> int:
    if isinstance(args, PairsDPOConfig):
        return steps_in_rounds(recipe, args, problems)
    if args.max_steps > 0:
        return args.max_steps
    if isinstance(args, PositivesSFTConfig):
        return math.ceil(math.ceil(problems / batch) * args.num_train_epochs)
    generations = generations_in(problems, args)
    return math.ceil(generations * args.steps_per_generation * args.num_iterations / args.gradient_accumulation_steps)


def _samples(args: ExPGRPOConfig | PairsDPOConfig | PositivesSFTConfig) -> str:
    if isinstance(args, PairsDPOConfig):
        return "pairs"
    if isinstance(args, PositivesSFTConfig):
        return "positives, if every problem has one"
    return f"samples, {args.num_generations} a question"


def _memory(recipe: TrainRecipe, args: ExPGRPOConfig | PairsDPOConfig | PositivesSFTConfig) -> list[str]:
    try:
        config = AutoConfig.from_pretrained(where_is(recipe.policy), trust_remote_code=args.trust_remote_code)
    except (PolicyError, OSError, ValueError) as error:
        return [f"memory        not known: the policy's config.json cannot be read ({str(error).splitlines()[0]})"]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=args.trust_remote_code)
    text = config.get_text_config()
    weights = sum(p.numel() for p in model.parameters())
    # float32 weights, gradients and AdamW's two moments. At its step AdamW has one more copy of the weights on a GPU:
    # the shape of Qwen2.5-3B, trained on one H100, took 57.6 GiB at most, which is 20 bytes a weight.
    state, at_step = 16 * weights, 4 * weights
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    bytes_each = 2 if args.bf16 else 4
    rows = args.per_device_train_batch_size
    sampled, held = recipe.rows, float(rows)
    if isinstance(args, ExPGRPOConfig):
        sampled = max(sampled, rows * args.steps_per_generation)
        # The added term holds a positive for each G samples at the same time.
        held += rows / args.num_generations * (recipe.positive != "none" and args.beta_sft > 0)
    if isinstance(args, PairsDPOConfig):
        held *= 2  # a pair is two sequences
    # Prompts are taken to be as long as an eighth of the completions.
    tokens = int(args.max_completion_length * 1.125)
    layers = 1 if args.gradient_checkpointing else text.num_hidden_layers
    activations = held * tokens * text.hidden_size * (_HIDDEN_SIZES * layers * bytes_each + 2 * text.num_hidden_layers)
    copy = f", {2 * weights / _GIB:.1f} GiB of weights in bfloat16" if args.bf16 else ""
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    cached = sampled * tokens * text.num_hidden_layers * heads * head * 2
    return [
        f"memory        {weights / 1e6:,.2f}M weights: {state / _GIB:.1f} GiB with gradients and AdamW's moments, and "
        f"{at_step / _GIB:.1f} GiB more at its step on a GPU (over all processes, if they share them as ZeRO-3 does)",
        f"              between steps about {activations / _GIB:.1f} GiB of activations{copy}, or "
        f"{cached * bytes_each / _GIB:.1f} GiB of keys and values while sampling, on each process",
    ]
