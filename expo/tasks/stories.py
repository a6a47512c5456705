"""Word problems of our own writing: five levels of twelve, with worked solutions; needs no hub."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

from expo.tasks import jsonl
from expo.tasks.definition import TaskDefinition
from expo.tasks.problem import Task
from expo.tasks.source import selected


def load() -> Task:
    """Read the 60 problems that are shipped. Level k takes k steps of arithmetic.

    The solutions are in the voice of a schoolbook's answer section, unlike a chat model's. Each step is
    stated once, as `12 * 4 = 48` with spaces around the signs, and the last result is the answer.
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
