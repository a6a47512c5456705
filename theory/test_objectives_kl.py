"""Sections 1, 4.1 and 5.2: what the KL term does, alone and together with the reward."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import sympy

from theory import lemma2, objectives
from theory.domains import bits, point, points, wide
from theory.evidence import (
    Pick,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
    refuted_by_sweep,
    sweep,
)
from theory.inputs import Array, array
from theory.relations import Said, both, eq, gt, iff, le, lt

N = 100_000


def tilts(pick: Pick) -> Any:
    """(pi, r, odds): a reference, rewards, e^(1 / beta)."""
    pi = wide(pick, 2, 5, zeros=True)
    return pi, bits(pick, len(pi)), 1 + Fraction(pick(1, 60), pick(1, 4))


def shifts_the_odds(instance: Any, power: int = 1) -> Said:
    """Odds of a right answer times odds^power; the law given right, and given wrong, as it was; J = 0 and 1 stay."""
    pi, r, odds = array(instance[0]), array(instance[1]), instance[2]
    new = objectives.kl_optimum(pi, r, odds)
    J, after = pi @ r, new @ r
    same = both(eq(new * r * J, pi * r * after), eq(new * (1 - r) * (1 - J), pi * (1 - r) * (1 - after)))
    return both(same, eq(new.sum(), 1, varies=new), eq(after * (1 - J), odds**power * J * (1 - after)))


def shifts_the_odds_twice(instance: Any) -> Said:
    """As `shifts_the_odds`, by 2 / beta."""
    return shifts_the_odds(instance, 2)


def test_odds_shift() -> None:
    for_all(shifts_the_odds, tilts)


def test_odds_control_twice() -> None:
    negative_control(shifts_the_odds_twice, tilts)


def test_large_odds() -> None:
    # J = 1e-6 at beta = 0.04.
    assert np.isclose(objectives.kl_optimum([1e-6, 1 - 1e-6], [1, 0], np.exp(25))[0], 0.99998611, rtol=1e-8)


@cache
def batch() -> tuple[Array, Array, Array, Array]:
    """(reference, rewards, 1 / beta, optimum) for N questions with 4 trajectories."""
    rng = np.random.default_rng(0)
    ref, r, inverse = points(N, 4), rng.integers(0, 2, (N, 4)), rng.uniform(0.1, 30, N)
    return ref, r, inverse, objectives.kl_optimum(ref, r, np.exp(inverse))


def objective(pi: Array, ref: Array, r: Array, inverse: Array) -> Array:
    """E r - beta KL(pi || ref), times 1 / beta."""
    return inverse * (pi * r).sum(-1) - lemma2.kl(pi, ref)


def optimality_error(sign: int) -> tuple[Array, Array]:
    """|objective(optimum) - objective(other) - sign * KL(other || optimum)| and its tolerance."""
    ref, r, inverse, best = batch()
    other = points(N, 4, seed=1)
    gap = objective(best, ref, r, inverse) - objective(other, ref, r, inverse)
    # All log ratios lie below 1/beta + the spread of the logits, 50; each of 12 terms has up to 8 roundings.
    return np.abs(gap - sign * lemma2.kl(other, best)), 100 * 2.0**-53 * (inverse + 50)


def test_optimum_is_the_best() -> None:
    sweep(*optimality_error(1), why="100 roundings of log ratios up to 1/beta + 50")


def test_optimum_control_other_sign() -> None:
    refuted_by_sweep(*optimality_error(-1))


def excess(factor: float) -> tuple[Array, Array]:
    """KL(optimum || reference) minus `factor` * (J* - J) / beta, at least 0; its tolerance; bounds at 1/beta too."""
    ref, r, inverse, best = batch()
    gained = ((best - ref) * r).sum(-1)
    assert (gained <= 1).all()
    return np.maximum(lemma2.kl(best, ref) - factor * inverse * gained, 0), 100 * 2.0**-53 * (inverse + 50)


def test_kl_is_bounded() -> None:
    sweep(*excess(1), why="100 roundings of log ratios up to 1/beta + 50")


def test_kl_control_half_the_bound() -> None:
    refuted_by_sweep(*excess(0.5))


def whole_odds(pick: Pick) -> Any:
    """(pi, r, odds) with whole odds up to 40."""
    pi = point(pick, 2, 3, 6)
    return pi, bits(pick, len(pi)), Fraction(pick(2, 40))


def stays_within_half(instance: Any) -> Said:
    """At most half of the probability moves: J* - J <= 1/2, which is the total variation."""
    pi, r, odds = instance
    return le(((objectives.kl_optimum(pi, r, odds) - array(pi)) * array(r)).sum(), Fraction(1, 2))


def largest(instance: Any) -> tuple[int, Fraction]:
    """Size of (pi, r, odds): the denominators, then the odds."""
    return max(x.denominator for x in instance[0]), instance[2]


def test_most_of_the_probability_may_move() -> None:
    thirds = (Fraction(1, 3), Fraction(2, 3))
    counterexample(stays_within_half, whole_odds, (thirds, (1, 0), Fraction(11)), size=largest)


def kl_gradient_error(sign: int) -> list[sympy.Expr]:
    """dKL(pi || ref)/dz_k minus pi_k (log(pi_k / ref_k) - sign * KL), for a softmax over 3 symbolic logits."""
    z, c = sympy.symbols("z:3", real=True), sympy.symbols("c:3", real=True)
    total = sum(map(sympy.exp, z))
    pi = [sympy.exp(x) / total for x in z]
    # The reference is given by its log-probabilities c.
    u = [z[k] - sympy.log(total) - c[k] for k in range(3)]
    KL = sum(p * x for p, x in zip(pi, u, strict=True))
    return [sympy.diff(KL, z[k]) - pi[k] * (u[k] - sign * KL) for k in range(3)]


def test_kl_gradient() -> None:
    identity(kl_gradient_error(1), "L = 3")


def test_kl_gradient_control() -> None:
    no_identity(kl_gradient_error(-1)[0])


def pulls(pick: Pick) -> Any:
    """(ref, n, r): the policy is ref_k 2^n_k, normalised, so that log ratios are whole multiples of log 2 but for one
    constant, which cancels."""
    ref = point(pick, 2, 3, 6)
    return ref, tuple(pick(-3, 3) for _ in ref), bits(pick, len(ref))


def pull(instance: Any) -> tuple[Fraction, Fraction, Fraction]:
    """(rate of J on a step down KL(pi || ref), in units of log 2; J; J of the reference), tabular."""
    ref, n, r = array(instance[0]), array(instance[1]), array(instance[2])
    pi = ref * array([Fraction(2) ** int(x) for x in n])
    pi = pi / pi.sum()
    J = pi @ r
    return -(pi * (n - pi @ n)) @ (pi * (r - J)), J, ref @ r


def regresses(instance: Any) -> Said | None:
    """With the KL term alone, J falls."""
    return lt(pull(instance)[0], 0) if 0 < pull(instance)[1] < 1 else None


def returns(instance: Any, most: int = 2) -> Said | None:
    """Two outcomes: J moves towards the reference's J: it falls iff it is above.

    `most` is how many outcomes there may be.
    """
    rate, J, at_ref = pull(instance)
    if len(instance[0]) > most or not 0 < J < 1:
        return None
    return both(iff(lt(rate, 0), lt(at_ref, J)), iff(gt(rate, 0), gt(at_ref, J)))


def always_returns(instance: Any) -> Said | None:
    """The same with three outcomes too."""
    return returns(instance, 3)


def test_kl_may_raise_j_or_leave_it() -> None:
    half, fifth = Fraction(1, 2), Fraction(1, 5)
    # Three outcomes: J rises though it is above the reference's.
    assert pull(((fifth, 3 * fifth, fifth), (1, 1, 0), (1, 0, 0))) == (Fraction(28, 6561), Fraction(2, 9), fifth)
    at_reference = ((half, half), (0, 0), (1, 0))
    assert pull(at_reference)[0] == 0
    counterexample(regresses, pulls, at_reference)
    assert pull(((half, half), (-1, 0), (1, 0)))[0] > 0


def test_kl_returns_to_the_reference() -> None:
    for_all(returns, pulls)


def test_kl_control_more_outcomes() -> None:
    negative_control(always_returns, pulls)
