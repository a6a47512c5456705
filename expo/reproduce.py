"""`reproduce`: carry out the runs of a study, each after the run it starts from, and draw its figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from expo.bases import WARM_UPS, NoBase, make_bases
from expo.policies.load import resolve
from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe
from expo.records import Run, run_before
from expo.setup import load_problems
from expo.study import NOTEBOOKS, Recipe, Study, StudyError, ready_of, recipe_of
from expo.tasks.problem import DataError
from expo.train.recipe import TrainRecipe, read_recipe


def reproduce(study: Study, runs: Path, figures: Path, *, only_draw: bool = False, progress: bool = True) -> list[Path]:
    """Carry out every run of the study that is not done yet, unless `only_draw` is set, then draw its figures.

    Returns:
        The executed notebooks.

    Raises:
        StudyError: if a notebook is missing; this is checked before any run.
    """
    # Reported at once, not after an hour of runs.
    if missing := study.missing_notebooks:
        raise StudyError(f"no notebook {', '.join(missing)} in {NOTEBOOKS}; run from a checkout, pip install -e .")
    folder = runs / study.name
    if only_draw:
        _say_what_is_missing(study, folder)
    else:
        _do_all(study, runs, progress)
    if strangers := sorted(p.parent.name for p in folder.glob("*/recipe.yaml") if p.parent.name not in study.runs):
        print(f"also drawn, although it is not part of this study: {', '.join(strangers)} (in {folder})")
    executed = _draw(study, folder, figures)
    if figures.resolve() == (NOTEBOOKS.parent / "figures").resolve():
        print("README.md and docs/ take their numbers from these figures: `make docs` updates them")
    return executed


def _draw(study: Study, folder: Path, figures: Path) -> list[Path]:
    """Execute the notebooks, as many at a time as there are threads; they take turns publishing their figures."""
    from expo.workers import spread

    jobs = [(NOTEBOOKS / f"{name}.ipynb", folder, figures) for name in study.notebooks]
    spread(_draw_one, jobs, _side_by_side(len(jobs)), lambda: None)
    return [_executed(folder, notebook) for notebook, *_ in jobs]


def _draw_one(job: tuple[Path, Path, Path], *_: object) -> None:
    from expo.report.notebook_page import executed_in, write_page
    from expo.report.notebooks import execute

    notebook, folder, figures = job
    print(f"notebook {notebook.stem}", flush=True)
    began = time.monotonic()
    executed = execute(notebook, runs=folder, figures=figures, out=_executed(folder, notebook))
    about = executed_in(executed, time.monotonic() - began, folder)
    # A notebook named after its study needs no prefix.
    name = notebook.stem if notebook.stem.endswith(folder.name) else f"{notebook.stem}-{folder.name}"
    write_page(executed, figures / PAGES / f"{name}.html", about)


# In the figures' folder: the executed notebooks as pages.
PAGES = "notebooks"


def _executed(folder: Path, notebook: Path) -> Path:
    return folder / "notebooks" / notebook.name


def _side_by_side(jobs: int) -> int:
    """How many of the jobs run at a time, each in a process with one thread."""
    import torch

    return max(1, min(torch.get_num_threads(), jobs))


def _say_what_is_missing(study: Study, folder: Path) -> None:
    """Check a study that is only drawn, and say which runs are missing.

    Raises:
        StudyError: if there is nothing to draw.
    """
    if not study.notebooks:
        raise StudyError(f"study {study.name}: it has no notebooks, so there is nothing to draw")
    missing = [name for name in study.runs if not (folder / name / "recipe.yaml").exists()]
    if not folder.is_dir() or (study.runs and len(missing) == len(study.runs)):
        raise StudyError(f"{folder}: none of the study's runs is here; give --runs the folder that holds {study.name}/")
    if missing:
        shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        print(f"drawn from {len(study.runs) - len(missing)} of {len(study.runs)} runs; missing: {shown}", flush=True)


def _check_problems(study: str, runs: dict[str, Recipe]) -> None:
    """Check that each run has problems, before the first of them takes hours.

    Raises:
        StudyError: if not; the message names the run.
    """
    for name, recipe in runs.items():
        with closing(recipe.checker()) as checker:
            try:
                load_problems(recipe, checker)
                if isinstance(recipe, TrainRecipe):
                    load_problems(recipe, checker, **recipe.evaluated)
            except DataError as error:
                raise StudyError(f"study {study}: run {name}: {error}") from error


def _do_all(study: Study, runs: Path, progress: bool) -> None:
    """Carry out the bases first, then all runs, each after the one whose policy it starts from."""
    folder = runs / study.name
    models: dict[str, str] = {}
    # Checked before the first of them takes hours.
    waiting = {name: _checked(study.name, name, recipe) for name, recipe in study.runs.items()}
    _check_problems(study.name, waiting)
    if study.bases:
        where = runs / study.bases_of

        def read(name: str, values: dict[str, Any]) -> Recipe:
            recipe = recipe_of(Path(study.bases_of), name.replace(": ", "-"), values)
            return _checked(study.bases_of, name, recipe)

        read("bases: train", study.bases.warm_up(0))
        try:
            models = make_bases(
                study.bases,
                where,
                read,
                lambda recipes: _do(study.bases_of, where / WARM_UPS, recipes, progress),
            )
        except NoBase as error:
            raise StudyError(f"study {study.bases_of}: {error}") from error
    lacking = set(study.bases.names) - set(models) if study.bases else set()
    while waiting:
        if without := {name for name, recipe in waiting.items() if recipe.policy in lacking}:
            print(f"skipped because a base is missing: {', '.join(sorted(without))}", flush=True)
            lacking |= without
            waiting = {name: recipe for name, recipe in waiting.items() if name not in without}
            continue
        ready = ready_of(waiting)
        policies = {name: models.get(waiting[name].policy, waiting[name].policy) for name in ready}
        _do(study.name, folder, {n: replace(waiting[n], policy=policies[n]) for n in ready}, progress)
        models |= {n: str(folder / n / "model") for n in ready if isinstance(waiting[n], TrainRecipe)}
        waiting = {name: recipe for name, recipe in waiting.items() if name not in ready}


def _do(study: str, folder: Path, recipes: dict[str, Recipe], progress: bool) -> None:
    """Carry out checked runs; on a CPU, as many at a time as there are threads: that is faster for small models."""
    import torch

    from expo.workers import spread

    for name, recipe in recipes.items():
        _check_weights(folder / name, recipe.policy)
    jobs = [(folder / name, recipe) for name, recipe in recipes.items()]
    processes = 1 if torch.cuda.is_available() else _side_by_side(len(jobs))
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
            bar.write(f"[{done}/{len(jobs)}] {job[0].name}: {job[1].title}, done")

        spread(_do_one, jobs, processes, on_step, on_done)


def _check_weights(folder: Path, policy: str) -> None:
    """Check that a finished run used the current weights of its policy, if the study made that policy.

    Raises:
        StudyError: if not.
    """
    run, is_made = Run(folder), Path(policy, "config.json").is_file() and run_before(str(Path(policy).resolve()))
    if is_made and run.path("recipe.yaml").exists():
        began, now = run.environment().get("weights"), _weights(policy)
        if began not in (None, now):
            raise StudyError(f"{folder} was made with other weights of {policy} than those there now; delete it")


@cache
def _weights(policy: str) -> str:
    return resolve(policy)[1]


def _checked(study: str, name: str, recipe: Recipe) -> Recipe:
    """Read a training's recipe with TRL's configuration; other recipes have been checked already."""
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
