"""Tasks: problems with levels, answers and expert CoTs, one module a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from expo.grading.rules import USUAL, Rules
from expo.tasks import chain_task, gsm8k, jsonl, math, stories
from expo.tasks.checker import Checker
from expo.tasks.definition import Selection, TaskDefinition
from expo.tasks.problem import DataError, Problem, Skip, Task

__all__ = ["TASKS", "Checker", "DataError", "Problem", "Skip", "Task", "checker_for", "load_task", "task_named"]

# A new task is a module of its own and a line here.
TASKS: dict[str, TaskDefinition] = {m.TASK.name: m.TASK for m in (chain_task, gsm8k, math, stories, jsonl)}


def task_named(name: str) -> TaskDefinition:
    """A task by its name.

    Raises:
        DataError: if there is none.
    """
    if name not in TASKS:
        raise DataError(f"no task named {name!r}; the tasks are {', '.join(TASKS)}")
    return TASKS[name]


def checker_for(task: str, rules: Rules | None = None) -> Checker:
    """The checker of a task, by its name; it starts no process until it is asked for grades."""
    checker = task_named(task).checker
    return checker() if rules in (None, USUAL) else checker(rules=rules)


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

    `data` is the source of a `jsonl` task, and `columns` says which of its columns are what. `can_parse` drops
    problems whose answer no checker could compare.

    Raises:
        DataError: for an unknown task, a missing file or split, or no usable problem.
    """
    chosen = None if levels is None else tuple(levels)
    return task_named(name).select(Selection(data, split, problems, chosen, seed, can_parse, columns))
