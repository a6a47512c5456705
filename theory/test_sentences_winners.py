"""How likely winners are: experts' against losers (line 232), fresh against old (line 236), initial ones (line 251)."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import lcm, prod
from typing import Any

import sympy

from theory import lemma2, objectives
from theory.domains import point
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.inputs import array
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, iff, le, when
from theory.sums import summed
from theory.test_lemma2 import HALF, mean

# O1-expert, line 232: "the expert CoT typically has a much lower log-probability compared to the self-generated CoT"


def with_expert(pick: Pick) -> Any:
    """(pi, e): the expert's sample is e."""
    pi = point(pick, 2, 3, 4)
    return pi, pick(0, len(pi) - 1)


def expert_is_lower(instance: Any) -> Said:
    """Literal: the expert's sample has no larger log-probability than the policy's own on average.

    As log pi_e <= sum pi_l log pi_l, with e^ of both sides to the power that makes it exact.
    """
    pi, e = instance
    power = lcm(*(p.denominator for p in pi))
    return le(pi[e] ** power, prod(p ** int(p * power) for p in pi))


def lead(own_entropy: int) -> list[sympy.Expr]:
    """E_pi log pi - E_nu log pi is KL(nu || pi) + H(nu) - H(pi), by its terms: pi_l, nu_l and their logarithms are any.

    `own_entropy` stands before H(pi); right for 1.
    """
    p, n, log_p, log_n = sympy.symbols("pi_l nu_l log_pi_l log_nu_l")
    divergence, expert, own = sympy.symbols("KL H_nu H_pi")
    sums = {divergence: n * (log_n - log_p), expert: -n * log_n, own: -p * log_p}
    return summed(divergence + expert - own_entropy * own, (p - n) * log_p, sums)


def texts(pick: Pick) -> Any:
    """(T, token law of the policy, of the expert, a number for each token in place of its log-probability)."""
    p = point(pick, 2, 3, 12)
    return pick(1, 3), p, point(pick, len(p), len(p), 12), tuple(Fraction(-pick(1, 60), 12) for _ in p)


def by_tokens(all_of_them: bool) -> Statement:
    """For T tokens drawn independently, the policy's lead is T times that of one. Not `all_of_them`: that of one."""

    def statement(instance: Any) -> Said:
        T, own, expert, log = instance
        means = [
            sum(prod(law[t] for t in text) * sum(log[t] for t in text) for text in product(range(len(log)), repeat=T))
            for law in (own, expert)
        ]
        return eq(means[0] - means[1], (T if all_of_them else 1) * (mean(own, log) - mean(expert, log)))

    return statement


def test_expert_may_be_likelier() -> None:
    counterexample(expert_is_lower, with_expert, ((Fraction(1, 3), Fraction(2, 3)), 1))


def test_lead_over_the_expert() -> None:
    identity(lead(1), "any number of samples")


def test_lead_by_tokens() -> None:
    for_all(by_tokens(all_of_them=True), texts, n=300)


def test_lead_controls() -> None:
    no_identity(lead(0)[0])
    negative_control(by_tokens(all_of_them=False), texts)


# DPO-fresh, line 236: a fresh explanation "ensures that the winning sample remains in-distribution"


def trained(pick: Pick) -> Any:
    """(J, law of fresh self-explanations, law of old ones): right trajectories of a policy, and of the one before."""
    q = point(pick, 2, 5, 12)
    return Fraction(pick(1, 12), 12), q, point(pick, len(q), len(q), 12)


def small_trained(pick: Pick) -> Any:
    """The same, small."""
    return Fraction(1, pick(1, 2)), point(pick, 2, 2, 4), point(pick, 2, 2, 4)


def fresh_lead(instance: Any) -> Any:
    """Mean probability of fresh winners under the policy that draws them, minus that of old ones."""
    J, q, old = instance
    pi, r = (*(J * x for x in q), 1 - J), (*(1 for _ in q), 0)
    told = lemma2.posterior(pi, r)
    return mean(told, pi) - mean((*old, 0), pi)


def fresh_is_likelier(instance: Any) -> Said:
    """Literal: fresh winners are on average no less likely than old ones, under the policy that draws them."""
    return ge(fresh_lead(instance), 0)


def fresh_where(no_more_varied: bool) -> Statement:
    """The lead is J/2 (|fresh - old|^2 + sum fresh^2 - sum old^2).

    So fresh ones lead if they are no more varied than old ones. Not `no_more_varied`: whether or not.
    """

    def statement(instance: Any) -> Said:
        J, q, old = instance
        varied = sum(x * x for x in q) - sum(x * x for x in old)
        form = J / 2 * (sum((x - y) ** 2 for x, y in zip(q, old, strict=True)) + varied)
        return both(eq(fresh_lead(instance), form), when(varied >= 0 or not no_more_varied, ge(form, 0)))

    return statement


def fresh_form(sign: int) -> list[sympy.Expr]:
    """sum fresh (fresh - old) is half of |fresh - old|^2 + sum fresh^2 - `sign` sum old^2, by its terms."""
    q, old = sympy.symbols("fresh_l old_l")
    apart, fresh, before = sympy.symbols("apart Fresh2 Old2")
    return summed(
        (apart + fresh - sign * before) / 2, q * (q - old), {apart: (q - old) ** 2, fresh: q**2, before: old**2}
    )


def test_fresh_may_be_less_likely() -> None:
    pinned = (HALF, (Fraction(1, 3), Fraction(2, 3)), (Fraction(1, 4), Fraction(3, 4)))
    assert fresh_lead(pinned) == Fraction(-1, 72)
    counterexample(fresh_is_likelier, small_trained, pinned)


def test_fresh_form() -> None:
    identity(fresh_form(1), "any number of right trajectories")


def test_fresh_no_more_varied() -> None:
    for_all(fresh_where(no_more_varied=True), trained)


def test_fresh_controls() -> None:
    no_identity(fresh_form(0)[0])
    negative_control(fresh_where(no_more_varied=False), trained)


# GRPO-initial, lines 251 and 253: "the initially generated" self-explanation, and one from the current policy


def later(pick: Pick) -> Any:
    """(initial law of self-explanations, that of the current policy, its J, the law of its wrong trajectories)."""
    first = point(pick, 2, 3, 12)
    now = first if pick(0, 2) == 0 else point(pick, len(first), len(first), 12)
    return first, now, Fraction(pick(1, 11), 12), point(pick, 1, 3, 12)


def small_later(pick: Pick) -> Any:
    """The same: two right trajectories, with shares that are turned round, and one wrong; each rarer share is 1/n."""
    a, b, c = (Fraction(1, pick(2, 6)) for _ in range(3))
    return (a, 1 - a), (1 - b, b), 1 - c, (Fraction(1),)


def current(instance: Any) -> tuple[Any, Any, Any]:
    """(pi, r, the initial self-explanations as a law over all trajectories)."""
    first, now, J, wrong = instance
    pi = (*(J * x for x in now), *((1 - J) * x for x in wrong))
    return pi, (*(1 for _ in now), *(0 for _ in wrong)), (*first, *(0 * x for x in wrong))


def initial_raises_j(instance: Any) -> Said:
    """Literal: the step on initial ones raises J, as the printed step does."""
    return ge(objectives.tabular_sft_gain(*current(instance)), 0)


def steps_apart(in_the_mean: bool) -> Statement:
    """The step on initial ones is the printed one if and only if the policy's self-explanations are as at first.

    It raises J at the rate J (1 - J)(sum now_l first_l - J m_S + (1 - J) m_F), m_S and m_F the probabilities that two
    right (two wrong) draws agree. Not `in_the_mean`: m_S without J.
    """

    def statement(instance: Any) -> Said:
        pi, r, initial = current(instance)
        first, now, J, wrong = instance
        scores, told = softmax(pi).scores, lemma2.posterior(pi, r)
        rate = objectives.tabular_sft_gain(pi, r, initial)
        agree = mean(now, first) - (J if in_the_mean else 1) * mean(now, now) + (1 - J) * mean(wrong, wrong)
        return both(
            iff(eq(array(initial) @ scores, told @ scores), eq(first, now)),
            eq(rate, J * (1 - J) * agree),
            when(first == now, ge(rate, 0)),
        )

    return statement


def test_initial_ones_may_lower_j() -> None:
    fifth, four = Fraction(1, 5), Fraction(4, 5)
    pinned = ((fifth, four), (four, fifth), four, (Fraction(1),))
    assert current(pinned)[0] == (Fraction(16, 25), Fraction(4, 25), fifth)
    assert objectives.tabular_sft_gain(*current(pinned)) == Fraction(-12, 3125)
    counterexample(initial_raises_j, small_later, pinned)


def test_initial_steps() -> None:
    for_all(steps_apart(in_the_mean=True), later, n=500)


def test_initial_control_without_j() -> None:
    negative_control(steps_apart(in_the_mean=False), later)
