"""Sentences on how likely self-explanations are: after prompts of other tokens, and against expert CoTs (line 205)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import z3

from theory import lemma2
from theory.domains import Point, points
from theory.evidence import (
    Given,
    Pick,
    Statement,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    refuted_by_sweep,
    satisfiable,
    sweep,
)
from theory.inputs import Array
from theory.relations import Said, ge, le
from theory.test_lemma2 import HALF, mean, small_model

N = 100_000

# E7-tokens, line 205: prompts that differ by a small number of tokens


def distribution(tokens: Any) -> Point:
    """CoTs after a prompt, each token of which multiplies e^z of every CoT by its own factor."""
    weights = [np.prod(column) for column in zip(*tokens, strict=True)]
    return tuple(Fraction(w) / sum(weights) for w in weights)


def long_prompt(pick: Pick) -> Any:
    """(nine tokens, one more): a factor for each of two CoTs."""
    return tuple((Fraction(1), Fraction(pick(1, 2))) for _ in range(9)), (Fraction(pick(1, 4)), Fraction(1))


def weight_of(instance: Any) -> Fraction:
    """Size of a prompt: the sum of all its factors."""
    tokens, more = instance
    return Fraction(sum(map(sum, tokens)) + sum(more))


def a_tenth_apart(instance: Any) -> Said:
    """Literal: prompts that differ by one token in ten give distributions at most a tenth apart."""
    tokens, more = instance
    return le(lemma2.tv(distribution([*tokens, more]), distribution(tokens)), Fraction(1, 10))


def spread_tokens(pick: Pick) -> Any:
    """(tokens, more tokens, s): the latter multiply the e^z of some CoT by s^2 times as much as that of another."""
    n = pick(2, 4)
    tokens, s = [tuple(Fraction(pick(1, 6)) for _ in range(n)) for _ in range(2)], 1 + Fraction(pick(1, 24), 6)
    between = [1 + (s * s - 1) * Fraction(pick(0, 6), 6) for _ in range(n - 2)]
    base = tuple(Fraction(pick(1, 6)) for _ in range(n))
    rest = tuple(f / b for f, b in zip((s * s, Fraction(1), *between), base, strict=True))
    return tokens, [base, rest], s


def within_spread(denominator: int) -> Statement:
    """The distributions are at most (s - 1) / (s + `denominator`) apart; right for 1: tanh(R / 4) for R = 2 log s."""

    def statement(instance: Any) -> Said:
        tokens, more, s = instance
        return le(lemma2.tv(distribution([*tokens, *more]), distribution(tokens)), (s - 1) / (s + denominator))

    return statement


def farther_than_spread(denominator: int) -> list[Any]:
    """z3: a set of CoTs of mass x has factors up to s^2, the rest at least 1, and the set gains more than that.

    R = 2 log s, so that tanh(R / 4) = (s - 1) / (s + 1).

    u and w are what the factors make of the masses of the set and of the rest. Total variation is the most that any
    set gains.
    """
    s, x, u, w = z3.Reals("s x u w")
    return [
        Given("probabilities are at least 0 and sum to 1", x >= 0, x <= 1, u >= 0, u + w > 0),
        Given("no two CoTs apart by more than R", s > 1, u <= s * s * x, w >= 1 - x),
        (u - x * (u + w)) * (s + denominator) > (s - 1) * (u + w),
    ]


def test_one_token_counterexample() -> None:
    tokens, more = ((Fraction(1), Fraction(1)),) * 9, (Fraction(2), Fraction(1))
    assert lemma2.tv(distribution([*tokens, more]), distribution(tokens)) == Fraction(1, 6)
    counterexample(a_tenth_apart, long_prompt, (tokens, more), size=weight_of)


def test_distance_within_spread() -> None:
    proved(*farther_than_spread(1), size="any number of CoTs and of tokens")


def test_distance_within_spread_on_instances() -> None:
    for_all(within_spread(1), spread_tokens)


def test_spread_control_closer() -> None:
    satisfiable(*farther_than_spread(2))
    negative_control(within_spread(2), spread_tokens)


# E7-expert, lines 196, 205 and 222: expert CoTs are less likely under the policy


def with_expert(pick: Pick) -> Any:
    """(prior, X, e): the expert's CoT is CoT e."""
    prior, x = small_model(pick)
    return prior, x, pick(0, len(prior) - 1)


def likelier_than_expert(instance: Any) -> Said:
    """Literal: a self-explanation, with a*, is on average no less likely than the expert's CoT with a*."""
    prior, x, e = instance
    return ge(mean(lemma2.posterior(prior, x), [p * a for p, a in zip(prior, x, strict=True)]), prior[e] * x[e])


def test_expert_counterexample() -> None:
    counterexample(likelier_than_expert, with_expert, ((HALF, HALF), (HALF, Fraction(1)), 1))


def expert_form(entropies: int) -> sympy.Expr:
    """E_post log pi(c, a*) - E_nu log pi(c, a*) minus KL(nu || post) + `entropies` (H(nu) - H(post)), 3 CoTs, any nu.

    pi(c, a*) is J post_c. Right for `entropies` 1.
    """
    q, n, value = (
        sympy.symbols("q:2", positive=True),
        sympy.symbols("n:2", positive=True),
        sympy.Symbol("J", positive=True),
    )
    post, nu = (*q, 1 - sum(q)), (*n, 1 - sum(n))
    log = [sympy.log(x) for x in post]
    own, expert = (sum(p * (sympy.log(value) + x) for p, x in zip(law, log, strict=True)) for law in (post, nu))
    divergence = sum(p * (sympy.log(p) - x) for p, x in zip(nu, log, strict=True))
    spread = sum(p * x for p, x in zip(post, log, strict=True)) - sum(p * sympy.log(p) for p in nu)
    return sympy.expand(own - expert - divergence - entropies * spread)


def lead_error(entropies: int) -> Array:
    """By how much H(nu) - H(post) (or 0) exceeds the self-explanations' lead in log pi(c, a*); floats, 4 CoTs."""
    prior, nu = points(N, 4), points(N, 4, seed=1)
    x = np.random.default_rng(2).uniform(0.01, 1, (N, 4))
    post, own = lemma2.posterior(prior, x), np.log(prior * x)
    lead = ((post - nu) * own).sum(-1)
    return entropies * ((post * np.log(post)).sum(-1) - (nu * np.log(nu)).sum(-1)) - lead


def one_expert_error(entropies: int) -> Array:
    """The lead over one CoT of the expert's against -log post_e minus `entropies` times H(post); right for 1."""
    prior, x = points(N, 4, seed=3), np.random.default_rng(4).uniform(0.01, 1, (N, 4))
    post, own = lemma2.posterior(prior, x), np.log(prior * x)
    lead = (post * own).sum(-1) - own[:, 0]
    return abs(lead + np.log(post[:, 0]) - entropies * (post * np.log(post)).sum(-1))


# 16 terms of 4 roundings, each a probability times a logarithm; logits lie within 40 of one another.
LEAD_ROUNDING = 16 * 4 * 50 * 2.0**-53


def test_expert_no_less_spread() -> None:
    identity(expert_form(1), "3 CoTs, any expert nu")


def test_expert_no_less_spread_in_floats() -> None:
    sweep(lead_error(1), LEAD_ROUNDING, "16 terms of 4 roundings of numbers below 50")
    sweep(one_expert_error(1), LEAD_ROUNDING, "16 terms of 4 roundings of numbers below 50")


def test_expert_control_without_entropies() -> None:
    no_identity(expert_form(0))
    refuted_by_sweep(lead_error(0), LEAD_ROUNDING)
    refuted_by_sweep(one_expert_error(0), LEAD_ROUNDING)
