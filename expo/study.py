"""A study: the list of runs that one set of figures needs, and the notebooks that draw them."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from expo.measure.recipe import MeasureRecipe

STUDIES = Path(__file__).parent / "recipes" / "studies"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


class StudyError(ValueError):
    """A study file that cannot be read; names the file, the entry and the mend."""


@dataclass(frozen=True)
class Study:
    """Runs by name, in order, and the notebooks to execute on them."""

    name: str
    description: str
    runs: dict[str, MeasureRecipe]
    notebooks: tuple[str, ...]


def load_study(name: str) -> Study:
    """A shipped study by name, or any by the path of its YAML file.

    `defaults` holds fields for all runs, each entry of `runs` its own.

    Raises:
        StudyError: for an unknown study or a field that no recipe has.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.stem for p in STUDIES.glob("*.yaml")))
        raise StudyError(f"no study {name!r}; shipped are {shipped}, or give the path of a .yaml file") from None
    except yaml.YAMLError as cause:
        raise StudyError(f"{path}: {cause}") from cause
    if not isinstance(held, dict) or not isinstance(held.get("runs"), dict):
        raise StudyError(f"{path}: needs a mapping `runs` of run names to recipe fields")
    runs = {
        run: _recipe(path, run, {**(held.get("defaults") or {}), **(own or {})}) for run, own in held["runs"].items()
    }
    return Study(path.stem, str(held.get("description", "")), runs, tuple(held.get("notebooks", ())))


def _recipe(path: Path, run: str, values: dict[str, Any]) -> MeasureRecipe:
    known = {f.name for f in fields(MeasureRecipe)}
    if unknown := sorted(set(values) - known):
        raise StudyError(f"{path}: runs.{run}: no field {unknown}; the fields are {', '.join(sorted(known))}")
    try:
        return MeasureRecipe(**values)
    except (TypeError, ValueError) as cause:
        raise StudyError(f"{path}: runs.{run}: {cause}") from cause


def reproduce(study: Study, runs: Path, figures: Path, *, progress: bool = True) -> list[Path]:
    """Do every run of the study that is not done yet, then draw its figures.

    Returns:
        The executed notebooks.
    """
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
    """Where a study's figures go: the project's own study to `figures/`, any other beside its runs."""
    return Path("figures") if study.name == "tiny" else Path(os.fspath(runs)) / study.name / "figures"
