"""Section 5.2: the ExP-SFT term, what it does to J and to other trajectories."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from theory import lemma2, objectives
from theory.domains import bits, gradients, point, wide
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.inputs import Array, array
from theory.policies import softmax
from theory.relations import Said, both, either, eq, ge, gt, le, lt

HALF = Fraction(1, 2)
FIFTHS = (Fraction(1, 5), Fraction(3, 5), Fraction(1, 5))


def samples(pick: Pick) -> Any:
    """(pi, logit gradients, j)."""
    pi = wide(pick, 2, 5)
    return pi, gradients(pick, len(pi), 2), pick(0, len(pi) - 1)


def small_samples(pick: Pick) -> Any:
    """(pi, logit gradients, j), few and small."""
    pi = point(pick, 2, 3, 4)
    return pi, gradients(pick, len(pi), 1), pick(0, len(pi) - 1)


def any_gradient_is_not_zero(instance: Any) -> Said:
    """The SFT gradient of a sample is not zero, any parametrisation."""
    pi, z, j = instance
    return gt(abs(softmax(pi, z).scores[j]).max(), 0)


def tabular_gradient_is_bounded(instance: Any, tabular: bool = True) -> Said:
    """Tabular, (1-pi_j)^2 L / (L-1) <= |s_j|^2 <= 2 (1-pi_j)^2, so it is not zero.

    Not `tabular`: with the instance's logit gradients.
    """
    pi, z, j = instance
    square, rest = softmax(pi, None if tabular else z).gram[j, j], (1 - pi[j]) ** 2
    return both(lt(0, rest * len(pi) / (len(pi) - 1)), le(rest * len(pi) / (len(pi) - 1), square), le(square, 2 * rest))


def any_gradient_is_bounded(instance: Any) -> Said:
    """The same bounds for any parametrisation."""
    return tabular_gradient_is_bounded(instance, tabular=False)


def test_gradient_may_be_zero() -> None:
    counterexample(any_gradient_is_not_zero, small_samples, ((HALF, HALF), ((Fraction(0),), (Fraction(0),)), 0))
    # Not only where no logit depends on the parameters: two logits that move together are enough.
    assert not any_gradient_is_not_zero(((HALF, HALF), ((1,), (1,)), 0))


def test_tabular_gradient_is_not_zero() -> None:
    for_all(tabular_gradient_is_bounded, samples)


def test_gradient_control_any_parametrisation() -> None:
    negative_control(any_gradient_is_not_zero, small_samples)
    negative_control(any_gradient_is_bounded, samples)


def questions(pick: Pick) -> Any:
    """(pi, logit gradients, r) with a right trajectory."""
    pi = wide(pick, 2, 5)
    return pi, gradients(pick, len(pi), 2), (1, *bits(pick, len(pi) - 1))


def fisher(instance: Any, even: bool = False) -> Said:
    """E_posterior s = grad J / J, so the step raises J at the rate |grad J|^2 / J.

    `even`: all right trajectories are equally likely, in place of the posterior.
    """
    pi, z, r = instance
    policy = softmax(pi, z)
    mean = (array(r) / sum(r) if even else lemma2.posterior(pi, r)) @ policy.scores
    g, J = policy.gradient(r), policy.value(r)
    return both(eq(mean * J, g), both(eq(g @ mean, g @ g / J), ge(g @ g / J, 0)))


def fisher_of_even_sampler(instance: Any) -> Said:
    """The same with all right trajectories equally likely."""
    return fisher(instance, even=True)


def test_step_on_the_posterior_raises_j() -> None:
    for_all(fisher, questions)


def test_fisher_control_even_sampler() -> None:
    negative_control(fisher_of_even_sampler, questions)


def right_samples(pick: Pick) -> Any:
    """(pi, r, j) with sample j right."""
    pi = point(pick, 2, 3, 5)
    j = pick(0, len(pi) - 1)
    r = bits(pick, len(pi))
    return pi, (*r[:j], 1, *r[j + 1 :]), j


def single_sample_raises_j(instance: Any) -> Said:
    """One right sample's step does not lower J, tabular."""
    pi, r, j = instance
    return ge(softmax(pi).gain(r, j), 0)


def test_single_sample_may_lower_j() -> None:
    counterexample(single_sample_raises_j, right_samples, (FIFTHS, (1, 1, 0), 0))
    assert softmax(FIFTHS).gain((1, 1, 0), 0) == Fraction(-1, 125)


def two_questions(pick: Pick) -> Any:
    """(share of question 1, J_1, J_2, slopes of their right logits in one shared parameter)."""
    shares, J = point(pick, 2, 2, 3), tuple(point(pick, 2, 2, 3)[0] for _ in range(2))
    return shares, J, tuple(pick(-2, 2) for _ in range(2))


def raises_mean_over_questions(instance: Any) -> Said:
    """The mean step over both questions does not lower E J: the gradients of E log J and of E J agree in sign."""
    shares, J, slopes = instance
    policies = [softmax((x, 1 - x), [[a], [0]]) for x, a in zip(J, slopes, strict=True)]
    of_mean = sum(w * p.gradient((1, 0)) for w, p in zip(shares, policies, strict=True))
    step = sum(w * lemma2.posterior(p.probs, (1, 0)) @ p.scores for w, p in zip(shares, policies, strict=True))
    return ge(of_mean * step, 0)


def complexity(instance: Any) -> tuple[int, ...]:
    """Size of two questions: the denominators of the shares, then of J."""
    shares, J, _ = instance
    return max(x.denominator for x in shares), max(x.denominator for x in J)


def test_several_questions_may_lose() -> None:
    pinned = ((HALF, HALF), (Fraction(1, 3), HALF), (-1, 1))
    counterexample(raises_mean_over_questions, two_questions, pinned, size=complexity)
    thirds = ((Fraction(2, 3), Fraction(1, 3)), (Fraction(3, 4), Fraction(1, 4)), (1, -1))
    assert not raises_mean_over_questions(thirds)


def samplers(pick: Pick) -> Any:
    """(pi, r, mu): a sampler of right trajectories."""
    pi, _, r = questions(pick)
    weights = [pick(1, 9) * x for x in r]
    return pi, r, tuple(Fraction(w, sum(weights)) for w in weights)


def overlap_decides(instance: Any, share: Fraction = Fraction(1)) -> Said:
    """Closed form against the sum; with <mu, pi> >= `share` * sum of pi_l^2 over right l the step does not lower J."""
    pi, r, mu = instance
    policy = softmax(pi)
    p = policy.value(r)
    gain = objectives.tabular_sft_gain(pi, r, mu)
    overlap, right, wrong = mu @ array(pi), array(pi) ** 2 @ array(r), array(pi) ** 2 @ (1 - array(r))
    return both(
        both(
            eq(gain, sum(m * policy.gain(r, j) for j, m in enumerate(mu))),
            eq(sum(m * policy.gain(r, j) for j, m in enumerate(mu)), (1 - p) * (overlap - right) + p * wrong),
        ),
        either(lt(overlap, share * right), ge(gain, 0)),
    )


def half_the_overlap_decides(instance: Any) -> Said:
    """Half of that overlap is enough."""
    return overlap_decides(instance, HALF)


def test_overlap() -> None:
    for_all(overlap_decides, samplers)


def test_overlap_control_half() -> None:
    negative_control(half_the_overlap_decides, samplers, n=10_000)


def any_reward(pick: Pick) -> Any:
    """(pi, rewards in [0, 1], mu), mu anywhere."""
    pi = wide(pick, 2, 5, zeros=True)
    return pi, tuple(Fraction(pick(0, 6), 6) for _ in pi), point(pick, len(pi), len(pi))


def same_as_sum(instance: Any, for_right_alone: bool = False) -> Said:
    """The closed form against the sum for rewards between 0 and 1.

    `for_right_alone`: the closed form is that of `overlap_decides`, for rewards 0 or 1 and right samples.
    """
    pi, r, mu = array(instance[0]), array(instance[1]), array(instance[2])
    policy = softmax(pi)
    p, right, wrong = pi @ r, pi**2 @ r, pi**2 @ (1 - r)
    closed = (1 - p) * (mu @ pi - right) + p * wrong if for_right_alone else objectives.tabular_sft_gain(pi, r, mu)
    return eq(closed, sum(m * policy.gain(r, j) for j, m in enumerate(mu)))


def same_as_sum_for_right_alone(instance: Any) -> Said:
    """The form for rewards 0 or 1 and samples from right trajectories, whatever rewards and samples are."""
    return same_as_sum(instance, for_right_alone=True)


def test_closed_form_with_any_reward() -> None:
    for_all(same_as_sum, any_reward)


def test_closed_form_control_for_right_alone() -> None:
    negative_control(same_as_sum_for_right_alone, any_reward)


def em_steps(pick: Pick) -> Any:
    """(pi, r, eta)."""
    pi, _, r = questions(pick)
    return pi, r, Fraction(pick(0, 12), 12)


def after_em(instance: Any) -> tuple[Array, Any, Any]:
    """(new policy, its J, the old J)."""
    pi, r, eta = instance
    new = objectives.em_step(pi, r, eta)
    return new, (new * array(r)).sum(), (array(pi) * array(r)).sum()


def em_raises_j(instance: Any, damped: int = 1) -> Said:
    """A distribution again, with J' = (1 - damped eta) J + eta; right for 1."""
    new, after, before = after_em(instance)
    eta = instance[2]
    return both(eq(new.sum(), 1, varies=new), eq(after, (1 - damped * eta) * before + eta))


def em_raises_j_by_t(instance: Any) -> Said:
    """J' = J + eta."""
    return em_raises_j(instance, 0)


def test_em_step() -> None:
    for_all(em_raises_j, em_steps)


def test_em_control_by_t() -> None:
    negative_control(em_raises_j_by_t, em_steps)


def others(pick: Pick) -> Any:
    """(pi, j, k): trained on j, another k."""
    pi = point(pick, 2, 4, 5)
    j = pick(0, len(pi) - 1)
    return pi, j, (j + pick(1, len(pi) - 1)) % len(pi)


def other_falls(instance: Any) -> Said:
    """A step on log pi_j does not raise pi_k, tabular: its rate is pi_k <s_j, s_k>."""
    pi, j, k = instance
    return le(softmax(pi).gram[j, k], 0)


def all_others_fall(instance: Any, power: int = 1) -> Said:
    """Their total falls at the rate pi_j^power |s_j|^2, tabular; right for power 1."""
    pi, j, _ = instance
    gram = softmax(pi).gram
    total, rate = sum(p * gram[j, k] for k, p in enumerate(pi) if k != j), pi[j] ** power * gram[j, j]
    return both(eq(total, -rate), lt(-rate, 0))


def all_others_fall_as_the_log_rises(instance: Any) -> Said:
    """At the rate |s_j|^2, at which log pi_j rises."""
    return all_others_fall(instance, 0)


def test_other_may_rise() -> None:
    counterexample(other_falls, others, ((Fraction(1, 5), Fraction(1, 5), Fraction(3, 5)), 0, 1))
    tenths = [Fraction(1, 10), Fraction(1, 10), Fraction(4, 5)]
    assert tenths[1] * softmax(tenths).gram[0, 1] == Fraction(23, 500)


def test_total_of_others_falls() -> None:
    for_all(all_others_fall, others)


def test_total_control_rate_of_the_log() -> None:
    negative_control(all_others_fall_as_the_log_rises, others)


def test_others_control_each() -> None:
    negative_control(other_falls, others)


def test_posterior_is_the_law_given_a_right_answer() -> None:
    assert list(lemma2.posterior(FIFTHS, (1, 1, 0))) == [Fraction(1, 4), Fraction(3, 4), 0]
    assert np.array_equal(lemma2.posterior([[0.5, 0.5], [0.25, 0.75]], [1, 0]), [[1, 0], [1, 0]])
