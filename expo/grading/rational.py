"""Values of formulas as fractions, if they are rational and can be written out; and the parts of a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import libmp

from expo.grading.expression import Node

MAX_BITS = 200_000
MAX_TERMS = 2_000
MAX_FACTORIAL = 5_000


class NoValueError(ValueError):
    """A formula without a value here: a division by zero, something too large to compute, infinity."""


class _NotRational(ValueError):
    pass


def free(node: Node) -> frozenset[str]:
    """The names of the variables of a formula."""
    if node[0] == "v":
        return frozenset((node[1],))
    if node[0] in ("sum", "prod"):
        return (free(node[4]) - {node[1]}) | free(node[2]) | free(node[3])
    return frozenset().union(*(free(child) for child in children(node)))


def children(node: Node) -> list[Node]:
    """The child nodes of a node."""
    if node[0] == "m":
        return [x for row in node[1] for x in row]
    return [x for x in node[1:] if isinstance(x, tuple)]


def has(node: Node, *heads: str) -> bool:
    """Whether the formula contains a node of this kind, or a constant or function of this name."""
    return node[0] in heads or (node[0] in "cf" and node[1] in heads) or any(has(c, *heads) for c in children(node))


@lru_cache(maxsize=4096)
def exact(node: Node) -> Fraction | None:
    """The value of a rational number; None if it is not one, or too large to write out."""
    try:
        return at_point(node, {})
    except (NoValueError, _NotRational):
        return None


def at_point(node: Node, at: Mapping[str, Fraction]) -> Fraction:
    """The value of a rational formula at a point."""
    kind = node[0]
    if kind == "n":
        return node[1]
    if kind == "v" and node[1] in at:
        return at[node[1]]
    if kind == "+":
        return sum((at_point(x, at) for x in node[1:]), Fraction(0))
    if kind == "*":
        product = Fraction(1)
        for x in node[1:]:
            product *= at_point(x, at)
            _small(product)
        return product
    if kind == "^":
        base, exponent = at_point(node[1], at), at_point(node[2], at)
        return _power(base, exponent)
    if kind == "f":
        return _function(node[1], [at_point(x, at) for x in node[2:]])
    if kind in ("sum", "prod"):
        values = series(node, at, at_point)
        total = Fraction(kind == "prod")
        for value in values:
            total = total * value if kind == "prod" else total + value
            _small(total)
        return total
    raise _NotRational


def _small(value: Fraction) -> None:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise NoValueError("too large")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator == 1:
        if base == 0 and exponent <= 0:
            raise NoValueError("a power of zero")
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits > MAX_BITS and abs(base) not in (0, 1):
            raise NoValueError("too large")
        return base ** int(exponent)
    if exponent.denominator > 64 or base < 0:
        raise _NotRational
    over, under = (_root(abs(x), exponent.denominator) for x in (base.numerator, base.denominator))
    if over is None or under is None:
        raise _NotRational
    return _power(Fraction(over, under), Fraction(exponent.numerator))


def _root(value: int, index: int) -> int | None:
    if value.bit_length() > 4096:
        return None
    root = int(libmp.isqrt(value)) if index == 2 else round(value ** (1 / index)) if value < 2**52 else -1
    return root if root >= 0 and root**index == value else None


def _function(name: str, values: list[Fraction]) -> Fraction:
    whole = all(v.denominator == 1 for v in values)
    if name == "abs":
        return abs(values[0])
    if name == "floor":
        return Fraction(values[0].numerator // values[0].denominator)
    if name == "ceil":
        return Fraction(-(-values[0].numerator // values[0].denominator))
    if name == "factorial" and whole:
        if not 0 <= values[0] <= MAX_FACTORIAL:
            raise NoValueError("a factorial that is too large, or of a negative number")
        return Fraction(int(libmp.ifac(int(values[0]))))
    if name == "binom" and whole:
        n, k = map(int, values)
        if not 0 <= n <= MAX_FACTORIAL:
            raise NoValueError("a binomial that is too large")
        return Fraction(math.comb(n, k)) if 0 <= k <= n else Fraction(0)
    if name == "mod" and whole:
        if values[1] == 0:
            raise NoValueError("a remainder by zero")
        return values[0] % values[1]
    raise _NotRational


def series(node: Node, at: Mapping[str, Any], evaluate: Any) -> list[Any]:
    """The terms of a sum or product, each evaluated by `evaluate`."""
    _, variable, _, _, body = node
    first, last = _ends(node, at, evaluate)
    if _terms(node, at, evaluate) > MAX_TERMS:
        raise NoValueError("a series that is too long")
    return [evaluate(body, {**at, variable: Fraction(k)}) for k in range(first, last + 1)]


def _ends(node: Node, at: Mapping[str, Any], evaluate: Any) -> tuple[int, int]:
    """The first and the last value of a series' variable."""
    try:
        return int(Fraction(evaluate(node[2], at))), int(Fraction(evaluate(node[3], at)))
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, NoValueError):
            raise
        raise NoValueError("a series whose ends are not whole numbers") from None


def _terms(node: Node, at: Mapping[str, Any], evaluate: Any) -> int:
    """The approximate number of terms of a series, multiplied by those of the series inside it."""
    first, last = _ends(node, at, evaluate)
    count = max(0, last - first + 1)
    if not count or not has(node[4], "sum", "prod"):
        return count
    inside = [
        _terms(inner, {**at, node[1]: Fraction(k)}, evaluate) for inner in _series_in(node[4]) for k in {first, last}
    ]
    return count * max(1, *inside)


def _series_in(node: Node) -> list[Node]:
    """The outermost series of a formula."""
    if node[0] in ("sum", "prod"):
        return [node]
    return [inner for child in children(node) for inner in _series_in(child)]
