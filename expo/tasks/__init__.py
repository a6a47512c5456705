"""Tasks: problems with levels, answers and expert CoTs; one module per task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from expo.grading.rules import USUAL, Rules
from expo.tasks import chain_task, gsm8k, jsonl, letters, math, stories
from expo.tasks.checker import ARITHMETIC, Checker, StepChecker, TextChecker
from expo.tasks.definition import Selection, TaskDefinition
from expo.tasks.exact import ExactChecker
from expo.tasks.problem import DataError, Problem, Skip, Task
from expo.tasks.prompts import Prompts

__all__ = [
    "GRADERS",
    "STEP_CHECKERS",
    "TASKS",
    "Checker",
    "DataError",
    "Problem",
    "Skip",
    "Task",
    "checker_for",
    "checker_of",
    "load_task",
    "task_named",
]

# A new task is a separate module and a line here.
TASKS: dict[str, TaskDefinition] = {m.TASK.name: m.TASK for m in (chain_task, letters, gsm8k, math, stories, jsonl)}
# How answers in texts are graded, and their steps checked, if the task leaves that to the recipe.
GRADERS = ("math", "exact")
STEP_CHECKERS = {"arithmetic": ARITHMETIC, "letters": letters.STEPS, "none": StepChecker(lambda *_: [], "nothing")}


def task_named(name: str) -> TaskDefinition:
    """Look up a task by name.

    Raises:
        DataError: if there is no such task.
    """
    if name not in TASKS:
        raise DataError(f"no task named {name!r}; choose from {', '.join(TASKS)}")
    return TASKS[name]


def checker_for(
    task: str,
    rules: Rules = USUAL,
    *,
    prompts: Prompts | None = None,
    grader: str = "math",
    steps: str = "arithmetic",
) -> Checker:
    """The checker of a task, by name; it starts no process until it is asked for grades.

    If the task leaves it to the recipe, answers are graded by `grader` and steps by `steps`.
    """
    definition = task_named(task)
    prompts = prompts or definition.prompts
    if definition.checker:
        return definition.checker(prompts)
    if grader == "exact":
        return ExactChecker(prompts, STEP_CHECKERS[steps])
    return TextChecker(rules=rules, steps=STEP_CHECKERS[steps])


def rules_of(recipe: Mapping[str, Any]) -> Rules:
    """The rules for grading mathematics, from a recipe as in `recipe.yaml`, which leaves out the usual rules."""
    return Rules(**{f.name: recipe[f.name] for f in fields(Rules) if f.name in recipe})


def checker_of(recipe: Mapping[str, Any]) -> Checker:
    """The checker of a job, from its recipe as in `recipe.yaml`."""
    return checker_for(
        recipe["task"],
        rules_of(recipe),
        prompts=task_named(recipe["task"]).prompts.override(recipe.get("prompts")),
        grader=recipe.get("grader", "math"),
        steps=recipe.get("step_checker", "arithmetic"),
    )


def load_task(
    name: str,
    *,
    data: str | None = None,
    split: str = "test",
    problems: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    can_parse: Callable[[str], bool] | None = None,
    columns: str | None = None,
) -> Task:
    """Load a task by name and choose its problems (`Task.choose`).

    `data` is the source of a `jsonl` task, and `columns` says which of its columns hold what. `can_parse` drops
    problems whose answer no checker can compare.

    Raises:
        DataError: for an unknown task, a missing file or split, or no usable problem.
    """
    chosen = None if levels is None else tuple(levels)
    return task_named(name).select(Selection(data, split, problems, chosen, seed, can_parse, columns))
