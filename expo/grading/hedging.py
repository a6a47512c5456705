"""How prose changes a number or an answer: it qualifies it, hedges it, or retracts it."""

from __future__ import annotations

import re
from collections.abc import Callable

# Words that show that a number in prose is not itself the answer.
QUALIFIED = re.compile(
    r"\b(?:not|cannot|never|no longer|neither|nor|either|among|between|twice|thrice|but|any|anything|everything|except"
    r"|(?:less|more|greater|fewer|larger|bigger|smaller|higher|lower|other) than|(?:far|different) from"
    r"|at (?:least|most)"
    r"|one of|squared|cubed|(?:sum|product|quotient|difference|square|cube|reciprocal|factorial|opposite|ratio) of"
    r"|difference between|factor of|\w+th of|multiple|divisible|power|congruent|modulo|exceeds?|to the (?=\$?\d|power)"
    r"|probably|possibly|maybe|perhaps|doubt|wrong|incorrect|false|nearly|hardly|unlike|nicht|pas|oder|ou"
    # Only before a number.
    r"|(?:times|from|over|under|above|below|before|after|step|page|problem|question|line|part|section|equation|see"
    r"|base|choice|minus|plus|negative|mod|root|double|triple|half|third|quarter)(?: of)?(?: the)?(?: number)?"
    r"(?= ?[(\\$]{0,2}\d)|(?:number|square root|integer (?:after|before)) ?(?=\d))\b|n't\b",
    re.IGNORECASE,
)
DOUBTED = re.compile(
    r"\b(?:not (?:true|the case|correct)|doubt|wrong|incorrect|false|probably|possibly|maybe|perhaps)\b", re.IGNORECASE
)
# A statement of what the answer is not.
NEGATED = re.compile(r"\b(?:no|not|never|nicht|non|não|cannot)\b|n't\b|n'est", re.IGNORECASE)
# The same, around the last number of a text that states no answer.
_HEDGED = re.compile(
    r"\b(?:not|cannot|never|neither|nor|either|between|twice|thrice|half of|(?:less|more|greater|fewer) than"
    r"|at (?:least|most)|except|negative|minus|wrong|incorrect)\b[^.!?\n]{0,40}\Z|n't\b[^.!?\n]{0,40}\Z"
    r"|[\d\w)$] ?(?:\b(?:or|to|over|mod|modulo|times)\b|[<>≠≤≥~]|\\(?:le|ge|ne|neq|leq|geq|lt|gt|pm)\b) ?\$?\Z"
    r"|\b(?:multipl(?:y|ied) by|divided? by|multiple of|divisible by|factor of|instead of|rather than|up from"
    r"|(?:square|cube|double|third|% ?) ?of|equation|page|problem) ?\$?\Z"
    r"|(?:[|±√<>≠≤≥]|\\pm|\b(?:sqrt|log|ln|sin|cos|tan|exp)) ?\$?\Z"
    r"|\w [-−–] \Z|\d[-−–]\Z",
    re.IGNORECASE,
)
_HEDGED_AFTER = re.compile(
    r"\$?(?:\||\s?(?:squared|cubed|factorial|mod|over|to the power)\b|\s(?:is|are|was) (?:wrong|incorrect|false|not)\b"
    r"|\s(?:or|to) \$?\d)",
    re.IGNORECASE,
)
# What retracts an answer after it was stated, in the same sentence or as a separate remark.
_TAKEN_BACK = re.compile(
    r"(?:(?!\bbecause\b|\bsince\b)[^.\n\d(]){0,40}?\b(?:is|are|was) (?:wrong|incorrect|false|rejected|excluded"
    r"|not (?:right|correct|it))\b"
    r"|[\s.,;*$)}\]-]{0,6}(?:or|nor|no|maybe|perhaps|but (?:the answer|it|maybe|perhaps)?(?: is)?)\b,?"
    r"[^.\n\d]{0,20}?(?:[-\d./]+\d|\d|\([A-H]\)|\b[B-H]\b)"
    r"|\?\s*no\b|\W{0,4}(?:on second thought|however, the correct|hmm, that (?:doesn't"
    r"|does not) (?:seem|look)|let me recheck)"
    r"|\n\W{0,4}correction\b",
    re.IGNORECASE,
)
_SECOND_THOUGHT = re.compile(
    r"(?:\A|[.!?\n])\W{0,6}(?:(?:but|hmm),? )?(?:wait|actually|correction|no,|hold on|sorry|oops|instead)(?!\w)"
    r"|\bI made a mistake\b",
    re.IGNORECASE,
)


# The text before these belongs to another clause.
_CLAUSE = re.compile(r"\b(?:is|are|was|were|equals|becomes?|gives?|equal to)\b|[,;:]")
_DENIED = re.compile(r"(?:\bnot|n't) (?:equal|true|the case|correct|think|believe|sure)|wrong|incorrect", re.IGNORECASE)
_CONFIRMED = re.compile(
    r"\byes\b|✓|\b(?:is|that's|it's) (?:indeed )?(?:correct|right)\b|\b(?:matches|checks out|is consistent)\b",
    re.IGNORECASE,
)
_RENAMED = re.compile(r"\b(?:should be|answer is|so it is|no, it is|it's) \$?-?\d", re.IGNORECASE)
_NUMERAL = re.compile(r"-?\d+(?:\.\d+)?")


def is_hedged(text: str, start: int, end: int) -> bool:
    """Whether the words around a number or formula change its meaning; never for the result of a calculation."""
    before = text[max(0, start - 60) : start]
    if re.search(r"(?<![<>!≠])= ?\\?[$€£]?$", before):
        return False
    formula = text[start:end]
    if re.search(r"= ?[^=<>]{1,60}$", formula) and not re.search(r"[<>≠]|\\n?[lg]e", formula):
        return False
    if not _DENIED.search(before):
        before = _CLAUSE.split(before)[-1]
    return bool(_HEDGED.search(before) or _HEDGED_AFTER.match(text, end))


def is_taken_back(after: str, answer: str, last: Callable[[str], str | None]) -> bool:
    """Whether the text after a statement retracts it, or gives another answer after second thoughts.

    `last` finds the last number of a text.
    """
    if (back := _TAKEN_BACK.match(after[:200])) and not names_again(back[0], answer):
        return True
    if not _SECOND_THOUGHT.search(after):
        return False
    if _CONFIRMED.search(after) and not _RENAMED.search(after):
        return False
    other = last(after)
    return other is not None and not names_again(other, answer)


def names_again(text: str, answer: str) -> bool:
    """Whether the only number of a text is the answer's: "or $18 per day" after 18; 1/2 after \frac{1}{2}."""
    said, meant = (re.sub(r"(?<=\d),(?=\d{3})", "", t).replace(r"\frac", "") for t in (text, answer))
    return _NUMERAL.findall(said) == _NUMERAL.findall(meant) != []
