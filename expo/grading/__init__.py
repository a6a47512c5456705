"""How a task's completions are checked: answers, and the steps before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from expo.grading.answers import AnswerGrader, Grade, Status, extract
from expo.grading.steps import check_steps
from expo.tasks import chain
from expo.tasks.problem import Problem

# "The final answer is:", a line with the box, and one closing remark.
MAX_BREAKS = 3
_BREAK = re.compile(r"[.!?][ \t]+(?=\S)|\s*\n\s*(?=\S)")


class Checker(Protocol):
    """What measuring and evaluating ask of a task; `text` is a completion without its end token."""

    def cot_end(self, text: str) -> int:
        """Index of the character where the final-answer statement begins; `len(text)` if there is none."""

    def grade(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Whether each completion's final answer is the problem's."""

    def steps(self, problem: Problem, cot: str) -> list[tuple[str, bool]]:
        """The arithmetic statements of a CoT, in order, each with its truth."""

    def close(self) -> None:
        """End whatever process was started."""


class TextChecker:
    """Free text: answers by math-verify in a process that can be killed, steps by the arithmetic checker."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._grader = AnswerGrader(seconds)

    def can_parse(self, answer: str) -> bool:
        """Whether a ground-truth answer can be compared with anything."""
        return self._grader.can_parse(answer)

    def cot_end(self, text: str) -> int:
        """See `Checker`. An answer that a longer text follows is no final statement: all of it is CoT."""
        found = extract(text)
        if found is None or len(_BREAK.findall(text, found[1])) > MAX_BREAKS:
            return len(text)
        return found[1]

    def grade(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """See `Checker`."""
        return self._grader.grade_many((problem.answer, text) for problem, text in pairs)

    def steps(self, problem: Problem, cot: str) -> list[tuple[str, bool]]:
        """See `Checker`; the problem is not needed to judge arithmetic."""
        return [(s.text, s.true) for s in check_steps(cot)]

    def close(self) -> None:
        """See `Checker`."""
        self._grader.close()


class ChainChecker:
    """The toy: exact match of the answer, every step against the true chain."""

    def cot_end(self, text: str) -> int:
        """See `Checker`."""
        at = text.rfind(chain.ANSWER_CUE)
        return len(text) if at < 0 else at

    def grade(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """See `Checker`."""
        out = []
        for problem, text in pairs:
            _, cue, answer = text.rpartition(chain.ANSWER_CUE)
            if not cue:
                out.append(Grade(Status.UNPARSED, None))
            else:
                right = chain.check_answer(problem, f"{text} {chain.EOS}")
                out.append(Grade(Status.CORRECT if right else Status.WRONG, answer.strip()))
        return out

    def steps(self, problem: Problem, cot: str) -> list[tuple[str, bool]]:
        """See `Checker`."""
        return chain.check_steps(problem, cot)

    def close(self) -> None:
        """See `Checker`; nothing to end."""


def checker_for(task: str) -> Checker:
    """The checker of a task, by its name; it starts no process until it is asked for grades."""
    return ChainChecker() if task == "chain" else TextChecker()
