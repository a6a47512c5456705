"""Property 2's reason (Section 3.3): what raising pi(c_1|q) and lowering pi(c_2|q) does to J, in each way to do it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import z3

from theory import properties, shifts
from theory.domains import point
from theory.evidence import Given, Pick, counterexample, for_all, negative_control, proved, satisfiable
from theory.policies import softmax
from theory.relations import Said, both, either, eq, ge, gt, lt, when
from theory.test_lemma2 import mean
from theory.test_properties import HALF, ONE, ZERO, cots, small

# Raising c_1 and lowering c_2: equal and unequal amounts


def transferred(pick: Pick) -> Any:
    """(prior, X, share of c_2 that moves to c_1)."""
    prior, x = cots(pick)
    return prior, x, Fraction(pick(1, 12), 12)


def transfer_gain(instance: Any, by_pair: bool = True) -> Said | None:
    """J changes by amount (X_1 - X_2): it grows where X_1 > X_2 (the printed condition; else where X_1 > J)."""
    prior, x, share = instance
    if x[0] <= (x[1] if by_pair else mean(prior, x)):
        return None
    amount = share * prior[1]
    after = properties.transfer(prior, 0, 1, amount)
    moved = (prior[0] + amount, prior[1] - amount, *prior[2:])
    return both(
        eq(tuple(after), moved),
        both(eq(mean(after, x) - mean(prior, x), amount * (x[0] - x[1])), gt(amount * (x[0] - x[1]), 0)),
    )


def transfer_gain_by_baseline(instance: Any) -> Said | None:
    return transfer_gain(instance, by_pair=False)


def test_transfer_gain() -> None:
    for_all(transfer_gain, transferred)


def test_transfer_control_above_j() -> None:
    negative_control(transfer_gain_by_baseline, transferred)


def unequal(pick: Pick) -> Any:
    """(prior, X, up, down): three CoTs; c_1 gains `up`, c_2 loses `down`, the third takes up the difference."""
    prior = point(pick, 3, 3, weight=3)
    down = prior[1] * Fraction(pick(1, 3), 3)
    up = (down + prior[2]) * Fraction(pick(1, 3), 3)
    return prior, small(pick, 3), up, down


def unequal_raises(instance: Any) -> Said | None:
    """X_1 > X_2: raising c_1 and lowering c_2 raises J, by whatever amounts."""
    prior, x, up, down = instance
    if x[0] <= x[1]:
        return None
    return gt(mean(properties.uneven(prior, 0, up, 1, down), x), mean(prior, x))


def test_unequal_counterexample() -> None:
    third = Fraction(1, 3)
    pinned = ((third, third, third), (third, ZERO, ONE), 2 * third, third)
    assert mean(properties.uneven(pinned[0], 0, 2 * third, 1, third), pinned[1]) == third < Fraction(4, 9)
    counterexample(unequal_raises, unequal, pinned)


def unequal_general(pick: Pick) -> Any:
    """(prior, X, up, down), 3 or 4 CoTs."""
    prior, x = cots(pick)
    down = prior[1] * Fraction(pick(1, 12), 12)
    up = (down + 1 - prior[0] - prior[1]) * Fraction(pick(1, 12), 12)
    return prior, x, up, down


def unequal_formula(instance: Any, by_pair: bool = False) -> Said:
    """J changes by up (X_1 - X_rest) + down (X_rest - X_2), X_rest the others' mean: not less if X_1 >= X_rest >= X_2.

    And if X_rest lies outside, there are amounts that lower J. `by_pair`: with the false condition X_1 >= X_2.
    """
    prior, x, up, down = instance
    rest = 1 - prior[0] - prior[1]
    others = mean(prior[2:], x[2:]) / rest
    after = properties.uneven(prior, 0, up, 1, down)
    shared = [p * (rest + down - up) / rest for p in prior[2:]]
    gain = up * (x[0] - others) + down * (others - x[1])
    known = x[0] >= x[1] if by_pair else x[0] >= others >= x[1]
    worst = properties.uneven(prior, 0, rest, 1, 0) if x[0] < others else properties.uneven(prior, 0, 0, 1, prior[1])
    return both(
        eq(after, [prior[0] + up, prior[1] - down, *shared]),
        eq(mean(after, x) - mean(prior, x), gain),
        when(known, ge(gain, 0)),
        when(not known, lt(mean(worst, x), mean(prior, x))),
    )


def unequal_formula_by_pair(instance: Any) -> Said | None:
    return unequal_formula(instance, by_pair=True)


def test_unequal_formula() -> None:
    for_all(unequal_formula, unequal_general)


def test_unequal_control_by_pair() -> None:
    negative_control(unequal_formula_by_pair, unequal_general)


# Finite pushes on logits


def logit_push(pick: Pick) -> Any:
    """(prior, X, alpha, beta): z_1 up by log alpha, z_2 down by -log beta."""
    prior, x = cots(pick)
    return prior, x, 1 + Fraction(pick(1, 30), 10), Fraction(pick(1, 19), 20)


def small_cots(pick: Pick) -> Any:
    """(prior, X) with small denominators, X_1 >= X_2 > 0, the third CoT never right."""
    low, high = sorted(Fraction(pick(1, d), d) for d in (pick(1, 4), pick(1, 4)))
    return point(pick, 3, 3, weight=6), (high, low, ZERO)


def both_above(pick: Pick) -> Any:
    """(prior, X, alpha, beta), mostly with both X above J."""
    return *small_cots(pick), Fraction(2), Fraction(1, pick(2, 4))


def both_below(pick: Pick) -> Any:
    """(prior, X, alpha, beta), mostly with both X below J: X and the two CoTs' places mirrored."""
    prior, x = small_cots(pick)
    return prior, (1 - x[1], 1 - x[0], ONE), Fraction(pick(2, 4)), HALF


def logit_push_keeps(instance: Any, side: int = 0) -> Said | None:
    """X_1 > X_2: the push does not lower J. `side` 1 asks for both X above J, -1 for both below."""
    prior, x, alpha, beta = instance
    value = mean(prior, x)
    if x[0] <= x[1] or (side > 0 and x[1] <= value) or (side < 0 and x[0] >= value):
        return None
    return ge(properties.logit_gain(prior, x, 0, alpha, 1, beta), 0)


def both_above_keeps(instance: Any) -> Said | None:
    return logit_push_keeps(instance, 1)


def both_below_keeps(instance: Any) -> Said | None:
    return logit_push_keeps(instance, -1)


def test_both_above_counterexample() -> None:
    prior, x = (Fraction(1, 5), Fraction(2, 5), Fraction(2, 5)), (Fraction(3, 4), Fraction(2, 3), ZERO)
    pinned = (prior, x, Fraction(2), Fraction(1, 4))
    assert properties.logit_gain(prior, x, 0, pinned[2], 1, pinned[3]) == Fraction(-1, 108)
    counterexample(both_above_keeps, both_above, pinned)


def test_both_below_counterexample() -> None:
    third = Fraction(1, 3)
    pinned = ((third, third, third), (third, ZERO, ONE), Fraction(4), HALF)
    assert properties.logit_gain(*pinned[:2], 0, pinned[2], 1, pinned[3]) == Fraction(-2, 99)
    counterexample(both_below_keeps, both_below, pinned)


def logit_formula(instance: Any, by_pair: bool = False) -> Said:
    """The closed form of the change of J against sums; not negative if X_1 >= J >= X_2 (`by_pair`: X_1 >= X_2)."""
    prior, x, alpha, beta = instance
    value = mean(prior, x)
    gain = properties.logit_gain(prior, x, 0, alpha, 1, beta)
    factors = [alpha, beta, *(ONE for _ in x[2:])]
    weights = [p * f for p, f in zip(prior, factors, strict=True)]
    direct = mean(weights, x) / sum(weights) - value
    found = both(eq(gain, direct), eq(direct, mean(shifts.push(prior, 0, alpha, 1, beta), x)))
    known = x[0] >= x[1] if by_pair else x[0] >= value >= x[1]
    return both(found, when(known, ge(gain, 0)))


def logit_formula_by_pair(instance: Any) -> Said | None:
    return logit_formula(instance, by_pair=True)


def test_logit_formula() -> None:
    for_all(logit_formula, logit_push)


def test_logit_control_by_pair() -> None:
    negative_control(logit_formula_by_pair, logit_push)


def two_cots(rest: Any) -> list[Any]:
    """z3: two CoTs, and others of mass `rest` with X = t; the push does not raise J; up to the positive factor Z/Z'."""
    p, q, x, y, t, alpha, beta = z3.Reals("p q x y t alpha beta")
    value = p * x + q * y + rest * t
    gain = (alpha - 1) * p * (x - value) + (1 - beta) * q * (value - y)
    pushes = [x > y, alpha > 1, beta > 0, beta < 1]
    return [
        Given("probabilities are above 0 and sum to 1", p > 0, q > 0, p + q + rest == 1),
        Given("X is a probability", x <= 1, y >= 0, t >= 0, t <= 1),
        Given("pushing the logit of the better one up and the other's down", *pushes),
        gain <= 0,
    ]


def test_two_cots() -> None:
    proved(*two_cots(0), size="any two CoTs, X_1 > X_2 and amounts")


def test_two_cots_control_others() -> None:
    satisfiable(*two_cots(z3.Q(1, 3)))


def pair_gradient(instance: Any, by_pair: bool = False) -> Said:
    """The rate of a step +1 on log pi_1 and -1 on log pi_2 against sums; not negative if X_1 >= J >= X_2.

    `by_pair`: with the false condition X_1 >= X_2.
    """
    prior, x = instance
    value = mean(prior, x)
    rate = properties.pair_rate(prior, x, 0, 1)
    scores = softmax(prior).scores
    change = [p * (s @ (scores[0] - scores[1])) for p, s in zip(prior, scores, strict=True)]
    known = x[0] >= x[1] if by_pair else x[0] >= value >= x[1]
    return both(eq(rate, mean(change, x)), when(known, ge(rate, 0)))


def pair_gradient_by_pair(instance: Any) -> Said | None:
    return pair_gradient(instance, by_pair=True)


def pair_gradient_raises(instance: Any) -> Said | None:
    """X_1 > X_2: the step raises J."""
    prior, x = instance
    return gt(properties.pair_rate(prior, x, 0, 1), 0) if x[0] > x[1] else None


def test_pair_gradient() -> None:
    for_all(pair_gradient, cots)


def test_pair_gradient_control_by_pair() -> None:
    negative_control(pair_gradient_by_pair, cots)


def test_pair_gradient_counterexample() -> None:
    pinned = ((Fraction(1, 4), HALF, Fraction(1, 4)), (Fraction(3, 4), Fraction(2, 3), ZERO))
    assert properties.pair_rate(*pinned, 0, 1) == Fraction(-1, 64)
    counterexample(pair_gradient_raises, small_cots, pinned)


# P2*: against the baseline J


def by_baseline(pick: Pick) -> Any:
    """(prior, X, raise of every factor, whether the CoT moves at all)."""
    prior, x = cots(pick)
    return prior, x, [1 + Fraction(pick(0, 20), 10) for _ in x]


def baseline_push(instance: Any, level: Any = mean) -> Said | None:
    """CoTs with X above the level get more, those below less, by any factors: J grows, or no factor moved."""
    prior, x, amounts = instance
    base = level(prior, x)
    factors = [f if a > base else 1 / f if a < base else ONE for f, a in zip(amounts, x, strict=True)]
    before, after = mean(prior, x), mean(shifts.stepped(prior, factors), x)
    return either(gt(after, before), both(eq(after, before), eq(set(factors), {1})))


def half_as_baseline(instance: Any) -> Said | None:
    """The level 1/2 in place of J."""
    return baseline_push(instance, lambda *_: HALF)


def test_baseline_push() -> None:
    for_all(baseline_push, by_baseline)


def test_baseline_control_other_level() -> None:
    negative_control(half_as_baseline, by_baseline)


def test_batches_of_floats() -> None:
    prior, x = np.full((5, 3), 1 / 3), np.array([0.6, 0.3, 0.3])
    alpha = np.array([1.0, 1.5, 2.0, 3.0, 4.0])
    gains = properties.logit_gain(prior, x, 0, alpha, 1, 0.5)
    assert np.abs(gains - (shifts.push(prior, 0, alpha, 1, 0.5) * x).sum(-1)).max() < 1e-15
    assert properties.transfer(prior, 0, 1, np.full(5, 0.1)).shape == (5, 3)
    assert properties.uneven(prior, 0, np.full(5, 0.1), 1, np.full(5, 0.2)).shape == (5, 3)
    assert np.array_equal(properties.transfer([0.25, 0.75], 0, 1, 0.0), [0.25, 0.75])
