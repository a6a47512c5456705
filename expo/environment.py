"""The environment of a run: versions of packages, the toolkit's commit, and the machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from expo.schema import SCHEMA

DIRTY = "-dirty"  # suffix of the commit if the code had uncommitted changes
_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "math-verify",
    "numpy",
    "pandas",
    "peft",
    "deepspeed",
)


def environment(**facts: Any) -> dict[str, Any]:
    """The environment of a run: versions, the toolkit's commit, the machine, and the given facts."""
    import torch

    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "packages": {p: version_of(p) for p in _PACKAGES},
        "expo": version_of("expo-toolkit"),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **facts,
    }


def processor() -> str:
    """The name of the processor, or its architecture if the system does not give the name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine_memory() -> int:
    """The machine's memory in bytes, or the container's if it has less."""
    found = [int(psutil.virtual_memory().total)]
    limit = Path("/sys/fs/cgroup/memory.max")
    # `max` if there is no limit.
    if limit.is_file() and (text := limit.read_text(encoding="utf-8").strip()).isdigit():
        found.append(int(text))
    return min(found)


def free_machine_memory() -> int:
    """The bytes of `machine_memory` that are free now."""
    found, used = [int(psutil.virtual_memory().available)], Path("/sys/fs/cgroup/memory.current")
    if used.is_file():
        # Memory of cached files can be reclaimed.
        stat = dict(line.split() for line in used.with_name("memory.stat").read_text(encoding="utf-8").splitlines())
        found.append(machine_memory() - int(used.read_text(encoding="utf-8")) + int(stat.get("inactive_file", 0)))
    return max(min(found), 0)


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not installed, as for a checkout on PYTHONPATH."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the toolkit's checkout, with `DIRTY` if its code was changed since; None if it is installed.

    Changed figures, records and pages do not count, since the toolkit's own runs write them.
    """
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip()) != here.parent:
            return None
        head = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True, check=True)
        same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", "../theory"], check=False)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + (DIRTY if same.returncode else "")
