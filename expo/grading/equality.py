"""Whether two formulas are equal: exactly if both are rational, else by their values at random points.

A difference of two closed forms that is not an identity vanishes only on a set of measure zero. Values are computed
with 50 and with 100 digits: a zero shrinks as digits are added, anything else keeps its size.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
from mpmath import mp

from expo.grading.expression import Node
from expo.grading.numeric import DIGITS, Number, value
from expo.grading.rational import NoValueError, children, exact, free, has

POINTS = 8
_OF_WHOLE_NUMBERS = ("sum", "prod", "factorial", "binom", "mod")


@lru_cache(maxsize=65536)
def equal(gold: Node, answer: Node) -> bool:
    """Whether two formulas without decimals of their own are equal for all values of their variables.

    Raises:
        NoValueError: if that cannot be decided.
    """
    if gold == answer:
        return True
    a, b = exact(gold), exact(answer)
    if a is not None and b is not None:
        return a == b
    if ("c", "oo") in (gold, answer) or has(gold, "oo") or has(answer, "oo"):
        return sign_of_infinity(gold) == sign_of_infinity(answer) != 0
    if gold[0] == "m" or answer[0] == "m":
        return _same_matrix(gold, answer)
    return _vanishes_between(gold, answer)


def sign_of_infinity(node: Node) -> int:
    """1 or -1 for an infinity of that sign, 0 for anything else."""
    if node == ("c", "oo"):
        return 1
    if node[0] == "*" and len(node) == 3 and node[2] == ("c", "oo") and (factor := exact(node[1])):
        return 1 if factor > 0 else -1
    return 0


def _same_matrix(gold: Node, answer: Node) -> bool:
    if gold[0] != answer[0]:
        return False
    shapes = [(len(x[1]), len(x[1][0])) for x in (gold, answer)]
    return shapes[0] == shapes[1] and all(equal(a, b) for a, b in zip(children(gold), children(answer), strict=True))


def _vanishes_between(gold: Node, answer: Node) -> bool:
    names = sorted(free(gold) | free(answer))
    if not names:
        return bool(_agree(gold, answer, names, whole=False))
    # The kinds of the gold's variables decide: a 0! in an answer must not hide what lies between whole numbers.
    if has(gold, *_OF_WHOLE_NUMBERS) or (has(answer, *_OF_WHOLE_NUMBERS) and not free(gold)):
        results = [_agree(gold, answer, names, whole=True)]
    elif has(answer, *_OF_WHOLE_NUMBERS) and free(gold):
        results = [_agree(gold, answer, names, whole=False, gaps=True), _agree(gold, answer, names, whole=True)]
    else:
        results = [_agree(gold, answer, names, whole=False)]
    if results == [None] * len(results):
        raise NoValueError("no value at any point")
    return False not in results


def _agree(gold: Node, answer: Node, names: list[str], *, whole: bool, gaps: bool = False) -> bool | None:
    """Whether both have the same values wherever the gold has one; None if it has none at any point tried.

    With `gaps`, the answer need not have a value at all of them.
    """
    wanted = POINTS if names or has(gold, "log") or has(answer, "log") else 1
    rng, compared, imaginary = random.Random(0), 0, has(gold, "i")
    for trial in range(12 * wanted):
        at = point(names, rng, whole, trial)
        try:
            a = value(gold, at)
        except NoValueError:
            continue
        # A real-valued gold counts only where it is real.
        if names and not imaginary and mpmath.im(a) != 0 and trial < 10 * wanted:
            continue
        try:
            b = value(answer, at)
        except NoValueError:
            if not names:
                raise
            # At 1 an equal form may divide by zero: n!/(n (n - 1)).
            if gaps or (whole and trial % 4 == 3):
                continue
            return False
        if not is_zero(gold, answer, at, a, b) and not (names and _shrinks(gold, answer, at, a, b)):
            return False
        # Two binomials that have no symbolic value vanish at most pairs of whole numbers.
        if whole and names and a == b == 0 != exact(gold):
            continue
        compared += 1
        if compared == wanted:
            return True
    if not compared:
        return None
    return compared >= min(3, wanted)


def _shrinks(gold: Node, answer: Node, at: Mapping[str, Any], a: Number, b: Number) -> bool:
    """Whether a difference is only the residue of cancelling large terms: it then vanishes as digits are added."""
    digits = 8 * DIGITS
    try:
        finer = abs(value(gold, at, digits) - value(answer, at, digits))
    except NoValueError:
        return False
    with mp.workdps(DIGITS):
        return bool(finer < abs(a - b) * mp.mpf(10) ** (-4 * DIGITS))


def point(names: list[str], rng: random.Random, whole: bool, trial: int) -> dict[str, Any]:
    """A value for each variable: distinct whole numbers, or fractions of both signs, of several sizes.

    Small values alone would not distinguish |x - 10| from 10 - x, or n mod 100 from n.
    """
    if whole:
        low, high = ((2, 13), (13, 60), (101, 300), (1, 6))[trial % 4]
        values: list[Any] = [Fraction(x) for x in rng.sample(range(low, high + len(names)), len(names))]
    else:
        # The first points are positive, where roots and logarithms are real.
        signs = [1 if trial < 2 else rng.choice((1, -1)) for _ in names]
        size = (1, 1, 1, 20, 1, 700)[trial % 6]
        values = [s * size * Fraction(rng.randint(101, 3989), 1009) for s in signs]
    return {**dict(zip(names, values, strict=True)), "log": mp.mpf(rng.randint(200, 900)) / 331}


def is_zero(gold: Node, answer: Node, at: Mapping[str, Any], a: Number, b: Number) -> bool:
    """Whether two values computed to `DIGITS` digits are equal, checked with twice the digits."""
    with mp.workdps(DIGITS):
        gap = abs(a - b)
        size, small = max(abs(a), abs(b)), mp.mpf(10) ** (-DIGITS // 2)
        # If both are small, one may be the residue of a sum of large terms, and so a zero.
        if gap > size * small and size > small and gap > small:
            return False
    # For large numbers the digits after the point count too.
    with mp.workdps(DIGITS):
        digits = DIGITS + max(0, int(mpmath.ceil(mpmath.log10(max(abs(a), abs(b), 1)))))
    a2, b2 = value(gold, at, 2 * digits), value(answer, at, 2 * digits)
    with mp.workdps(2 * digits):
        finer = abs(a2 - b2)
        size = max(abs(a2), abs(b2))
        small = finer < size * mp.mpf(10) ** (-digits)
        return bool(finer == 0 or small or finer < gap * mp.mpf(10) ** (-digits // 3))
