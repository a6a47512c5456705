"""The value of arithmetic in free text: exact fractions of bounded size, by recursive descent.

Only expressions of this grammar are evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt

from expo.grading.tokens import OPERANDS, OPERATORS, Token, words

MAX_BITS = 2048  # of a numerator or denominator
MAX_EXPONENT = 64
MAX_DIGITS = 100  # of a printed number
MAX_UNIT_WORDS = 4

PERCENT = Fraction(1, 100)
_SCALES = {
    "cent": Fraction(1, 100),
    "cents": Fraction(1, 100),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
}
# Words at which a quantity ends: the words after them belong to another phrase.
_NO_UNITS = words(
    "and or then so but because which that if is are was were has have had to from for with when while as "
    "since of in on at by less more fewer than gives he she they it we you i therefore thus plus "
    "minus times mod"
)


class NoValueError(Exception):
    """The tokens are not arithmetic, or the value is out of bounds."""


@dataclass(frozen=True)
class Value:
    """The value of a number or expression.

    `unit` is the value of its percent sign or scale word ("16 million"), which is already part of `x`. `half` is how
    far `x` may be off: half a unit in the last digit of a lone decimal, else 0.
    """

    x: Fraction
    unit: Fraction = Fraction(1)
    operations: int = 0
    half: Fraction = Fraction(0)

    def times(self, factor: Fraction) -> Value:
        """The same reading, of a number `factor` times as large."""
        return replace(self, x=self.x * factor, half=self.half * factor)


class Parser:
    """Recursive descent over `tokens[at:end]`; it stops before the first token outside the expression.

    With `over_units`, operators may follow the words after a number: "5 eggs + 3 eggs".
    """

    def __init__(self, tokens: list[Token], at: int, end: int, over_units: bool) -> None:
        self.tokens = tokens
        self.at = at
        self.last = at
        """Index of the last token that affects the value."""
        self._end = min(end, len(tokens) - 1)
        self._over_units = over_units

    def sum(self) -> Value:
        """The value of product (('+' | '-') product)*.

        Raises:
            NoValueError: if there is no value.
        """
        value = self._product()
        while self._kind() in ("+", "-") and self._operand_at(self.at + 1):
            sign = 1 if self._take().kind == "+" else -1
            other = self._product()
            # "25 + 10%" adds a tenth of 25.
            is_share = self.tokens[self.at - 1].kind == "%" and value.unit != PERCENT
            term = other.x * value.x if is_share else other.x
            value = _bounded(value.x + sign * term, value, other, value.unit if value.unit == other.unit else None)
        return value

    def _product(self) -> Value:
        value = self._factor()
        while True:
            kind = self._kind()
            if kind == "(" and self._touches():
                value = _product(value, self._factor())
            elif kind == "*" and self._operand_at(self.at + 1):
                self._take()
                value = _product(value, self._factor())
            elif kind == "/" and self._operand_at(self.at + 1):
                self._take()
                value = _quotient(value, self._divisor())
            elif (value.unit == PERCENT or value.operations) and (number := self._after_of()) is not None:
                self.at = number
                other = self._factor()
                value = _bounded(value.x * other.x, value, other)
            else:
                return value

    def _divisor(self) -> Value:
        """A factor; in "25 / 1/3", where only the first slash has spaces around it, the whole fraction."""
        apart = not self._touches()
        value = self._factor()
        if apart and self._kind() == "/" and self._kind(self.at + 1) == "num" and self._touches():
            self._take()
            value = _quotient(value, self._factor())
        return value

    def _factor(self) -> Value:
        if self._kind() in ("-", "+"):
            sign = -1 if self._take().kind == "-" else 1
            value = self._factor()
            return replace(value, x=sign * value.x)
        value = self._atom()
        if self._kind() == "square":
            power = Value(Fraction(2 if self._take().text == "²" else 3))
        elif self._kind() == "^" and self._operand_at(self.at + 1):
            self._take()
            power = self._factor()
        else:
            return self._with_unit(value)
        if power.x.denominator != 1 or abs(power.x) > MAX_EXPONENT or (value.x == 0 and power.x < 0):
            raise NoValueError
        return self._with_unit(_bounded(value.x ** int(power.x), value, power))

    def _atom(self) -> Value:
        token = self._take()
        if token.kind == "num":
            value = self._mixed(token)
        elif token.kind == "(":
            value = self.sum()
            self._take(")")
        elif token.kind == "frac":
            value = self._fraction()
        elif token.kind == "sqrt" and self.tokens[self.at].text != "[":
            value = _root(self._argument())
        else:
            raise NoValueError
        unit = PERCENT if self._kind() == "%" else _SCALES.get(self.tokens[self.at].text.lower())
        if unit is not None and self._kind() in ("%", "word"):
            self._take()
            value = replace(value.times(unit), unit=unit)
        return value

    def _mixed(self, token: Token) -> Value:
        r"""A printed number, with the fraction that may follow: 1 1/2, 1 and 1/2, 1\frac{1}{2}."""
        whole = _printed(token)
        at = self.at + (self.tokens[self.at].text == "and")
        kinds = [self._kind(i) for i in range(at, at + 4)]
        if kinds[0] == "frac" and at == self.at:
            part = self._atom()
        elif kinds[:3] == ["num", "/", "num"] and kinds[3] != "/":
            self.at = at
            above = _printed(self._take())
            self._take("/")
            part = _quotient(above, _printed(self._take()))
        else:
            return whole
        if whole.x.denominator != 1 or not 0 < part.x < 1:
            raise NoValueError
        return _bounded(whole.x + part.x, whole, part)

    def _fraction(self) -> Value:
        r"""What follows \frac: groups in braces, or single digits as in \frac12."""
        digits = self.tokens[self.at].text
        if self._kind() == "num" and re.fullmatch("[0-9]{2}", digits):
            self._take()
            return _quotient(Value(Fraction(digits[0])), Value(Fraction(digits[1])))
        return _quotient(self._argument(), self._argument())

    def _argument(self) -> Value:
        token = self._take()
        if token.kind == "num" and len(token.text) == 1:
            return Value(Fraction(token.text))
        if token.kind != "(":
            raise NoValueError
        value = self.sum()
        self._take(")")
        return value

    def _with_unit(self, value: Value) -> Value:
        """Skip the words of a unit: "9 duck eggs", "$6/hour"."""
        at = self.at
        for _ in range(MAX_UNIT_WORDS):
            at += self._kind(at) == "/" and self._kind(at + 1) == "word"
            if self._kind(at) == "word" and self.tokens[at].text.lower() not in _NO_UNITS:
                at += 1
        ends = self._kind(at) in ("=", ")")
        if ends or (self._over_units and self._kind(at) in OPERATORS and self._operand_at(at + 1)):
            self.at = at
        return value

    def _after_of(self) -> int | None:
        """Index of the number in "of 50", "of the 50"."""
        if self._kind() != "word" or self.tokens[self.at].text != "of":
            return None
        number = self.at + 1 + (self._kind(self.at + 1) == "word")
        return number if self._operand_at(number) else None

    def _operand_at(self, i: int) -> bool:
        return self._kind(i) in OPERANDS or (self._kind(i) == "-" and self._kind(i + 1) in OPERANDS)

    def _touches(self) -> bool:
        return self.tokens[self.at - 1].end == self.tokens[self.at].start

    def _kind(self, i: int | None = None) -> str:
        i = self.at if i is None else i
        return self.tokens[i].kind if i < self._end else "end"

    def _take(self, kind: str | None = None) -> Token:
        if self._kind() == "end" or (kind and self._kind() != kind):
            raise NoValueError
        self.last = self.at
        self.at += 1
        return self.tokens[self.last]


def _printed(token: Token) -> Value:
    text = re.sub(r"\.{3}$|…|\\l?dots", "", token.text)
    digits = re.sub(r"[^\d.]", "", text)
    if len(digits) > MAX_DIGITS:
        raise NoValueError
    decimals = len(digits.partition(".")[2])
    if not decimals:
        return Value(Fraction(digits))
    # "33.33..." was cut off, not rounded.
    return Value(Fraction(digits), half=Fraction(1 if text != token.text else Fraction(1, 2)) / 10**decimals)


def _bounded(x: Fraction, a: Value, b: Value, unit: Fraction | None = None) -> Value:
    if max(x.numerator.bit_length(), x.denominator.bit_length()) > MAX_BITS:
        raise NoValueError
    return Value(x, unit or Fraction(1), a.operations + b.operations + 1)


def _product(a: Value, b: Value) -> Value:
    """The product with its unit: "5 cents * 10" is in cents, "3 / 4 * 100%" in percent, 20% * 50 in neither."""
    units = {v.unit for v in (a, b)} - {1}
    keeps = len(units) == 1 and (units != {PERCENT} or 1 in (a.x, b.x))
    return _bounded(a.x * b.x, a, b, units.pop() if keeps else None)


def _quotient(a: Value, b: Value) -> Value:
    if b.x == 0:
        raise NoValueError
    return _bounded(a.x / b.x, a, b, a.unit if b.unit == 1 else None)


def _root(value: Value) -> Value:
    if value.x < 0:
        raise NoValueError
    x = Fraction(isqrt(value.x.numerator), isqrt(value.x.denominator))
    if x * x != value.x:
        raise NoValueError
    return Value(x, operations=value.operations + 1)
