"""The sign and the order of gains (Section 3.2), checked for individual policies."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from theory import improvement
from theory.evidence import Pick, Statement, for_all, negative_control
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, gt, iff, when
from theory.test_improvement import sample, sample_of_any_softmax


def two_samples(pick: Pick) -> Any:
    """(pi, r, j, k), j and k different."""
    pi, r, j = sample(pick)
    return pi, r, j, (j + pick(1, len(pi) - 1)) % len(pi)


def positive_iff(factor: int) -> Statement:
    """A right sample's gain is positive if and only if pi_j > S2_S - `factor` p / (1 - p) S2_F."""

    def statement(instance: Any) -> Said | None:
        pi, r, j = instance
        if not r[j] or all(r):
            return None
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        right = sum(x * x for x, y in zip(pi, r, strict=True) if y)
        wrong = sum(x * x for x, y in zip(pi, r, strict=True) if not y)
        return iff(gt(improvement.tabular_gain(pi, r, j), 0), gt(pi[j], right - factor * p / (1 - p) * wrong))

    return statement


def test_sign_of_the_gain() -> None:
    for_all(positive_iff(1), sample)


def test_sign_control_without_the_wrong_samples() -> None:
    negative_control(positive_iff(0), sample)


def average(squared: bool) -> Statement:
    """The mean gain of right samples drawn from the policy is |grad J|^2 / p, for any logit gradients."""

    def statement(instance: Any) -> Said | None:
        pi, z, r, _ = instance
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        if not p:
            return None
        policy = softmax(pi, z)
        mean = sum(pi[j] / p * policy.gain(r, j) for j in range(len(pi)) if r[j])
        g = policy.gradient(r)
        return eq(mean, (g * g).sum() / (p if squared else 1))

    return statement


def test_average_gain_on_policy() -> None:
    for_all(average(squared=True), sample_of_any_softmax)


def test_average_gain_control_without_p() -> None:
    negative_control(average(squared=False), sample_of_any_softmax)


def relative(sign: int) -> Statement:
    """Of two samples with the same reward r the gains differ by (r - p)(pi_j - pi_k)."""

    def statement(instance: Any) -> Said | None:
        pi, r, j, k = instance
        if r[j] != r[k]:
            return None
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        difference = improvement.tabular_gain(pi, r, j) - improvement.tabular_gain(pi, r, k)
        return eq(difference, sign * (r[j] - p) * (pi[j] - pi[k]))

    return statement


def contrastive(sign: int) -> Statement:
    """Weight 1 on a right sample j and -1 on a wrong one k gain (1 - p) pi_j + p pi_k, which is positive."""

    def statement(instance: Any) -> Said | None:
        pi, r, j, k = instance
        if not r[j] > r[k]:
            return None
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        gain = improvement.tabular_gain(pi, r, j) + sign * improvement.tabular_gain(pi, r, k)
        return both(eq(gain, (1 - p) * pi[j] + p * pi[k]), gt(gain, 0))

    return statement


def contrastive_step(sign: int) -> Statement:
    """Odds of a right sample times `factor` > 1, of a wrong one times factor^sign: J rises, whatever the factor.

    With the sign -1 the wrong one goes down; with 1 both go up.
    """

    def statement(instance: Any) -> Said | None:
        (pi, r, j, k), factor = instance
        if not r[j] > r[k]:
            return None
        scale = [factor if i == j else factor**sign if i == k else 1 for i in range(len(pi))]
        moved = [p * s for p, s in zip(pi, scale, strict=True)]
        new = sum(m for m, y in zip(moved, r, strict=True) if y) / sum(moved)
        return gt(new, sum(p for p, y in zip(pi, r, strict=True) if y))

    return statement


def steps(pick: Pick) -> Any:
    """(two samples, a factor above 1 and up to 21)."""
    return two_samples(pick), 1 + Fraction(pick(1, 400), 20)


def weighted_batch(pick: Pick) -> Any:
    """(pi, r, w): any whole weights on all trajectories."""
    pi, r, _ = sample(pick)
    return pi, r, tuple(pick(-3, 3) for _ in pi)


def zero_sum(instance: Any) -> Said:
    """Weights that sum to 0 gain sum_i w_i pi_i (r_i - p), at least 0 if w_i (r_i - p) >= 0 for all."""
    pi, r, w = instance
    p = sum(x for x, y in zip(pi, r, strict=True) if y)
    gain = sum(x * improvement.tabular_gain(pi, r, j) for j, x in enumerate(w))
    signed = all(x * (y - p) >= 0 for x, y in zip(w, r, strict=True))
    return both(eq(gain, sum(x * a * (y - p) for x, a, y in zip(w, pi, r, strict=True))), when(signed, ge(gain, 0)))


def zero_sum_batch(pick: Pick) -> Any:
    """As `weighted_batch`, the last weight so that they sum to 0."""
    pi, r, w = weighted_batch(pick)
    return pi, r, (*w[:-1], -sum(w[:-1]))


def test_relative_gain() -> None:
    for_all(relative(1), two_samples)


def test_contrastive_gain() -> None:
    for_all(contrastive(-1), two_samples)


def test_contrastive_step_of_any_size() -> None:
    for_all(contrastive_step(-1), steps)


def test_zero_sum_gain() -> None:
    for_all(zero_sum, zero_sum_batch)


def test_relative_control_other_sign() -> None:
    negative_control(relative(-1), two_samples)


def test_contrastive_control_both_up() -> None:
    negative_control(contrastive(1), two_samples)


def test_contrastive_step_control_both_up() -> None:
    negative_control(contrastive_step(1), steps)


def test_zero_sum_control_any_weights() -> None:
    negative_control(zero_sum, weighted_batch)
