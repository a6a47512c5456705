"""What lemma2, properties and shifts refuse: each message names the argument."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import lemma2, properties, shifts

HALF = Fraction(1, 2)
EVEN = [HALF, HALF]
THREE = [Fraction(1, 4), HALF, Fraction(1, 4)]
ONE, TWO = Fraction(1), Fraction(2)

OTHERS = "up - down must not exceed the probability of the other CoTs, which must be positive"
# A call, and what its message must say.
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: lemma2.posterior([Fraction(3, 2), -HALF], EVEN), "prior holds a negative"),
    (lambda: lemma2.posterior([HALF, Fraction(1, 3)], EVEN), "prior must sum to 1, got 5/6"),
    (
        lambda: lemma2.posterior([HALF, HALF + Fraction(1, 10**12)], EVEN),
        "prior must sum to 1, got 1000000000001/10000",
    ),
    (lambda: lemma2.posterior([HALF, "a"], EVEN), "prior must hold real numbers, got 'a'"),
    (lambda: lemma2.posterior([HALF, HALF], ["a", HALF]), "x must hold real numbers, got 'a'"),
    (lambda: lemma2.posterior([ONE], [ONE]), "prior needs at least 2 probabilities on its last axis, got 1"),
    (lambda: lemma2.posterior(ONE, ONE), "prior needs at least 2 probabilities on its last axis, got 0"),  # type: ignore[arg-type]
    (lambda: lemma2.posterior([0.5, np.nan], [0.5, 0.5]), "prior holds NaN"),
    (lambda: lemma2.posterior(EVEN, [0.5, 0.5]), "x is float beside exact"),
    (lambda: lemma2.posterior(EVEN, [HALF]), "x needs 2 numbers on its last axis"),
    (lambda: lemma2.posterior(EVEN, [HALF, TWO]), r"x must lie in \[0, 1\]"),
    (lambda: lemma2.posterior(EVEN, [0, 0]), "x must be positive for some CoT .* J = 0"),
    (lambda: lemma2.gap([1, 0], [0, 1]), "x must be positive for some CoT of the prior: with J = 0"),
    (lambda: lemma2.gini(EVEN, [0, 0]), "x must be positive for some CoT of the prior: with J = 0"),
    (lambda: lemma2.iterated(EVEN, [1, HALF], -1), "times must be a whole number from 0, got -1"),
    (lambda: lemma2.iterated(EVEN, [1, HALF], True), "times must be"),
    (lambda: lemma2.iterated(EVEN, [1, HALF], 0.5), "times must be"),  # type: ignore[arg-type]
    (lambda: lemma2.tempered(EVEN, 0), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered([0.5, 0.5], float("inf")), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered([0.5, 0.5], 10**400), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered([0.5, 0.5], Fraction(1, 10**400)), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered([0.5, 0.5], True), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered([0.5, 0.5], "1"), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered(EVEN, np.float64(0.5)), "tau must be a Fraction 1/k"),
    (lambda: lemma2.tempered([0.5, 0.5], float("nan")), "tau must be one finite number greater than 0"),
    (lambda: lemma2.tempered(EVEN, TWO), "tau must be a Fraction 1/k"),
    (lambda: lemma2.tempered(EVEN, 0.5), "tau must be a Fraction 1/k"),
    (lambda: lemma2.tempered([HALF, ONE], HALF), "p must sum to 1"),
    (lambda: lemma2.prompted(EVEN, [1, 0], [0.5, 0.5]), "mu and the other distribution mix exact and float"),
    (lambda: lemma2.prompted(EVEN, [1, 0], THREE), "mu needs 2 probabilities"),
    (lambda: lemma2.tv(EVEN, THREE), "q needs 2 probabilities"),
    (lambda: lemma2.kl([0.5, 0.5], [1.0, 0.0]), "q is 0 where p is not"),
    (lambda: lemma2.tv_radius(EVEN, EVEN), "x must not be the same for all CoTs"),
    (lambda: lemma2.tv_radius([EVEN, EVEN], [EVEN, [0, 1]]), "x must not be the same for all CoTs"),
    (lambda: lemma2.critical_tv(EVEN, EVEN), "x must not be the same for all"),
    (lambda: lemma2.critical_kl(EVEN, [1, HALF]), "prior and x must be float"),
    (lambda: lemma2.critical_kl([0.5, 0.5], [0.5, 0.5]), "x must not be the same for all"),
    (lambda: lemma2.critical_kl([0.5, 0.5], [1.0, 0.0]), "prior and x must be positive"),
    (lambda: lemma2.critical_kl([1.0, 0.0], [1.0, 0.5]), "prior and x must be positive"),
    (lambda: shifts.stepped(EVEN, [ONE]), r"factors needs one for each of the 2 probabilities, got \(1,\)"),
    (lambda: shifts.stepped(EVEN, [[ONE], [ONE]]), r"factors needs one for each of the 2 probabilities, got \(1,\)"),
    (lambda: shifts.stepped(EVEN, [ONE, 0]), "factors must be greater than 0"),
    (lambda: shifts.push(EVEN, 0, TWO, 0, HALF), "i and j must differ, both are 0"),
    (lambda: shifts.push(EVEN, 0, TWO, 2, HALF), "j must be a whole number from 0 to 1"),
    (lambda: shifts.push(EVEN, 0, HALF, 1, HALF), "alpha must be at least 1"),
    (lambda: shifts.push(EVEN, 0, 2.5, 1, HALF), "alpha is float beside exact"),
    (lambda: shifts.push(EVEN, 0, TWO, 1, TWO), r"beta must lie in \(0, 1\]"),
    (lambda: shifts.ratio(EVEN, 0, TWO, 1, 0), r"beta must lie in \(0, 1\]"),
    (lambda: shifts.gradient_step(EVEN, -1), "i must be a whole number from 0 to 1"),
    (lambda: shifts.first_order(EVEN, [1.0, 2.0]), "pi and v mix exact and float"),
    (lambda: shifts.second_order(EVEN, [ONE]), r"v needs one entry for each of the 2 probabilities, got \(1,\)"),
    (
        lambda: shifts.first_order(EVEN, [[ONE], [ONE]]),
        r"v needs one entry for each of the 2 probabilities, got \(1,\)",
    ),
    (lambda: properties.transfer(EVEN, 0, 1, ONE), "amount must lie between 0 and the probability of CoT j"),
    (lambda: properties.transfer(EVEN, 0, 1, -HALF), "amount must lie between 0 and the probability of CoT j"),
    (lambda: properties.transfer(EVEN, 1, 1, HALF), "i and j must differ"),
    (lambda: properties.uneven(EVEN, 0, HALF, 1, HALF), "prior needs at least 3"),
    (lambda: properties.uneven(THREE, 0, -HALF, 1, HALF), "up must not be negative"),
    (lambda: properties.uneven(THREE, 0, HALF, 1, ONE), "down must lie between 0 and the probability of CoT j"),
    (lambda: properties.uneven(THREE, 0, HALF, 1, -HALF), "down must lie between 0 and the probability of CoT j"),
    (lambda: properties.uneven(THREE, 0, ONE, 1, HALF), OTHERS),
    (
        lambda: properties.uneven([HALF, HALF, 0], 0, HALF, 1, HALF),
        OTHERS,
    ),
    (lambda: properties.logit_gain(EVEN, EVEN, 0, TWO, 0, HALF), "i and j must differ"),
    (lambda: properties.pair_rate(EVEN, EVEN, 0, 3), "j must be a whole number from 0 to 1"),
    (lambda: properties.pair_rate(EVEN, [HALF, TWO], 0, 1), r"x must lie in \[0, 1\]"),
    (lambda: properties.sample_rates(EVEN, [EVEN, EVEN], 2, 0), "c must be a whole number from 0 to 1"),
    (lambda: properties.sample_rates(EVEN, [EVEN, EVEN], 0, 2), "a must be a whole number from 0 to 1"),
    (lambda: properties.sample_rates(EVEN, EVEN, 0, 0), "answers needs one row for each of the 2 CoTs"),
    (lambda: properties.sample_rates(EVEN, [EVEN] * 3, 0, 0), "answers needs one row for each of the 2 CoTs"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[f"{i}" for i in range(len(REFUSED))])
def test_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_nothing_is_lost_where_nothing_is() -> None:
    assert lemma2.kl([1.0, 0.0], [1.0, 0.0]) == 0


def test_a_small_temperature_keeps_every_row() -> None:
    # (1/4)^1000 is 0 in float64: each row is divided by its own largest.
    cold = lemma2.tempered([[1.0, 0.0, 0.0, 0.0], [0.25] * 4], 1e-3)
    assert np.array_equal(cold, [[1.0, 0.0, 0.0, 0.0], [0.25] * 4])


def test_many_times_keep_every_row() -> None:
    # The square of 1e-200 is 0 in float64.
    twice = lemma2.iterated([0.5, 0.5], [[1.0, 0.5], [1e-200, 5e-201]], 2)
    assert np.allclose(twice, [[0.8, 0.2], [0.8, 0.2]], rtol=1e-15)


def test_what_is_never_drawn_does_not_scale_the_rest() -> None:
    assert lemma2.iterated([0.5, 0.5, 0.0], [1e-3, 1e-4, 1.0], 200) == pytest.approx([1, 1e-200, 0], rel=1e-12)


def test_whole_numbers_go_with_either_kind() -> None:
    whole = np.array([1, 0], dtype=object)
    assert lemma2.gap([0.5, 0.5], whole) == 0.5
    assert lemma2.gap(EVEN, whole) == HALF


def test_floats_held_as_objects_are_floats() -> None:
    held = lemma2.posterior(np.array([0.5, 0.5], dtype=object), np.array([1, 0.5], dtype=object))
    assert held.dtype == np.float64
    assert np.allclose(held, [2 / 3, 1 / 3])
