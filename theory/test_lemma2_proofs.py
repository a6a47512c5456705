"""Lemma 2's consequences for any number of CoTs: dominance, iteration, other samplers, radii.

As in `test_improvement_proofs.py`: per CoT an identity or an inequality, added up over CoTs; then the sums as free
numbers. Of CoT c: w = pi_c (or another weight), x = X_c. J is the sum of w x, Q that of w x^2.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory import lemma2
from theory.evidence import Given, for_all, identity, no_identity, proved, satisfiable
from theory.relations import Said, both, eq
from theory.sums import summed
from theory.test_lemma2 import mean, model, one_cot, one_cot_more

SIMPLEX, CHANCE, ADDED = "probabilities are at least 0 and sum to 1", "X is a probability", "terms added up"
W, X, J, Q = sympy.symbols("w x J Q")


def gap(value: Any, square: Any) -> Any:
    """Var(X) / J, of symbols or numbers: J and E X^2."""
    return (square - value * value) / value


def is_the_library(instance: Any) -> Said | None:
    """The forms in sums that are proved here are those of the library."""
    prior, x = instance
    if not any(x) or min(x) == max(x):
        return None
    value, square = mean(prior, x), mean(prior, [a * a for a in x])
    return both(
        eq(gap(value, square), lemma2.gap(prior, x)),
        eq(square / value, mean(lemma2.posterior(prior, x), x)),
        eq(gap(value, square) / (value * (max(x) - min(x))) * value, lemma2.tv_radius(prior, x)),
    )


def test_forms_are_those_of_the_library() -> None:
    for_all(is_the_library, model, 300)


# L2-fosd


def on_its_side(times: int) -> list[Any]:
    """Negation, one CoT: w x is at least t w, `times` which is 1, where x >= t, and at most t w where x < t."""
    w, x, t = z3.Reals("w x t")
    return [Given(SIMPLEX, w >= 0), z3.If(x >= t, w * x < times * t * w, w * x > t * w)]


def rarer(right: bool) -> list[Any]:
    """Negation: the posterior gives CoTs with X >= t no less than the prior does.

    They have `most` of the prior and `high` of the sum of w x, the others the rest and `low`; high >= t most and
    low <= t (1 - most). Not `right`: the posterior given a wrong answer, in proportion to w (1 - x).
    """
    most, high, low, t = z3.Reals("most high low t")
    part, whole = (high, high + low) if right else (most - high, 1 - high - low)
    return [
        Given(SIMPLEX, most >= 0, most <= 1),
        Given(CHANCE, high >= 0, high <= most, low >= 0, low <= 1 - most),
        Given(ADDED, high >= t * most, low <= t * (1 - most)),
        Given("J > 0", whole > 0),
        part < most * whole,
    ]


def test_dominates() -> None:
    """Added up over the CoTs on each side of t, `on_its_side` gives the two bounds that `rarer` assumes."""
    proved(*on_its_side(1), size="any number of CoTs, term by term")
    proved(*rarer(True), size="any number of CoTs and any t, by the sums on each side of t")


def test_dominates_control() -> None:
    satisfiable(*on_its_side(2))
    satisfiable(*rarer(False))


# L2-iterated


def posterior_of(power: int) -> sympy.Expr:
    """A sampler in proportion to weights w has a posterior in proportion to w x: the constants cancel.

    w / s times x, over the sum of these, v / s; s and v are the sums of w and w x. `power` is that of x.
    """
    s, v = sympy.symbols("s v", positive=True)
    return (W / s) * X / (v / s) - W * X**power / v


def lower(right: bool) -> list[Any]:
    """Negation: the posterior of a sampler has no smaller mean of X. `zero`, `one`, `two`: sums of w, w x, w x^2.

    two zero >= one^2 by `one_cot_more`. Not `right`: the posterior given a wrong answer, in proportion to w (1 - x).
    """
    zero, one, two = z3.Reals("zero one two")
    top, bottom = (two, one) if right else (one - two, zero - one)
    return [
        Given(CHANCE, one >= 0, one <= zero, two >= 0, two <= one),
        Given(ADDED, two * zero >= one * one),
        Given("J > 0", zero > 0, bottom > 0),
        top * zero < one * bottom,
    ]


def test_iteration() -> None:
    """Lemma 2 with the weights w = pi X^n in place of the prior, for each n in turn.

    The n-th iterate is in proportion to pi X^n by induction: the prior is for n = 0, and `posterior_of` is the step.
    The inequality of sums has its base in `one_cot` and its step in `one_cot_more`. So no iterate has
    a smaller mean than the one before, or than the prior. J > 0 keeps all sums above 0.
    """
    identity(
        [posterior_of(1), one_cot(2)],
        "any weights, one CoT: the posterior, and E X^2 = (E X)^2",
    )
    proved(*one_cot_more(True), size="any number of CoTs, from n to n + 1, and any weights")
    proved(*lower(True), size="any number of CoTs and of iterations, by three sums")


def test_iteration_controls() -> None:
    no_identity(posterior_of(2))
    no_identity(one_cot(3))
    satisfiable(*one_cot_more(False))
    satisfiable(*lower(False))


# Other samplers: L2-prompt, L2-contamination


def covariance(sign: int) -> list[sympy.Expr]:
    """E_mu X - J minus `sign` times the sum of w (mu/w - 1)(x - t), for any t; w and mu both sum to 1.

    t = J makes that sum the covariance of mu/w and X. `drawn` and `own` are the sums of mu and of w.
    """
    mu, E_mu, t, drawn, own = sympy.symbols("mu E_mu t drawn own")
    total = E_mu - J - t * (drawn - own)
    term = sympy.expand(W * (mu / W - 1) * (X - t))
    of_distributions = total.subs({drawn: 1, own: 1})
    return [E_mu - J - sign * of_distributions, *summed(total, term, {E_mu: mu * X, J: W * X, drawn: mu, own: W})]


def falls(ordered: bool) -> list[Any]:
    """Negation, one CoT: w (ratio - 1)(x - t) is at least 0, if (`ordered`) ratio >= 1 iff x >= t."""
    w, ratio, x, t = z3.Reals("w ratio x t")
    order = [Given("mu/pi does not fall in X", (ratio >= 1) == (x >= t))] if ordered else []
    return [Given(SIMPLEX, w >= 0, ratio >= 0), *order, w * (ratio - 1) * (x - t) < 0]


def share_beyond(divided: bool) -> list[Any]:
    """Negation: (1 - share) posterior + share mu has E X >= J if and only if share (J - E_mu X + V) <= V.

    V = Var(X) / J; not `divided`: V = Var(X). E_post X = E X^2 / J.
    """
    J, Q, mean, share = z3.Reals("J Q E_mu share")
    V = gap(J, Q) if divided else Q - J * J
    known = [Given(CHANCE, J <= 1, Q <= J, mean >= 0, mean <= 1), Given("a sum of squares", Q >= J * J)]
    known += [Given("J > 0", J > 0), Given("a share", share >= 0, share <= 1)]
    return [*known, ((1 - share) * (Q / J) + share * mean >= J) != (share * (J - mean + V) <= V)]


def test_covariance() -> None:
    """Both sides are finite sums over CoTs that the prior draws; mu is 0 at all others."""
    identity(covariance(1), "any number of CoTs")


def test_ordered() -> None:
    """Take t = the least X at which mu/pi >= 1; there is one, since the mean of mu/pi under the prior is 1.

    As mu/pi does not fall in X, it is at least 1 iff X >= t. So the sum in `covariance`, which is the same for
    any t, has no negative term.
    """
    proved(*falls(True), size="any number of CoTs, term by term")


def test_contamination() -> None:
    """The mean of a mixture is the mixture of means; E_post X = Q / J, since the posterior is w x / J."""
    proved(*share_beyond(True), size="any number of CoTs, by J, E X^2 and E_nu X")


def test_sampler_controls() -> None:
    no_identity(covariance(-1)[0])
    satisfiable(*falls(False))
    satisfiable(*share_beyond(False))
