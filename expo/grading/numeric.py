"""Values of formulas at a point, to any requested number of digits."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import mpmath
from mpmath import mp

from expo.grading.expression import Node
from expo.grading.rational import MAX_BITS, MAX_FACTORIAL, NoValueError, at_point, exact, series

DIGITS = 50
Number = Any
_PLAIN = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc,
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "arcsin": mpmath.asin, "arccos": mpmath.acos,
    "arctan": mpmath.atan, "abs": abs, "sgn": mpmath.sign,
}  # fmt: skip


def value(node: Node, at: Mapping[str, Any], digits: int = DIGITS) -> Number:
    """The value at a point, to this many digits.

    Raises:
        NoValueError: if there is no value.
    """
    with mp.workdps(digits):
        try:
            result = _value(node, at)
        except (ZeroDivisionError, ValueError, OverflowError, TypeError) as error:
            if isinstance(error, NoValueError):
                raise
            raise NoValueError(str(error)) from None
        if not mpmath.isfinite(result):
            raise NoValueError("infinite")
        if result != 0 and mpmath.mag(result) > MAX_BITS:
            raise NoValueError("too large")
        return result


def _value(node: Node, at: Mapping[str, Any]) -> Number:
    kind = node[0]
    if kind == "n":
        return _mpf(node[1])
    if kind == "v":
        return _mpf(at[node[1]])
    if kind == "c":
        return {"pi": mp.pi, "e": mp.e, "i": mp.j, "oo": mp.inf}[node[1]] * 1
    if kind == "+":
        return sum((_value(x, at) for x in node[1:]), mp.mpf(0))
    if kind == "*":
        product = mp.mpf(1)
        for x in node[1:]:
            product = product * _value(x, at)
        return product
    if kind == "^":
        return _raised(_value(node[1], at), node[2], at)
    if kind == "f":
        return _call(node[1], [_value(x, at) for x in node[2:]], at)
    if kind in ("sum", "prod"):
        values = series(node, at, lambda n, point: at_point(n, point) if n in (node[2], node[3]) else _value(n, point))
        return mpmath.fsum(values) if kind == "sum" else mpmath.fprod(values)
    raise NoValueError(f"{kind} has no value")


def _mpf(x: Any) -> Number:
    return mp.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


def _raised(base: Number, exponent: Node, at: Mapping[str, Any]) -> Number:
    power = _value(exponent, at)
    if base == 0 and not mpmath.re(power) > 0:
        raise NoValueError("a power of zero")
    if base != 0 and abs(power) * max(1, abs(mpmath.log(abs(base), 2))) > 10 * MAX_BITS:
        raise NoValueError("too large")
    # An odd root of a negative real number is real, as taught at school.
    root = exact(exponent) if mpmath.im(base) == 0 and base < 0 else None
    if root is not None and root.denominator > 1 and root.denominator % 2:
        return mpmath.power(-base, power) * (-1) ** root.numerator
    return mpmath.power(base, power)


def _call(name: str, values: list[Number], at: Mapping[str, Any]) -> Number:
    x = values[0]
    if name in _PLAIN:
        result = _PLAIN[name](x)
        if name in ("tan", "sec", "cot", "csc") and abs(result) > mp.mpf(10) ** (mp.dps // 2):
            raise NoValueError("a pole")
        return result
    if name in ("ln", "log"):
        if x == 0:
            raise NoValueError("a logarithm of zero")
        # The base of a bare log is not stated: it is ln up to a factor.
        return mpmath.log(x) * (at["log"] if name == "log" else 1)
    if name in ("floor", "ceil"):
        if mpmath.im(x) != 0:
            raise NoValueError("a complex number rounded")
        return mpmath.floor(x) if name == "floor" else mpmath.ceil(x)
    if name == "mod":
        return x - values[1] * mpmath.floor(x / values[1])
    if name in ("factorial", "binom"):
        if abs(x) > MAX_FACTORIAL:
            raise NoValueError("too large")
        return mpmath.factorial(x) if name == "factorial" else mpmath.binomial(*values)
    if name.endswith("()"):  # an unknown function
        rng = random.Random(f"{name} {mpmath.nstr(mpmath.mpc(x), 20)}")
        return mp.mpf(rng.uniform(-3, 3))
    raise NoValueError(f"{name} has no value")
