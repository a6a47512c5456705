"""Lines 207 to 214: whether the example's self-explanation has more correct steps than the standard CoT."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fractions import Fraction
from typing import Any

from theory import printed
from theory.evidence import Statement
from theory.relations import Said, gt
from theory.test_printed import contradicted, every, is_true, refuted

# Lines of Appendix C.2 that belong to each step which Example 1, lines 178 to 190, marks.
MARKED = {
    "self-explanation": {1: (469,), 2: (473, 475, 479, 481), 3: (483,)},
    "standard CoT": {1: (455,), 2: (457,), 3: (459, 461)},
}
TEXTS = {"self-explanation": printed.SELF_EXPLANATION, "standard CoT": printed.STANDARD_COT}
PAIR = ("self-explanation", "standard CoT")


def statements(text: str) -> list[bool]:
    """Of everything that the text states of the box: whether it is true."""
    return [bool(is_true(step)) for step in TEXTS[text]]


def whole_steps(text: str) -> list[bool]:
    """Of every step that the example marks: whether all that it states is true."""
    true = {step[0]: bool(is_true(step)) for step in TEXTS[text]}
    return [all(true[line] for line in lines) for lines in MARKED[text].values()]


def more(count: Callable[[Collection[bool]], Any], of: Callable[[str], list[bool]]) -> Statement:
    """The first text has more of what is counted than the second."""

    def statement(texts: tuple[str, str]) -> Said:
        return gt(*(count(of(text)) for text in texts))

    return statement


def share(held: Collection[bool]) -> Fraction:
    return Fraction(sum(held), len(held))


def false(held: Collection[bool]) -> int:
    return len(held) - sum(held)


def test_more_true_statements() -> None:
    every(more(sum, statements), [PAIR], "more true statements: 3 against 1")
    every(more(share, statements), [PAIR], "a larger share of true statements: 3 of 6 against 1 of 4")
    every(more(len, statements), [PAIR], "more statements: 6 against 4")
    assert [[sum(statements(t)), len(statements(t))] for t in PAIR] == [[3, 6], [1, 4]]


def test_statements_control_false_ones() -> None:
    # 3 on both sides.
    refuted(more(false, statements), [PAIR], "more false statements")
    refuted(more(sum, statements), [PAIR[::-1]], "more true statements, the texts exchanged")


def test_no_more_whole_steps() -> None:
    contradicted(more(sum, whole_steps), [PAIR], [PAIR], "more marked steps in which all is true")
    assert [whole_steps(text) for text in PAIR] == [[True, False, False]] * 2
    assert all(sorted(x for xs in MARKED[t].values() for x in xs) == [s[0] for s in TEXTS[t]] for t in PAIR)
