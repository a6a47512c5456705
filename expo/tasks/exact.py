"""Answers graded character by character, for tasks whose answers are not mathematics, such as lists of letters."""

from __future__ import annotations

from collections.abc import Sequence

from expo.grading.answers import Grade, Status
from expo.tasks.checker import StepChecker, StepsAndLeaks, other_answer
from expo.tasks.problem import Problem
from expo.tasks.prompts import Prompts


class ExactChecker(StepsAndLeaks):
    """The answer is the text between the last `answer_cue` and the next `answer_end`, if nothing follows.

    It is right if it equals the ground truth character by character, except for white space at its ends. A text without
    such a statement has no answer: a doubtful answer never counts as right.

    Args:
        prompts: their `answer_cue` and `answer_end` are matched without surrounding white space.
        steps: the checker of a CoT's steps.

    Raises:
        ValueError: if one of the two is only white space.
    """

    grader: str | None = "exact 1"

    def __init__(self, prompts: Prompts, steps: StepChecker) -> None:
        self._cue, self._end = prompts.answer_cue.strip(), prompts.answer_end.strip()
        for name, mark in (("answer_cue", self._cue), ("answer_end", self._end)):
            if not mark:
                raise ValueError(f"prompts.{name}: the exact grader needs more than white space here")
        self._steps = steps

    def can_parse(self, answer: str) -> bool:
        """See `Checker`. An answer that contains `answer_end` would be cut there."""
        return bool(answer.strip()) and self._end not in answer

    def cot_end(self, text: str) -> int:
        """See `Checker`."""
        at = text.rfind(self._cue)
        return len(text) if at < 0 else at

    def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
        """See `Checker`. `truncated` has no effect: a truncated answer has no end."""
        return [self._grade(problem, text) for problem, text in pairs]

    def _grade(self, problem: Problem, text: str) -> Grade:
        stated = text[self.cot_end(text) + len(self._cue) :]
        answer, end, after = stated.partition(self._end)
        answer = answer.strip()
        if not answer or not end or after.strip():
            return Grade(Status.UNPARSED, answer or None)
        return Grade(Status.CORRECT if answer == problem.answer.strip() else Status.WRONG, answer)

    def wrong_answer(self, problem: Problem, others: Sequence[Problem], seed: int) -> str | None:
        """See `Checker`: another problem's answer."""
        return other_answer(problem, others, seed, lambda answer: answer.strip() != problem.answer.strip())

    def close(self) -> None:
        """See `Checker`; there is nothing to end."""
