"""A study: the list of runs that one set of figures needs, and the notebooks that draw them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from expo.bases import Bases, NoBase, make_bases
from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe
from expo.train.recipe import TrainRecipe, read_recipe

Recipe = MeasureRecipe | EvaluateRecipe | GradientRecipe | TrainRecipe
# What a run is, by the word `job` of its entry.
JOBS: dict[str, type] = {
    "measure": MeasureRecipe,
    "evaluate": EvaluateRecipe,
    "gradients": GradientRecipe,
    "train": TrainRecipe,
}
STUDIES = Path(__file__).parent / "recipes" / "studies"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
_FIELDS = ("description", "notebooks", "bases", "defaults", "runs")


class StudyError(ValueError):
    """A study file that cannot be read; names the file, the entry and the fix."""


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
    # Whether the project shows its figures; their artefacts have labels of their own.
    shown: bool = False

    @property
    def own_policies(self) -> set[str]:
        """The policies that its runs begin from and that it makes itself."""
        trainings = {name for name, recipe in self.runs.items() if isinstance(recipe, TrainRecipe)}
        return trainings | set(self.bases.names if self.bases else ())

    @property
    def missing_notebooks(self) -> list[str]:
        """Those that this installation lacks: notebooks come with a checkout, not with a wheel."""
        return [name for name in self.notebooks if not (NOTEBOOKS / f"{name}.ipynb").is_file()]


def load_study(name: str) -> Study:
    """A shipped study by name, or any by the path of its YAML file.

    `defaults` holds fields for all runs, each entry of `runs` its own, and `job` (measure, evaluate, train). An entry
    with `each: {field: [values]}` is a run for each combination of the values. A `policy` may be the name of a training
    of the study, which is then done before, or a base (`base-0`, ...) of those that `bases` has made (`expo.bases`);
    `bases` is how, or the name of the study that says how.

    Raises:
        StudyError: for an unknown study, or a field that it or its recipes do not have or cannot take.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.stem for p in STUDIES.glob("*.yaml")))
        raise StudyError(f"no study {name!r}; shipped are {shipped}, or give the path of a .yaml file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise StudyError(f"{path}: cannot be read: {cause}") from cause
    content = _mapping(path, "the file", content)
    if unknown := sorted(str(key) for key in set(content) - set(_FIELDS)):
        raise StudyError(f"{path}: no field {', '.join(unknown)}; the fields are {', '.join(_FIELDS)}")
    runs, notebooks = _mapping(path, "runs", content.get("runs")), content.get("notebooks", [])
    if not isinstance(notebooks, list):
        raise StudyError(f"{path}: notebooks must be a list of names, got {notebooks!r}")
    if not runs and not notebooks and not content.get("bases"):
        raise StudyError(f"{path}: runs: name at least one run, with its recipe's fields, or a notebook")
    defaults = _mapping(path, "defaults", content.get("defaults"))
    recipes: dict[str, Recipe] = {}
    for run, own in runs.items():
        for each, values in _each(path, str(run), {**defaults, **_mapping(path, run, own)}).items():
            if each in recipes:
                raise StudyError(f"{path}: two runs would be called {each}; rename {run}")
            recipes[each] = _recipe(path, each, values)
    bases_of, bases = _bases(path, content.get("bases"))
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


def _bases(path: Path, content: object) -> tuple[str, Bases | None]:
    """The study whose bases they are, and how they are made."""
    if content is None:
        return "", None
    if isinstance(content, str):
        other = load_study(str(path.parent / content) if content.endswith((".yaml", ".yml")) else content)
        if other.bases is None:
            raise StudyError(f"{path}: bases: the study {content} makes none")
        return other.bases_of, other.bases
    values = _mapping(path, "bases", content)
    known = [f.name for f in fields(Bases)]
    if set(values) != set(known):
        raise StudyError(f"{path}: bases: the fields are {', '.join(known)}, all of them; got {', '.join(values)}")
    try:
        bases = Bases(**values)
    except ValueError as cause:
        raise StudyError(f"{path}: bases: {cause}") from cause
    # Read once, so that a mistake is told at once.
    _recipe(path, "bases", bases.warm_up(bases.seeds[0]))
    _recipe(path, "bases", {**bases.measure, "job": "measure"})
    return path.stem, bases


def _check_policies(path: Path, recipes: dict[str, Recipe], bases: Bases | None) -> None:
    """That runs which begin from other runs' policies can be done in some order."""
    if twice := set(bases.names if bases else ()) & set(recipes):
        raise StudyError(f"{path}: {', '.join(sorted(twice))} is the name of a base; rename the run")
    waiting = dict(recipes)
    while waiting:
        ready = _ready(waiting)
        if not ready:
            raise StudyError(f"{path}: runs {', '.join(waiting)} wait for each other's policy")
        waiting = {name: recipe for name, recipe in waiting.items() if name not in ready}


def _ready(waiting: dict[str, Recipe]) -> list[str]:
    """Those of the runs whose policy is none that another of them is still to train."""
    trainings = {name for name, recipe in waiting.items() if isinstance(recipe, TrainRecipe)}
    return [name for name, recipe in waiting.items() if recipe.policy not in trainings]


def _each(path: Path, run: str, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """An entry's runs: one, or one for each combination of the values in `each`, which its name then ends in."""
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


def _recipe(path: Path, run: str, values: dict[str, Any]) -> Recipe:
    if not re.fullmatch(r"[\w-][\w.-]*", run):
        raise StudyError(f"{path}: run {run!r}: it names a folder, so letters, digits and . _ - only")
    job = values.pop("job", "measure")
    if job not in JOBS:
        raise StudyError(f"{path}: run {run}: no job {job!r}; the jobs are {', '.join(JOBS)}")
    known = {f.name for f in fields(JOBS[job])}
    if job == "train":
        # The rest is for TRL's configuration, which is read when the runs begin.
        rest = {name: values.pop(name) for name in list(values) if name not in known}
        values["trl"] = rest
    if unknown := sorted(str(key) for key in set(values) - known):
        raise StudyError(f"{path}: run {run}: no field {', '.join(unknown)}; the fields are {', '.join(sorted(known))}")
    try:
        recipe: Recipe = JOBS[job](**values)
        return recipe
    except ValueError as cause:
        raise StudyError(f"{path}: run {run}: {cause}") from cause


def reproduce(study: Study, runs: Path, figures: Path, *, only_draw: bool = False, progress: bool = True) -> list[Path]:
    """Do every run of the study that is not done yet, unless it is `only_draw`, then draw its figures.

    Returns:
        The executed notebooks.

    Raises:
        StudyError: if a notebook is missing; before any run is done.
    """
    # Said at once, not after an hour of runs.
    if missing := study.missing_notebooks:
        raise StudyError(f"no notebook {', '.join(missing)} in {NOTEBOOKS}; run from a checkout, pip install -e .")
    from expo.report.notebooks import execute

    folder = runs / study.name
    if not only_draw:
        _do_all(study, runs, progress)
    warmed = ("warm-", "check-") if study.bases_of == study.name else ()
    found = [p.parent.name for p in folder.glob("*/recipe.yaml")]
    if strangers := sorted(name for name in found if name not in study.runs and not name.startswith(warmed)):
        print(f"drawn too, though not of this study: {', '.join(strangers)} (in {folder})")
    done = []
    for name in study.notebooks:
        print(f"notebook {name}", flush=True)
        out = folder / "notebooks" / f"{name}.ipynb"
        execute(NOTEBOOKS / f"{name}.ipynb", runs=folder, figures=figures, out=out)
        done.append(out)
    return done


def _do_all(study: Study, runs: Path, progress: bool) -> None:
    """The bases first, then all runs, each after the one whose policy it begins from."""
    folder = runs / study.name
    models: dict[str, str] = {}
    if study.bases:
        where = runs / study.bases_of
        try:
            models = make_bases(
                study.bases,
                where,
                lambda name, values: _recipe(Path(study.bases_of), name, values),
                lambda recipes: _do(study.bases_of, where, recipes, progress),
            )
        except NoBase as error:
            raise StudyError(f"study {study.bases_of}: {error}") from error
    lacking = set(study.bases.names) - set(models) if study.bases else set()
    waiting = dict(study.runs)
    while waiting:
        if without := {name for name, recipe in waiting.items() if recipe.policy in lacking}:
            print(f"left out, for lack of a base: {', '.join(sorted(without))}", flush=True)
            lacking |= without
            waiting = {name: recipe for name, recipe in waiting.items() if name not in without}
            continue
        ready = _ready(waiting)
        policies = {name: models.get(waiting[name].policy, waiting[name].policy) for name in ready}
        _do(study.name, folder, {n: replace(waiting[n], policy=policies[n]) for n in ready}, progress)
        models |= {n: str(folder / n / "model") for n in ready if isinstance(waiting[n], TrainRecipe)}
        waiting = {name: recipe for name, recipe in waiting.items() if name not in ready}


def _do(study: str, folder: Path, recipes: dict[str, Recipe], progress: bool) -> None:
    """Some runs, on a CPU as many at a time as there are threads, each with one: small models gain by it."""
    import torch

    from expo.workers import spread

    jobs = [(folder / name, _checked(study, name, recipe)) for name, recipe in recipes.items()]
    processes = 1 if torch.cuda.is_available() else max(1, min(torch.get_num_threads(), len(jobs)))
    with tqdm(total=len(jobs), desc=study, unit="run", disable=not progress or processes == 1) as bar:
        steps, done = 0, 0

        def on_step() -> None:
            nonlocal steps
            steps += 1
            bar.set_postfix_str(f"{steps} samples and steps", refresh=steps % 50 == 0)

        def on_done(job: tuple[Path, Recipe]) -> None:
            nonlocal done
            done += 1
            bar.update()
            bar.write(f"[{done}/{len(jobs)}] {job[0].name}: {job[1].policy} on {job[1].task}, done")

        spread(_do_one, jobs, processes, on_step, on_done)


def _checked(study: str, name: str, recipe: Recipe) -> Recipe:
    """A training's recipe as TRL's configuration reads it; the others are checked already."""
    if not isinstance(recipe, TrainRecipe):
        return recipe
    ours = {f.name: getattr(recipe, f.name) for f in fields(TrainRecipe) if f.name != "trl"}
    try:
        return read_recipe({**ours, **recipe.trl})
    except ValueError as error:
        raise StudyError(f"study {study}: run {name}: {error}") from error


def _do_one(job: tuple[Path, Recipe], on_step: Callable[[], object], processes: int) -> None:
    folder, recipe = job
    if isinstance(recipe, MeasureRecipe):
        from expo.measure.run import measure

        measure(recipe, folder, progress=processes == 1, on_step=on_step)
    elif isinstance(recipe, EvaluateRecipe):
        from expo.evaluate import evaluate_run

        evaluate_run(recipe, folder, progress=processes == 1, on_step=on_step)
    elif isinstance(recipe, GradientRecipe):
        from expo.gradients.run import measure_gradients

        measure_gradients(recipe, folder, progress=processes == 1, on_step=on_step)
    else:
        from expo.train.run import train

        train(recipe, folder, progress=processes == 1, on_step=on_step)


def default_figures(study: Study, runs: Path) -> Path:
    """Where a study's figures go: those that the project shows to `figures/`, any other's beside its runs."""
    return Path("figures") if study.shown else runs / study.name / "figures"
