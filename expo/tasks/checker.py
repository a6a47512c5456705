"""A task's knowledge of texts: answers, steps, where a CoT ends, leaks, and the hints of the controls."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from expo.grading.answers import VERSION, AnswerGrader, Grade, Status
from expo.grading.extraction import extract, next_question
from expo.grading.rules import USUAL, Rules
from expo.grading.steps import check_steps
from expo.tasks.problem import Problem

# "The final answer is:", a line with the box, and one closing remark.
MAX_BREAKS = 3
_BREAK = re.compile(r"[.!?][ \t]+(?=\S)|\s*\n\s*(?=\S)")
_REASONS_FROM = re.compile(
    r"\b(given|since|because|knowing|know|told|assum\w+)\b[^.\n]{0,30}"
    r"\b(correct |right |final |true )?answer (is|was|of|equals)\b"
    r"|\b(provided|given|stated|known) (correct |right |final )?answer\b"
    r"|\banswer (is|was) (already )?(given|provided|known|stated)\b",
    re.IGNORECASE,
)
_OPENS_WITH = re.compile(
    r"\W*(so |yes,? |well,? )?(the )?(correct|right|final) answer\b[^.\n]{0,40}\b(is|=)[^\n]{1,40}?[.\n]\s*\S",
    re.IGNORECASE,
)
_NONSENSE = ("ribbon", "quarry", "lantern", "mumble", "teapot", "oblong", "gravel", "whistle", "anvil", "walrus")


class Checker(Protocol):
    """What jobs need from a task; `text` is a completion without its end token.

    `leak_rule` describes when `is_leak` is true, and `judged` what is judged about a CoT's steps; `grader` is the
    version of the grading rules, if these may change.
    """

    leak_rule: str
    grader: str | None

    @property
    def judged(self) -> str:
        """What is judged about the steps of a CoT, in words."""

    def can_parse(self, answer: str) -> bool:
        """Whether a ground-truth answer can be compared with other answers."""

    def fault(self, problem: Problem) -> tuple[str, str] | None:
        """The field that makes a problem unusable although its answer can be read, and the reason, if any."""

    def cot_end(self, text: str) -> int:
        """Index of the character where the final-answer statement starts; `len(text)` if there is none."""

    def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
        """Whether each completion's final answer is the problem's; `truncated` marks those that reached the limit."""

    def steps(self, problem: Problem, cot: str) -> list[tuple[str, bool]]:
        """The steps of a CoT that can be checked, in order, each with its truth."""

    def is_leak(self, text: str) -> bool:
        """Whether a sampled text says that it was given the answer."""

    def wrong_answer(self, problem: Problem, others: Sequence[Problem], seed: int) -> str | None:
        """A wrong answer of the same form as the right one, determined by seed and problem; None if there is none."""

    def nonsense(self, problem: Problem, seed: int) -> str:
        """A hint of the right length that says nothing, determined by seed and problem."""

    def close(self) -> None:
        """End any process that was started."""


@dataclass(frozen=True)
class StepChecker:
    """Finds the steps of a CoT and judges them.

    `check` returns the steps in order, each with its truth; `judged` says what is judged about them. `fault` returns
    the field of a problem that makes its steps uncheckable, and the reason.
    """

    check: Callable[[Problem, str], list[tuple[str, bool]]]
    judged: str
    fault: Callable[[Problem], tuple[str, str] | None] = lambda _: None


ARITHMETIC = StepChecker(lambda _, cot: [(s.text, s.true) for s in check_steps(cot)], "arithmetic")


def other_answer(problem: Problem, others: Sequence[Problem], seed: int, wrong: Callable[[str], bool]) -> str | None:
    """The first wrong answer among those of other problems, shuffled by seed and problem; None if there is none."""
    pool = sorted({p.answer for p in others})
    random.Random(f"{seed}:{problem.id}").shuffle(pool)
    return next(filter(wrong, pool), None)


class StepsAndLeaks:
    """What all checkers of texts share, whatever the grader: a step checker, leaks, and hints that say nothing."""

    leak_rule = (
        "the text reasons from the answer ('since/because/given that/knowing the answer is ...'), calls it "
        "given ('the provided answer', 'the answer is given'), or opens with it ('The correct answer is "
        "18.' before anything else)"
    )
    _steps: StepChecker

    @property
    def judged(self) -> str:
        """See `Checker`."""
        return self._steps.judged

    def fault(self, problem: Problem) -> tuple[str, str] | None:
        """See `Checker`."""
        return self._steps.fault(problem)

    def steps(self, problem: Problem, cot: str) -> list[tuple[str, bool]]:
        """See `Checker`."""
        return self._steps.check(problem, cot)

    def is_leak(self, text: str) -> bool:
        """See `Checker`; decided by `leak_rule`."""
        return bool(_REASONS_FROM.search(text) or _OPENS_WITH.match(text))

    def nonsense(self, problem: Problem, seed: int) -> str:
        """See `Checker`: random words."""
        rng = random.Random(f"nonsense:{seed}:{problem.id}")
        return "The " + " ".join(rng.choices(_NONSENSE, k=5))


class TextChecker(StepsAndLeaks):
    """Free text: answers graded in a process that can be killed; steps checked for arithmetic by default."""

    grader: str | None = VERSION

    def __init__(self, seconds: float = 5.0, rules: Rules = USUAL, steps: StepChecker = ARITHMETIC) -> None:
        self._rules = rules
        self._steps = steps
        self._grader = AnswerGrader(seconds, rules)

    def can_parse(self, answer: str) -> bool:
        """See `Checker`."""
        return self._grader.can_parse(answer)

    def cot_end(self, text: str) -> int:
        """See `Checker`. An answer followed by a longer text is not a final statement: then all of it is CoT."""
        answer = extract(text, self._rules)
        if answer is None:
            return len(text)
        asked = next_question(text)
        after = text[answer[1] : asked if asked > answer[1] else len(text)]
        return answer[1] if len(_BREAK.findall(after)) <= MAX_BREAKS else len(text)

    def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
        """See `Checker`. A truncated text must state its answer: its last number does not count."""
        cuts = truncated or [False] * len(pairs)
        return [self._grader.grade(problem.answer, text, cut) for (problem, text), cut in zip(pairs, cuts, strict=True)]

    def wrong_answer(self, problem: Problem, others: Sequence[Problem], seed: int) -> str | None:
        """See `Checker`.

        A whole number is moved up or down by 1 to 9, and kept positive if it was; any other answer is replaced by
        another problem's answer that is graded wrong.
        """
        if re.fullmatch(r"-?\d+", problem.answer):
            rng = random.Random(f"{seed}:{problem.id}")
            value, shift = int(problem.answer), rng.randint(1, 9)
            down = rng.random() < 0.5 and (value < 0 or value - shift > 0)
            return str(value - shift if down else value + shift)
        return other_answer(problem, others, seed, lambda answer: self._is_wrong(problem, answer))

    def _is_wrong(self, problem: Problem, answer: str) -> bool:
        (grade,) = self.grade([(problem, rf"\boxed{{{answer}}}")])
        return grade.status is Status.WRONG

    def close(self) -> None:
        """See `Checker`."""
        self._grader.close()
