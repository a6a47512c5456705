"""Lines 118 and 122 where only the logit z_j moves: whether the cross term shrinks with pi_j, and its limit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import z3

from theory import lemma1
from theory.domains import point, wide
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.relations import Said, both, eq, gt, le, lt
from theory.test_lemma1_path import HALF, on_path, value


def size(rho: Any, x: Fraction) -> Any:
    """|F| on the path, from the closed form."""
    return abs(lemma1.cross_term(on_path(rho, x), 0, 1))


def two_places(pick: Pick) -> Any:
    """(rho, x, y), x < y two values of pi_j."""
    y = pick(2, 59)
    return wide(pick, 1, 4, 30, zeros=True), Fraction(pick(1, y - 1), 60), Fraction(y, 60)


# Line 118: "the inner products decrease as the sample becomes less likely"


def decreases(instance: Any) -> Said | None:
    """Literal, by value: F is smaller at the smaller pi_j, below 1/2."""
    rho, x, y = instance
    return lt(value(rho, x), value(rho, y)) if x < y <= HALF else None


def shrinks(instance: Any) -> Said | None:
    """Literal, by size: |F| is smaller at the smaller pi_j, below 1/2."""
    rho, x, y = instance
    return lt(size(rho, x), size(rho, y)) if x < y <= HALF else None


def shrinks_where(likely: bool) -> Statement:
    """|F| shrinks with pi_j up to tau if m <= rho_k; if m > rho_k it grows as pi_j falls below (m - rho_k)/(1 + m).

    Not `likely`: the first without m <= rho_k.
    """

    def statement(instance: Any) -> Said | None:
        rho, x, y = instance
        m = sum(a * a for a in rho)
        if (m <= rho[0] or not likely) and y <= lemma1.threshold(on_path(rho, HALF), 0, 1):
            return lt(size(rho, x), size(rho, y))
        return gt(size(rho, x), size(rho, y)) if y < (m - rho[0]) / (1 + m) else None

    return statement


def size_on_path(*guard: str) -> list[Any]:
    """Negations for any L: F = s^2 (1 + m) - s (1 + rho_k) at s = 1 - x and 1 - y; pi_j falls from y to x.

    The last guard is the negated conclusion.
    """
    rho_k, m, x, y = z3.Reals("rho_k m x y")
    at = {t: (1 - t) * (1 - t) * (1 + m) - (1 - t) * (1 + rho_k) for t in (x, y)}
    known = {
        "m <= rho_k": m <= rho_k,
        "pi_j <= tau": y * 2 * (1 + m) <= 1 + 2 * m - rho_k,
        "pi_j falls below (m - rho_k)/(1 + m)": y * (1 + m) < m - rho_k,
    }
    conclusion = {
        "|F| does not shrink": at[x] * at[x] >= at[y] * at[y],
        "|F| does not grow": at[x] * at[x] <= at[y] * at[y],
    }
    *conditions, last = guard
    return [
        Given("probabilities are above 0 and sum to 1", rho_k > 0, rho_k <= 1, x > 0, y < 1),
        Given("a sum of squares", m >= rho_k * rho_k, m <= 1),
        Given("pi_j falls", x < y),
        *(Given(condition, known[condition]) for condition in conditions),
        conclusion[last],
    ]


def places(pick: Pick) -> Any:
    """(rho, x, y), small."""
    return point(pick, 1, 3, 4), Fraction(pick(1, 5), pick(2, 10)), Fraction(1, pick(2, 5))


def test_value_does_not_decrease() -> None:
    counterexample(decreases, places, ((Fraction(1),), Fraction(1, 3), HALF))


def test_size_does_not_decrease() -> None:
    quarter = Fraction(1, 4)
    counterexample(shrinks, places, ((quarter, 3 * quarter), Fraction(1, 5), quarter))
    tail = (Fraction(1, 10), Fraction(9, 10))
    assert [value(tail, Fraction(1, n)) for n in (4, 10, 100)] == [
        Fraction(159, 800),
        Fraction(2421, 5000),
        Fraction(347391, 500000),
    ]


def test_size_shrinks_beside_a_likely_one() -> None:
    proved(*size_on_path("m <= rho_k", "pi_j <= tau", "|F| does not shrink"), size="any L")
    proved(*size_on_path("pi_j falls below (m - rho_k)/(1 + m)", "|F| does not grow"), size="any L")


def test_size_exact() -> None:
    for_all(shrinks_where(likely=True), two_places)


def test_size_controls() -> None:
    satisfiable(*size_on_path("pi_j <= tau", "|F| does not shrink"))
    satisfiable(*size_on_path("m <= rho_k", "|F| does not shrink"))
    satisfiable(*size_on_path("pi_j <= tau", "|F| does not grow"))


def test_size_control_beside_any() -> None:
    negative_control(shrinks_where(likely=False), two_places)


# Line 122: "the cross-term contributions become negligible"


def negligible(rho: Any) -> Said:
    """Literal: what F adds to T2, pi_k F, tends to 0 with pi_j, and F too, as pi_k tends to its share rho_k > 0."""
    return eq(rho[0] * value(rho, Fraction(0)), 0)


def law(pick: Pick) -> Any:
    return point(pick, 1, 4, 30)


def tends_to(factor: int) -> Statement:
    """F at pi_j = 0, the limit of a polynomial, is m - rho_k, above -1/4 and below 1; L = 3: at least -1/8."""

    def statement(rho: Any) -> Said:
        limit = value(rho, Fraction(0))
        low = Fraction(-1, 8) if len(rho) == 2 else Fraction(-1, 4)
        return both(eq(limit, sum(a * a for a in rho) - factor * rho[0]), both(le(low, limit), lt(limit, 1)))

    return statement


def library(rho: Any, found: Any = lemma1.limit) -> Said:
    """`limit` is the same wherever on the path it is asked; `found` stands for it."""
    x = Fraction(len(rho), 2 * len(rho) + 1)
    return eq(found(on_path(rho, x), 0, 1), value(rho, Fraction(0)))


def library_of_the_value_there(rho: Any) -> Said:
    """With the cross term at that place on the path in place of its limit."""
    return library(rho, lemma1.cross_term)


def limit_beyond(low: Any, high: Any) -> list[Any]:
    """A law of the others with a limit m - rho_k outside."""
    rho_k, m = z3.Reals("rho_k m")
    limit = m - rho_k
    return [
        Given("probabilities are above 0 and sum to 1", rho_k > 0, rho_k < 1),
        Given("a sum of squares", m > rho_k * rho_k, m <= rho_k * rho_k + (1 - rho_k) * (1 - rho_k)),
        z3.Or(limit <= low, limit >= high),
    ]


def test_limit_is_not_0() -> None:
    third = Fraction(1, 3)
    counterexample(negligible, lambda pick: point(pick, 1, 4, 6), (third, 2 * third))
    limit = value((third, 2 * third), Fraction(0))
    assert (limit, third * limit) == (Fraction(2, 9), Fraction(2, 27))
    # Beside an unlikely k; pi_k F is a thousandth of it.
    assert value((Fraction(1, 999), Fraction(998, 999)), Fraction(1, 1000)) == Fraction(497003, 500000)


def test_limit() -> None:
    for_all(tends_to(1), law)
    for_all(library, law)


def test_limit_range() -> None:
    proved(*limit_beyond(z3.Q(-1, 4), 1), size="any L >= 3: -1/4 < limit < 1")


def test_limit_control() -> None:
    negative_control(tends_to(2), law)
    negative_control(library_of_the_value_there, law)


def test_limit_range_control() -> None:
    satisfiable(*limit_beyond(z3.Q(-6, 25), 1))
    satisfiable(*limit_beyond(z3.Q(-1, 4), z3.Q(24, 25)))
