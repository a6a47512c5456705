"""The natural gradient: what a step with one sample gains, how far it goes, and diagonal preconditioners."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from theory.domains import bits, gradients, point, twelfths
from theory.evidence import Pick, for_all, identity, negative_control, no_identity
from theory.inputs import Array, array
from theory.natural import fisher, natural_gain, natural_length, pseudo_inverse
from theory.policies import Policy, softmax
from theory.relations import Said, both, each, eq, gt, iff, le, when

N = 150


def matrices(pick: Pick) -> Any:
    """Matrices of small whole numbers of any rank, the zero matrix among them: products of (m, k) and (k, n)."""
    m, k, n = pick(1, 4), pick(0, 3), pick(1, 4)
    left, right = (array([[pick(-2, 2) for _ in range(b)] for _ in range(a)]) for a, b in ((m, k or 1), (k or 1, n)))
    return left @ right * bool(k)


def penrose(m: Array, factor: int = 1) -> Said:
    """The four conditions that one matrix alone meets: m i m = m, i m i = i, m i and i m symmetric.

    `factor`: of the inverse times so much.
    """
    i = pseudo_inverse(m) * factor
    pairs = [(m @ i @ m, m), (i @ m @ i, i), (m @ i, (m @ i).T), (i @ m, (i @ m).T)]
    return each(eq(a, b, varies=m) for a, b in pairs)


def penrose_of_the_negative(m: Array) -> Said:
    """The same of the negative."""
    return penrose(m, -1)


def test_pseudo_inverse() -> None:
    for_all(penrose, matrices, N)


def test_pseudo_inverse_control_negative() -> None:
    negative_control(penrose_of_the_negative, matrices)


# What a step gains


def pooled(shares: Any, of_questions: list[Policy]) -> Policy:
    """One policy over (q, c, a): probabilities P(q) pi(c, a|q), scores of log pi(c, a|q)."""
    probs = np.concatenate([w * p.probs for w, p in zip(shares, of_questions, strict=True)])
    return Policy(probs, np.concatenate([p.scores for p in of_questions]))


def questions(pick: Pick) -> Any:
    """(shares, [pi], [logit gradients in parameters that the questions share], [rewards], sample)."""
    shares = point(pick, 1, 2, 6)
    pis = [point(pick, 2, 4, 12) for _ in shares]
    d = pick(1, 4)
    z = [gradients(pick, len(pi), d) for pi in pis]
    return shares, pis, z, [twelfths(pick, len(pi)) for pi in pis], pick(0, sum(map(len, pis)) - 1)


def weighted_fit(y: Array, columns: Array, weights: Array) -> Array:
    """Least-squares fit of y by columns, a mean weighted by `weights`: Gram and Schmidt, without the Fisher matrix."""
    fitted = y * 0
    basis: list[Array] = []
    for column in columns.T:
        for b in basis:
            column = column - (weights * b * column).sum() / (weights * b * b).sum() * b
        if (column != 0).any():
            basis.append(column)
            fitted = fitted + (weights * column * y).sum() / (weights * column * column).sum() * column
    return fitted


def gain_is_the_fit(instance: Any, by_policy: bool = True) -> Said:
    """The gains of all samples are the pi-weighted fit of r - J_q by the scores, any parametrisation.

    Not `by_policy`: a fit with equal weights.
    """
    shares, pis, z, rewards, j = instance
    policy = pooled(shares, [softmax(pi, g) for pi, g in zip(pis, z, strict=True)])
    r = np.concatenate([array(x) for x in rewards])
    apart = np.concatenate([array(x) - array(pi) @ array(x) for pi, x in zip(pis, rewards, strict=True)])
    weights = policy.probs if by_policy else policy.probs * 0 + 1
    return eq(natural_gain(policy, r, j), weighted_fit(apart, policy.scores, weights)[j])


def gain_is_the_even_fit(instance: Any) -> Said:
    """The fit that weighs all samples equally."""
    return gain_is_the_fit(instance, by_policy=False)


def test_gain_is_the_fit() -> None:
    for_all(gain_is_the_fit, questions, N)


def test_fit_control_even_weights() -> None:
    negative_control(gain_is_the_even_fit, questions, N)


def rank(policy: Policy) -> Any:
    """Of the Fisher matrix: the trace of it times its pseudo-inverse."""
    matrix = fisher(policy)
    return np.trace(pseudo_inverse(matrix) @ matrix)


def models(pick: Pick) -> Any:
    """(pi, rewards in [0, 1], logit gradients or None for a table, sample)."""
    pi = point(pick, 2, 4)
    z = gradients(pick, len(pi), pick(1, 4)) if pick(0, 2) else None
    return pi, twelfths(pick, len(pi)), z, pick(0, len(pi) - 1)


def gain_of_a_table(instance: Any, free: bool = True) -> Said:
    """Where the Fisher matrix has rank L - 1, as for a table, a sample's gain is r_j - J, whatever pi_j.

    Not `free`: whatever the rank.
    """
    pi, r, z, j = instance
    policy = softmax(pi, z)
    full = not free or z is None or rank(policy) == len(pi) - 1
    return when(full, eq(natural_gain(policy, r, j), r[j] - policy.value(r)))


def gain_of_a_table_at_any_rank(instance: Any) -> Said:
    """Whatever the rank."""
    return gain_of_a_table(instance, free=False)


def test_every_right_sample_gains_alike() -> None:
    for_all(gain_of_a_table, models, N)
    ninths = [Fraction(x, 9) for x in (1, 2, 6)]
    assert [natural_gain(softmax(ninths), (1, 1, 0), j) for j in range(3)] == [Fraction(x, 3) for x in (2, 2, -1)]
    # With plain steps the likelier one gains more.
    assert [softmax(ninths).gain((1, 1, 0), j) for j in range(2)] == [Fraction(x, 243) for x in (44, 62)]


def test_alike_control_any_rank() -> None:
    negative_control(gain_of_a_table_at_any_rank, models, N)


# How far a step goes


def kl_errors(factor: sympy.Rational) -> list[sympy.Expr]:
    """KL(pi || pi_t) along logits z + t v: value and slope at t = 0, and the curvature minus 2 `factor` <v, Fisher v>.

    KL is log sum_l pi_l e^(t v_l) - t sum_l pi_l v_l, and <v, Fisher v> the variance of v; 3 trajectories.
    """
    t, *v = sympy.symbols("t v:3", real=True)
    a, b = sympy.symbols("a b", positive=True)
    pi = (a, b, 1 - a - b)
    mean = sum(p * x for p, x in zip(pi, v, strict=True))
    kl = sympy.log(sum(p * sympy.exp(t * x) for p, x in zip(pi, v, strict=True))) - t * mean
    variance = sum(p * (x - mean) ** 2 for p, x in zip(pi, v, strict=True))
    return [kl.subs(t, 0), kl.diff(t).subs(t, 0), kl.diff(t, 2).subs(t, 0) - 2 * factor * variance]


def test_kl_of_a_step() -> None:
    identity(kl_errors(sympy.Rational(1, 2)), "L = 3")


def test_kl_control_not_halved() -> None:
    no_identity(kl_errors(sympy.Integer(1))[2])


def samples(pick: Pick) -> Any:
    """(pi, logit gradients or None for a table, sample)."""
    pi, _, z, j = models(pick)
    return pi, z, j


def length_of_the_step(instance: Any, slack: Fraction = Fraction(1)) -> Said:
    """<s_j, Fisher+ s_j> is at most 1 / pi_j - 1, and just that for a table; `slack` stands for the first 1."""
    pi, z, j = instance
    found, bound = natural_length(softmax(pi, z), j), slack / pi[j] - 1
    return both(le(found, bound), when(z is None, eq(found, bound)))


def shorter_step(instance: Any) -> Said:
    """At most 9 / (10 pi_j) - 1."""
    return length_of_the_step(instance, Fraction(9, 10))


def test_unlikely_samples_step_farther() -> None:
    for_all(length_of_the_step, samples, N)


def test_length_control_a_tenth_less() -> None:
    negative_control(shorter_step, samples, N)


def right_pairs(pick: Pick) -> Any:
    """(pi, r, j, k): two right samples of a table that has a wrong one."""
    pi = point(pick, 3, 4, 8)
    return pi, (1, 1, 0, *bits(pick, len(pi) - 3)), 0, 1


def likelier_gains_more(instance: Any, at_one_length: bool = True) -> Said:
    """At one length in KL the likelier of two right samples gains more: (1 - J)^2 pi_j / (1 - pi_j) in squares.

    Not `at_one_length`: at one learning rate.
    """
    pi, r, *pair = instance
    policy = softmax(pi)
    gains = [natural_gain(policy, r, i) for i in pair]
    squares = [g * g / (natural_length(policy, i) if at_one_length else 1) for g, i in zip(gains, pair, strict=True)]
    j, k = pair
    return iff(gt(squares[0], squares[1]), gt(pi[j], pi[k]))


def likelier_gains_more_at_one_rate(instance: Any) -> Said:
    """At one learning rate."""
    return likelier_gains_more(instance, at_one_length=False)


def test_likelier_gains_more_at_one_length() -> None:
    for_all(likelier_gains_more, right_pairs, N)


def test_likelier_control_at_one_rate() -> None:
    negative_control(likelier_gains_more_at_one_rate, right_pairs, N)


# Diagonal preconditioners, as Adam's


def scaled(pick: Pick) -> Any:
    """(pi, rewards, divisors of the parameters, two samples with one reward)."""
    pi = point(pick, 3, 5)
    r = twelfths(pick, len(pi))
    j = pick(0, len(pi) - 1)
    k = (j + pick(1, len(pi) - 1)) % len(pi)
    r = tuple(r[j] if i == k else x for i, x in enumerate(r))
    return pi, r, tuple(Fraction(pick(1, 24), 12) for _ in pi), j, k


def divided_gain(instance: Any, divided: bool = True) -> Said:
    """Gains differ by (r - J) (pi_j / scale_j - pi_k / scale_k), tabular: the step of parameter l is over scale_l.

    So by (r - J) (1 / (1 - pi_j) - 1 / (1 - pi_k)) where the scale is the diagonal of the Fisher matrix. Not `divided`:
    by pi_j - pi_k.
    """
    pi, r, scale, j, k = instance
    policy, J = softmax(pi), array(pi) @ array(r)
    diagonal = np.diagonal(fisher(policy))

    def apart(scale: Any) -> Any:
        gains = [(policy.gradient(r) * policy.scores[i] / array(scale)).sum() for i in (j, k)]
        return gains[0] - gains[1]

    by = scale if divided else [1] * len(pi)
    of_fisher = 1 / (1 - pi[j]) - 1 / (1 - pi[k])
    return both(
        eq(apart(scale), (r[j] - J) * (pi[j] / by[j] - pi[k] / by[k])), eq(apart(diagonal), (r[j] - J) * of_fisher)
    )


def divided_gain_as_plain(instance: Any) -> Said:
    """By (r - J) (pi_j - pi_k), as on plain steps."""
    return divided_gain(instance, divided=False)


def test_divided_steps() -> None:
    for_all(divided_gain, scaled, N)


def test_divided_control_plain() -> None:
    negative_control(divided_gain_as_plain, scaled, N)
