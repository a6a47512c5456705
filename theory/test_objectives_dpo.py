"""Section 5.1: DPO's loss and its margin (Observation 1), the first step of ExP-DPO."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import sympy

from theory import objectives
from theory.domains import bits, gradients, point, wide
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
from theory.inputs import Array
from theory.policies import softmax
from theory.relations import Said, both, eq, le, lt

HALF = Fraction(1, 2)


def deceptions(pick: Pick) -> Any:
    """(k, M, ref, pi), trajectories (winner, loser, rest): the winner halves, the loser falls 2k times."""
    k, M = pick(1, 10**6), pick(1, 10**6)
    winner, loser = HALF / (k * M), HALF
    ref = (winner, loser, 1 - winner - loser)
    pi = (winner / 2, loser / (2 * k), 1 - winner / 2 - loser / (2 * k))
    return k, M, ref, pi


def deceives(instance: Any) -> Said:
    """The loss at beta = 1 is at most 1/k, yet pi_+ = pi_- / M and pi_+, the right trajectory, fell.

    The loss is log(1 + 1/k), by 1/(2k) of itself below 1/k: far more than a float's rounding for k up to 10^6.
    """
    k, M, ref, pi = instance
    gain = objectives.odds_gain(pi, ref, 0, 1)
    low = le(objectives.dpo_loss(np.log(float(gain)), 1.0), 1 / k)
    return both(low, eq(gain, k), eq(pi[0] * M, pi[1]), lt(pi[0], ref[0]))


def deceives_without_relative_gain(instance: Any) -> Said:
    """As `deceives`, and pi_+ / pi_- grew less than k times."""
    k, _, ref, pi = instance
    return both(deceives(instance), lt(pi[0] / pi[1], k * ref[0] / ref[1]))


def test_low_loss_at_any_ratio() -> None:
    for_all(deceives, deceptions)


def test_low_loss_control_without_relative_gain() -> None:
    negative_control(deceives_without_relative_gain, deceptions)


def test_odds_gain() -> None:
    pi, ref = [[Fraction(x, 12) for x in row] for row in ((6, 4, 2), (3, 3, 6))]
    assert objectives.odds_gain(pi, ref, 0, 1) == Fraction(3, 2)
    assert objectives.odds_gain(pi, ref, 2, 1) == Fraction(1, 4)


def test_low_loss_in_nats() -> None:
    # Winner from -200 to -150, loser from -50 to -60: a margin of 60 nats, and the winner 90 nats below the loser.
    assert np.isclose(objectives.dpo_loss(60, 0.1), 0.00247568513773, rtol=1e-11)
    assert np.isclose(objectives.dpo_loss(0, 0.1), np.log(2), rtol=1e-15)
    assert np.isclose(objectives.relative_gain(0.01, 0.1), 46.0016601932, rtol=1e-11)
    assert np.isclose(objectives.relative_gain(2000.0, 2.0), -1000, rtol=1e-15)


def losses(pick: Pick) -> Any:
    """(loss, beta): losses up to 1/100, beta from 1/10 to 1."""
    return Fraction(1, pick(100, 10_000)), Fraction(1, pick(1, 10))


def minor_increase_suffices(instance: Any) -> Said:
    """At most one nat of relative gain brings the loss down to this."""
    return le(objectives.relative_gain(*instance), 1)


def test_minor_increase_does_not_suffice() -> None:
    counterexample(minor_increase_suffices, losses, (Fraction(1, 100), Fraction(1)))


def round_trip(power: int) -> sympy.Expr:
    """The loss at the gain -log(e^loss - 1) / beta^power, minus the loss; right for power 1."""
    loss, beta = sympy.symbols("loss beta", positive=True)
    return loss_left(loss, -sympy.log(sympy.exp(loss) - 1) / beta**power, beta)


def reached_by_beta(power: int) -> sympy.Expr:
    """The loss at the beta -log(e^loss - 1) / gain^power, minus the loss; right for power 1."""
    loss, gain = sympy.symbols("loss gain", positive=True)
    return loss_left(loss, gain, -sympy.log(sympy.exp(loss) - 1) / gain**power)


def loss_left(loss: sympy.Expr, gain: sympy.Expr, beta: sympy.Expr) -> sympy.Expr:
    """DPO's loss at a relative gain, minus the loss that is wanted."""
    return sympy.log(1 + sympy.exp(-beta * gain)) - loss


def test_loss_and_gain_determine_each_other() -> None:
    identity(round_trip(1), "any loss > 0, any beta > 0")


def test_loss_control_beta_squared() -> None:
    no_identity(round_trip(2))


def test_minor_increase_suffices_at_some_beta() -> None:
    identity(reached_by_beta(1), "any loss > 0, any relative gain > 0")
    # One nat at beta = 10.
    assert np.isclose(objectives.dpo_loss(1, 10), 4.53988992168646e-5, rtol=1e-11)


def test_minor_control_gain_squared() -> None:
    no_identity(reached_by_beta(2))


def round_trip_error(wrong: float = 1) -> tuple[Array, Array]:
    """|loss(gain(loss)) - loss| for 200,000 losses from 1e-6 to 100, with a gain `wrong` times too large; tolerance."""
    betas = np.random.default_rng(1).uniform(0.01, 2, 200_000)
    loss = 10 ** np.random.default_rng(0).uniform(-6, 2, betas.size)
    gain = objectives.relative_gain(loss, betas) * wrong
    # The loss moves less than beta * gain does, which has 6 roundings; 2 more are relative to the loss.
    tolerance = 2.0**-53 * (8 * np.abs(betas * gain) + 8 * loss)
    return np.abs(objectives.dpo_loss(gain, betas) - loss), tolerance


def test_loss_and_gain_in_floats() -> None:
    sweep(*round_trip_error(), why="8 roundings of the margin and of the loss")


def test_loss_in_floats_control_a_billionth_more() -> None:
    refuted_by_sweep(*round_trip_error(1 + 1e-9))


def slope_error(at_zero: sympy.Rational) -> sympy.Expr:
    """d loss / d margin at margin 0, minus `at_zero` * beta."""
    m, beta = sympy.symbols("m beta", positive=True)
    return sympy.diff(sympy.log(1 + sympy.exp(-beta * m)), m).subs(m, 0) - at_zero * beta


def steps(pick: Pick) -> Any:
    """(pi, logit gradients, r, beta, wrong_only) with a right and a wrong trajectory."""
    pi = wide(pick, 2, 4)
    r = (1, 0, *bits(pick, len(pi) - 2))
    return pi, gradients(pick, len(pi), 2), r, Fraction(pick(1, 20), 10), bool(pick(0, 1))


def mean_first_step(instance: Any) -> Array:
    """Sum over all (winner, loser) of their probability times beta / 2 (s_+ - s_-)."""
    pi, z, r, beta, wrong_only = instance
    s = softmax(pi, z).scores
    losers = [p * (1 - x) if wrong_only else p for p, x in zip(pi, r, strict=True)]
    J = sum(p for p, x in zip(pi, r, strict=True) if x)
    pairs = product(range(len(pi)), repeat=2)
    return sum(pi[a] * r[a] / J * losers[b] / sum(losers) * beta / 2 * (s[a] - s[b]) for a, b in pairs)


def first_step(instance: Any, as_printed: bool = False) -> Said:
    """The first step is the closed form: along grad J, any parametrisation.

    `as_printed`: the closed form is that of losers drawn from pi, whichever losers there are.
    """
    pi, z, r, beta, wrong_only = instance
    closed = objectives.dpo_first_step(softmax(pi, z), r, beta, wrong_only=wrong_only and not as_printed)
    return eq(mean_first_step(instance), closed)


def first_step_is_always_as_printed(instance: Any) -> Said:
    """The closed form of losers drawn from pi for wrong losers too."""
    return first_step(instance, as_printed=True)


def test_first_step() -> None:
    for_all(first_step, steps)


def test_weight_of_the_first_step() -> None:
    identity(slope_error(sympy.Rational(-1, 2)), "any beta")


def test_weight_control() -> None:
    no_identity(slope_error(sympy.Integer(-1)))


def test_first_step_control_wrong_losers() -> None:
    negative_control(first_step_is_always_as_printed, steps)


def losing_responses(pick: Pick) -> Any:
    """(pi, r) with a right trajectory."""
    pi = point(pick, 2, 4, 8)
    return pi, (1, *bits(pick, len(pi) - 1))


def loser_is_worse(instance: Any) -> Said:
    """No losing response drawn from pi is right."""
    pi, r = instance
    return eq(softmax(pi).value(r), 0)


def test_loser_may_be_right() -> None:
    counterexample(loser_is_worse, losing_responses, ((HALF, HALF), (1, 0)))
