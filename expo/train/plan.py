"""What a training will take, said before it begins: the resolved recipe, steps, memory, tokens, time and disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from expo.calibration import Calibration, default_file, device_memory, read
from expo.policies.adapters import is_adapter, refuse_to_train
from expo.policies.load import DTYPES, where_is
from expo.policies.shapes import known_shape
from expo.records import to_yaml
from expo.setup import load_problems
from expo.tasks import TASKS, Task
from expo.text import plural
from expo.train.config import Configuration, PairsDPOConfig, PositivesSFTConfig, quiet, settings_of
from expo.train.cost import Work, disk_of, in_words, seconds_of, shares, tokens_in_words, work_of
from expo.train.given import texts_in_words
from expo.train.memory import GIB, count_weights, memory_of, tokens_of
from expo.train.recipe import TrainRecipe
from expo.train.steps import batch_of, steps_of

# Of TRL's many fields those that a reader of a recipe looks for.
_SETTINGS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("num_generations", "num_iterations", "beta", "epsilon", "loss_type", "scale_rewards"),
    *("beta_sft", "beta_sft_schedule", "sft_normalization"),
    *("temperature", "top_p", "top_k", "max_completion_length"),
    *("bf16", "gradient_checkpointing", "save_steps", "eval_steps", "seed"),
)


@dataclass(frozen=True)
class Machine:
    """What a training is planned for: the bytes that each process can have, and how fast it was measured to be."""

    on_gpu: bool
    memory: float
    calibration: Calibration | None


def machine_of(file: str | None, processes: int = 1) -> Machine:
    """The machine of a calibration's file; or this one, with its own calibration if it was measured.

    Raises:
        CalibrationError: for a file that is no calibration.
    """
    if file is not None:
        made = read(Path(file))
        return Machine(made.on_gpu, made.memory, made)
    on_gpu, memory = torch.cuda.is_available(), device_memory()
    own = read(default_file()) if default_file().is_file() else None
    if own and (own.on_gpu != on_gpu or own.memory != memory):
        # Of another machine, with which this one shares its home.
        own = None
    # Processes on a CPU have its memory together.
    return Machine(on_gpu, memory if on_gpu else memory / processes, own)


@quiet()
def describe(recipe: TrainRecipe, calibration: str | None = None) -> str:
    """The resolved recipe and what it takes, as text; for this machine, or for that of a calibration's file.

    Raises:
        DataError, PolicyError: if the task's data or the policy's folder are not found.
        ValueError: if the policy's context is no longer than the token limit; or CalibrationError, for such a file.
    """
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "unused")
    machine = machine_of(calibration, args.world_size)
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
        *_takes(recipe, args, work_of(recipe, args, len(task.problems), len(held_out.problems)), machine),
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


def _policy(recipe: TrainRecipe, args: Configuration) -> PretrainedConfig | str:
    """The policy's configuration, or why it is not known.

    Raises:
        ValueError: for an adapter's folder, or a policy whose context is no longer than the token limit.
    """
    config = known_shape(recipe.policy)
    if config is None:
        where = where_is(recipe.policy)
        if is_adapter(Path(where)):
            refuse_to_train(recipe.policy)
        code = args.trust_remote_code
        try:
            config = AutoConfig.from_pretrained(where, revision=recipe.revision, trust_remote_code=code)
        except (OSError, ValueError) as error:
            return f"the policy's config.json cannot be read ({str(error).splitlines()[0]})"
    context = getattr(config.get_text_config(), "max_position_embeddings", math.inf)
    if context <= args.max_completion_length:
        raise ValueError(
            f"max_completion_length ({args.max_completion_length}) leaves no room for a question in the policy's "
            f"context of {context} tokens; take {context // 2}, say"
        )
    return config


def _takes(recipe: TrainRecipe, args: Configuration, work: Work, machine: Machine) -> list[str]:
    """Memory, work, time and disk, a line or more each."""
    sampled = sum(work.samples.values()) * args.max_completion_length
    trained_tokens = tokens_in_words(work.trained * tokens_of(args))
    by_part = ", ".join(shares({name: float(n) for name, n in work.samples.items()}))
    lines = [f"tokens        at most {tokens_in_words(sampled)} sampled ({by_part}), {trained_tokens} trained"]
    config = _policy(recipe, args)
    if isinstance(config, str):
        return [f"memory        not known: {config}", *lines]
    weights, trained = count_weights(recipe, args, config)
    itemsize = DTYPES.get(recipe.dtype, torch.bfloat16 if machine.on_gpu else torch.float32).itemsize
    disk = disk_of(recipe, args, weights, trained, itemsize) / GIB
    free = shutil.disk_usage(".").free / GIB
    return [
        *_memory(recipe, args, config, weights, trained, machine),
        *lines,
        *_time(recipe, args, work, machine, weights, trained, config.get_text_config().num_hidden_layers),
        f"disk          {disk:.1f} GiB for checkpoints and the policy, {'of' if disk < free else 'MORE THAN'} the "
        f"{free:.0f} GiB that are free here",
    ]


def _memory(
    recipe: TrainRecipe,
    args: Configuration,
    config: PretrainedConfig,
    weights: int,
    trained: int,
    machine: Machine,
) -> list[str]:
    held = memory_of(recipe, args, config, on_gpu=machine.on_gpu, capacity=machine.memory)
    of_them = f", {trained:,} of them trained" if recipe.use_peft else ""
    fits = held.peak <= machine.memory
    of = f", of {machine.memory / GIB:.0f} GiB: {'it fits' if fits else 'IT DOES NOT FIT'}" if machine.memory else ""
    step = {"weights": held.weights, "gradients": held.gradients, "moments": held.moments}
    step |= {"activations": held.activations} if held.activations > held.at_step else {"AdamW's step": held.at_step}
    sampling = {"weights": held.weights + held.whole, "moments": held.moments, "keys, values, logits": held.sampling}
    sampling |= {"the reference": held.reference} if held.reference else {}
    engine = {"vLLM": held.engine} if held.engine else {}
    lines = [
        f"memory        {weights / 1e6:,.2f}M weights{of_them}; at most {held.peak / GIB:.1f} GiB on each process{of}",
        f"              in a step, GiB: {_gib(step | engine)}",
        f"              while sampling: {_gib(sampling | engine)}",
    ]
    if not fits and machine.memory:
        for flags, other, changed in lighter(recipe, args):
            peak = memory_of(other, changed, config, on_gpu=machine.on_gpu, capacity=machine.memory).peak
            lines.append(f"              with {flags}: {peak / GIB:.1f} GiB")
        lines.append("              or over several GPUs that share weights: accelerate launch, with fsdp2.yaml")
    return lines


def _gib(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {part / GIB:.1f}" for name, part in parts.items())


def lighter(recipe: TrainRecipe, args: Configuration) -> Iterator[tuple[str, TrainRecipe, Configuration]]:
    """Changes that save memory, each on top of those before: its flags, and the recipe and settings with it."""
    flags: list[str] = []
    for name, value in _savings(recipe, args):
        more = {name: value}
        if name == "per_device_train_batch_size":
            more["gradient_accumulation_steps"] = (
                args.gradient_accumulation_steps * args.per_device_train_batch_size // value
            )
        flags += [f"--{k} {str(v).lower()}" for k, v in more.items()]
        if name in ("use_peft", "rows"):
            recipe = replace(recipe, **more)
        else:
            recipe = replace(recipe, trl={**recipe.trl, **more})
        args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "unused")
        yield " ".join(flags), recipe, args


def _savings(recipe: TrainRecipe, args: Configuration) -> list[tuple[str, Any]]:
    rows = int(args.per_device_train_batch_size)
    out: list[tuple[str, Any]] = []
    if not args.gradient_checkpointing:
        out.append(("gradient_checkpointing", True))
    if rows > 1:
        out.append(("per_device_train_batch_size", next(n for n in (1, rows) if rows % n == 0)))
    if args.optim != "adamw_torch_fused":
        out.append(("optim", "adamw_torch_fused"))
    if recipe.rows > 8:
        out.append(("rows", 8))
    if not recipe.use_peft:
        out.append(("use_peft", True))
    return out


def _time(
    recipe: TrainRecipe,
    args: Configuration,
    work: Work,
    machine: Machine,
    weights: int,
    trained: int,
    layers: int,
) -> list[str]:
    measured = machine.calibration
    if measured is None:
        return ["time          not known: expo doctor --calibrate measures this machine in about a minute"]
    parts = seconds_of(work, recipe, args, measured, weights, trained, layers)
    by_vllm = recipe.engine == "vllm" or getattr(args, "use_vllm", False)
    return [
        f"time          at most {in_words(sum(parts.values()))} on {measured.device} as measured on {measured.made}"
        + (", if transformers sampled instead of vLLM, which is not measured" if by_vllm else ""),
        f"              {', '.join(shares(parts))}",
    ]
