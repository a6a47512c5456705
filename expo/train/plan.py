"""What a training will take, said before it begins: the resolved recipe, its steps, its memory."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from expo.policies.adapters import add_adapter, is_adapter, refuse_to_train, weights_of
from expo.policies.load import DTYPES, where_is
from expo.policies.shapes import known_shape
from expo.records import to_yaml
from expo.setup import load_problems
from expo.tasks import TASKS, Task
from expo.text import plural
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig, PositivesSFTConfig, quiet, settings_of
from expo.train.given import texts_in_words
from expo.train.recipe import TrainRecipe
from expo.train.sharding import unsharded
from expo.train.steps import batch_of, steps_of

_GIB = 2**30
# Of a transformer layer's activations in bfloat16, in hidden sizes a token, when they are computed again for the
# backward pass: attention and a gated feed-forward of about 3 hidden sizes, without the attention matrix.
_HIDDEN_SIZES = 34
# Of TRL's many fields those that a reader of a recipe looks for.
_SETTINGS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("num_generations", "num_iterations", "beta", "epsilon", "loss_type", "scale_rewards"),
    *("beta_sft", "beta_sft_schedule", "sft_normalization"),
    *("temperature", "top_p", "top_k", "max_completion_length"),
    *("bf16", "gradient_checkpointing", "save_steps", "eval_steps", "seed"),
)


@quiet()
def describe(recipe: TrainRecipe) -> str:
    """The resolved recipe and what it takes, as text.

    Raises:
        DataError, PolicyError: if the task's data or the policy's folder are not found.
        ValueError: if the policy's context is no longer than the token limit.
    """
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "unused")
    values = args.to_dict()
    defaults = {name: values[name] for name in _SETTINGS if name not in recipe.trl and name in values}
    lines = [to_yaml(recipe.resolved()).rstrip(), "", "# not given, so TRL's or this machine's:"]
    lines += [to_yaml(defaults).rstrip(), ""]
    with closing(recipe.checker()) as checker:
        task, held_out = load_problems(recipe, checker), load_problems(recipe, checker, **recipe.evaluated)
    if recipe.positive == "expert" and not any(p.expert_cot for p in task.problems):
        raise ValueError(
            f"{task.source or task.name}: no problem has an expert_cot; add it, or take another --positive"
        )
    asked = {p.question for p in task.problems}
    same = [p for p in held_out.problems if p.question in asked]
    batch = batch_of(args)
    lines += [
        f"trained on    {plural(len(task.problems), 'problem')}{_experts(recipe, task)}",
        *([f"positives     {texts_in_words(recipe.positive_data, task.problems)}"] if recipe.positive_data else []),
        *_skips(task),
        f"evaluated on  {plural(len(held_out.problems), 'problem')}"
        + (f", {len(same)} of them TRAINED ON: {TASKS[recipe.task].other_problems}" if same else ""),
        *(_skips(held_out) if held_out.skipped != task.skipped else []),
        f"steps         {steps_of(recipe, args, len(task.problems))} of {batch} {_samples(args)}, "
        f"on {plural(args.world_size, 'process', 'processes')}{_anew(recipe)}",
        *_memory(recipe, args),
    ]
    return "\n".join(lines)


def _experts(recipe: TrainRecipe, task: Task) -> str:
    """How many problems have what a training on expert CoTs learns; any other positive is yet to be sampled."""
    experts = sum(p.expert_cot is not None for p in task.problems)
    return f", {experts} of them with an expert CoT" if recipe.positive == "expert" else ""


def _skips(task: Task) -> list[str]:
    """What of the data is left out: rows, or fields of rows that are kept."""
    if not task.skipped:
        return []
    shown = [f"                {skip}" for skip in task.skipped[:3]]
    shown += [f"                and {len(task.skipped) - 3} more"] if len(task.skipped) > 3 else []
    return [f"              {plural(len(task.skipped), 'row or field', 'rows or fields')} left out:", *shown]


def _samples(args: Configuration) -> str:
    if isinstance(args, PairsDPOConfig):
        return "pairs"
    if isinstance(args, PositivesSFTConfig):
        return "positives, if every problem has one"
    return f"samples, {args.num_generations} a question"


def _anew(recipe: TrainRecipe) -> str:
    what = "pairs" if recipe.algorithm == "dpo" else "positives"
    return f"; {what} are sampled anew every {plural(recipe.refresh_steps, 'step')}" if recipe.refresh_steps else ""


def _memory(recipe: TrainRecipe, args: Configuration) -> list[str]:
    config = known_shape(recipe.policy)
    if config is None:
        where = where_is(recipe.policy)
        if is_adapter(Path(where)):
            refuse_to_train(recipe.policy)
        code = args.trust_remote_code
        try:
            config = AutoConfig.from_pretrained(where, revision=recipe.revision, trust_remote_code=code)
        except (OSError, ValueError) as error:
            return [f"memory        not known: the policy's config.json cannot be read ({str(error).splitlines()[0]})"]
    with unsharded(args), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=args.trust_remote_code)
        if recipe.use_peft:
            model = add_adapter(model, recipe.seed, **recipe.lora)
    text = config.get_text_config()
    if (context := getattr(text, "max_position_embeddings", math.inf)) <= args.max_completion_length:
        raise ValueError(
            f"max_completion_length ({args.max_completion_length}) leaves no room for a question in the policy's "
            f"context of {context} tokens; take {context // 2}, say"
        )
    weights, trained = weights_of(model)
    # Weights, and of those trained gradients and AdamW's two moments. At its step AdamW, unless it is fused, has one
    # more copy of them on a GPU: the shape of Qwen2.5-3B, trained on one H100, took 57.6 GiB, 20 bytes a weight.
    of_this_machine = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    itemsize = DTYPES.get(recipe.dtype, of_this_machine).itemsize
    # An adapter is float32 beside a base of any dtype.
    each = 4 if recipe.use_peft else itemsize
    state, at_step = itemsize * (weights - trained) + 4 * each * trained, each * trained
    at_step *= args.optim != "adamw_torch_fused"
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    bytes_each = 2 if args.bf16 else 4
    rows = args.per_device_train_batch_size
    sampled, in_memory = recipe.rows, float(rows)
    if isinstance(args, ExPGRPOConfig):
        sampled = max(sampled, rows * args.steps_per_generation)
        # The added term holds a positive for each G samples at the same time.
        in_memory += rows / args.num_generations * (recipe.positive != "none" and args.beta_sft > 0)
    if isinstance(args, PairsDPOConfig):
        in_memory *= 2  # a pair is two sequences
    # Prompts are taken to be as long as an eighth of the completions.
    tokens = int(args.max_completion_length * 1.125)
    layers = 1 if args.gradient_checkpointing else text.num_hidden_layers
    activations = (
        in_memory * tokens * text.hidden_size * (_HIDDEN_SIZES * layers * bytes_each + 2 * text.num_hidden_layers)
    )
    copy = f", {2 * weights / _GIB:.1f} GiB of weights in bfloat16" if args.bf16 and itemsize > 2 else ""
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    cached = sampled * tokens * text.num_hidden_layers * heads * head * 2
    # Between rounds of DPO the reference is loaded beside the policy, to score new pairs.
    loaded = isinstance(args, PairsDPOConfig) and recipe.refresh_steps > 0
    at_its_step = f", and {at_step / _GIB:.1f} GiB more at its step on a GPU" if at_step else ""
    of_them = f", {trained:,} of them trained" if recipe.use_peft else ""
    again = f"; {itemsize * weights / _GIB:.1f} GiB more between rounds, for the reference" if loaded else ""
    return [
        f"memory        {weights / 1e6:,.2f}M weights{of_them}: {state / _GIB:.1f} GiB with gradients and AdamW's "
        f"moments{at_its_step} (over all processes, if they share them as ZeRO-3 does){again}",
        f"              between steps about {activations / _GIB:.1f} GiB of activations{copy}, or "
        f"{cached * bytes_each / _GIB:.1f} GiB of keys and values while sampling, on each process",
    ]
