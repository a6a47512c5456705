"""Lemma 1 (line 120): what holds in every direction, wherever the mass comes from."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import z3

from theory import lemma1
from theory.evidence import Given, Pick, Statement, for_all, negative_control, proved, satisfiable
from theory.relations import Said, both, gt, iff, lt, when
from theory.test_lemma1 import HALF, pairs, with_donors


def universal(low: Callable[[Any, int, int], Fraction]) -> Statement:
    """F falls if pi_j < `low`, and if nothing is taken from k and pi_j <= 1/2; it rises if pi_j > `high`.

    Each is counted at each length, so that each is reached there.
    """

    def statement(instance: Any) -> Said:
        pi, j, k, d = instance
        slope = lemma1.derivative(pi, j, k, d)
        falls = pi[j] < low(pi, j, k) or (d[k] == 0 and pi[j] <= HALF)
        rises = pi[j] > high(pi, j, k)
        return both(
            *(when(falls and len(pi) == n, lt(slope, 0)) for n in LENGTHS),
            *(when(rises and len(pi) == n, gt(slope, 0)) for n in LENGTHS),
        )

    return statement


def high(pi: Any, j: int, k: int) -> Fraction:
    """The larger of pi_k and 1/2 + the largest of the rest (if there is a rest)."""
    return max([pi[k], *(HALF + p for i, p in enumerate(pi) if i not in (j, k))])


def tight(least: Callable[[Any, int, int], Fraction]) -> Statement:
    """In every direction F falls if and only if pi_j < pi_k, and rises if and only if pi_j > `least`, which is `high`.

    The derivative is linear in the donors, so single donors decide. Each is counted at each length.
    """

    def statement(instance: Any) -> Said:
        pi, j, k = instance
        slopes = [lemma1.derivative(pi, j, k, lemma1.donors_single(pi, j, i)) for i in range(len(pi)) if i != j]
        falls = iff(lt(max(slopes), 0), lt(pi[j], pi[k]))
        rises = iff(gt(min(slopes), 0), gt(pi[j], least(pi, j, k)))
        return both(*(when(len(pi) == n, both(falls, rises)) for n in LENGTHS))

    return statement


LENGTHS = (2, 3, 4, 5)


def with_a_likely_one(pi: Any, j: int, times: int) -> tuple[Fraction, ...]:
    """The policy with trajectory j made so many times as likely beside the others."""
    w = [p * (times if i == j else 1) for i, p in enumerate(pi)]
    return tuple(Fraction(x / sum(w)) for x in w)


def pairs_with_a_likely_one(pick: Pick) -> Any:
    """As `pairs`, in half of them with pi_j up to 40 times as likely, or it is never above 1/2 + the rest at L = 5."""
    pi, j, k = pairs(pick)
    return with_a_likely_one(pi, j, pick(1, 40) if pick(0, 1) else 1), j, k


def with_donors_of_a_likely_one(pick: Pick) -> Any:
    """As `with_donors`, in half of them with pi_j up to 40 times as likely."""
    pi, j, k, d = with_donors(pick, empty=False)
    return with_a_likely_one(pi, j, pick(1, 40) if pick(0, 1) else 1), j, k, d


def any_rest(*guard: str) -> list[Any]:
    """Policies over any L with any donors, where the guards are met: a = pi_j, b = pi_k, M the largest of the rest.

    k gives the share d; the rest gives 1 - d, and s is their part of <d, pi>, above 0 and at most (1 - d) M. The last
    guard is the negated conclusion.
    """
    a, b, most, d, s = z3.Reals("a b M d s")
    slope = 2 * a - 1 - 2 * (d * b + s) + d
    known = {
        "pi_j <= 1/2": 2 * a <= 1,
        "pi_j < pi_k": a < b,
        "pi_j > pi_k": a > b,
        "pi_j is above both pi_k and 1/2 + the largest of the rest": z3.And(a > b, 2 * a > 1 + 2 * most),
        "nothing is taken from k": d == 0,
        "all from k": d == 1,
        "all from the largest of the rest": z3.And(d == 0, s == most),
    }
    conclusion = {
        "does not fall": slope >= 0,
        "does not rise": slope <= 0,
        "falls at pi_k or above": z3.And(slope < 0, a >= b),
        "rises at pi_k or below": z3.And(slope > 0, a <= b),
        "rises at 1/2 + M or below": z3.And(slope > 0, 2 * a <= 1 + 2 * most),
    }
    policy = [a > 0, b > 0, most >= 0, a + b + most <= 1, z3.Implies(most == 0, a + b == 1)]
    donors = [d >= 0, d <= 1, s >= 0, s <= (1 - d) * most, z3.Implies(d < 1, s > 0)]
    *conditions, last = guard
    return [
        Given("probabilities are above 0 and sum to 1", *policy, *donors),
        *(Given(condition, known[condition]) for condition in conditions),
        conclusion[last],
    ]


def test_every_direction() -> None:
    proved(*any_rest("pi_j < pi_k", "does not fall"), size="any L: falls below pi_k")
    proved(*any_rest("pi_j <= 1/2", "nothing is taken from k", "does not fall"), size="any L: falls up to 1/2")
    above = "pi_j is above both pi_k and 1/2 + the largest of the rest"
    proved(*any_rest(above, "does not rise"), size="any L: rises above both")


def test_every_direction_on_instances() -> None:
    for_all(universal(lambda pi, _j, k: pi[k]), with_donors_of_a_likely_one)


def test_every_direction_tight() -> None:
    proved(*any_rest("all from k", "falls at pi_k or above"), size="any L: falls in every direction below pi_k alone")
    proved(*any_rest("all from k", "rises at pi_k or below"), size="any L: rises in every direction above pi_k alone")
    largest = "all from the largest of the rest"
    proved(*any_rest(largest, "rises at 1/2 + M or below"), size="any L: and above 1/2 + M alone")


def test_every_direction_tight_on_instances() -> None:
    for_all(tight(high), pairs_with_a_likely_one)


def test_every_direction_controls() -> None:
    satisfiable(*any_rest("pi_j <= 1/2", "does not fall"))
    satisfiable(*any_rest("pi_j > pi_k", "does not rise"))
    negative_control(universal(lambda _pi, _j, _k: HALF), with_donors_of_a_likely_one)


def test_every_direction_tight_controls() -> None:
    # Directions that take nothing from k, or from the largest of the rest, do not decide.
    satisfiable(*any_rest("nothing is taken from k", "falls at pi_k or above"))
    satisfiable(*any_rest("all from k", "rises at 1/2 + M or below"))
    negative_control(tight(lambda _pi, _j, _k: HALF), pairs_with_a_likely_one)
