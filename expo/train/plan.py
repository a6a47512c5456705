"""What a training run will take, stated before it starts: resolved recipe, steps, memory, tokens, time, disk."""

from __future__ import annotations

import math
from contextlib import closing, suppress
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from expo.policies.adapters import is_adapter, quiet, refuse_to_train
from expo.policies.load import where_is
from expo.policies.names import nearest
from expo.policies.policy import PolicyError
from expo.policies.shapes import SHAPES, known_shape
from expo.policies.vllm import check_installed
from expo.records import to_yaml
from expo.setup import load_problems
from expo.tasks import TASKS, Task
from expo.tasks.problem import counted, in_lines
from expo.text import plural
from expo.train.config import Configuration, PairsDPOConfig, PositivesSFTConfig, check_optimizer, settings_of
from expo.train.given import texts_in_words
from expo.train.needs import machine_of, needs
from expo.train.own_reward import in_plan
from expo.train.recipe import TrainRecipe
from expo.train.sharding import check_devices, check_processes
from expo.train.steps import batch_of, steps_of

# Those of TRL's many fields that a reader of a recipe looks for.
_SETTINGS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("num_generations", "num_iterations", "beta", "epsilon", "loss_type", "scale_rewards"),
    *("beta_sft", "beta_sft_schedule", "sft_normalization"),
    *("temperature", "top_p", "top_k", "max_completion_length"),
    *("bf16", "gradient_checkpointing", "save_steps", "eval_steps", "seed"),
)


@quiet()
def describe(
    recipe: TrainRecipe, calibration: str | None = None, folder: Path | None = None, *, traced: bool = True
) -> str:
    """The resolved recipe and its requirements, as text.

    Args:
        recipe: the training recipe.
        calibration: the calibration file of the machine to plan for; by default this machine.
        folder: where the record will be.
        traced: whether to estimate the requirements, which takes a few seconds for a large policy.

    Raises:
        DataError, PolicyError: if the task's data or the policy's folder is not found.
        ValueError: if the policy's context is not longer than the token limit, or the optimizer's package is not
            installed on this machine, if it is the one planned for; see also `check_processes` and `check_devices`.
            CalibrationError if the calibration file cannot be read.
    """
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "unused")
    check_processes(recipe, args, elsewhere=calibration is not None)
    if calibration is None:
        check_devices(args)
        check_optimizer(args)
        if recipe.engine == "vllm":
            check_installed()
    machine = machine_of(calibration, args.world_size)
    values = args.to_dict()
    defaults = {name: values[name] for name in _SETTINGS if name not in recipe.trl and name in values}
    if calibration is not None:
        defaults.pop("bf16", None)  # planned for this machine
    lines = [to_yaml(recipe.resolved()).rstrip(), "", "# not set in the recipe; defaults of TRL or for this machine:"]
    lines += [to_yaml(defaults).rstrip(), ""]
    with closing(recipe.checker()) as checker:
        task, held_out = load_problems(recipe, checker), load_problems(recipe, checker, **recipe.evaluated)
    if recipe.positive == "expert" and not any(p.expert_cot for p in task.problems):
        raise ValueError(
            f"{task.source or task.name}: no problem has an expert_cot; add this field, or choose another --positive"
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
    ]
    config = _shape_of(recipe, args)
    if traced:
        lines += needs(recipe, args, config, task.problems, held_out.problems, machine, folder or Path())
    return "\n".join(lines) + in_plan(recipe.reward)


def _experts(recipe: TrainRecipe, task: Task) -> str:
    """The number of problems with an expert CoT, if that is what is learnt; other positives are not sampled yet."""
    experts = sum(p.expert_cot is not None for p in task.problems)
    return f", {experts} of them with an expert CoT" if recipe.positive == "expert" else ""


def _skips(task: Task) -> list[str]:
    """What is left out of the data: rows, or fields of rows that are kept."""
    if not task.skipped:
        return []
    shown = [f"                {line}" for line in in_lines(task.skipped, 3)]
    return [f"              {counted(task.skipped)} left out:", *shown]


def _samples(args: Configuration) -> str:
    if isinstance(args, PairsDPOConfig):
        return "pairs"
    if isinstance(args, PositivesSFTConfig):
        return "positives, if every problem has one"
    return f"samples, {args.num_generations} per question"


def _anew(recipe: TrainRecipe) -> str:
    what = "pairs" if recipe.algorithm == "dpo" else "positives"
    return f"; {what} are resampled every {plural(recipe.refresh_steps, 'step')}" if recipe.refresh_steps else ""


def _shape_of(recipe: TrainRecipe, args: Configuration) -> PretrainedConfig | None:
    """The policy's configuration; None if it cannot be read.

    Raises:
        ValueError: for an adapter's folder, or a policy whose context is not longer than the token limit.
    """
    config = known_shape(recipe.policy)
    if config is None:
        where = where_is(recipe.policy)
        if is_adapter(Path(where)):
            refuse_to_train(recipe.policy)
        code = args.trust_remote_code
        with suppress(OSError, ValueError):
            config = AutoConfig.from_pretrained(where, revision=recipe.revision, trust_remote_code=code)
    if config is None:
        # A one-word hub id need not be a typo, but if it cannot be read there is no plan.
        if near := nearest(recipe.policy, SHAPES):
            raise PolicyError(
                f"policy {recipe.policy!r}: its config.json is neither here nor on the hub; did you mean {near}?"
            )
        return None
    context = getattr(config.get_text_config(), "max_position_embeddings", math.inf)
    if context <= args.max_completion_length:
        raise ValueError(
            f"max_completion_length ({args.max_completion_length}) leaves no room for a question in the policy's "
            f"context of {context} tokens; try {context // 2}"
        )
    return config
