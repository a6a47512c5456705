"""`reproduce --check`: compare files, records, recipes and code with what `provenance.json` recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from expo.environment import DIRTY
from expo.records import RecordError, Run
from expo.report.artefacts import GALLERY, PROVENANCE, read_provenance
from expo.report.drawing_code import NoCode, code_hash
from expo.report.gallery import gallery
from expo.report.runs import ROOT, recipe_hash, sha256, table_hashes
from expo.study import Study, StudyError, load_study
from expo.text import plural

# The fields that an entry and each of its runs need for a full check.
_NOTED = ("drawn_by", "code")
_NOTED_OF_RUN = ("study", "recipe")


@dataclass(frozen=True)
class Checked:
    """A checked artefact: what makes it stale, and the studies whose records are not here."""

    name: str
    stale: tuple[str, ...]
    absent: tuple[str, ...] = ()


def check_figures(figures: Path, runs: Path) -> list[Checked]:
    """Compare every artefact of a folder with the current state; nothing is run or drawn.

    Args:
        figures: the folder of all artefacts.
        runs: the folder that holds `<study>/<run>/`, for records that have moved since the artefacts were drawn.

    Raises:
        RecordError: if the folder has no `provenance.json`, or if that file or a record is damaged.
    """
    ledger = read_provenance(figures)
    if not ledger:
        raise RecordError(
            f"{figures} has no {PROVENANCE}, so there is nothing to check; choose the folder with --figures"
        )
    compare = cache(lambda run, tables, recipe: _compare(run, dict(tables), recipe, runs))
    checked = []
    for name, entry in ledger.items():
        stale, absent = [*_files(figures, entry["files"]), *_code(entry)], []
        for origin in entry["runs"]:
            differs, is_here = compare(origin["run"], tuple(origin["tables"].items()), origin.get("recipe"))
            stale += differs
            absent += [] if is_here else [Path(origin["run"]).parent.name]
        stale += _uncommitted(entry["runs"])
        checked.append(Checked(name, tuple(dict.fromkeys(stale)), tuple(dict.fromkeys(absent))))
    return [*checked, *_page(figures, ledger), *_strangers(figures, ledger)]


_MOST_SHOWN = 3  # differences of an artefact


def show_checked(checked: Iterable[Checked]) -> str:
    """One line for each artefact, with the first differences below it, and a summary."""
    checked = list(checked)
    lines = []
    for artefact in checked:
        lines.append(f"{artefact.name}: {'stale' if artefact.stale else 'same'}")
        # After a study was run again, one line for each of its runs would hide all else.
        lines += [f"  {reason}" for reason in artefact.stale[:_MOST_SHOWN]]
        if left := len(artefact.stale[_MOST_SHOWN:]):
            lines.append(f"  and {plural(left, 'more difference')}")
    absent = dict.fromkeys(study for artefact in checked for study in artefact.absent)
    lines += [f"records of study {study} are not in this checkout; {_how_to_get(study)}" for study in absent]
    stale = sum(bool(artefact.stale) for artefact in checked)
    unseen = sum(bool(artefact.absent) for artefact in checked if not artefact.stale)
    lines.append(
        f"{plural(len(checked), 'artefact')}: {len(checked) - stale} the same ({unseen} of them with some records not "
        f"here), {stale} stale"
    )
    return "\n".join(lines)


def _how_to_get(study: str) -> str:
    if (ROOT / "figures" / "records" / f"{study}.tar.xz").is_file():
        return "unpack them with make records"
    return f"make them with expo reproduce --study {study}"


def _files(figures: Path, files: Mapping[str, str]) -> Iterator[str]:
    for name, digest in files.items():
        path = figures / name
        if not path.is_file():
            yield f"{name} is missing: draw it again"
        elif sha256(path.read_bytes()) != digest:
            yield f"{name} was changed after it was drawn: draw it again"


def _code(entry: Mapping[str, Any]) -> Iterator[str]:
    runs_noted = all(name in run for run in entry["runs"] for name in _NOTED_OF_RUN)
    if not runs_noted or not all(name in entry for name in _NOTED):
        yield "drawn by a version that did not record recipes and code: draw it again"
        return
    try:
        if code_hash(entry["drawn_by"]) != entry["code"]:
            yield f"the code of {entry['drawn_by']} has changed since: draw it again"
    except NoCode:
        yield f"{entry['drawn_by']}, which drew it, no longer exists: draw it again, or delete it"


def _compare(place: str, tables: dict[str, str], recipe: str | None, runs: Path) -> tuple[list[str], bool]:
    """The differences of a run, and whether its record is here."""
    study, name = Path(place).parts[-2:]
    here = next((p for p in (ROOT / place, runs / study / name) if (p / "recipe.yaml").exists()), None)
    run = Run(here) if here else None
    stale: list[str] = []
    if run:
        stale += _record(place, run, tables, recipe)
    if recipe and (shipped := _shipped(study)):
        stale += _recipe(place, shipped, name, recipe, run)
    return stale, run is not None


def _record(place: str, run: Run, tables: dict[str, str], recipe: str | None) -> Iterator[str]:
    now = table_hashes(run)
    if changed := sorted(table for table in {*now, *tables} if now.get(table) != tables.get(table)):
        yield f"the record {place} has changed since ({', '.join(changed)}): draw it again"
    if recipe and recipe_hash(run.recipe()) != recipe:
        yield f"the record {place} has another recipe than when it was drawn: draw it again"


def _recipe(place: str, study: Study, name: str, recipe: str, run: Run | None) -> Iterator[str]:
    if name not in study.runs:
        yield f"study {study.name} no longer has a run {name}: delete {place} and draw again"
        return
    now = study.runs[name].resolved()
    if recipe_hash(now) != recipe:
        fields = [change.partition(":")[0] for change in run.changes(now, {})] if run else []
        which = f" ({', '.join(field for field in fields if field != 'policy') or 'policy'})" if run else ""
        yield f"the recipe of {name} in study {study.name} has changed since{which}: delete {place} and make it again"


def _uncommitted(origins: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    dirty: dict[str, list[str]] = {}
    for origin in origins:
        if str(origin["commit"]).endswith(DIRTY):
            dirty.setdefault(origin["commit"], []).append(origin["run"])
    for commit, names in dirty.items():
        yield f"{plural(len(names), 'run')} made from uncommitted code, {commit} ({names[0]}): commit, then run again"


def _page(figures: Path, ledger: dict[str, Any]) -> list[Checked]:
    """The page of all artefacts, if it differs from what their entries give."""
    path = figures / GALLERY
    is_same = path.is_file() and path.read_text(encoding="utf-8") == gallery(ledger)
    return [] if is_same else [Checked(GALLERY, ("does not match the entries: draw any of them again",))]


def _strangers(figures: Path, ledger: Mapping[str, Any]) -> list[Checked]:
    """Files that no entry names, such as those of a renamed artefact."""
    known = {file for entry in ledger.values() for file in entry["files"]} | {GALLERY, PROVENANCE}
    found = (p.name for p in figures.iterdir() if p.is_file() and not p.name.startswith("."))
    return [Checked(name, (f"{PROVENANCE} has no entry for it: delete it",)) for name in sorted(set(found) - known)]


@cache
def _shipped(name: str) -> Study | None:
    try:
        return load_study(name)
    except StudyError:
        return None
