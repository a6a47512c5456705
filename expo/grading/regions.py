"""Compare inequalities, intervals and unions as sets of real numbers."""

from __future__ import annotations

from expo.grading import numeric
from expo.grading.compare_parts import proportional
from expo.grading.compare_values import NEXT, replaced
from expo.grading.equality import equal, sign_of_infinity
from expo.grading.expression import Node, number
from expo.grading.forms import Collection, Form, Quantity, Relation, Union
from expo.grading.rational import NoValueError, exact, free

Interval = tuple[Node | None, bool, Node | None, bool]  # low, closed, high, closed; None is infinite


def relations(gold: Relation, answer: Relation) -> object:
    """Compare inequalities."""
    if len(gold.signs) == len(answer.signs) == 1:
        a, b = _difference(gold), _difference(answer)
        if a[1] == b[1]:
            if proportional(a[0], b[0], signed=a[1] != r"\ne"):
                return True
        elif {a[1], b[1]} != {"<", r"\le"} or proportional(a[0], b[0], signed=True):
            return False
    return regions(gold, answer)


def _difference(relation: Relation) -> tuple[Node, str]:
    left, right = relation.sides
    sign = relation.signs[0]
    if sign in (">", r"\ge"):
        left, right, sign = right, left, {">": "<", r"\ge": r"\le"}[sign]
    return ("+", left, ("*", number(-1), right)), sign


def regions(gold: Form, answer: Form) -> object:
    """Whether both are the same set of numbers."""
    a, b = _region(gold), _region(answer)
    if a is None or b is None:
        return NEXT if not isinstance(gold, Relation | Union) and a is None else None
    variables = _variables(gold) | _variables(answer)
    if len(variables) > 1:
        return False
    a, b = _merged(a), _merged(b)
    if len(a) != len(b):
        return False
    return all(_same_interval(x, y) for x, y in zip(a, b, strict=True))


def _variables(form: Form) -> set[str]:
    if isinstance(form, Relation):
        return {name for side in form.sides for name in free(side)}
    if isinstance(form, Union):
        return {name for part in form.parts for name in _variables(part)}
    return set()


def _region(form: Form) -> list[Interval] | None:
    """The intervals that a form represents; None if unknown."""
    if isinstance(form, Union):
        parts = [_region(part) for part in form.parts]
        return None if None in parts else [interval for part in parts if part for interval in part]
    if isinstance(form, Collection) and len(form.items) == 2 and form.kind[0] in "([" and form.kind[1] in ")]":
        low, high = form.items
        if not (isinstance(low, Quantity) and isinstance(high, Quantity)):
            return None
        ends = [None if sign_of_infinity(x.node) == s else x.node for x, s in ((low, -1), (high, 1))]
        if _is_reversed(*ends):
            return None
        return [(ends[0], form.kind[0] == "[", ends[1], form.kind[1] == "]")]
    if isinstance(form, Collection) and form.kind == "{}" and all(isinstance(x, Quantity) for x in form.items):
        return [(x.node, True, x.node, True) for x in form.items]  # type: ignore[union-attr]
    if isinstance(form, Relation):
        return _solved(form)
    return None


def _is_reversed(low: Node | None, high: Node | None) -> bool:
    """Whether an interval starts above its end."""
    if low is None or high is None or free(low) or free(high):
        return False
    return bool(numeric.value(low, {"log": 1}).real > numeric.value(high, {"log": 1}).real)


def _solved(relation: Relation) -> list[Interval] | None:
    sides, signs = list(relation.sides), list(relation.signs)
    if all(s in (">", r"\ge") for s in signs):
        sides, signs = sides[::-1], [{">": "<", r"\ge": r"\le"}[s] for s in signs[::-1]]
    names = sorted({n for side in sides for n in free(side)})
    if len(names) != 1:
        return None
    x: Node = ("v", names[0])
    if signs == [r"\ne"]:
        other = sides[1] if sides[0] == x else sides[0] if sides[1] == x else None
        return None if other is None or free(other) else [(None, False, other, False), (other, False, None, False)]
    if not all(s in ("<", r"\le") for s in signs):
        return None
    if len(sides) == 3 and sides[1] == x and not free(sides[0]) and not free(sides[2]):
        ends = [None if sign_of_infinity(n) == s else n for n, s in ((sides[0], -1), (sides[2], 1))]
        return [(ends[0], signs[0] == r"\le", ends[1], signs[1] == r"\le")]
    if len(sides) != 2:
        return None
    closed = signs[0] == r"\le"
    left, right = sides
    if left == x and not free(right):
        return [(None, False, right, closed)]
    if right == x and not free(left):
        return [(left, closed, None, False)]
    return _of_distance(left, right, closed, x)


def _of_distance(left: Node, right: Node, closed: bool, x: Node) -> list[Interval] | None:
    """|x| < 3, |x - 1| > 3."""
    for distance, limit, inside in ((left, right, True), (right, left, False)):
        if (
            distance[:2] != ("f", "abs")
            or free(limit)
            or not ((limit_value := exact(limit)) is None or limit_value > 0)
        ):
            continue
        shift = ("+", ("*", number(-1), distance[2]), x)
        try:
            if not equal(("+", distance[2], shift), x) or free(distance[2]) != free(x):
                continue
            centre = replaced(shift, x, number(0))
            if not equal(shift, centre):
                continue
        except NoValueError:
            continue
        low, high = ("+", centre, ("*", number(-1), limit)), ("+", centre, limit)
        if inside:
            return [(low, closed, high, closed)]
        return [(None, False, low, closed), (high, closed, None, False)]
    return None


def _merged(region: list[Interval]) -> list[Interval]:
    """Sort intervals by their lower ends, and join those that touch in a closed end."""

    def place(end: Node | None) -> float:
        return float("-inf") if end is None else float(numeric.value(end, {"log": 1}).real)

    kept: list[Interval] = []
    for interval in sorted(region, key=lambda r: (place(r[0]), not r[1])):
        if kept and kept[-1][2] is not None:
            before = kept[-1]
            high, low = float(numeric.value(before[2], {"log": 1}).real), place(interval[0])  # type: ignore[arg-type]
            if low < high or (low == high and (before[3] or interval[1])):
                top = float("inf") if interval[2] is None else float(numeric.value(interval[2], {"log": 1}).real)
                end = (interval[2], interval[3]) if top >= high else (before[2], before[3])
                kept[-1] = (before[0], before[1], *end)
                continue
        elif kept and kept[-1][2] is None:
            continue
        kept.append(interval)
    return kept


def _same_interval(a: Interval, b: Interval) -> bool:
    if (a[0] is None) != (b[0] is None) or (a[2] is None) != (b[2] is None):
        return False
    if a[1] != b[1] or a[3] != b[3]:
        return False
    return all(x is None or y is None or equal(x, y) for x, y in ((a[0], b[0]), (a[2], b[2])))
