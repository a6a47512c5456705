"""A study: the list of runs that one set of figures needs, and the notebooks that draw them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from expo.measure.recipe import MeasureRecipe

# Studies whose figures the project shows; their artefacts have labels of their own.
SHOWN = ("tiny", "gsm8k", "theory")
STUDIES = Path(__file__).parent / "recipes" / "studies"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
_FIELDS = ("description", "notebooks", "defaults", "runs")


class StudyError(ValueError):
    """A study file that cannot be read; names the file, the entry and the mend."""


@dataclass(frozen=True)
class Study:
    """Runs by name, in order, and the notebooks to execute on them."""

    name: str
    description: str
    runs: dict[str, MeasureRecipe]
    notebooks: tuple[str, ...]
    shown: bool = False

    @property
    def missing_notebooks(self) -> list[str]:
        """Those that this installation lacks: notebooks come with a checkout, not with a wheel."""
        return [name for name in self.notebooks if not (NOTEBOOKS / f"{name}.ipynb").is_file()]


def load_study(name: str) -> Study:
    """A shipped study by name, or any by the path of its YAML file.

    `defaults` holds fields for all runs, each entry of `runs` its own.

    Raises:
        StudyError: for an unknown study, or a field that it or its recipes do not have or cannot take.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.stem for p in STUDIES.glob("*.yaml")))
        raise StudyError(f"no study {name!r}; shipped are {shipped}, or give the path of a .yaml file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise StudyError(f"{path}: cannot be read: {cause}") from cause
    held = _mapping(path, "the file", held)
    if unknown := sorted(str(key) for key in set(held) - set(_FIELDS)):
        raise StudyError(f"{path}: no field {', '.join(unknown)}; the fields are {', '.join(_FIELDS)}")
    runs, notebooks = _mapping(path, "runs", held.get("runs")), held.get("notebooks", [])
    if not isinstance(notebooks, list):
        raise StudyError(f"{path}: notebooks must be a list of names, got {notebooks!r}")
    if not runs and not notebooks:
        raise StudyError(f"{path}: runs: name at least one run, with its recipe's fields, or a notebook")
    defaults = _mapping(path, "defaults", held.get("defaults"))
    return Study(
        name=path.stem,
        description=str(held.get("description", "")),
        runs={str(run): _recipe(path, str(run), {**defaults, **_mapping(path, run, own)}) for run, own in runs.items()},
        notebooks=tuple(map(str, notebooks)),
        shown=path.parent == STUDIES and path.stem in SHOWN,
    )


def _mapping(path: Path, what: object, held: object) -> dict[Any, Any]:
    if not isinstance(held, dict | None):
        raise StudyError(f"{path}: {what} must be a mapping of names, got {held!r}")
    return held or {}


def _recipe(path: Path, run: str, values: dict[str, Any]) -> MeasureRecipe:
    if not re.fullmatch(r"[\w-][\w.-]*", run):
        raise StudyError(f"{path}: run {run!r}: it names a folder, so letters, digits and . _ - only")
    known = {f.name for f in fields(MeasureRecipe)}
    if unknown := sorted(str(key) for key in set(values) - known):
        raise StudyError(f"{path}: run {run}: no field {', '.join(unknown)}; the fields are {', '.join(sorted(known))}")
    try:
        return MeasureRecipe(**values)
    except ValueError as cause:
        raise StudyError(f"{path}: run {run}: {cause}") from cause


def reproduce(study: Study, runs: Path, figures: Path, *, progress: bool = True) -> list[Path]:
    """Do every run of the study that is not done yet, then draw its figures.

    Returns:
        The executed notebooks.

    Raises:
        StudyError: if a notebook is missing; before any run is done.
    """
    # Said at once, not after an hour of runs.
    if missing := study.missing_notebooks:
        raise StudyError(f"no notebook {', '.join(missing)} in {NOTEBOOKS}; run from a checkout, pip install -e .")
    from expo.measure.run import measure
    from expo.report.notebooks import execute

    folder = runs / study.name
    for i, (name, recipe) in enumerate(study.runs.items(), 1):
        print(f"[{i}/{len(study.runs)}] {name}: {recipe.policy} on {recipe.task}", flush=True)
        measure(recipe, folder / name, progress=progress)
    done = []
    for name in study.notebooks:
        print(f"notebook {name}", flush=True)
        out = folder / "notebooks" / f"{name}.ipynb"
        execute(NOTEBOOKS / f"{name}.ipynb", runs=folder, figures=figures, out=out)
        done.append(out)
    return done


def default_figures(study: Study, runs: Path) -> Path:
    """Where a study's figures go: those that the project shows to `figures/`, any other's beside its runs."""
    return Path("figures") if study.shown else runs / study.name / "figures"
