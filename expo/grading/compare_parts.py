"""Compare answers made of parts: collections, named values, equations. `compare` compares the parts."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from fractions import Fraction

import mpmath
from mpmath import mp

from expo.grading import numeric
from expo.grading.compare_values import NEXT, Ruling
from expo.grading.equality import equal, point
from expo.grading.expression import Node, NotMathsError, number
from expo.grading.forms import Choice, Collection, Equation, Form, Named, Quantity, Words
from expo.grading.quantities import quantity
from expo.grading.rational import NoValueError, free
from expo.grading.reading import is_name, read

Compare = Callable[[Form, Form], Ruling]
# Each item of a set is compared with each item of the other.
MAX_ITEMS = 40


_ACCEPTED = {
    "()": ("()", ","),
    "{}": ("{}", ",", "[]"),
    ",": (",", "{}", "[]"),
    " ": (" ", ",", "()", "[]"),
    "[]": ("[]",),
}


def collections(gold: Collection, answer: Collection, compare: Compare) -> object:
    """Compare a list, set, pair or interval with another."""
    if answer.kind == "{}" and len(answer.items) == 1 and gold.kind == "," and len(gold.items) > 1:
        return False
    accepted = _ACCEPTED.get(gold.kind, (gold.kind,))
    # [1, 2] is an interval; three items in square brackets are a list.
    if answer.kind not in accepted or (answer.kind == "[]" and gold.kind != "[]" and len(answer.items) == 2):
        return False
    if len(gold.items) != len(answer.items):
        return False
    if gold.kind not in ("{}", ","):
        return _all(compare(a, b).right for a, b in zip(gold.items, answer.items, strict=True))
    return _matched(gold.items, answer.items, compare)


def _all(rulings: Iterable[bool | None]) -> bool | None:
    results = list(rulings)
    if False in results:
        return False
    return None if None in results else True


def _matched(gold: tuple[Form, ...], answer: tuple[Form, ...], compare: Compare) -> bool | None:
    if len(gold) > MAX_ITEMS:
        return None
    left, unsure = list(answer), False
    for wanted in gold:
        rulings = [compare(wanted, item).right for item in left]
        if True in rulings:
            del left[rulings.index(True)]
        elif None in rulings:
            unsure = True
        else:
            return False
    return None if unsure else True


def matrix_of_rows(gold: Quantity, answer: Collection, _: Compare | None = None) -> object:
    """Compare [[1, 2], [3, 4]] with a matrix of these rows."""
    if gold.node[0] != "m":
        return NEXT
    rows = [row.items for row in answer.items if isinstance(row, Collection)]
    if len(rows) != len(answer.items) or any(not isinstance(x, Quantity) for row in rows for x in row):
        return False
    nodes = ("m", tuple(tuple(x.node for x in row if isinstance(x, Quantity)) for row in rows))
    return len({len(row) for row in rows}) == 1 and equal(gold.node, nodes)


def single_set(gold: Form, answer: Form, compare: Compare) -> object:
    """{5} in place of 5; 1/2 or 0.5 in place of 1/2."""
    one, other = (gold, answer) if isinstance(gold, Collection) else (answer, gold)
    assert isinstance(one, Collection)
    if one is answer and one.kind == "," and isinstance(gold, Quantity):
        return _all(compare(gold, item).right for item in one.items)
    if one.kind != "{}" or len(one.items) != 1:
        return NEXT
    if isinstance(other, Words):  # the set of the empty set is not empty
        return False
    return compare(one.items[0], other) if one is gold else compare(other, one.items[0])


def both_named(gold: Named, answer: Named, compare: Compare) -> object:
    """x = 5 in place of x = 5."""
    if set(gold.names) == set(answer.names):
        by_name = dict(zip(answer.names, answer.values, strict=True))
        return _all(compare(v, by_name[n]).right for n, v in zip(gold.names, gold.values, strict=True))
    if len(gold.names) == 1 == len(answer.names):
        # The value of a function of x is not the value of x.
        if f"({gold.names[0]})" in answer.names[0]:
            return False
        # Names of one letter come from the question; an answer in words may choose its own.
        if max(len(gold.names[0]), len(answer.names[0])) == 1:
            sides = [form.values[0] for form in (gold, answer)]
            if all(isinstance(side, Quantity) and free(side.node) for side in sides):
                return two_equations(_equation_of(gold), _equation_of(answer))
            return False
        if gold.names[0] != answer.names[0] and r"\angle" in gold.names[0] and r"\angle" in answer.names[0]:
            return False
        if _is_function_name(gold.names[0]) == _is_function_name(answer.names[0]) and gold.names[0] != answer.names[0]:
            wordy = [re.search("[a-z]{3}", n) is not None for n in (gold.names[0], answer.names[0])]
            if all(wordy) and not (gold.names[0] in answer.names[0] or answer.names[0] in gold.names[0]):
                return None  # a length and a width, or two words for one thing
            return compare(gold.values[0], answer.values[0]) if any(wordy) else False
        return compare(gold.values[0], answer.values[0])
    return False


def _is_function_name(name: str) -> bool:
    return "(" in name


def named_for_value(gold: Form, answer: Named, compare: Compare) -> object:
    """x = 5 in place of 5; x = 1, y = 2 in place of (1, 2)."""
    if isinstance(gold, Choice):  # C = D chooses nothing
        return None
    if len(answer.names) == 1:
        return compare(gold, answer.values[0])
    if isinstance(gold, Collection) and gold.kind in ("()", ","):
        # For x, y, z the alphabet gives the order of the tuple, in whichever order they are written.
        named = dict(zip(answer.names, answer.values, strict=True))
        by_alphabet = sorted(named)
        is_row = all(len(n) == 1 for n in named) and ord(by_alphabet[-1]) - ord(by_alphabet[0]) == len(named) - 1
        names = by_alphabet if is_row else list(named)
        return compare(gold, Collection(gold.kind, tuple(named[name] for name in names)))
    return False


def value_for_named(gold: Named, answer: Form, compare: Compare) -> object:
    """5 in place of x = 5; (1, 2) in place of x = 1, y = 2."""
    if len(gold.names) == 1:
        if isinstance(answer, Equation):
            return two_equations(_equation_of(gold), answer)
        return compare(gold.values[0], answer)
    if isinstance(answer, Collection) and answer.kind in ("()", ","):
        return compare(Collection("()", gold.values), answer)
    return False


def named_for_equation(gold: Equation, answer: Named, _: Compare | None = None) -> object:
    """y = x + 3 in place of y - x = 3."""
    if len(answer.names) != 1 or not isinstance(answer.values[0], Quantity):
        return NEXT
    return two_equations(gold, _equation_of(answer))


def _equation_of(named: Named) -> Equation:
    value = named.values[0]
    if not isinstance(value, Quantity):
        raise NoValueError("an equation between things that are not numbers")
    return Equation((named.names[0], value))


def _node(side: str | Quantity) -> Node:
    return side.node if isinstance(side, Quantity) else quantity(side).node


def two_equations(gold: Equation, answer: Equation, _: Compare | None = None) -> bool | None:
    """Whether both constrain their variables equally: their differences have a constant ratio."""
    if len(gold.sides) != 2 or len(answer.sides) != 2:
        return False
    f, g = (("+", _node(e.sides[0]), ("*", number(-1), _node(e.sides[1]))) for e in (gold, answer))
    if not free(f) or not free(g):
        return False
    return proportional(f, g, signed=False)


def proportional(f: Node, g: Node, signed: bool) -> bool:
    """Whether f is g times a nonzero constant (positive if `signed`)."""
    names = sorted(free(f) | free(g))
    first = _ratio_at(f, g, names)
    if first is None or first == 0 or (signed and first < 0):
        return False
    return equal(f, ("*", number(first), g))


def _ratio_at(f: Node, g: Node, names: list[str]) -> Fraction | None:
    rng = random.Random(1)
    for trial in range(12):
        at = point(names, rng, False, trial % 2)
        at = {n: Fraction(v).limit_denominator(10**6) if isinstance(v, Fraction) else v for n, v in at.items()}
        try:
            a, b = numeric.value(f, at, 80), numeric.value(g, at, 80)
        except NoValueError:
            continue
        if a == 0 or b == 0:
            return None
        with mp.workdps(80):
            ratio = a / b
            if ratio.imag != 0:
                return None
            exact_ratio = Fraction(mpmath.nstr(ratio.real, 70))
        fraction = exact_ratio.limit_denominator(10**6)
        return fraction if abs(exact_ratio - fraction) < Fraction(1, 10**30) else None
    return None


def equation_for_value(gold: Form, answer: Equation, compare: Compare) -> object:
    """A chain counts as its right side if each side before it is a name or equal to it."""
    *before, last = (str(side) for side in answer.sides)
    value = read(last)
    for side in before:
        if is_name(side):
            continue
        try:
            ruling = compare(read(side), value)
        except (NotMathsError, NoValueError):
            return Ruling(None, f"{side!r} is not known to be {last!r}")
        if not ruling.right:
            return Ruling(ruling.right, f"{side!r} is not {last!r}")
    return compare(gold, value)
