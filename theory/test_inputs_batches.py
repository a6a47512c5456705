"""One bad instance among ten is refused, wherever it stands, and so is one bad entry among many."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import choices, combined, grpo, lemma1, lemma2, natural, objectives, properties, sampler, shifts
from theory.inputs import array, like, rewards, simplex
from theory.policies import softmax

F = Fraction
ROWS = 10
PI, X, R = [0.5, 0.25, 0.25], [0.25, 0.5, 0.75], [1, 0, 0]
Call = Callable[..., Any]


def first_step(pi: Any, r: Any, beta: Any, wrong_only: bool = True) -> Any:
    return objectives.dpo_first_step(softmax(pi), r, beta, wrong_only=wrong_only)


# A call, arguments of which each holds for one instance, and one that replaces the first by what is refused.
CASES: dict[str, tuple[Call, dict[str, Any], dict[str, Any], str]] = {
    "negative": (lambda pi: simplex(pi), {"pi": PI}, {"pi": [0.5, 0.75, -0.25]}, "pi holds a negative"),
    "sum": (lambda pi: simplex(pi), {"pi": PI}, {"pi": [0.5, 0.5, 0.5]}, "pi must sum to 1, got 1.5"),
    "NaN": (lambda x: array(x), {"x": X}, {"x": [0.25, 0.5, np.nan]}, "values holds NaN"),
    "above 1": (lambda r: rewards(r, np.array(PI)), {"r": R}, {"r": [1, 0, 2]}, "r must lie in"),
    "below 0": (lambda r: rewards(r, np.array(PI)), {"r": R}, {"r": [-1, 0, 0]}, "r must lie in"),
    "donors": (
        lambda donors: lemma1.derivative(PI, 0, 1, donors),
        {"donors": [0, 0.5, 0.5]},
        {"donors": [0.25, 0.25, 0.5]},
        "donors must be 0 at j",
    ),
    "nothing left": (lambda pi: lemma1.threshold(pi, 0, 1), {"pi": PI}, {"pi": [1, 0, 0]}, "pi must leave something"),
    "J = 0": (lambda x: lemma2.gap(PI, x), {"x": X}, {"x": [0, 0, 0]}, "x must be positive for some CoT"),
    "one X": (lambda x: lemma2.tv_radius(PI, x), {"x": X}, {"x": [0.5] * 3}, "x must not be the same"),
    "infinite": (lambda q: lemma2.kl(PI, q), {"q": PI}, {"q": [0.5, 0.5, 0]}, "q is 0 where p is not"),
    "no tilt": (lambda x: lemma2.nearest_kl(PI, x), {"x": X}, {"x": [0, 0.5, 0.5]}, "prior and x must be positive"),
    "no prior": (
        lambda prior: lemma2.nearest_kl(prior, X),
        {"prior": PI},
        {"prior": [0.5, 0.5, 0]},
        "prior and x must be positive",
    ),
    "amount above": (
        lambda amount: properties.transfer(PI, 0, 1, amount),
        {"amount": 0.25},
        {"amount": 0.5},
        "amount must lie between",
    ),
    "amount below": (
        lambda amount: properties.transfer(PI, 0, 1, amount),
        {"amount": 0.25},
        {"amount": -0.25},
        "amount must lie between",
    ),
    "up": (lambda up: properties.uneven(PI, 0, up, 1, 0.25), {"up": 0.25}, {"up": -0.25}, "up must not be negative"),
    "down": (lambda down: properties.uneven(PI, 0, 0.25, 1, down), {"down": 0.25}, {"down": 0.5}, "down must lie"),
    "down below": (
        lambda down: properties.uneven(PI, 0, 0.0, 1, down),
        {"down": 0.0},
        {"down": -0.25},
        "down must lie",
    ),
    "no others": (
        lambda prior: properties.uneven(prior, 0, 0.0, 1, 0.0),
        {"prior": PI},
        {"prior": [0.5, 0.5, 0]},
        "up - down must not exceed",
    ),
    "too little": (
        lambda up: properties.uneven(PI, 0, up, 1, 0.0),
        {"up": 0.25},
        {"up": 0.5},
        "up - down must not exceed",
    ),
    "factors": (
        lambda factors: shifts.stepped(PI, factors),
        {"factors": X},
        {"factors": [1, 1, 0]},
        "factors must be greater than 0",
    ),
    "alpha": (lambda a: shifts.ratio(PI, 0, a, 1, 0.5), {"a": 2.0}, {"a": 0.5}, "alpha must be at least 1"),
    "beta 0": (lambda b: shifts.ratio(PI, 0, 2.0, 1, b), {"b": 0.5}, {"b": 0.0}, "beta must lie in"),
    "beta 2": (lambda b: shifts.ratio(PI, 0, 2.0, 1, b), {"b": 0.5}, {"b": 2.0}, "beta must lie in"),
    "no reference": (
        lambda ref: objectives.odds_gain(PI, ref, 0, 1),
        {"ref": PI},
        {"ref": [0, 0.5, 0.5]},
        "ref must be positive",
    ),
    "no loser": (lambda pi: objectives.odds_gain(pi, PI, 0, 1), {"pi": PI}, {"pi": [0.5, 0, 0.5]}, "ref must be pos"),
    "step beta": (lambda beta: first_step([PI] * ROWS, R, beta), {"beta": 0.5}, {"beta": 0.0}, "beta must be greater"),
    "none right": (lambda r: first_step([PI] * ROWS, r, 0.5, False), {"r": R}, {"r": [0, 0, 0]}, "r needs a right"),
    "none wrong": (
        lambda r: first_step([PI] * ROWS, r, 0.5),
        {"r": R},
        {"r": [1, 1, 1]},
        "r needs .* a wrong one",
    ),
    "partial": (lambda r: objectives.em_step(PI, r, 0.5), {"r": R}, {"r": [1, 0, 0.5]}, "r must be 0 or 1"),
    "em J": (lambda r: objectives.em_step(PI, r, 0.5), {"r": R}, {"r": [0, 0, 0]}, "r needs a right"),
    "eta above": (lambda eta: objectives.em_step(PI, R, eta), {"eta": 0.5}, {"eta": 1.5}, "eta must lie in"),
    "eta below": (lambda eta: objectives.em_step(PI, R, eta), {"eta": 0.5}, {"eta": -0.5}, "eta must lie in"),
    "kl partial": (lambda r: objectives.kl_optimum(PI, r, 2.0), {"r": R}, {"r": [1, 0, 0.5]}, "r must be 0 or 1"),
    "odds": (lambda odds: objectives.kl_optimum(PI, R, odds), {"odds": 2.0}, {"odds": 1.0}, "odds .* greater than 1"),
    "loss": (lambda loss: objectives.relative_gain(loss, 1.0), {"loss": 1.0}, {"loss": 0.0}, "loss must be greater"),
    "no signal": (lambda r: grpo.advantages(r), {"r": R}, {"r": [1, 1, 1]}, "eps must be positive"),
    "nothing to fit": (
        lambda pi: natural.natural_gain(softmax(pi), R, 2),
        {"pi": PI},
        {"pi": [0.5, 0.5, 0]},
        "policy must give sample j",
    ),
    "no posterior": (
        lambda r: sampler.sft_bias(softmax([PI] * ROWS), r, PI),
        {"r": R},
        {"r": [0, 0, 0]},
        "r needs a right trajectory",
    ),
    "winner beta": (
        lambda beta: sampler.winner_rate(softmax([PI] * ROWS), PI, beta),
        {"beta": 0.5},
        {"beta": 0.0},
        "beta must be greater",
    ),
    "no wrong loser": (
        lambda r: sampler.winner_rate(softmax([PI] * ROWS), PI, 0.5, r),
        {"r": R},
        {"r": [1, 1, 1]},
        "r needs a wrong trajectory",
    ),
    "no gradient": (
        lambda r: combined.least_share(softmax([PI] * ROWS), r, PI),
        {"r": R},
        {"r": [0, 0, 0]},
        "r needs a gradient",
    ),
    "share": (lambda x: combined.reach(x, 4), {"x": 0.5}, {"x": 0.0}, "ratio must be greater"),
    "ratio": (lambda x: grpo.slope(x, 1.0, 0.5), {"x": 1.5}, {"x": 0.0}, "ratio must be greater"),
    "eps 0": (lambda e: grpo.slope(1.5, 1.0, e), {"e": 0.5}, {"e": 0.0}, "eps must lie between"),
    "eps 1": (lambda e: grpo.slope(1.5, 1.0, e), {"e": 0.5}, {"e": 1.0}, "eps must lie between"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_bad_instance(name: str) -> None:
    call, good, bad, message = CASES[name]
    ((argument, row),) = good.items()
    batch = np.array([row] * ROWS, dtype=float)
    call(**{argument: batch})
    for at in (0, ROWS - 1):
        spoilt = batch.copy()
        spoilt[at] = bad[argument]
        with pytest.raises(ValueError, match=f"^{message}"):
            call(**{argument: spoilt})


@pytest.mark.parametrize("at", [0, ROWS - 1])
def test_one_bad_entry(at: int) -> None:
    """Of ten probabilities, factors or numbers of two kinds."""
    even = np.full(ROWS, 1 / ROWS)
    for value, message in ((-0.1, "pi holds a negative"), (0.2, "pi must sum to 1"), (np.inf, "pi holds NaN or inf")):
        spoilt = even.copy()
        spoilt[at] = value
        with pytest.raises(ValueError, match=f"^{message}"):
            simplex(spoilt)
    for call, value, message in (
        (lambda x: rewards(x, even), 2, "r must lie in"),
        (lambda x: shifts.stepped(even, x), 0, "factors must be greater"),
        (lambda x: lemma2.kl(even, simplex(x / x.sum())), 0, "q is 0 where p is not"),
        (lambda x: lemma2.critical_kl(even, x * np.linspace(0.5, 1, ROWS)), 0, "prior and x must be positive"),
        (lambda x: lemma2.critical_kl(x / x.sum(), np.linspace(0.5, 1, ROWS)), 0, "prior and x must be positive"),
        (lambda x: sampler.importance(even, even, x / x.sum()), 0, "mu must be positive"),
        (lambda x: sampler.chi_squared(even, x / x.sum()), 0, "q is 0 where p is not"),
        (lambda x: choices.resampled(even, x, even, 2), 0, "x must be positive wherever mu is"),
        (lambda x: objectives.em_step(even, x, 0.5), 0.5, "r must be 0 or 1"),
        (lambda x: objectives.kl_optimum(even, x, 2.0), 0.5, "r must be 0 or 1"),
    ):
        entries = np.ones(ROWS)
        entries[at] = value
        with pytest.raises(ValueError, match=f"^{message}"):
            call(entries)
    mixed: list[Any] = [0.5] * ROWS
    mixed[at] = F(1, 2)
    with pytest.raises(ValueError, match=r"^values mixes Fractions and floats"):
        array(mixed)
    exact: list[Any] = [1] * ROWS
    exact[at] = F(1, 2)
    with pytest.raises(ValueError, match=r"^x is exact beside float"):
        like(exact, even, "x")
