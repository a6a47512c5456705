"""Lines 207 to 214: whether the example's self-explanation has more correct steps than the standard CoT."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from theory import printed
from theory.evidence import Statement
from theory.relations import Said, gt
from theory.test_printed import contradicted, every, is_true, refuted

# Lines of Appendix C.2 that belong to each step which Example 1, lines 178 to 190, marks.
MARKED = {
    "self-explanation": {1: (467, 469), 2: (473, 475, 477, 479, 481), 3: (483,)},
    "standard CoT": {1: (455,), 2: (457,), 3: (459, 461)},
}
# The example's own marks, as correct or not.
TICKS = {"self-explanation": [True, True, True], "standard CoT": [True, False, False]}
TEXTS = {"self-explanation": printed.SELF_EXPLANATION, "standard CoT": printed.STANDARD_COT}
PAIR = ("self-explanation", "standard CoT")


def statements(text: str) -> list[bool]:
    """Of everything that the text states of the box, each once: whether it is true."""
    return [bool(is_true((0, *said))) for said in dict.fromkeys(step[1:] for step in TEXTS[text])]


def steps(text: str, concluding: bool) -> list[bool]:
    """Of every step that the example marks: whether all that it states is true, or (`concluding`) the last of it."""
    stated = [[bool(is_true(step)) for step in TEXTS[text] if step[0] in lines] for lines in MARKED[text].values()]
    return [all(true[-1:] if concluding else true) for true in stated]


def whole_steps(text: str) -> list[bool]:
    return steps(text, concluding=False)


def conclusions(text: str) -> list[bool]:
    return steps(text, concluding=True)


def more(count: Callable[[Collection[bool]], Any], of: Callable[[str], list[bool]]) -> Statement:
    """The first text has more of what is counted than the second."""

    def statement(texts: tuple[str, str]) -> Said:
        return gt(*(count(of(text)) for text in texts))

    return statement


def test_more_true_conclusions() -> None:
    every(more(sum, conclusions), [PAIR], "more marked steps whose conclusion is true: 3 against 1")
    # Just where the example ticks them.
    assert {text: conclusions(text) for text in PAIR} == TICKS


def test_conclusions_control() -> None:
    # 3 on both sides.
    refuted(more(len, conclusions), [PAIR], "more marked steps")
    refuted(more(sum, conclusions), [PAIR[::-1]], "more true conclusions, the texts exchanged")


def test_no_more_true_statements() -> None:
    contradicted(more(sum, statements), [PAIR], [PAIR], "more true statements: 4 against 5")
    contradicted(more(len, statements), [PAIR], [PAIR], "more statements: 7 against 8")
    assert [[sum(statements(t)), len(statements(t))] for t in PAIR] == [[4, 7], [5, 8]]
    # As often as they are made.
    assert [[sum(bool(is_true(s)) for s in TEXTS[t]), len(TEXTS[t])] for t in PAIR] == [[12, 16], [7, 12]]


def test_no_more_whole_steps() -> None:
    contradicted(more(sum, whole_steps), [PAIR], [PAIR], "more marked steps in which all is true")
    assert [whole_steps(text) for text in PAIR] == [[True, False, False]] * 2
    assert all(sorted(x for xs in MARKED[t].values() for x in xs) == sorted({s[0] for s in TEXTS[t]}) for t in PAIR)
