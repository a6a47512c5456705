"""Both properties within a batch (line 154), and the learning signal of a policy's own CoTs (Table 1)."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import z3

from theory import lemma2
from theory.domains import gradients, point, twelfths, wide
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.inputs import array
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, gt, iff, le, lt, when
from theory.test_lemma2 import HALF, mean, model, small_model

# P1-ensures, line 154: Property 1 "ensures the samples to have relatively high probability"


def batch(pick: Pick) -> Any:
    """(pi, n): the batch is the first n trajectories."""
    pi = wide(pick, 3, 6)
    return pi, pick(2, len(pi))


def small_pair(pick: Pick) -> Any:
    """(pi, 2), small."""
    return point(pick, 3, 4, 6), 2


def above_the_mean(every: bool) -> Statement:
    """A sample that is more in-distribution than every other of its batch has more than their mean probability.

    Not `every`: than one other.
    """

    def statement(instance: Any) -> Said | None:
        pi, n = instance
        first, *others = pi[:n]
        if not first > (max(others) if every else others[0]):
            return None
        return gt(first, sum(pi[:n]) / n)

    return statement


def not_above_the_mean(every: bool) -> list[Any]:
    """z3: a sample of probability x, more than each of n - 1 others, or than one, is not above the mean of all n.

    The others sum to y plus that one.
    """
    n, x, one, y = z3.Reals("n x one y")
    most = (n - 2) * x if every else n - 2
    return [
        Given("probabilities are above 0 and sum to 1", x > 0, one > 0, y >= 0, x + one + y <= 1),
        Given("more in-distribution than every other one of its batch", n >= 2, x > one),
        Given("terms added up", y <= most),
        n * x <= x + one + y,
    ]


def above_the_mean_of_all(instance: Any) -> Said | None:
    """Literal, by the policy: it has no less than the mean probability of all trajectories."""
    pi, _ = instance
    return ge(pi[1], Fraction(1, len(pi))) if pi[1] > pi[0] else None


def test_above_the_mean_of_the_batch() -> None:
    proved(*not_above_the_mean(every=True), size="any batch")


def test_above_the_mean_on_instances() -> None:
    for_all(above_the_mean(every=True), batch)


def test_above_the_mean_controls() -> None:
    satisfiable(*not_above_the_mean(every=False))
    negative_control(above_the_mean(every=False), batch)


def test_below_the_mean_of_all() -> None:
    counterexample(above_the_mean_of_all, small_pair, (tuple(Fraction(x, 7) for x in (1, 2, 4)), 2))


# P2-batch, line 154: Property 2 in a batch of more than two


def cots(pick: Pick) -> Any:
    """(prior, X): the batch is the first three CoTs."""
    prior = point(pick, 3, 5, 12)
    return prior, twelfths(pick, len(prior))


def small_cots(pick: Pick) -> Any:
    """The same, small: four CoTs, X in quarters."""
    prior = point(pick, 4, 4, 4)
    return prior, tuple(Fraction(pick(0, 4), 4) for _ in prior)


def batch_rate(prior: Any, x: Any) -> Any:
    """Rate of J on the step of the batch: each of three CoTs weighs X minus the batch's mean; tabular."""
    policy, level = softmax(prior), sum(x[:3]) / 3
    return sum((a - level) * s for a, s in zip(x[:3], policy.scores, strict=False)) @ policy.gradient(x)


def raises(instance: Any) -> Said:
    """Literal: the step does not lower J."""
    return ge(batch_rate(*instance), 0)


def raises_where(separated: bool) -> Statement:
    """The rate is sum w_i pi_i (X_i - J), not negative if no X_i lies between J and the batch's mean.

    Not `separated`: whatever they are.
    """

    def statement(instance: Any) -> Said:
        prior, x = instance
        value, level = mean(prior, x), sum(x[:3]) / 3
        rate = batch_rate(prior, x)
        apart = all((a - value) * (a - level) >= 0 for a in x[:3])
        form = sum((a - level) * p * (a - value) for p, a in zip(prior[:3], x, strict=False))
        return both(eq(rate, form), when(apart or not separated, ge(form, 0)))

    return statement


def batches(pick: Pick) -> Any:
    """(prior, X, logit gradients, n): batches of n CoTs, drawn with replacement."""
    prior = point(pick, 2, 3, 12)
    return prior, twelfths(pick, len(prior)), gradients(pick, len(prior), 2), pick(2, 4)


def mean_step(own: bool) -> Statement:
    """On average over batches of n own CoTs the step is (n - 1) grad J, for any parametrisation.

    Not `own`: over batches that are drawn evenly.
    """

    def statement(instance: Any) -> Said:
        prior, x, z, n = instance
        policy = softmax(prior, z)
        law = prior if own else (Fraction(1, len(prior)),) * len(prior)
        step = 0 * policy.scores[0]
        for drawn in product(range(len(prior)), repeat=n):
            level = sum(x[c] for c in drawn) / n
            step = step + prod(law[c] for c in drawn) * sum((x[c] - level) * policy.scores[c] for c in drawn)
        return eq(step, (n - 1) * policy.gradient(x))

    return statement


def test_batch_may_lower_j() -> None:
    pinned = (tuple(Fraction(w, 7) for w in (1, 1, 3, 2)), tuple(Fraction(n, 4) for n in (4, 4, 3, 0)))
    assert batch_rate(*pinned) == Fraction(-1, 1176)
    counterexample(raises, small_cots, pinned)


def test_batch_with_j_apart() -> None:
    for_all(raises_where(separated=True), cots)


def test_batch_control_any() -> None:
    negative_control(raises_where(separated=False), cots)


def test_batches_in_the_mean() -> None:
    for_all(mean_step(own=True), batches, n=100)


def test_batches_control_drawn_evenly() -> None:
    negative_control(mean_step(own=False), batches)


# L2-own, Table 1: own CoTs have no positive learning signal


def any_cots(pick: Pick) -> Any:
    """(prior, X, logit gradients)."""
    prior, x = model(pick)
    return prior, x, gradients(pick, len(x), 2)


def no_signal(own: bool) -> Statement:
    """Own CoTs have a smaller mean X than self-explanations, by Var(X) / J.

    A step with weight 1 on each adds 0 to J. This is for any parametrisation of the CoTs.

    Not `own`: for CoTs that Bayes' rule draws.
    """

    def statement(instance: Any) -> Said | None:
        prior, x, z = instance
        if not any(x):
            return None
        policy, told = softmax(prior, z), lemma2.posterior(prior, x)
        law = array(prior) if own else told
        behind = mean(told, x) - mean(law, x)
        return both(
            eq(behind, lemma2.gap(prior, x)),
            iff(gt(behind, 0), lt(min(x), max(x))),
            eq(policy.gradient(x) @ (law @ policy.scores), 0, varies=instance),
        )

    return statement


def each_trails(instance: Any) -> Said:
    """Literal, of each own CoT: it leads to the right answer no more often than a self-explanation on average."""
    prior, x = instance
    return le(max(x), mean(lemma2.posterior(prior, x), x))


def test_own_cots_in_the_mean() -> None:
    for_all(no_signal(own=True), any_cots)


def test_own_control_self_explanations() -> None:
    negative_control(no_signal(own=False), any_cots)


def test_an_own_cot_may_be_better() -> None:
    pinned = ((HALF, HALF), (Fraction(1), HALF))
    assert mean(lemma2.posterior(*pinned), pinned[1]) == Fraction(5, 6)
    counterexample(each_trails, small_model, pinned)
