"""Sentences on training: lines 232 and 236 (DPO), 249 and 257 (the ExP-SFT term)."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory import lemma2, objectives
from theory.domains import bits, gradients, point
from theory.evidence import Pick, Statement, counterexample, for_all, negative_control
from theory.inputs import array
from theory.instances import denominator
from theory.policies import softmax, tree
from theory.relations import Said, both, eq, ge, gt, le, lt, ne
from theory.test_improvement_tokens import digits, written
from theory.test_lemma2 import mean

HALF = Fraction(1, 2)
FIFTHS = (Fraction(1, 5), Fraction(3, 5), Fraction(1, 5))

# O1-classify, line 232: a minor increase suffices to classify a pair as correct


def minor_increases(pick: Pick) -> Any:
    """(k, M): the winner, M times less likely than the loser, grows by 1/k of itself; the loser stays."""
    return pick(1, 10**6), pick(3, 10**6)


def classified(by_margin: bool) -> Statement:
    """The pair counts as right: its margin is above 0, though the winner stays below the loser; the loss is near log 2.

    Not `by_margin`: by the policy's own probabilities.
    """

    def statement(instance: Any) -> Said:
        k, M = instance
        winner, loser = HALF / M, HALF
        grown = winner * (1 + Fraction(1, k))
        gain = objectives.odds_gain((grown, loser, HALF - grown), (winner, loser, HALF - winner), 0, 1)
        loss = objectives.dpo_loss(np.log(float(gain)), 1.0)
        # A margin of m lowers the loss by at most m/2; floats lie 16 digits off, 1/k at least 6.
        near = both(lt(loss, np.log(2)), gt(loss, np.log(2) - 1 / k))
        right = gt(gain, 1) if by_margin else gt(grown, loser)
        return both(eq(gain, 1 + Fraction(1, k)), right, lt(grown, loser), near)

    return statement


def test_minor_increase_classifies() -> None:
    for_all(classified(by_margin=True), minor_increases)


def test_classify_control_by_the_policy() -> None:
    negative_control(classified(by_margin=False), minor_increases)


# DPO-online, line 236: freshly generated winners give a consistently strong learning signal


def policies(pick: Pick) -> Any:
    """(pi, reference, r), the first trajectory right, the second wrong."""
    pi = point(pick, 2, 4, 12)
    return pi, point(pick, len(pi), len(pi), 12), (1, 0, *bits(pick, len(pi) - 2))


def small_policies(pick: Pick) -> Any:
    """(pi, reference, r): three trajectories, the first two right."""
    return point(pick, 3, 3, 4), point(pick, 3, 3, 2), (1, 1, 0)


def mean_step(instance: Any, wrong_only: bool) -> Fraction:
    """Rate of J on the mean ExP-DPO step at beta = 1, tabular: winners as Bayes' rule draws them, from pi itself.

    A pair has the weight sigmoid(-margin) = 1 / (1 + odds gain). Losers from pi, or its wrong ones alone.
    """
    pi, ref, r = instance
    policy, rate = softmax(pi), Fraction(0)
    gains = [policy.gain(r, j) for j in range(len(pi))]
    losers = [p * (1 - x) if wrong_only else p for p, x in zip(pi, r, strict=True)]
    for (j, q), (i, p) in product(enumerate(lemma2.posterior(pi, r)), enumerate(losers)):
        if q and p and i != j:
            rate += q * p / (1 + objectives.odds_gain(pi, ref, j, i)) * (gains[j] - gains[i])
    return rate / sum(losers)


def step_raises_j(wrong_only: bool) -> Statement:
    """The mean step raises J."""
    return lambda instance: gt(mean_step(instance, wrong_only), 0)


def test_online_step_may_lower_j() -> None:
    pinned = ((Fraction(1, 6), Fraction(2, 3), Fraction(1, 6)), (Fraction(1, 4), Fraction(1, 4), HALF), (1, 1, 0))
    assert mean_step(pinned, wrong_only=False) == Fraction(-1, 900)
    counterexample(step_raises_j(wrong_only=False), small_policies, pinned)


def test_online_step_with_wrong_losers() -> None:
    for_all(step_raises_j(wrong_only=True), policies, n=200)


def test_online_control_losers_as_printed() -> None:
    negative_control(step_raises_j(wrong_only=False), policies)


# SFT-own, line 257: the ExP-SFT term increases the likelihood of self-explanations


def questions(pick: Pick) -> Any:
    """(pi, logit gradients, r) with a right trajectory."""
    pi = point(pick, 2, 5)
    return pi, gradients(pick, len(pi), 2), (1, *bits(pick, len(pi) - 1))


def small_questions(pick: Pick) -> Any:
    """(pi, r): three trajectories, the first two right; tabular."""
    return point(pick, 3, 3, 4), (1, 1, 0)


def each_rises(instance: Any) -> Said:
    """Literal: the mean step raises log pi of every self-explanation, tabular."""
    pi, r = instance
    policy = softmax(pi)
    rates = policy.scores @ (lemma2.posterior(pi, r) @ policy.scores)
    return ge(min(x for x, y in zip(rates, r, strict=True) if y), 0)


def mean_rises(of_drawn: bool) -> Statement:
    """The mean of log pi over self-explanations rises at the rate |E_post s|^2, for any parametrisation.

    Not `of_drawn`: the mean in which all right trajectories count the same.
    """

    def statement(instance: Any) -> Said:
        pi, z, r = instance
        s, post = softmax(pi, z).scores, lemma2.posterior(pi, r)
        step = post @ s
        rate = (post if of_drawn else array(r) / sum(r)) @ (s @ step)
        return both(eq(rate, step @ step), ge(rate, 0))

    return statement


def test_self_explanation_may_fall() -> None:
    policy = softmax(FIFTHS)
    assert policy.scores[0] @ (lemma2.posterior(FIFTHS, (1, 1, 0)) @ policy.scores) == Fraction(-1, 100)
    counterexample(each_rises, small_questions, (FIFTHS, (1, 1, 0)))


def test_mean_rises() -> None:
    for_all(mean_rises(of_drawn=True), questions)


def test_rises_control_counted_alike() -> None:
    negative_control(mean_rises(of_drawn=False), questions)


# SFT-fork, line 257: a small deviation between two traces shows where to adjust


def sharing(pick: Pick) -> Any:
    """(tables, two sequences): 2 or 3 binary tokens, or 2 of three kinds."""
    tables, _, a, b = written(pick)
    return tables, a, b


def small_sharing(pick: Pick) -> Any:
    """(tables, two sequences): two binary tokens."""
    rows = [point(pick, 2, 2, 2) for _ in range(3)]
    return [np.array(rows[0]), np.array(rows[1:])], pick(0, 3), pick(0, 3)


def acts_from_the_fork(down: int) -> Statement:
    """A step with weight 1 on one sequence and -`down` on another leaves all tables before their fork as they are.

    And it moves the table at the fork. `down` 0 is the ExP-SFT term without the other trace.
    """

    def statement(instance: Any) -> Said | None:
        tables, a, b = instance
        v, depth = tables[0].shape[-1], len(tables)
        if a == b or digits(a, v, depth)[0] != digits(b, v, depth)[0]:
            return None
        fork = next(t for t in range(depth) if digits(a, v, depth)[t] != digits(b, v, depth)[t])
        scores = tree(tables).scores
        step = scores[a] - down * scores[b]
        before, at = sum(v ** (t + 1) for t in range(fork)), sum(v ** (t + 1) for t in range(fork + 1))
        return both(eq(step[:before], 0, varies=scores[a]), ne(abs(step[before:at]).sum(), 0, varies=scores[a]))

    return statement


def test_pair_acts_from_the_fork() -> None:
    for_all(acts_from_the_fork(1), sharing, n=200)


def test_one_trace_acts_before_the_fork() -> None:
    halves = np.array([HALF, HALF])
    counterexample(acts_from_the_fork(0), small_sharing, ([halves, np.array([halves, halves])], 0, 1))


def test_fork_control_one_trace() -> None:
    negative_control(acts_from_the_fork(0), sharing)


# SFT-new, line 257: new reasoning traces


def with_unwritten(pick: Pick) -> Any:
    """(prior, X, mu): the policy never writes the last CoT; a prompted sampler mu does."""
    prior = point(pick, 2, 3, 6)
    n = len(prior) + 1
    return (*prior, Fraction(0)), tuple(Fraction(pick(1, 4), 4) for _ in range(n)), point(pick, n, n, 6)


def small_with_unwritten(pick: Pick) -> Any:
    """The same, two CoTs written and always right."""
    return (*point(pick, 2, 2, 2), Fraction(0)), (Fraction(1),) * 3, point(pick, 3, 3, 2)


def introduces(instance: Any) -> Said:
    """Literal: a self-explanation may be a CoT that the policy never writes; as Bayes' rule draws them."""
    prior, x, _ = instance
    return gt(lemma2.posterior(prior, x)[-1], 0)


def at_most(by_j: bool) -> Statement:
    """Bayes' rule draws no CoT more than 1/J times as often as the policy writes it; a prompted sampler may.

    Not `by_j`: no more often than the policy.
    """

    def statement(instance: Any) -> Said:
        prior, x, mu = instance
        most = array(prior) / mean(prior, x) if by_j else array(prior)
        return both(le(lemma2.posterior(prior, x), most), gt(mu[-1], most[-1]))

    return statement


def test_bayes_introduces_nothing() -> None:
    quarters = (Fraction(1, 4), Fraction(1, 4), HALF)
    pinned = ((HALF, HALF, Fraction(0)), (Fraction(1),) * 3, quarters)
    counterexample(introduces, small_with_unwritten, pinned, size=lambda x: denominator(x[0]))


def test_new_traces() -> None:
    for_all(at_most(by_j=True), with_unwritten)


def test_new_control_no_more_than_the_policy() -> None:
    negative_control(at_most(by_j=False), with_unwritten)


# SFT-unsolved, line 249: instances that could not be solved before


def hard_questions(pick: Pick) -> Any:
    """(law of the right trajectories, law of the wrong ones, J), J down to 1e-6."""
    return point(pick, 1, 3, 12), point(pick, 1, 3, 12), Fraction(pick(1, 9), 10 ** pick(1, 6))


def log_rate(power: int) -> Statement:
    """log J rises on the mean step at the rate (1 - J)^2 (m_S + m_F) / J^`power`, which does not fall to 0 with J.

    m_S and m_F are the probabilities that two right (two wrong) draws agree. Tabular; right for 0.
    """

    def statement(instance: Any) -> Said:
        right, wrong, J = instance
        pi = (*(J * x for x in right), *((1 - J) * x for x in wrong))
        r = (1,) * len(right) + (0,) * len(wrong)
        agree = sum(x * x for x in right) + sum(x * x for x in wrong)
        found = objectives.tabular_sft_gain(pi, r, lemma2.posterior(pi, r)) / J
        least = (1 - J) ** 2 * (Fraction(1, len(right)) + Fraction(1, len(wrong)))
        return both(eq(found, (1 - J) ** 2 * agree / J**power), ge(found, least))

    return statement


def test_log_rate() -> None:
    for_all(log_rate(0), hard_questions)


def test_log_rate_control_of_j() -> None:
    negative_control(log_rate(1), hard_questions)
