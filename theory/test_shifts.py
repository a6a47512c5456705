"""Appendix B: pushes on logits and gradient steps, and what they do to the other probabilities."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import z3

from theory import shifts
from theory.domains import point, size, wide
from theory.evidence import Given, Pick, counterexample, for_all, negative_control, proved, satisfiable
from theory.policies import softmax
from theory.relations import Said, both, each, eq, gt, iff, lt, ne

HALF = Fraction(1, 2)


def pushed(pick: Pick, low: int = 2) -> Any:
    """(e^z, i, alpha, j, beta): a push up on i and one down on j, of whole weights e^z; `low` to 4, at times more."""
    w = tuple(Fraction(pick(1, 60)) for _ in range(size(pick, low, 4)))
    i = pick(0, len(w) - 1)
    j = (i + pick(1, len(w) - 1)) % len(w)
    return w, i, 1 + Fraction(pick(1, 30), 10), j, Fraction(pick(1, 19), 20)


def small(pick: Pick) -> Any:
    """(pi, i, k, alpha) with small denominators, i and k different."""
    pi = point(pick, 2, 4, weight=6)
    i = pick(0, len(pi) - 1)
    return pi, i, (i + pick(1, len(pi) - 1)) % len(pi), Fraction(pick(2, 4))


def shares(w: Any) -> tuple[Fraction, ...]:
    return tuple(x / sum(w) for x in w)


def moved(w: Any, factors: dict[int, Fraction]) -> list[Fraction]:
    """Changes of the softmax of weights e^z, by sums over the weights before and after."""
    after = [x * factors.get(k, Fraction(1)) for k, x in enumerate(w)]
    return [a / sum(after) - b / sum(w) for a, b in zip(after, w, strict=True)]


def single(pi: Any, k: int, alpha: Fraction) -> list[Fraction]:
    """Changes of all probabilities as z_k alone rises by log alpha."""
    return list(shifts.push(pi, k, alpha, (k + 1) % len(pi), Fraction(1)))


# B0 to B2: the formulas, signs, proportions


def printed_formulas(instance: Any, down: bool = True) -> Said:
    """The printed changes e^z (alpha/Z' - 1/Z) and so on, and the library's, against the softmax before and after.

    Not `down`: Z' leaves out the push down.
    """
    w, i, alpha, j, beta = instance
    z = sum(w)
    z_after = alpha * w[i] + (beta if down else 1) * w[j] + sum(x for k, x in enumerate(w) if k not in (i, j))
    printed = [x * ({i: alpha, j: beta}.get(k, 1) / z_after - 1 / z) for k, x in enumerate(w)]
    factors = [{i: alpha, j: beta}.get(k, 1) for k in range(len(w))]
    change = moved(w, {i: alpha, j: beta})
    return both(
        both(eq(printed, change), eq(change, list(shifts.push(shares(w), i, alpha, j, beta)))),
        eq(shifts.ratio(shares(w), i, alpha, j, beta), z_after / z),
        eq(list(shifts.stepped(shares(w), factors) - np.array(shares(w))), change),
    )


def formulas_without_down(instance: Any) -> Said:
    """The formulas with Z' after the push up alone."""
    return printed_formulas(instance, down=False)


def test_printed_formulas() -> None:
    for_all(printed_formulas, pushed)


def test_formulas_control_without_down() -> None:
    negative_control(formulas_without_down, pushed)


def test_push_of_floats_in_batches() -> None:
    alpha, beta = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 0.25])
    change = shifts.push([0.2, 0.4, 0.4], 0, alpha, 1, beta)
    want = [shifts.push([0.2, 0.4, 0.4], 0, a, 1, b) for a, b in zip(alpha, beta, strict=True)]
    assert np.array_equal(change, want)
    assert np.abs(change[1] - [0.2, -0.2, 0.0]).max() < 1e-15


def weights() -> tuple[Any, ...]:
    """z3: weights e^z of i and j, the weight of all others together, alpha, beta; the factors can be any."""
    a, b, rest, alpha, beta = z3.Reals("a b rest alpha beta")
    return a, b, rest, alpha, beta, Given("probabilities are above 0 and sum to 1", a > 0, b > 0, rest >= 0)


def wrong_sign(z_factor: Any, total: Any, total_after: Any, sign: int) -> Any:
    """The change of a weight times factor has not the given sign (both totals are positive)."""
    change = z_factor * total - total_after
    return change <= 0 if sign > 0 else change >= 0


def signs(least_up: int) -> list[Any]:
    """z3: a factor above `least_up` on i and one between 0 and 1 on j, and pi_i does not rise or pi_j not fall."""
    a, b, rest, alpha, beta, positive = weights()
    before, after = a + b + rest, alpha * a + beta * b + rest
    either = z3.Or(wrong_sign(alpha, before, after, 1), wrong_sign(beta, before, after, -1))
    return [positive, Given("both pushes are positive", alpha > least_up, beta > 0, beta < 1), either]


def test_signs() -> None:
    proved(*signs(1), size="any number of others, by their total weight")


def test_signs_control_any_factors() -> None:
    satisfiable(*signs(0))


def proportional(instance: Any, others_only: bool = True) -> Said | None:
    """The others all change by the same factor, so in proportion to e^z."""
    w, i, alpha, j, beta = instance
    change = shifts.push(shares(w), i, alpha, j, beta)
    k = [m for m in range(len(w)) if m not in (i, j) or not others_only]
    factors = [change[m] / w[m] for m in k]
    return eq(max(factors), min(factors)) if len(k) > 1 else None


def all_proportional(instance: Any) -> Said | None:
    return proportional(instance, others_only=False)


def pushed_with_two_others(pick: Pick) -> Any:
    return pushed(pick, 4)


def test_others_proportional() -> None:
    for_all(proportional, pushed_with_two_others)


def test_proportional_control_all() -> None:
    negative_control(all_proportional, pushed)


# The gradient step


def gradient_form(instance: Any, own: int = 1) -> Said:
    """d pi_k = pi_k <s_k, s_i>, sums over the parameters of a tabular softmax; it is `first_order` along the score."""
    pi, i = instance
    policy = softmax(pi)
    direct = [p * own * s for p, s in zip(pi, policy.gram[i], strict=True)]
    change = list(shifts.gradient_step(pi, i))
    return both(
        both(eq(change, direct), eq(direct, list(shifts.first_order(pi, policy.scores[i])))),
        eq(sum(change), 0, varies=change),
    )


def gradient_form_other_sign(instance: Any) -> Said:
    return gradient_form(instance, -1)


def chosen(pick: Pick) -> Any:
    """(pi, i)."""
    pi = wide(pick, 2, 4, zeros=True)
    return pi, pick(0, len(pi) - 1)


def test_gradient_step_closed_form() -> None:
    for_all(gradient_form, chosen)


def test_gradient_step_control_other_sign() -> None:
    negative_control(gradient_form_other_sign, chosen)


# B3 and B4: one logit up or down


def one_logit(up: bool, condition: Any) -> list[Any]:
    """z3: with a factor on weight a that meets the condition, pi_a goes the wrong way or some other b does."""
    a, b, rest, factor, _, positive = weights()
    before, after = a + b + rest, factor * a + b + rest
    sign = 1 if up else -1
    wrong = z3.Or(wrong_sign(factor, before, after, sign), wrong_sign(1, before, after, -sign))
    return [positive, Given(f"pushing sample k {'up' if up else 'down'}", condition(factor)), wrong]


def test_push_up_one() -> None:
    proved(*one_logit(True, lambda f: f > 1), size="any number of others, by their total weight")


def test_push_up_control_any_factor() -> None:
    satisfiable(*one_logit(True, lambda f: f > 0))


def test_push_down_one() -> None:
    proved(*one_logit(False, lambda f: z3.And(f > 0, f < 1)), size="any number of others, by their total weight")


def test_push_down_control_any_factor() -> None:
    satisfiable(*one_logit(False, lambda f: f > 0))


def ascent_lowers_others(instance: Any) -> Said:
    """A gradient step up on log pi_i raises pi_i and lowers every other one."""
    pi, i = instance[:2]
    return each(both(iff(gt(d, 0), eq(m, i)), ne(d, 0)) for m, d in enumerate(shifts.gradient_step(pi, i)))


def descent_raises_others(instance: Any) -> Said:
    """A gradient step down on log pi_i lowers pi_i and raises every other one."""
    pi, i = instance[:2]
    return each(both(iff(lt(d, 0), eq(m, i)), ne(d, 0)) for m, d in enumerate(-shifts.gradient_step(pi, i)))


FIFTHS = ((Fraction(1, 5), Fraction(1, 5), Fraction(3, 5)), 0, 1, Fraction(2))


def test_ascent_counterexample() -> None:
    assert list(shifts.gradient_step(*FIFTHS[:2])) == [Fraction(26, 125), Fraction(1, 125), Fraction(-27, 125)]
    counterexample(ascent_lowers_others, small, FIFTHS)


def test_descent_counterexample() -> None:
    # The first sample wrong, the second the only right one: J falls by 23/500 a unit of learning rate.
    wrong = shifts.gradient_step((Fraction(1, 10), Fraction(1, 10), Fraction(4, 5)), 0)
    assert list(wrong) == [Fraction(73, 500), Fraction(23, 500), Fraction(-24, 125)]
    counterexample(descent_raises_others, small, FIFTHS)
