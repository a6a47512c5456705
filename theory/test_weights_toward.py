"""One of K self-explanations by its weight: its law moves to the posterior as K grows, and how a mean rate may not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy
import z3

from theory import choices, lemma2, properties, sampler
from theory.domains import point
from theory.evidence import (
    Given,
    Pick,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    satisfiable,
)
from theory.inputs import Array, array
from theory.relations import Said, both, each, ge, le

N = 60


def tables(pick: Pick) -> Any:
    """(prior, X in twelfths and above 0, mu, K)."""
    prior = point(pick, 2, 4, 12)
    K = pick(1, 10 if len(prior) == 2 else 3)
    return prior, tuple(Fraction(pick(1, 12), 12) for _ in prior), point(pick, len(prior), len(prior), 9), K


def two_laws(instance: Any) -> tuple[Array, Array, Array, Array]:
    """(weights, the law of one of K, of one of K + 1, the posterior)."""
    prior, x, mu, K = instance
    w = sampler.importance(prior, x, mu)
    one, more = (choices.resampled(prior, x, mu, k) for k in (K, K + 1))
    return w, one, more, lemma2.posterior(prior, x)


def toward(instance: Any, upper: bool = True) -> Said:
    """CoTs of weight t or more are no less likely of K + 1 than of K, and no likelier than by the posterior, for any t.

    So the total variation from the posterior does not grow with K; nor does KL(law || posterior), up to rounding. Not
    `upper`: single CoTs in place of those of weight t or more.
    """
    w, one, more, post = two_laws(instance)
    sets = [w >= t if upper else w == t for t in w]
    return both(
        each(both(le(one[of].sum(), more[of].sum()), le(more[of].sum(), post[of].sum())) for of in sets),
        le(lemma2.tv(more, post), lemma2.tv(one, post)),
        le(lemma2.kl(more, post), lemma2.kl(one, post) + 1e-12),
    )


def toward_by_cots(instance: Any) -> Said:
    """Each CoT by itself."""
    return toward(instance, upper=False)


def pairs(times: int = 1) -> list[Any]:
    """Negation: of weights v < t <= u out of a total T, 1 / (T - u) >= 1 / (T - `times` v), which is 1."""
    u, v, t, T, high, low = z3.Reals("u v t T high low")
    above = Given("weights are above 0", v > 0, u > 0, u < T, times * v < T, high * (T - u) == 1)
    return [above, Given("the index of a term", v < t, u >= t, low * (T - times * v) == 1), high < low]


def without_one(sign: int = 1) -> list[sympy.Expr]:
    """What leaving out one of K + 1 takes from the share U / T of the weights from t on, `sign` is 1.

    With u, one of them: u (T - U) / (T (T - u)). With v, which is not: -U v / (T (T - v)).
    """
    U, T, u, v = sympy.symbols("U T u v")
    return [
        U / T - (U - u) / (T - u) - sign * u * (T - U) / (T * (T - u)),
        U / T - U / (T - v) + sign * U * v / (T * (T - v)),
    ]


def likelier(under: bool = True) -> list[Any]:
    """Negation: J / (w + W) falls as w rises, W the sum of the other weights. Not `under`: w + W does."""
    w, more, W, one, other = z3.Reals("w more W one other")
    first, second = (one * (w + W), other * (more + W)) if under else (one - w - W + 1, other - more - W + 1)
    return [Given("weights are above 0", w > 0, more > w, W >= 0, first == 1, second == 1), other >= one]


def test_toward() -> None:
    """Leave out each of K + 1 draws in turn: the other K are like K draws, so the law of one of K is their mean.

    The share U / T of the weights from t on, summed over who is left out, falls by sum_u u (T - U) / (T (T - u)) -
    sum_v U v / (T (T - v)) = (1 / T) sum_u sum_v u v (1 / (T - u) - 1 / (T - v)), as U is the sum of u and T - U that
    of v. Each term is at least 0. So one of K + 1 is from t on at least as often, for any t.

    By symmetry the law is K times the chance that the first is c and is taken, K mu_c w_c E 1 / (w_c + W). Over the
    posterior that is K J E 1 / (w_c + W), which falls as w_c rises. So total variation is what the posterior gives to
    weights from some t on, minus what the law gives to them; it falls with K for each t. KL(law of K) - KL(law of K +
    1) is KL between the two, at least 0, and the mean of the log of this falling function under the law of K minus that
    under the law of K + 1, at least 0.
    """
    proved(*pairs(), size="any draws of any table")
    identity(without_one(), "any draws of any table")
    proved(*likelier(), size="any draws of any table")


def test_toward_on_instances() -> None:
    for_all(toward, tables, N)


def test_toward_controls() -> None:
    satisfiable(*pairs(2))
    no_identity(without_one(-1)[0])
    satisfiable(*likelier(under=False))
    negative_control(toward_by_cots, tables, N)


# A rate under it


def three(pick: Pick) -> Any:
    """(prior, X, mu) of three CoTs in small numbers, the first and the last alike likely."""
    a, b, c, d, m = (pick(1, 3) for _ in range(5))
    prior, mu = ((Fraction(i, 2 * i + j), Fraction(j, 2 * i + j), Fraction(i, 2 * i + j)) for i, j in ((a, b), (c, d)))
    return prior, (Fraction(pick(1, m), m), Fraction(1), Fraction(1)), mu


def rates(prior: Any, x: Any) -> list[Fraction]:
    """Of J, on a step with each (c, a*), a policy that writes a CoT, then one of two answers."""
    answers = [(y, 1 - y) for y in x]
    parts = (properties.sample_rates(prior, answers, c, 0) for c in range(len(prior)))
    return [Fraction(by_cots + by_answers) for by_cots, by_answers in parts]


def gains_with_a_second(instance: Any) -> Said | None:
    """Literal: where Bayes' rule gains more than mu, so does one of two by weight."""
    prior, x, mu = instance
    by = rates(prior, x)
    if not lemma2.posterior(prior, x) @ by > array(mu) @ by:
        return None
    return ge(choices.resampled(prior, x, mu, 2) @ by, array(mu) @ by)


def test_a_second_may_cost() -> None:
    fifth = Fraction(1, 5)
    pinned = ((2 * fifth, fifth, 2 * fifth), (Fraction(2, 3), Fraction(1), Fraction(1)), (fifth, 3 * fifth, fifth))
    counterexample(gains_with_a_second, three, pinned)
    by = rates(*pinned[:2])
    laws = [choices.resampled(*pinned, K) for K in (1, 2)]
    assert [law @ by for law in laws] == [Fraction(94, 3375), Fraction(5378, 196_875)]
    assert lemma2.posterior(*pinned[:2]) @ by == Fraction(1304, 43_875)
