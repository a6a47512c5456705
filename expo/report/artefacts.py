"""An artefact: a picture or table under a fixed name, the numbers it shows, and the records they came from.

A picture, `<name>.png` and `<name>.svg`, or a page, `<name>.md`, comes with `<name>.csv`, which holds exactly what is
shown. `provenance.json` lists the files, runs and code of every artefact by hash. So anyone can tell which record a
picture shows, and `expo reproduce --check` can tell whether it would be drawn the same today. `README.md` shows all of
them with readings of their numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from expo.environment import DIRTY
from expo.records import RecordError, locked, write_atomic
from expo.report.drawing_code import NoCode, code_hash, drawing_function
from expo.report.gallery import gallery
from expo.report.runs import ROOT, FinishedRun, sha256

PROVENANCE = "provenance.json"
GALLERY = "README.md"
OWN_FIGURES = ROOT / "figures"


@dataclass(frozen=True)
class Artefact:
    """What a report function made.

    `reading` says in words, computed from `numbers`, what is seen; `setting` how the runs were made.
    """

    name: str
    shown: Path
    numbers: pd.DataFrame
    reading: str
    setting: str = ""


def publish(
    out: Path | str,
    name: str,
    runs: Sequence[FinishedRun],
    numbers: pd.DataFrame,
    shown: dict[str, str | bytes],
    reading: str,
    heading: str = "",
    setting: str = "",
) -> Artefact:
    """Write an artefact's files and enter it in `provenance.json`.

    Args:
        out: the folder of all artefacts.
        name: such as `fig2-tiny`.
        runs: the runs that are shown.
        numbers: becomes `<name>.csv`.
        shown: suffix to content, such as `{".png": ...}`; the first is what a reader looks at.
        reading: see `Artefact`.
        heading: what stands above a picture: its finding in one line.
        setting: how the runs were made, where the artefact itself does not say it.

    Raises:
        RecordError: if `provenance.json` is damaged, or if the project's own figures would show a run made from
            uncommitted code.
    """
    out = Path(out)
    origins = [run.origin() for run in runs]
    _refuse_uncommitted(out, origins)
    contents = {**shown, ".csv": numbers.to_csv(index=False, lineterminator="\n")}
    entry = {
        "files": {f"{name}{suffix}": sha256(content) for suffix, content in contents.items()},
        "runs": origins,
        **_drawn_by(),
        **{key: text for key, text in (("heading", heading), ("setting", setting)) if text},
        "reading": reading,
    }
    out.mkdir(parents=True, exist_ok=True)
    # Other processes that publish here wait: each adds to the existing files.
    with locked(out, wait=True):
        # Read first: if the ledger is damaged, no artefact may be written that it does not list.
        ledger = read_provenance(out) | {name: entry}
        for suffix, content in contents.items():
            write_atomic(out / f"{name}{suffix}", content)
        text = json.dumps(dict(sorted(ledger.items())), indent=1, ensure_ascii=False)
        write_atomic(out / PROVENANCE, text + "\n")
        write_atomic(out / GALLERY, gallery(ledger))
    return Artefact(name, out / f"{name}{next(iter(shown))}", numbers, reading, setting)


def _refuse_uncommitted(out: Path, origins: Sequence[dict[str, Any]]) -> None:
    dirty = [origin["run"] for origin in origins if str(origin["commit"]).endswith(DIRTY)]
    if dirty and out.resolve() == OWN_FIGURES:
        raise RecordError(
            f"{dirty[0]}: its code was changed and not committed, and {out} shows only runs that a commit made; commit "
            "the code, delete the run and make it again, or choose another folder with --figures"
        )


def _drawn_by() -> dict[str, str]:
    """The function that draws the artefact, and the hash of its code; empty unless it belongs to this package."""
    function = drawing_function()
    try:
        return {"drawn_by": function, "code": code_hash(function)} if function else {}
    except NoCode:
        return {}


def read_provenance(out: Path | str) -> dict[str, Any]:
    """The files and runs of each artefact; empty if the folder has none yet.

    Raises:
        RecordError: if the file is damaged.
    """
    path = Path(out) / PROVENANCE
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise RecordError(f"{path} is damaged ({cause}); delete it and draw the figures again") from cause
    if not isinstance(ledger, dict):
        raise RecordError(f"{path} is damaged (no mapping); delete it and draw the figures again")
    return ledger
