"""A study: the list of runs that a set of figures needs, and the notebooks that draw them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from expo.bases import Bases
from expo.jobs import RECIPES
from expo.policies.names import SMOLLM2, TINY
from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe, unknown_field
from expo.text import is_folder_name
from expo.train.recipe import ALGORITHMS, TrainRecipe

Recipe = MeasureRecipe | EvaluateRecipe | GradientRecipe | TrainRecipe
STUDIES = Path(__file__).parent / "recipes" / "studies"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
_FIELDS = ("description", "notebooks", "bases", "defaults", "runs")


class StudyError(ValueError):
    """A study file that cannot be read; the message names the file, the entry and the fix."""


@dataclass(frozen=True)
class Study:
    """Runs by name, in order, and the notebooks to execute on them."""

    name: str
    description: str
    runs: dict[str, Recipe]
    notebooks: tuple[str, ...]
    # Policies that are warmed up before the runs, and the study whose folder they are in.
    bases: Bases | None = None
    bases_of: str = ""
    # Whether the project shows its figures; their artefacts have their own labels.
    shown: bool = False

    @property
    def own_policies(self) -> set[str]:
        """The policies that its runs start from and that it makes itself."""
        trainings = {name for name, recipe in self.runs.items() if isinstance(recipe, TrainRecipe)}
        return trainings | set(self.bases.names if self.bases else ())

    @property
    def missing_notebooks(self) -> list[str]:
        """The notebooks that this installation lacks: they come with a checkout, not with a wheel."""
        return [name for name in self.notebooks if not (NOTEBOOKS / f"{name}.ipynb").is_file()]


def load_study(name: str, of: tuple[Path, ...] = ()) -> Study:
    """Read a shipped study by name, or any study by the path of its YAML file.

    `defaults` holds fields for all runs; each entry of `runs` has its own fields, and `job` (measure, evaluate, train).
    An entry with `each: {field: [values]}` makes a run for each combination of the values. A `policy` may be the name
    of a training of the study, which is then done first, or one of the bases (`base-0`, ...) made by `bases`
    (`expo.bases`); `bases` says how to make them, or names the study that does. `of` lists the studies that use the
    bases of this one.

    Raises:
        StudyError: for an unknown study, or an unknown field or invalid value in it or its recipes.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.stem for p in STUDIES.glob("*.yaml")))
        raise StudyError(f"no study {name!r}; choose from {shipped}, or give the path of a .yaml file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise StudyError(f"{path}: cannot be read: {cause}") from cause
    content = _mapping(path, "the file", content)
    if unknown := sorted(str(key) for key in set(content) - set(_FIELDS)):
        meant = meant_for(str(path), map(str, content))
        raise StudyError(f"{path}: {meant or f'no field {unknown[0]!r}; the fields are ' + ', '.join(_FIELDS)}")
    runs, notebooks = _mapping(path, "runs", content.get("runs")), content.get("notebooks", [])
    if not isinstance(notebooks, list):
        raise StudyError(f"{path}: notebooks must be a list of names, got {notebooks!r}")
    if not runs and not notebooks and not content.get("bases"):
        raise StudyError(f"{path}: runs: give at least one run, with its recipe's fields, or a notebook")
    defaults = _mapping(path, "defaults", content.get("defaults"))
    recipes: dict[str, Recipe] = {}
    for run, own in runs.items():
        for each, values in _each(path, str(run), {**defaults, **_mapping(path, run, own)}).items():
            if each in recipes:
                raise StudyError(f"{path}: two runs would be called {each}; rename {run}")
            recipes[each] = recipe_of(path, each, values)
    bases_of, bases = _bases(path, content.get("bases"), of)
    _check_policies(path, recipes, bases)
    return Study(
        bases=bases,
        bases_of=bases_of,
        name=path.stem,
        description=str(content.get("description", "")),
        runs=recipes,
        notebooks=tuple(map(str, notebooks)),
        shown=path.parent == STUDIES and path.stem != "smoke",
    )


def meant_for(file: str, names: Iterable[str], but: str | None = None) -> str:
    """What kind of file has these fields, and the command that takes it; empty if no kind has all of them.

    `but` is the job that was given the file by mistake.
    """
    asked = set(names)
    if asked >= {"compute_environment", "distributed_type"}:
        return f"these are accelerate's settings: accelerate launch --config_file {file} -m expo.cli train ..."
    if asked & {"runs", "notebooks", "bases"} and asked <= set(_FIELDS):
        return f"this is a study: expo reproduce --study {file}"
    for job in RECIPES:
        if job != but and asked <= _names_of(job):
            return f"this is a recipe of expo {job}: expo {job} --config {file}"
    return ""


def _names_of(job: str) -> set[str]:
    """The fields that a recipe file may have."""
    types = [RECIPES[job]]
    if job == "train":
        from expo.train.config import configuration_of

        types += map(configuration_of, ALGORITHMS)
    return {f.name for t in types for f in fields(t)} - {"trl"} | {"output"}


def _bases(path: Path, content: object, of: tuple[Path, ...]) -> tuple[str, Bases | None]:
    """The study that the bases belong to, and how they are made."""
    if content is None:
        return "", None
    if isinstance(content, str):
        ring = [*of, path]
        if any(Path(content).stem == asking.stem for asking in ring):
            asked = " -> ".join([*(asking.stem for asking in ring), Path(content).stem])
            raise StudyError(f"{path}: bases: no study says how to make {asked}; add that to one of them")
        is_file = content.endswith((".yaml", ".yml"))
        other = load_study(str(path.parent / content) if is_file else content, tuple(ring))
        if other.bases is None:
            raise StudyError(f"{path}: bases: the study {content} does not make bases")
        return other.bases_of, other.bases
    values = _mapping(path, "bases", content)
    known = [f.name for f in fields(Bases)]
    if set(values) != set(known):
        raise StudyError(f"{path}: bases: give each of the fields {', '.join(known)}; got {', '.join(values)}")
    try:
        bases = Bases(**values)
    except ValueError as cause:
        raise StudyError(f"{path}: bases: {cause}") from cause
    # Read once, so that a mistake is reported early.
    recipe_of(path, "bases-train", bases.warm_up(bases.seeds[0]))
    recipe_of(path, "bases-measure", {**bases.measure, "job": "measure"})
    return path.stem, bases


def _check_policies(path: Path, recipes: dict[str, Recipe], bases: Bases | None) -> None:
    """Check that runs starting from other runs' policies can be ordered, and that no name has two meanings."""
    for name, recipe in recipes.items():
        if bases and bases.is_reserved(name):
            raise StudyError(f"{path}: {name} is the name of a base; rename the run")
        is_shipped = TINY.fullmatch(name) or name == SMOLLM2
        if isinstance(recipe, TrainRecipe) and (is_shipped or name == recipe.policy):
            raise StudyError(f"{path}: {name} is the name of a policy, which this run would shadow; rename it")
        if re.fullmatch(r"base-\d+", recipe.policy) and recipe.policy not in (bases.names if bases else ()):
            made = f"the study makes {', '.join(bases.names)}" if bases else "the study makes no bases"
            raise StudyError(f"{path}: run {name}: policy: no policy {recipe.policy}; {made}")
    waiting = dict(recipes)
    while waiting:
        ready = ready_of(waiting)
        if not ready:
            raise StudyError(
                f"{path}: runs {', '.join(waiting)} wait for each other's policy; let one of them start from "
                "another policy"
            )
        waiting = {name: recipe for name, recipe in waiting.items() if name not in ready}


def ready_of(waiting: dict[str, Recipe]) -> list[str]:
    """The runs whose policy does not come from another of these runs."""
    trainings = {name for name, recipe in waiting.items() if isinstance(recipe, TrainRecipe)}
    return [name for name, recipe in waiting.items() if recipe.policy not in trainings]


def _each(path: Path, run: str, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs of an entry: one, or one for each combination of the values in `each`, which end its name."""
    each = _mapping(path, f"run {run}: each", values.pop("each", None))
    if not all(isinstance(values_of_field, list) and values_of_field for values_of_field in each.values()):
        raise StudyError(f"{path}: run {run}: each: give a list of values for each field, got {each!r}")
    runs = {}
    for chosen in product(*each.values()):
        runs["-".join([run, *map(str, chosen)])] = {**values, **dict(zip(each, chosen, strict=True))}
    return runs


def _mapping(path: Path, what: object, value: object) -> dict[Any, Any]:
    if not isinstance(value, dict | None):
        raise StudyError(f"{path}: {what} must be a mapping of names, got {value!r}")
    return value or {}


def recipe_of(path: Path, run: str, values: dict[str, Any]) -> Recipe:
    """The recipe of a run from its fields; `job` selects its type.

    Raises:
        StudyError: for an unknown field or invalid value; the message names the file and the run.
    """
    if not is_folder_name(run):
        raise StudyError(f"{path}: run {run!r}: the name is also a folder's, so use only letters, digits and . _ -")
    job = values.pop("job", "measure")
    if job not in RECIPES:
        raise StudyError(f"{path}: run {run}: unknown job {job!r}; choose from {', '.join(RECIPES)}")
    known = {f.name for f in fields(RECIPES[job])}
    if job == "train":
        # The remaining fields are for TRL's configuration, which is read when the runs start.
        rest = {name: values.pop(name) for name in list(values) if name not in known}
        values["trl"] = rest
    if unknown := sorted(str(key) for key in set(values) - known):
        raise StudyError(f"{path}: run {run}: {unknown_field(unknown[0], known, job)}")
    try:
        recipe: Recipe = RECIPES[job](**values)
        return recipe
    except ValueError as cause:
        raise StudyError(f"{path}: run {run}: {cause}") from cause


def default_figures(study: Study, runs: Path) -> Path:
    """Where a study's figures go: to `figures/` if the project shows them, else next to the study's runs."""
    return Path("figures") if study.shown else runs / study.name / "figures"
