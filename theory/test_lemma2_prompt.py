"""Lemma 2 for the sampler that is run: a* stands in the prompt, and self-explanations come from some mu."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

from theory import lemma2
from theory.domains import point
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.relations import Said, both, eq, ge
from theory.test_lemma2 import HALF, mean, model


def prompted_model(pick: Pick) -> Any:
    """(prior, X, mu), mu any sampler."""
    prior, x = model(pick)
    return prior, x, point(pick, len(prior), len(prior))


def small_prompted_model(pick: Pick) -> Any:
    """(prior, X, mu) with small denominators."""
    prior, mu = (point(pick, 2, 2, weight=6) for _ in range(2))
    return prior, tuple(Fraction(pick(0, d), d) for d in (pick(1, 4), pick(1, 4))), mu


def keeps_lemma(instance: Any) -> Said:
    """E_mu X >= J."""
    return ge(lemma2.prompted(*instance), 0)


def test_prompted_counterexample() -> None:
    pinned = ((HALF, HALF), (Fraction(1), Fraction(0)), (Fraction(1, 3), Fraction(2, 3)))
    assert lemma2.prompted(*pinned) == Fraction(-1, 6)
    counterexample(keeps_lemma, small_prompted_model, pinned)


def covariance_form(instance: Any, sign: int = 1) -> Said:
    """The gap is E_mu X - J, and the covariance of mu/pi and X under the prior; so the lemma holds where that is."""
    prior, x, mu = instance
    value = mean(prior, x)
    ratios = [q / p for p, q in zip(prior, mu, strict=True)]
    covariance = mean(prior, [(w - 1) * (a - value) for w, a in zip(ratios, x, strict=True)])
    return both(eq(lemma2.prompted(prior, x, mu), mean(mu, x) - value), eq(mean(mu, x) - value, sign * covariance))


def covariance_form_other_sign(instance: Any) -> Said:
    return covariance_form(instance, -1)


def test_prompted_gap_is_covariance() -> None:
    for_all(covariance_form, prompted_model)


def test_covariance_control_other_sign() -> None:
    negative_control(covariance_form_other_sign, prompted_model)


def ordered(pick: Pick, down: bool = False) -> Any:
    """(prior, X, mu) with mu/pi not falling (or, `down`, not rising) in X."""
    prior, x = model(pick)
    steps = list(itertools.accumulate((pick(0, 3) for _ in range(13)), initial=1))
    weights = [p * steps[12 - int(12 * a) if down else int(12 * a)] for p, a in zip(prior, x, strict=True)]
    return prior, x, tuple(w / sum(weights) for w in weights)


def ordered_down(pick: Pick) -> Any:
    return ordered(pick, down=True)


def test_prompted_ordered_keeps_lemma() -> None:
    for_all(keeps_lemma, ordered)


def test_ordered_control_other_order() -> None:
    negative_control(keeps_lemma, ordered_down)
