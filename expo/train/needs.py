"""What a training needs, as a plan says it: memory by part and what would save some, tokens, time, disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

from expo.calibration import Calibration, CalibrationError, default_file, device_memory, read
from expo.recipe import read_prompts
from expo.tasks.problem import Problem
from expo.train.config import Configuration, settings_of
from expo.train.cost import Work, disk_of, in_words, seconds_of, shares, tokens_in_words, work_of
from expo.train.memory import GIB, Lengths, Memory, count_weights, dtype_of, memory_of
from expo.train.recipe import TrainRecipe
from expo.train.sharding import check_processes, shared_by

# Before anything is tokenised: few texts have longer tokens, and a chat template adds some.
_CHARACTERS, _TEMPLATE = 3, 32


@dataclass(frozen=True)
class Machine:
    """What a training is planned for: the bytes that each process can have, and how fast it was measured to be.

    Without a calibration, `why` says what is amiss.
    """

    on_gpu: bool
    memory: float
    calibration: Calibration | None
    why: str = "expo doctor --calibrate measures this machine in about a minute"


def machine_of(file: str | None, processes: int = 1) -> Machine:
    """The machine of a calibration's file; or this one, with its own calibration if it was measured.

    Raises:
        CalibrationError: for a file that is no calibration.
    """
    if file is not None:
        made = read(Path(file).expanduser())
        return Machine(made.on_gpu, made.memory / (1 if made.on_gpu else processes), made)
    on_gpu, memory = torch.cuda.is_available(), device_memory()
    # Processes on a CPU have its memory together.
    here = Machine(on_gpu, memory / (1 if on_gpu else processes), None)
    if not default_file().is_file():
        return here
    try:
        own = read(default_file())
    except CalibrationError as error:
        return replace(here, why=str(error))
    if own.on_gpu != on_gpu or abs(own.memory - memory) > 0.01 * memory:
        # Of another machine, with which this one shares its home.
        return replace(here, why=f"{default_file()} is of another machine ({own.device}); {here.why}")
    return replace(here, calibration=own)


def needs(
    recipe: TrainRecipe,
    args: Configuration,
    config: PretrainedConfig | None,
    problems: Sequence[Problem],
    held_out: Sequence[Problem],
    machine: Machine,
    folder: Path,
) -> list[str]:
    """Memory, tokens, time and disk, a line or more each; `config` is None where the policy's is not known."""
    work, lengths = work_of(recipe, args, len(problems), len(held_out)), lengths_of(recipe, args, problems)
    sampled = sum(work.samples.values()) * args.max_completion_length
    by_part = ", ".join(shares({name: float(n) for name, n in work.samples.items()}))
    lines = [
        f"tokens        up to {tokens_in_words(sampled)} sampled ({by_part})",
        f"              and {tokens_in_words(work.trained * lengths.whole)} trained, in sequences of up to "
        f"{lengths.prompt} + {lengths.completion}",
    ]
    if config is None:
        return ["memory        not known: the policy's config.json cannot be read", *lines]
    weights, trained = count_weights(recipe, args, config)
    shape, dtype = (weights, trained, config.get_text_config().num_hidden_layers), dtype_of(recipe, machine.on_gpu)
    disk = disk_of(recipe, args, work, shape, dtype.itemsize) / GIB
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free / GIB
    return [
        *_memory(recipe, args, config, lengths, machine),
        *lines,
        *_time(recipe, args, work, lengths, machine, shape, str(dtype).removeprefix("torch.")),
        f"disk          {disk:.1f} GiB for checkpoints and the policy, {'of' if disk < free else 'MORE THAN'} the "
        f"{free:.0f} GiB that are free",
    ]


def lengths_of(recipe: TrainRecipe, args: Configuration, problems: Sequence[Problem]) -> Lengths:
    """Of the longest question, and of a completion at the limit or the longest expert CoT that is learnt."""
    asked = max(len(p.question) for p in problems)
    shown = max(len(p.expert_cot or "") for p in problems) if recipe.positive == "expert" else 0
    prompt = math.ceil(asked / _CHARACTERS) + (_TEMPLATE if read_prompts(recipe.task, recipe.prompts).chat else 0)
    return Lengths(prompt, max(args.max_completion_length, math.ceil(shown / _CHARACTERS)))


def _memory(
    recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, lengths: Lengths, machine: Machine
) -> list[str]:
    held = memory_of(recipe, args, config, lengths, on_gpu=machine.on_gpu, capacity=machine.memory)
    weights, trained = count_weights(recipe, args, config)
    of_them = f", {trained:,} of them trained" if recipe.use_peft else ""
    lines = [
        f"memory        {weights / 1e6:,.2f}M weights{of_them}; up to {_gib(held.peak)} GiB on each process"
        + (f", of {_gib(machine.memory)}: {_verdict(held, machine)}" if machine.memory else ""),
        f"              in a step, GiB: {_parts(held, in_steps=True)}",
        f"              while sampling: {_parts(held, in_steps=False)}",
    ]
    if held.untraced:
        lines.append(f"              activations are not known and not in it: {held.untraced}")
    if machine.memory and held.peak > machine.memory:
        for flags, other, changed in lighter(recipe, args):
            try:
                peak = memory_of(other, changed, config, lengths, on_gpu=machine.on_gpu, capacity=machine.memory).peak
            except ValueError:  # an adapter that peft does not have for this policy
                continue
            lines.append(f"              with {flags}: {_gib(peak)} GiB")
        if machine.on_gpu and shared_by(args) == "no":
            lines.append("              or on several GPUs that share weights: see docs/TRAINING.md")
    return lines


def _verdict(held: Memory, machine: Machine) -> str:
    if held.peak > machine.memory:
        return "IT DOES NOT FIT"
    return "it fits, without activations" if held.untraced else "it fits"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}" if size > 0.05 * GIB else f"{size / GIB:.3f}"


def _parts(held: Memory, *, in_steps: bool) -> str:
    parts = {"weights": held.weights + (0 if in_steps else held.gathered)}
    if in_steps or held.gradients_in_sampling:
        parts["gradients"] = held.gradients
    parts["optimizer"] = held.optimizer
    if not in_steps:
        parts["keys, values and logits"] = held.sampling
    elif held.temporary > held.activations:
        parts["AdamW's copy at its step"] = held.temporary
    else:
        parts["activations"] = held.activations
    if held.reference and (held.reference_in_steps or not in_steps):
        parts["the reference"] = held.reference
    if held.engine:
        parts["vLLM"] = held.engine
    return ", ".join(f"{name} {_gib(part)}" for name, part in parts.items())


def lighter(recipe: TrainRecipe, args: Configuration) -> Iterator[tuple[str, TrainRecipe, Configuration]]:
    """Changes that save memory, each with those before it: its flags, and the recipe and settings with them."""
    flags: list[str] = []
    for more in _savings(recipe, args):
        other = replace(recipe, **{k: v for k, v in more.items() if k in ("use_peft", "rows")})
        other = replace(other, trl={**recipe.trl, **{k: v for k, v in more.items() if k not in ("use_peft", "rows")}})
        try:
            changed = settings_of(other.algorithm, other.trl, other.positive, "unused")
            check_processes(other, changed)
        except ValueError:
            continue
        recipe, args = other, changed
        flags += [f"--{k} {str(v).lower()}" for k, v in more.items()]
        yield " ".join(flags), recipe, args


def _savings(recipe: TrainRecipe, args: Configuration) -> Iterator[dict[str, Any]]:
    rows = int(args.per_device_train_batch_size)
    if not args.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if rows > 1:
        more = {
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": args.gradient_accumulation_steps * rows,
        }
        if "steps_per_generation" in recipe.trl:
            more["steps_per_generation"] = args.steps_per_generation * rows
        yield more
    if args.optim == "adamw_torch":
        yield {"optim": "adamw_torch_fused"}
    if recipe.rows > 8:
        yield {"rows": 8}
    if not recipe.use_peft:
        yield {"use_peft": True}


def _time(
    recipe: TrainRecipe,
    args: Configuration,
    work: Work,
    lengths: Lengths,
    machine: Machine,
    shape: tuple[int, int, int],
    dtype: str,
) -> list[str]:
    measured = machine.calibration
    if measured is None:
        return [f"time          not known: {machine.why}"]
    parts = seconds_of(work, recipe, args, lengths, measured, shape, dtype)
    by_vllm = recipe.engine == "vllm" or getattr(args, "use_vllm", False)
    return [
        f"time          about {in_words(sum(parts.values()))}, if samples are as long as the limit"
        + (", and less with vLLM, which is not measured" if by_vllm else ""),
        f"              by {measured.device} as measured on {measured.made}",
        f"              {', '.join(shares(parts))}",
    ]
