"""What a training run needs, for its plan: memory by part and ways to reduce it, tokens, time, disk space."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

from expo.calibration import Calibration, CalibrationError, default_file, device_memory, free_memory, read
from expo.recipe import read_prompts
from expo.tasks.problem import Problem
from expo.train.config import Configuration, ExPGRPOConfig, settings_of
from expo.train.cost import Work, disk_of, in_words, seconds_of, shares, tokens_in_words, work_of
from expo.train.memory import GIB, Lengths, Memory, count_weights, dtype_of, memory_of
from expo.train.recipe import TrainRecipe
from expo.train.sharding import check_processes, shared_by

# Before anything is tokenised: few texts have longer tokens, and a chat template adds some.
_CHARACTERS, _TEMPLATE = 3, 32


@dataclass(frozen=True)
class Machine:
    """The machine that a training run is planned for: the bytes available to each process, and its measured speed.

    Without a calibration, `why` gives the reason. `free` is the number of bytes free now, None for another machine.
    """

    on_gpu: bool
    memory: float
    calibration: Calibration | None
    free: float | None = None
    why: str = "expo doctor --calibrate measures this machine in about a minute"

    @property
    def usable(self) -> float:
        """The bytes that a plan may use: on a GPU, context, libraries and fragmentation take about 2 GiB and 3 %."""
        return max(0.97 * self.memory - 2 * GIB, 0.0) if self.on_gpu else self.memory


def machine_of(file: str | None, processes: int = 1) -> Machine:
    """The machine of a calibration file; or this machine, with its own calibration if it was measured.

    Raises:
        CalibrationError: if the file is not a calibration.
    """
    if file is not None:
        made = read(Path(file).expanduser())
        return Machine(made.on_gpu, made.memory / (1 if made.on_gpu else processes), made)
    on_gpu, memory = torch.cuda.is_available(), device_memory()
    # Processes on a CPU share its memory.
    share = 1 if on_gpu else processes
    here = Machine(on_gpu, memory / share, None, free_memory() / share)
    if not default_file().is_file():
        return here
    try:
        own = read(default_file())
    except CalibrationError as error:
        return replace(here, why=str(error))
    if own.on_gpu != on_gpu or abs(own.memory - memory) > 0.01 * memory:
        # From another machine that shares its home folder with this one.
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
    """Memory, tokens, time and disk space, each on one or more lines; `config` is None if the policy's is unknown."""
    work, lengths = work_of(recipe, args, len(problems), len(held_out)), lengths_of(recipe, args, problems)
    sampled = sum(work.samples.values()) * args.max_completion_length
    by_part = ", ".join(shares({name: float(n) for name, n in work.samples.items()}))
    lines = [
        f"tokens        up to {tokens_in_words(sampled)} sampled ({by_part})",
        f"              and {tokens_in_words(work.trained * lengths.whole)} trained, in sequences of up to about "
        f"{lengths.prompt} + {lengths.completion}",
    ]
    if config is None:
        return [
            f"memory        not known: config.json of {recipe.policy} is neither here nor on the hub",
            *lines,
        ]
    weights, trained = count_weights(recipe, args, config)
    shape, dtype = (weights, trained, config.get_text_config().num_hidden_layers), dtype_of(recipe, machine.on_gpu)
    disk = disk_of(recipe, args, work, shape, dtype.itemsize) / GIB
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free / GIB
    return [
        *_memory(recipe, args, config, lengths, machine),
        *lines,
        *_time(recipe, args, work, lengths, machine, shape, str(dtype).removeprefix("torch.")),
        f"disk          {disk:.1f} GiB for checkpoints and the policy, "
        f"{'of' if disk < free else 'MORE THAN'} the {free:.0f} GiB that are free",
    ]


def lengths_of(recipe: TrainRecipe, args: Configuration, problems: Sequence[Problem]) -> Lengths:
    """The longest question, and a completion at the limit or the longest expert CoT to learn."""
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
        f"memory        {weights / 1e6:,.2f}M weights{of_them}; up to {_size(held.peak)} on each process"
        + (f", of {_size(machine.usable)} that can be used: {_verdict(held, machine)}" if machine.memory else ""),
        f"              in a step, {_size(held.in_steps)}: {_parts(held, in_steps=True)}",
        f"              while sampling, {_size(held.in_sampling)}: {_parts(held, in_steps=False)}",
    ]
    if held.untraced:
        lines.append(f"              not including activations, which are unknown: {held.untraced}")
    if machine.memory and held.peak > machine.usable:

        def peak_of(other: TrainRecipe, changed: Configuration) -> float:
            return memory_of(other, changed, config, lengths, on_gpu=machine.on_gpu, capacity=machine.memory).peak

        offered = []
        for flags, peak in lighter(recipe, args, held.peak, peak_of):
            fits = peak <= machine.usable
            offered.append(f"with {flags}: {_size(peak)}{', which fits' if fits else ''}")
            if fits:
                break
        of_weights = held.weights + held.gradients + held.optimizer
        if machine.on_gpu and shared_by(args) == "no" and of_weights > held.peak / 2:
            offered.append("on several GPUs with sharded weights: see docs/TRAINING.md")
        offered = offered or ["with a shorter max_completion_length, or with vLLM, which needs less memory to sample"]
        lines += [f"              {way}" for way in offered]
    return lines


def _verdict(held: Memory, machine: Machine) -> str:
    if held.peak > machine.usable:
        return "IT DOES NOT FIT"
    fits = "it fits, without activations" if held.untraced else "it fits"
    if machine.free is not None and held.peak > machine.free:
        return f"{fits}, BUT ONLY {_size(machine.free)} ARE FREE NOW"
    return fits


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size > 0.1 * GIB else f"{size / 2**20:.1f} MiB"


def _parts(held: Memory, *, in_steps: bool) -> str:
    parts = {"weights": held.weights + (0 if in_steps else held.gathered)}
    if in_steps or held.gradients_in_sampling:
        parts["gradients"] = held.gradients
    between_rounds = held.reference > 0 and not held.reference_in_steps and not in_steps
    if between_rounds:
        # Only one of them is held at a time.
        larger = "optimizer" if held.optimizer > held.reference else "the reference between rounds"
        parts[larger] = max(held.optimizer, held.reference)
    else:
        parts["optimizer"] = held.optimizer
    if not in_steps:
        parts["keys, values and logits"] = held.sampling
    elif held.temporary > held.activations:
        parts["the optimizer's copies during its step"] = held.temporary
    else:
        parts["activations"] = held.activations
    if held.reference_in_steps:
        parts["the reference"] = held.reference
    if held.buckets:
        parts["buckets"] = held.buckets
    if held.engine and (held.engine_in_steps or not in_steps):
        parts["vLLM"] = held.engine
    return ", ".join(f"{name} {_size(part)}" for name, part in parts.items() if part)


def lighter(
    recipe: TrainRecipe, args: Configuration, peak: float, peak_of: Callable[[TrainRecipe, Configuration], float]
) -> Iterator[tuple[str, float]]:
    """Changes that lower the peak, applied cumulatively: their flags, and the peak with them."""
    given: dict[str, Any] = {}
    savings = (_recomputed, _one_row, _fused, _few_rows, _small_generation, _sleep, _small_engine, _adapter, _bfloat16)
    # Once more, for changes that were too small to offer before the large ones.
    for saving in (*savings, _few_rows, _small_generation):
        if not (more := saving(recipe, args)):
            continue
        ours = {k: v for k, v in more.items() if k in ("use_peft", "rows", "dtype")}
        trl = {**recipe.trl, **{k: v for k, v in more.items() if k not in ours}}
        try:
            other = replace(recipe, **ours, trl=trl)
            changed = settings_of(other.algorithm, other.trl, other.positive, "unused")
            # This machine's GPUs do not matter: the recipe was accepted, or is planned for another machine.
            check_processes(other, changed, elsewhere=True)
            lower = peak_of(other, changed)
        except ValueError:  # settings that are rejected, or an adapter that peft lacks for this policy
            continue
        if lower < 0.99 * peak:
            recipe, args, peak = other, changed, lower
            given |= more
            yield " ".join(f"--{k} {str(v).lower()}" for k, v in given.items()), peak


def _recomputed(_: TrainRecipe, args: Configuration) -> dict[str, Any]:
    return {} if args.gradient_checkpointing else {"gradient_checkpointing": True}


def _one_row(recipe: TrainRecipe, args: Configuration) -> dict[str, Any]:
    rows = int(args.per_device_train_batch_size)
    if rows == 1:
        return {}
    more = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": args.gradient_accumulation_steps * rows}
    if "steps_per_generation" in recipe.trl:
        more["steps_per_generation"] = args.steps_per_generation * rows
    return more


def _fused(_: TrainRecipe, args: Configuration) -> dict[str, Any]:
    return {"optim": "adamw_torch_fused"} if args.optim == "adamw_torch" else {}


def _few_rows(recipe: TrainRecipe, _: Configuration) -> dict[str, Any]:
    return {"rows": 8} if recipe.rows > 8 else {}


def _small_generation(_: TrainRecipe, args: Configuration) -> dict[str, Any]:
    """The smallest number of micro-batches that hold whole groups."""
    if not isinstance(args, ExPGRPOConfig) or args.use_vllm:
        return {}
    least = args.num_generations // math.gcd(args.num_generations, args.per_device_train_batch_size)
    return {"steps_per_generation": least} if least < args.steps_per_generation else {}


def _sleep(_: TrainRecipe, args: Configuration) -> dict[str, Any]:
    """Make vLLM free its memory between generations."""
    return {"vllm_enable_sleep_mode": True} if _colocated(args) and not args.vllm_enable_sleep_mode else {}


def _small_engine(_: TrainRecipe, args: Configuration) -> dict[str, Any]:
    small = 0.2
    return (
        {"vllm_gpu_memory_utilization": small} if _colocated(args) and args.vllm_gpu_memory_utilization > small else {}
    )


def _colocated(args: Configuration) -> bool:
    return isinstance(args, ExPGRPOConfig) and args.use_vllm and args.vllm_mode == "colocate"


def _adapter(recipe: TrainRecipe, _: Configuration) -> dict[str, Any]:
    return {} if recipe.use_peft else {"use_peft": True}


def _bfloat16(recipe: TrainRecipe, _: Configuration) -> dict[str, Any]:
    """For an adapter's base, which is not trained; float32 weights that are trained need their precision."""
    return {"dtype": "bfloat16"} if recipe.use_peft and recipe.dtype != "bfloat16" else {}


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
        f"time          about {in_words(sum(parts.values()))}, if samples reach the token limit"
        + (", and less with vLLM, which is not measured" if by_vllm else ""),
        f"              measured on {measured.device}, {measured.made}",
        f"              {', '.join(shares(parts))}",
    ]
