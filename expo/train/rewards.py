"""The reward of a training run: 1 for a right final answer, 0 otherwise; every group is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expo.grading.answers import Status
from expo.policies.policy import Policy
from expo.tasks import Checker
from expo.tasks.problem import Problem


class BadReward(ValueError):
    """A user's reward function returned something that is not a reward; the message names the function and the fix."""


class AnswerReward:
    """A reward function in TRL's form; needs the dataset's column `problem`.

    `groups` holds what this process has graded since it was last cleared: rows of `groups.parquet`.
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
        """1.0 or 0.0 for each completion; completions of a group are consecutive."""
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
