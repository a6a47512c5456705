"""How likely winners are: experts' beside losers (line 232), fresh beside old (line 236), initial ones (line 251)."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import lcm, prod
from typing import Any

import sympy

from theory.domains import point
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.relations import Said, eq, le
from theory.sums import summed
from theory.test_lemma2 import mean

# O1-expert, line 232: "the expert CoT typically has a much lower log-probability compared to the self-generated CoT"


def with_expert(pick: Pick) -> Any:
    """(pi, e): the expert's sample is e."""
    pi = point(pick, 2, 3, 4)
    return pi, pick(0, len(pi) - 1)


def expert_is_lower(instance: Any) -> Said:
    """Literal: the expert's sample has no larger log-probability than the policy's own in the mean.

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
    """Of T tokens drawn one by one, the policy's lead is T times that of a token. Not `all_of_them`: of one token."""

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
