"""Sentences on self-explanations, own CoTs, the best expert's CoT and hints: Table 1, lines 160 and 196 to 222."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from theory import lemma2
from theory.domains import bits, point, twelfths
from theory.evidence import Pick, Statement, counterexample, for_all, negative_control
from theory.relations import Said, both, eq, ge, iff, le, when
from theory.test_lemma2 import HALF, mean, model, small_model

# E7-own and E7-both, Table 1 and line 222: a self-explanation beside an own CoT


def likelihoods(prior: Any, x: Any) -> tuple[Any, Any]:
    """The mean of pi(c|q) for a self-explanation, and for an own CoT."""
    return mean(lemma2.posterior(prior, x), prior), mean(prior, prior)


def no_likelier_than_own(instance: Any) -> Said:
    """Literal, line 222: a self-explanation is on average no likelier than an own CoT."""
    return le(*likelihoods(*instance))


def no_less_likely_and_better(instance: Any) -> Said:
    """Literal, Table 1: it is on average no less likely, and has no smaller X."""
    prior, x = instance
    better = ge(mean(lemma2.posterior(prior, x), x), mean(prior, x))
    return both(ge(*likelihoods(prior, x)), better)


def covariance_decides(power: int) -> Statement:
    """The difference is Cov(pi(c|q), X) / J^`power` under the prior; right for 1.

    So it is not above 0 where X does not grow with pi, and not below where X does not fall.
    """

    def statement(instance: Any) -> Said | None:
        prior, x = instance
        if not any(x):
            return None
        value, level = mean(prior, x), mean(prior, prior)
        covariance = mean(prior, [(p - level) * (a - value) for p, a in zip(prior, x, strict=True)])
        told, own = likelihoods(prior, x)
        return both(
            eq(told - own, covariance / value**power),
            when(_rises(prior, x, -1), le(told, own)),
            when(_rises(prior, x, 1), ge(told, own)),
        )

    return statement


def _rises(prior: Any, x: Any, sign: int) -> bool:
    """Whether X never falls (or, for -1, never rises) from one CoT to a likelier one."""
    pairs = list(zip(prior, x, strict=True))
    return all((p - q) * (a - b) * sign >= 0 for p, a in pairs for q, b in pairs)


def test_likelier_than_own_counterexample() -> None:
    prior, x = (Fraction(1, 3), Fraction(2, 3)), (HALF, Fraction(1))
    assert likelihoods(prior, x) == (Fraction(3, 5), Fraction(5, 9))
    counterexample(no_likelier_than_own, small_model, (prior, x))
    # As whole samples, with two answers after each CoT.
    prior, x = (Fraction(3, 4), Fraction(1, 4)), (Fraction(1), HALF)
    told = mean(lemma2.posterior(prior, x), [p * a for p, a in zip(prior, x, strict=True)])
    own = mean([p * p for p in prior], [a * a + (1 - a) ** 2 for a in x])
    assert (told, own) == (Fraction(37, 56), Fraction(19, 32))


def test_both_ticks_counterexample() -> None:
    prior, x = (Fraction(1, 3), Fraction(2, 3)), (Fraction(1), HALF)
    assert likelihoods(prior, x) == (HALF, Fraction(5, 9))
    counterexample(no_less_likely_and_better, small_model, (prior, x))


def test_covariance_decides() -> None:
    for_all(covariance_decides(1), model)


def test_covariance_control_by_square() -> None:
    negative_control(covariance_decides(2), model)


# L2-expert, line 222 and Table 1: the learning signal of an expert's CoT


def beside_expert(pick: Pick) -> Any:
    """(prior, X, X_expert): X after the expert's CoT."""
    prior, x = model(pick)
    return prior, x, Fraction(pick(0, 12), 12)


def small_beside_expert(pick: Pick) -> Any:
    """The same with small denominators."""
    prior = point(pick, 2, 2, 3)
    return prior, tuple(Fraction(pick(0, 2), 2) for _ in prior), Fraction(pick(0, 2), 2)


def expert_at_least(largest: bool) -> Statement:
    """An expert's CoT has no smaller X than a self-explanation on average if and only if X_expert >= J + Var(X) / J.

    It has if X_expert is at least the `largest` X of the policy's own CoTs; otherwise the condition is X_expert >= J.
    """

    def statement(instance: Any) -> Said | None:
        prior, x, expert = instance
        if not any(x):
            return None
        told, value = mean(lemma2.posterior(prior, x), x), mean(prior, x)
        enough = expert >= (max(x) if largest else value)
        return both(
            iff(ge(expert, told), ge(expert, value + lemma2.gap(prior, x))),
            when(enough, ge(expert, told)),
        )

    return statement


def better_than_own_is_enough(instance: Any) -> Said | None:
    """Literal: an expert's CoT that beats the policy's own on average has no smaller X than a self-explanation."""
    prior, x, expert = instance
    if not any(x) or expert < mean(prior, x):
        return None
    return ge(expert, mean(lemma2.posterior(prior, x), x))


def test_weaker_than_expert_counterexample() -> None:
    pinned = ((HALF, HALF), (Fraction(1), Fraction(0)), HALF)
    assert mean(lemma2.posterior(*pinned[:2]), pinned[1]) == 1
    counterexample(better_than_own_is_enough, small_beside_expert, pinned)


def test_weaker_than_best_expert() -> None:
    for_all(expert_at_least(largest=True), beside_expert)


def test_expert_control_above_j() -> None:
    negative_control(expert_at_least(largest=False), beside_expert)


# L2-hint, line 160: hints other than the answer


def hinted(pick: Pick) -> Any:
    """(prior, X, chances): how likely the hint is after each CoT; 0 or 1 for a partial CoT, in one of two."""
    prior, x = model(pick)
    return prior, x, bits(pick, len(x)) if pick(0, 1) else twelfths(pick, len(x))


def small_hinted(pick: Pick) -> Any:
    """The same with small denominators, for partial CoTs alone."""
    prior = point(pick, 2, 2, 3)
    return prior, tuple(Fraction(pick(0, 2), 2) for _ in prior), bits(pick, 2)


def any_hint_keeps_lemma(instance: Any) -> Said | None:
    """Literal: CoTs given a hint lead to the right answer at least as often as the policy's own."""
    prior, x, chances = instance
    return ge(mean(lemma2.posterior(prior, chances), x), mean(prior, x)) if any(chances) else None


def hint_gap(sign: int) -> Statement:
    """E_hint X - J = `sign` Cov(chance of the hint, X) / P(hint); right for 1. The answer as hint has Var(X) / J."""

    def statement(instance: Any) -> Said | None:
        prior, x, chances = instance
        if not any(chances):
            return None
        value, reach = mean(prior, x), mean(prior, chances)
        gap = mean(lemma2.posterior(prior, chances), x) - value
        covariance = mean(prior, [(h - reach) * (a - value) for h, a in zip(chances, x, strict=True)])
        return eq(gap, sign * covariance / reach)

    return statement


def test_hint_counterexample() -> None:
    counterexample(any_hint_keeps_lemma, small_hinted, ((HALF, HALF), (HALF, Fraction(0)), (0, 1)))


def test_hint_gap() -> None:
    for_all(hint_gap(1), hinted)


def test_hint_control_other_sign() -> None:
    negative_control(hint_gap(-1), hinted)
