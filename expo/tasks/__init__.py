"""Tasks: problems with levels, answers and expert CoTs, one module a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from expo.tasks import chain, gsm8k, jsonl, math, stories
from expo.tasks.problem import DataError, Problem, Skip, Task

__all__ = ["TASKS", "DataError", "Problem", "Skip", "Task", "load_task"]

TASKS = ("chain", "gsm8k", "math", "stories", "jsonl")
CHAIN_PROBLEMS = 150


def load_task(
    name: str,
    *,
    data: str | None = None,
    split: str = "test",
    problems: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    can_parse: Callable[[str], bool] | None = None,
) -> Task:
    """Load a task by name and choose its problems (`Task.choose`).

    `data` is the file of a `jsonl` task. `can_parse` drops problems whose answer no checker could compare.

    Raises:
        DataError: for an unknown task, a missing file or split, or no usable problem.
    """
    if data is not None and name != "jsonl":
        raise DataError(f"--data belongs to the task jsonl, not to {name}")
    if name == "chain":
        chosen = sorted(set(levels)) if levels else sorted(chain.LEVELS)
        return chain.load(split, problems or CHAIN_PROBLEMS, seed=seed, levels=chosen)
    if name in ("jsonl", "stories") and split != "test":
        raise DataError(f"{name} has no splits; leave --split {split} out")
    if name == "jsonl":
        if data is None:
            raise DataError("task jsonl needs --data FILE.jsonl, one object a line with question and answer")
        return jsonl.load(data, can_parse=can_parse).choose(problems, seed, levels)
    if name == "stories":
        return _readable(stories.load().choose(problems, seed, levels), can_parse)
    if name in ("gsm8k", "math"):
        module = gsm8k if name == "gsm8k" else math
        return _readable(module.load(split).choose(problems, seed, levels), can_parse)
    raise DataError(f"no task named {name!r}; the tasks are {', '.join(TASKS)}")


def _readable(task: Task, can_parse: Callable[[str], bool] | None) -> Task:
    """The task without the chosen problems whose answer cannot be read; each is a named skip."""
    if can_parse is None:
        return task
    bad = [p for p in task.problems if not can_parse(p.answer)]
    skips = [Skip(p.where or p.id, "answer", f"{p.answer!r} cannot be read, so nothing can be graded") for p in bad]
    return replace(
        task, problems=tuple(p for p in task.problems if p not in bad), skipped=(*task.skipped, *skips)
    ).choose(None)
