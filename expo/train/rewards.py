"""The reward of a training: 1 for a right final answer, 0 for any other; every group is noted for the record."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from expo.grading.answers import Status
from expo.policies.policy import Policy
from expo.tasks import Checker
from expo.tasks.problem import Problem


class AnswerReward:
    """A reward function as TRL calls it; needs the dataset's column `problem`.

    `groups` holds what this process has graded since it was last emptied: rows of `groups.parquet`.
    """

    __name__ = "answer"

    def __init__(self, policy: Policy, checker: Checker, problems: Mapping[str, Problem], group: int) -> None:
        self.policy = policy
        self.checker = checker
        self.problems = problems
        self.group = group
        self.groups: list[dict[str, Any]] = []

    def __call__(
        self, *, completion_ids: list[list[int]], problem: list[str], trainer_state: Any, **_: Any
    ) -> list[float]:
        """1.0 or 0.0 for each completion; those of a group stand together."""
        asked = [self.problems[name] for name in problem]
        texts = [self.policy.decode(ids) for ids in completion_ids]
        truncated = [self.policy.eos_ids.isdisjoint(ids[-1:]) for ids in completion_ids]
        grades = self.checker.grade(list(zip(asked, texts, strict=True)), truncated)
        for at in range(0, len(asked), self.group):
            group = slice(at, at + self.group)
            statuses = [g.status for g in grades[group]]
            self.groups.append(
                {
                    "step": trainer_state.global_step,
                    "problem": asked[at].id,
                    "level": asked[at].level,
                    "n": len(statuses),
                    "correct": statuses.count(Status.CORRECT),
                    "truncated": sum(truncated[group]),
                    "unparsed": statuses.count(Status.UNPARSED),
                    "tokens": sum(map(len, completion_ids[group])),
                }
            )
        return [float(g.status is Status.CORRECT) for g in grades]


def own_reward(place: str) -> Callable[..., Any]:
    """A user's reward function, named as `module:function` or `path/to/file.py:function`; its module is run.

    TRL calls it with `prompts`, `completions`, `completion_ids` and the dataset's `problem`, `answer` and `level`.

    Raises:
        ValueError: if there is none by that name.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise ValueError(f"reward: {place!r} names no function; write module:function or path/to/file.py:function")
    file = Path(where).expanduser()
    try:
        module = _module(str(file.resolve()) if where.endswith(".py") else where)
    except Exception as error:
        raise ValueError(f"reward: {where} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        there = sorted(n for n, value in vars(module).items() if inspect.isfunction(value) and not n.startswith("_"))
        raise ValueError(f"reward: {where} has no function {name!r}; it has {', '.join(there) or 'none'}")
    if name == "answer":
        raise ValueError(f"reward: {name!r} is what right answers are counted as; give it another name")
    return function


@functools.cache
def _module(where: str) -> ModuleType:
    """A module by name, or a file as one; run once. What stands in the working folder is found."""
    if where.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Where dataclasses look for their module.
        sys.modules.setdefault(module.__name__, module)
        spec.loader.exec_module(module)
        return module
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    finally:
        sys.path.remove(str(Path.cwd()))


def source_of(function: Callable[..., Any]) -> str:
    """The first digits of the SHA-256 of the file that a reward function is written in."""
    return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()[:12]
