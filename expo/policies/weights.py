"""Whether the files of a policy's weights are whole, and what is to be done where they are not."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from expo.policies.adapters import WEIGHTS, is_adapter
from expo.policies.policy import PolicyError
from expo.records import run_before

_ONE = "model.safetensors"
_INDEX = f"{_ONE}.index.json"


def bad_weights(folder: Path) -> Path | None:
    """A file of weights that a policy's folder lacks, or that is cut or damaged; None if all are whole."""
    names = {WEIGHTS} if is_adapter(folder) else {_ONE}
    index = folder / _INDEX
    if index.exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return index
    for name in sorted(names):
        try:
            # Its header says how long the file is; the weights are not read.
            with safe_open(folder / name, "pt"):
                pass
        except (OSError, SafetensorError):
            return folder / name
    return None


def check_weights(name: str, folder: Path) -> None:
    """Refuse damaged weights, and missing ones of a run; of another folder the loader says what it lacks.

    Raises:
        PolicyError: naming the file and the fix.
    """
    bad, run = bad_weights(folder), run_before(str(folder))
    if bad is None or not (run or bad.exists()):
        return
    fix = f"delete {folder}/ and give the command of its training, {run.folder}, again" if run else "put it there again"
    raise PolicyError(f"policy {name!r}: {bad} is {state_of(bad)}; {fix}")


def state_of(bad: Path) -> str:
    """In a word what a bad file is."""
    return "damaged" if bad.exists() else "missing"
