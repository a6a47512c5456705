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


def bad_weights(folder: Path) -> tuple[Path, str] | None:
    """A file of weights that a policy's folder lacks, or that is cut or damaged, and which; None if all are whole."""
    names = {WEIGHTS} if is_adapter(folder) else {_ONE}
    index = folder / _INDEX
    # A single file is loaded before an index.
    if index.exists() and not (folder / _ONE).exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return index, "damaged"
    for name in sorted(names):
        try:
            # Its header says how long the file is; the weights are not read.
            with safe_open(folder / name, "pt"):
                pass
        except (OSError, SafetensorError):
            return folder / name, "damaged" if (folder / name).exists() else "missing"
    return None


def check_weights(name: str, folder: Path) -> None:
    """Refuse damaged weights, and missing ones of a run; of another folder the loader says what it lacks.

    Raises:
        PolicyError: naming the file and the fix.
    """
    run, found = run_before(str(folder)), bad_weights(folder)
    if found is None or (run is None and found[1] == "missing"):
        return
    fix = "copy it there again"
    if run:
        is_kept = folder.name == "model"
        fix = (
            f"give the command of the training {run.folder} again" if is_kept else "use another checkpoint, or `model`"
        )
    raise PolicyError(f"policy {name!r}: {found[0]} is {found[1]}; {fix}")
