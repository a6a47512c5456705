"""Our own word problems: five levels of twelve, with worked solutions; no hub needed."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

from expo.tasks import jsonl
from expo.tasks.definition import TaskDefinition
from expo.tasks.problem import Task
from expo.tasks.source import selected


def load() -> Task:
    """Read the 60 shipped problems. Level k takes k steps of arithmetic.

    The solutions are written like a schoolbook's answer section, unlike a chat model's. Each step is stated once, as
    `12 * 4 = 48` with spaces around the signs, and the last result is the answer.
    """
    with resources.as_file(resources.files("expo") / "tasks" / "stories.jsonl") as path:
        return replace(jsonl.load(path), name="stories")


TASK = TaskDefinition(
    name="stories",
    load=lambda chosen: selected(load(), chosen),
    licence="apache-2.0",
    has_splits=False,
    other_problems="stories has no splits",
)
