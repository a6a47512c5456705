r"""Arithmetic statements in free text, each judged true or false: the step checker behind win rates.

A statement is one equality with arithmetic on at least one side: "3 * 4 = 12", "20% of 50 = 10", "\frac{1}{2} \times 8
= 4"; a chain "2 + 3 = 5 + 1 = 6" holds one for each equals sign. Words after a number are units and are ignored.
Anything with a letter in place of a number ("2x = 10") is algebra, not a statement, and so is anything that this parser
cannot read: it would rather not judge than judge wrongly.

A statement is false only if no reading of it is true:

- A decimal is true when it is the other side rounded to the digits that it prints: 10/3 = 3.33. Integers are exact,
except after ≈. - A percentage, an amount in cents and a number of millions are worth p/100 or 10^6 p, or just p if the
other side omits its unit: "100 - 20 = 80%", "32 / 2 = 16 million". "25 + 10%" is 27.5. - A side that adds hours and
minutes, or feet and inches, is not judged. - After a unit the right side may end ("= 8 eggs - 2 eggs"), or continue.

Each statement is searched for within a bounded distance of its equals sign, so that time is linear in the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from expo.grading.arithmetic import MAX_UNIT_WORDS, NoValueError, Parser, Value
from expo.grading.tokens import OPERANDS, OPERATORS, Token, tokenize, words
from expo.grading.units import UNITS

REACH = 64  # tokens on either side of an equals sign

# Words that change the value of the number after them, directly or before "of".
_FACTORS = words(
    "half halves third thirds quarter quarters fourth fourths fifth fifths tenth tenths percent percentage "
    "twice double triple thrice times negative root square cube squared cubed log ln sin cos tan mod"
)
# Words that change the value of the number before them.
_REMARKS = words("remainder squared cubed mod")


@dataclass(frozen=True)
class Step:
    """One equality: `text[start:end]` of the text in which it was found, and whether it is true."""

    start: int
    end: int
    text: str
    true: bool


def check_steps(text: str) -> list[Step]:
    """The arithmetic statements of `text`, in order, each with its truth."""
    tokens = tokenize(text)
    statements = (_statement(text, tokens, i) for i, token in enumerate(tokens) if token.kind == "=")
    return [step for step in statements if step is not None]


def _statement(text: str, tokens: list[Token], equals: int) -> Step | None:
    """The statement around the equals sign at index `equals`, if there is one."""
    left = _left(tokens, equals)
    if left is None:
        return None
    start, left_value = left
    # "Drop 8 degrees = 2 - 8" names a quantity and then computes with it.
    if left_value.operations == 0 and tokens[equals - 1].kind == "word":
        return None
    about = tokens[equals].text not in ("=", "==", "equals")
    ends = []
    true = False
    for over_units in (True, False):
        parser = Parser(tokens, equals + 1, equals + REACH, over_units)
        try:
            right_value = parser.sum()
        except NoValueError:
            return None
        if _may_end(tokens, parser.at) and left_value.operations + right_value.operations > 0:
            ends.append(parser.last)
            true = true or _equal(left_value, right_value, about)
    if any(_mixes_units(tokens[i:j]) for i, j in ((start, equals), (equals, ends[-1] + 1 if ends else equals))):
        return None
    if not ends or (not true and _is_conversion(tokens, start, equals, ends[-1], left_value)):
        return None
    begin, end = tokens[start].start, tokens[ends[0]].end
    return Step(begin, end, text[begin:end], true)


def _left(tokens: list[Token], equals: int) -> tuple[int, Value] | None:
    """Where the longest expression that ends at the equals sign starts, and its value."""
    first = equals
    while first > max(0, equals - REACH) and tokens[first - 1].kind not in ("=", "nl", "stop"):
        first -= 1
    for start in range(first, equals):
        if _may_start(tokens, start):
            parser = Parser(tokens, start, equals + 1, over_units=True)
            try:
                value = parser.sum()
            except NoValueError:
                continue
            if parser.at == equals:
                return start, value
    return None


def _may_start(tokens: list[Token], i: int) -> bool:
    """Whether a statement may start at token `i`: a number that is unaffected by anything before it."""
    token, after = tokens[i], tokens[i + 1]
    if token.kind not in OPERANDS and not (token.kind == "-" and after.kind in OPERANDS and after.start == token.end):
        return False
    if i == 0:
        return True
    before = tokens[i - 1]
    touching = before.end == token.start
    if before.kind == "stop":
        # Not inside 16,0000 nor after 1:30.
        return not (before.text[-1].isdigit() or (touching and before.text in ",."))
    if before.kind == "(":
        return i == 1 or tokens[i - 2].kind not in OPERATORS
    if before.kind != "word":
        return before.kind in ("nl", "=")
    word = tokens[i - 2] if before.text == "of" and i > 1 else before
    if touching or word.kind in ("num", "%") or word.text.lower() in _FACTORS:
        return False
    # "25 + his 1 - 3" and "total - her 5": words in place of a number.
    j = i - 1
    while j > max(0, i - MAX_UNIT_WORDS) and tokens[j].kind == "word":
        j -= 1
    return tokens[j].kind not in OPERATORS


def _may_end(tokens: list[Token], i: int) -> bool:
    """Whether the right side may end before token `i`: nothing there changes its value."""
    token, after = tokens[i], tokens[min(i + 1, len(tokens) - 1)]
    if token.kind in OPERATORS:
        return after.kind in ("nl", "stop", "end") or (after.kind == "word" and token.kind in ("-", "/"))
    if token.kind == "word":
        return token.text.lower() not in _REMARKS and not (token.text == "and" and after.kind in OPERANDS)
    if token.text == "." and after.start == token.end:
        return after.kind in ("nl", "end")
    return token.kind in ("nl", "stop", "end", "=", ")", "(")


def _mixes_units(side: list[Token]) -> bool:
    """Whether a side adds several units of one kind, such as hours and minutes. Cents have their own value."""
    factors: dict[str, set[Fraction]] = {}
    term: list[Token] = []
    for token in [*side, Token("+", "+", 0, 0)]:
        if token.kind not in ("+", "-"):
            term.append(token)
            continue
        # A product or a rate has its own unit.
        if not {"*", "/"} & {part.kind for part in term}:
            for part in term:
                if known := UNITS.get(part.text.lower()):
                    factors.setdefault(known[0], set()).add(known[1])
        term = []
    return any(len(found) > 1 for dimension, found in factors.items() if dimension != "USD")


def _is_conversion(tokens: list[Token], start: int, equals: int, last: int, left: Value) -> bool:
    """Whether this is "1/2 hour = 30 minutes": one fraction, no integer, and other units on the other side."""
    units = tokens[equals - 1], tokens[last + 1]
    if any(unit.kind != "word" for unit in units) or units[0].text.lower() in units[1].text.lower() + "s":
        return False
    kinds = [token.kind for token in tokens[start:last] if token.kind in OPERATORS or token.kind in ("frac", "word")]
    return (
        left.x.denominator != 1 and kinds[:2] in (["/", "word"], ["frac", "word"]) and OPERATORS.isdisjoint(kinds[2:])
    )


def _equal(left: Value, right: Value, about: bool) -> bool:
    """Whether some reading of both sides is equal, to the digits that a lone decimal prints."""
    if about:
        left, right = _rounded(left), _rounded(right)
    readings = [(left, right)]
    if left.unit != right.unit:
        readings.append((left.times(1 / left.unit), right.times(1 / right.unit)))
    return any(abs(a.x - b.x) <= max(a.half, b.half) for a, b in readings)


def _rounded(value: Value) -> Value:
    """A lone integer after ≈ may be rounded too: to its last digit that is not zero, within 5 %."""
    if value.operations or value.half or value.x.denominator != 1:
        return value
    digit = Fraction(1)
    while value.x and value.x % (digit * 10) == 0:
        digit *= 10
    return replace(value, half=max(Fraction(1, 2), min(digit / 2, abs(value.x) / 20)))
