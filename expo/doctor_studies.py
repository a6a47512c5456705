"""What each shipped study needs, and which of that is missing here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from expo.bases import Bases
from expo.doctor import missing_policy, missing_task
from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe
from expo.study import NOTEBOOKS, STUDIES, Study, load_study
from expo.text import plural
from expo.train.recipe import TrainRecipe


def report() -> str:
    """One line for each shipped study and for each of its runs; a line about something missing says how to get it."""
    lines = []
    for path in sorted(STUDIES.glob("*.yaml")):
        study = load_study(path.stem)
        needed = list(_needed(study))
        lacking = [reason for _, missing in needed for reason in missing]
        lines.append(f"{_state(lacking)}study {study.name}: {study.description}")
        for what, missing in needed:
            lines += [f"  {_state(missing)}{what}", *(f"           {reason}" for reason in missing)]
    return "\n".join(lines)


def _needed(study: Study) -> Iterator[tuple[str, list[str]]]:
    """The notebooks, bases and runs of a study, with what each is missing; trainings of one policy share a line."""
    for notebook in study.missing_notebooks:
        yield (
            f"notebook {notebook}",
            [f"notebook {notebook}: not in {NOTEBOOKS}; run from a checkout, pip install -e ."],
        )
    if study.bases:
        yield _bases(study.bases)
    trained = Counter(
        (r.policy, r.task, r.split, r.eval_split) for r in study.runs.values() if isinstance(r, TrainRecipe)
    )
    for (policy, task, *splits), count in trained.items():
        has = "" if policy in study.own_policies else missing_policy(policy)
        missing = [m for m in (*(missing_task(task, split) for split in splits), has) if m]
        yield f"{plural(count, 'training')} of {policy} on {task}", missing
    for name, recipe in study.runs.items():
        if isinstance(recipe, TrainRecipe):
            continue
        has = "" if recipe.policy in study.own_policies else missing_policy(recipe.policy)
        missing = [m for m in (missing_task(recipe.task, recipe.split), has) if m]
        size = f"{plural(recipe.problems, 'problem') if recipe.problems else 'all problems'}, {_what(recipe)}"
        yield f"{name}: {recipe.policy} on {recipe.task}, {size}", missing


def _state(missing: Sequence[str]) -> str:
    return "missing  " if missing else "ready    "


def _bases(bases: Bases) -> tuple[str, list[str]]:
    policy, task = bases.train["policy"], bases.train["task"]
    missing = [missing] if (missing := missing_policy(policy)) else []
    return f"up to {len(bases.seeds)} bases of {policy} warmed up on {task}, {bases.take} taken", missing


def _what(recipe: MeasureRecipe | EvaluateRecipe | GradientRecipe) -> str:
    if isinstance(recipe, GradientRecipe):
        return f"gradients of {', '.join(recipe.sources)}, 2 x {recipe.rollouts} rollouts each"
    if isinstance(recipe, EvaluateRecipe):
        return f"evaluated with {recipe.samples} samples each"
    return f"k = {recipe.samples}, kinds {', '.join(recipe.sources)}"
