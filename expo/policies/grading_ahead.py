"""Grading while sampling: each sample is graded in a separate thread as soon as it ends, while others are sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from expo.grading.answers import Grade
from expo.policies.engine import Completion
from expo.policies.policy import Policy
from expo.tasks.checker import Checker
from expo.tasks.problem import Problem


class GradingAhead:
    """Grades samples with a checker in a separate thread; equal texts are graded once."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._thread = ThreadPoolExecutor(1)
        self._grades: dict[tuple[str, str, bool], Future[list[Grade]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def listen(
        self, policy: Policy, problems: Sequence[Problem], on_finished: Callable[[], object]
    ) -> Callable[[int, Completion], None]:
        """The callback for `sample`, called as each sample ends; `problems` has the problem of each request."""

        def finished(place: int, completion: Completion) -> None:
            self.begin(problems[place], policy.decode(completion.ids), completion.truncated)
            on_finished()

        return finished

    def begin(self, problem: Problem, text: str, truncated: bool) -> None:
        """Queue a sample for grading."""
        key = (problem.id, text, truncated)
        if key not in self._grades:
            self._grades[key] = self._thread.submit(self._checker.grade, [(problem, text)], [truncated])

    def grades(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool]) -> list[Grade]:
        """See `Checker.grade`; waits for samples that are not graded yet."""
        for (problem, text), cut in zip(pairs, truncated, strict=True):
            self.begin(problem, text, cut)
        keys = [(problem.id, text, cut) for (problem, text), cut in zip(pairs, truncated, strict=True)]
        return [self._grades[key].result()[0] for key in keys]
