"""What prose does to a number or an answer: it qualifies it, hedges it, or takes it back."""

from __future__ import annotations

import re
from collections.abc import Callable

# Words by which a number in prose says something else than that it is the answer.
QUALIFIED = re.compile(
    r"\b(?:not|cannot|never|no longer|neither|nor|either|among|between|twice|thrice|but|any|anything|everything|except"
    r"|(?:less|more|greater|fewer|larger|bigger|smaller|higher|lower|other) than|(?:far|different) from"
    r"|at (?:least|most)"
    r"|one of|squared|cubed|(?:sum|product|quotient|difference|square|cube|reciprocal|factorial|opposite|ratio) of"
    r"|difference between|factor of|\w+th of|multiple|divisible|power|congruent|modulo|exceeds?|to the"
    r"|probably|possibly|maybe|perhaps|doubt|wrong|incorrect|false|nearly|hardly|unlike|nicht|pas|oder|ou"
    # Before a number alone.
    r"|(?:times|from|over|under|above|below|before|after|step|page|problem|question|line|part|section|equation|see"
    r"|base|choice|minus|plus|negative|mod|root|double|triple|half|third|quarter)(?: of)?(?: the)?(?: number)?"
    r"(?= ?[(\\$]{0,2}\d)|(?:number|square root|integer (?:after|before)) ?(?=\d))\b|n't\b",
    re.IGNORECASE,
)
# A statement that says what the answer is not.
NEGATED = re.compile(r"\b(?:no|not|never|nicht|non|não|cannot)\b|n't\b|n'est", re.IGNORECASE)
# The same beside the last number of a text that states no answer.
_HEDGED = re.compile(
    r"\b(?:not|cannot|never|neither|nor|either|between|twice|thrice|half of|(?:less|more|greater|fewer) than"
    r"|at (?:least|most)|except|negative|minus|wrong|incorrect)\b[^.!?\n]{0,40}\Z|n't\b[^.!?\n]{0,40}\Z"
    r"|[\d\w)$] ?(?:\b(?:or|to|over|mod|modulo|times)\b|[<>≠≤≥~]|\\(?:le|ge|ne|neq|leq|geq|lt|gt|pm)\b) ?\$?\Z"
    r"|(?:[|±√<>≠≤≥]|\\pm|\b(?:sqrt|log|ln|sin|cos|tan|exp)) ?\$?\Z"
    r"|\w [-−–] \Z|\d[-−–]\Z",
    re.IGNORECASE,
)
_HEDGED_AFTER = re.compile(
    r"\$?(?:\||\s?(?:squared|cubed|factorial|mod|over|to the power)\b|\s(?:is|are|was) (?:wrong|incorrect|false|not)\b"
    r"|\s(?:or|to) \$?\d)",
    re.IGNORECASE,
)
# What takes an answer back after it was stated, in its sentence or as a remark of its own.
_TAKEN_BACK = re.compile(
    r"(?:(?!\bbecause\b|\bsince\b)[^.\n]){0,40}?\b(?:is|are|was) (?:wrong|incorrect|false|rejected|excluded"
    r"|not (?:right|correct|it|possible))\b"
    r"|[\s.,;*$)}\]-]{0,6}(?:or|nor|no|but|maybe|perhaps)\b,?[^.\n]{0,20}?(?:\d|\([A-H]\)|\b[B-H]\b)"
    r"|\n\W{0,4}correction\b",
    re.IGNORECASE,
)
_SECOND_THOUGHT = re.compile(
    r"(?:\A|[.!?\n])\W{0,6}(?:(?:but|hmm),? )?(?:wait|actually|correction|no,|hold on|sorry|oops|instead)(?!\w)"
    r"|\bI made a mistake\b",
    re.IGNORECASE,
)


def is_hedged(text: str, start: int, end: int) -> bool:
    """Whether the words beside a number or formula make another thing of it; not beside the result of a calculation."""
    before = text[max(0, start - 60) : start]
    if re.search(r"(?<![<>!≠])= ?\\?[$€£]?$", before):
        return False
    return bool(_HEDGED.search(before) or _HEDGED_AFTER.match(text, end))


def is_taken_back(after: str, answer: str, last: Callable[[str], str | None]) -> bool:
    """Whether what follows a statement takes it back, or names another answer after second thoughts.

    `last` finds the last number of a text.
    """
    if _TAKEN_BACK.match(after[:200]):
        return True
    if not _SECOND_THOUGHT.search(after):
        return False
    other = last(after)
    return other is not None and other.strip("$ ") != answer.strip("$ ")
