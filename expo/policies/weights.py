"""Whether the files of a policy's weights are complete, and what to do if they are not."""

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
    """A file of weights that is missing, cut or damaged, and which of these; None if all files are complete."""
    names = {WEIGHTS} if is_adapter(folder) else {_ONE}
    index = folder / _INDEX
    # A single file is loaded in preference to an index.
    if index.exists() and not (folder / _ONE).exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return index, "damaged"
    for name in sorted(names):
        try:
            # Its header gives the length of the file; the weights are not read.
            with safe_open(folder / name, "pt"):
                pass
        except (OSError, SafetensorError):
            return folder / name, "damaged" if (folder / name).exists() else "missing"
    return None


def check_weights(name: str, folder: Path) -> None:
    """Reject damaged weights, and missing ones in a run; for other folders the loader reports what is missing.

    Raises:
        PolicyError: with the file and the fix.
    """
    run, found = run_before(str(folder)), bad_weights(folder)
    if found is None or (run is None and found[1] == "missing"):
        return
    fix = "copy it there again"
    if run:
        is_kept = folder.name == "model"
        fix = f"repeat the command of the training {run.folder}" if is_kept else "use another checkpoint, or `model`"
    raise PolicyError(f"policy {name!r}: {found[0]} is {found[1]}; {fix}")
