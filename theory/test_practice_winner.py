"""ExP-DPO's first step: when its winners become likelier on it, and when they do not."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory import lemma2, sampler
from theory.domains import bits, gradients, point
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.inputs import Array, array
from theory.instances import denominator
from theory.policies import Policy, softmax
from theory.relations import Said, both, eq, ge, iff, lt

N = 300
HALF = Fraction(1, 2)


def question(pick: Pick) -> Any:
    """(pi, logit gradients, r, mu): mu draws winners, with a* alone or with any answer."""
    pi = point(pick, 2, 4)
    r = (1, 0, *bits(pick, len(pi) - 2))
    weights = [pick(1, 9) * x for x in r] if pick(0, 1) else [pick(1, 9) for _ in r]
    return pi, gradients(pick, len(pi), 2), r, tuple(Fraction(w, sum(weights)) for w in weights)


def steps(pick: Pick) -> Any:
    """(shares of the questions, the questions in parameters that they share, beta, A of a preconditioner A A^T)."""
    shares = point(pick, 1, 2, 5)
    A = [[pick(-2, 2) for _ in range(2)] for _ in range(2)]
    return shares, [question(pick) for _ in shares], Fraction(pick(1, 20), 10), A


def one_question(pick: Pick) -> Any:
    """The same of one question."""
    return (Fraction(1),), [question(pick)], *steps(pick)[2:]


def mean_push(s: Array, winners: Any, losers: Any, beta: Fraction) -> Array:
    """Sum over all (winner, loser) of their probability times beta / 2 (s_+ - s_-), the first step on a pair."""
    pairs = product(range(len(s)), repeat=2)
    return sum(winners[a] * losers[b] * beta / 2 * (s[a] - s[b]) for a, b in pairs)


def rate_on_the_step(instance: Any, wrong_only: bool) -> Any:
    """The rate of E_mu log pi, mean over questions, on the mean step of all pairs, preconditioned by A A^T."""
    shares, of_questions, beta, A = instance
    step, winners = 0, 0
    for share, (pi, z, r, mu) in zip(shares, of_questions, strict=True):
        s = softmax(pi, z).scores
        wrong = [p * (1 - x) for p, x in zip(pi, r, strict=True)]
        losers = [p / sum(wrong) for p in wrong] if wrong_only else pi
        step, winners = step + share * mean_push(s, mu, losers, beta), winners + share * (array(mu) @ s)
    return winners @ array(A) @ array(A).T @ step


def pooled(instance: Any) -> tuple[Policy, Array]:
    """The policy over (q, c, a) and the sampler of (q, c, a*), in parameters in which the preconditioner is none.

    <u, A A^T v> is the inner product of A^T u and A^T v: a preconditioner is another parametrisation.
    """
    shares, of_questions, _, A = instance
    scores = [softmax(pi, z).scores @ array(A) for pi, z, _, _ in of_questions]
    probs = [w * array(pi) for w, (pi, *_) in zip(shares, of_questions, strict=True)]
    mu = [w * array(mu) for w, (*_, mu) in zip(shares, of_questions, strict=True)]
    return Policy(np.concatenate(probs), np.concatenate(scores)), np.concatenate(mu)


def mean_winner_rises(instance: Any, wrong_only: bool = False) -> Said:
    """With own losers, right or wrong, it is (beta / 2) |E_mu s|^2 >= 0. `wrong_only`: wrong ones."""
    policy, mu = pooled(instance)
    rate = rate_on_the_step(instance, wrong_only)
    return both(eq(rate, sampler.winner_rate(policy, mu, instance[2])), ge(rate, 0))


def mean_winner_rises_over_wrong(instance: Any) -> Said:
    """The same with wrong losers only."""
    return mean_winner_rises(instance, wrong_only=True)


def test_mean_winner_rises() -> None:
    for_all(mean_winner_rises, steps, N)


def test_rises_control_wrong_losers() -> None:
    negative_control(mean_winner_rises_over_wrong, steps, N)


def falls_over_wrong(instance: Any, factor: int = 1) -> Said:
    """With wrong losers only it falls if and only if <m, grad J> < -`factor` (1 - J) |m|^2, m = E_mu s; right for 1."""
    policy, mu = pooled(instance)
    r, beta = instance[1][0][2], instance[2]
    rate, mean, gradient = rate_on_the_step(instance, True), mu @ policy.scores, policy.gradient(r)
    bound = -factor * (1 - policy.value(r)) * (mean @ mean)
    return both(eq(rate, sampler.winner_rate(policy, mu, beta, r)), iff(lt(rate, 0), lt(mean @ gradient, bound)))


def falls_over_wrong_later(instance: Any) -> Said:
    """Below twice that bound."""
    return falls_over_wrong(instance, 2)


def test_when_it_falls() -> None:
    for_all(falls_over_wrong, one_question, 2 * N)


def test_falls_control_twice_the_bound() -> None:
    negative_control(falls_over_wrong_later, one_question, 2 * N)


# Winners that Bayes' rule draws


def explained(instance: Any) -> Any:
    """The same step with self-explanations as Bayes' rule draws them."""
    shares, of_questions, *rest = instance
    by_bayes = [(pi, z, r, tuple(lemma2.posterior(pi, r))) for pi, z, r, _ in of_questions]
    return shares, by_bayes, *rest


def explanations_rise(instance: Any, by_bayes: bool = True) -> Said:
    """With wrong losers only their mean log-probability does not fall. Not `by_bayes`: any sampler's."""
    return ge(rate_on_the_step(explained(instance) if by_bayes else instance, True), 0)


def samples_of_any_law_rise(instance: Any) -> Said:
    """The same of samples of any law."""
    return explanations_rise(instance, by_bayes=False)


def test_explanations_rise() -> None:
    for_all(explanations_rise, one_question, N)


def test_explanations_control_any_law() -> None:
    negative_control(samples_of_any_law_rise, one_question, N)


def two_coins(pick: Pick) -> Any:
    """(shares of two questions, J_1, J_2, slopes of their right logits in one shared parameter)."""
    shares, J = point(pick, 2, 2, 3), tuple(point(pick, 2, 2, 3)[0] for _ in range(2))
    return shares, J, tuple(pick(-3, 3) for _ in range(2))


def of_coins(instance: Any) -> Any:
    """The step at beta = 1, as `steps` has it."""
    shares, J, slopes = instance
    return shares, [((x, 1 - x), [[a], [0]], (1, 0), ()) for x, a in zip(J, slopes, strict=True)], Fraction(1), [[1]]


def explanations_rise_over_questions(instance: Any) -> Said:
    """Literal: nor does it over two questions with one right and one wrong trajectory each."""
    return explanations_rise(of_coins(instance))


def complexity(instance: Any) -> tuple[int, ...]:
    """Size of two questions: the denominators of the shares, then of J."""
    return denominator(instance[0]), denominator(instance[1])


def test_explanations_of_two_questions_may_fall() -> None:
    pinned = ((HALF, HALF), (Fraction(1, 3), Fraction(2, 3)), (2, -3))
    counterexample(explanations_rise_over_questions, two_coins, pinned, size=complexity)
    assert rate_on_the_step(explained(of_coins(pinned)), True) == Fraction(-1, 24)


def right_samples(pick: Pick) -> Any:
    """(pi, r, j) with sample j right and a wrong one."""
    pi = point(pick, 2, 3, 5)
    r = (*bits(pick, len(pi) - 2), 1, 0)
    return pi, r, len(pi) - 2


def rate_of_one(instance: Any) -> Fraction:
    """Of log pi_j on the mean step of self-explanations and losers drawn from the policy, tabular, beta = 1."""
    pi, r, j = instance
    s = softmax(pi).scores
    return Fraction(s[j] @ mean_push(s, lemma2.posterior(pi, r), pi, Fraction(1)))


def each_winner_rises(instance: Any) -> Said:
    """No single self-explanation becomes less likely."""
    return ge(rate_of_one(instance), 0)


def test_single_winner_may_fall() -> None:
    pinned = (tuple(Fraction(x, 5) for x in (3, 1, 1)), (1, 1, 0), 1)
    counterexample(each_winner_rises, right_samples, pinned)
    assert rate_of_one(pinned) == Fraction(-1, 200)
