"""What theory.lemma1 refuses, and what it takes in batches."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import lemma1

HALF = Fraction(1, 2)
PI = (HALF, HALF / 2, HALF / 2)


@pytest.mark.parametrize(
    "f", [lemma1.cross_term, lemma1.threshold, lemma1.limit, lemma1.sft_derivative, lemma1.donors_single]
)
@pytest.mark.parametrize(
    ("pi", "j", "k", "what"),
    [
        ((1,), 0, 1, "pi needs at least 2"),
        ((HALF, 2 * HALF), 0, 1, "pi must sum to 1"),
        ((3 * HALF, -HALF), 0, 1, "pi holds a negative"),
        ((0.5, float("nan")), 0, 1, "pi holds NaN"),
        (PI, 0, 0, "must differ"),
        (PI, 3, 0, "j must be"),
        (PI, 0, -1, "(k|donor) must be"),
    ],
)
def test_pairs(f: Any, pi: Any, j: int, k: int, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        f(pi, j, k)


@pytest.mark.parametrize(
    ("donors", "what"),
    [
        ((HALF, HALF, 0), "donors must be 0 at j"),
        ((0, HALF, HALF / 2), "donors must sum to 1"),
        ((0, 3 * HALF, -HALF), "donors holds a negative"),
        ((0, 1), "donors needs one share"),
        ((0.0, 0.5, 0.5), "donors is float"),
    ],
)
def test_donors(donors: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        lemma1.derivative(PI, 0, 1, donors)


def test_nothing_left() -> None:
    for f in (lemma1.threshold, lemma1.limit):
        with pytest.raises(ValueError, match="pi must leave something"):
            f((1, 0), 0, 1)
    with pytest.raises(ValueError, match="pi must leave something"):
        lemma1.donors_proportional([[0.5, 0.5], [1.0, 0.0]], 0)
    with pytest.raises(ValueError, match="j must be"):
        lemma1.donors_equal(PI, 3)


def test_batches_agree_with_exact_numbers() -> None:
    pi = np.array([[0.5, 0.25, 0.25], [0.5, 0.125, 0.375]])
    exact = [[Fraction(x) for x in row] for row in pi]
    for f in (lemma1.cross_term, lemma1.threshold, lemma1.limit, lemma1.sft_derivative):
        assert f(pi, 0, 1) == pytest.approx([float(f(p, 0, 1)) for p in exact], rel=1e-14)
    for donors in (lemma1.donors_proportional(pi, 0), lemma1.donors_equal(pi, 0), lemma1.donors_single(pi, 0, 2)):
        assert donors.shape == pi.shape
        held = [lemma1.derivative(p, 0, 1, [Fraction(x) for x in d]) for p, d in zip(exact, donors, strict=True)]
        assert lemma1.derivative(pi, 0, 1, donors) == pytest.approx([float(x) for x in held], rel=1e-14)


def test_exact_stays_exact() -> None:
    assert lemma1.donors_proportional(PI, 0).tolist() == [0, HALF, HALF]
    assert lemma1.donors_equal(PI, 1).tolist() == [HALF, 0, HALF]
    assert lemma1.donors_single(PI, 1, 2).tolist() == [0, 0, 1]
    for x in (*lemma1.donors_equal(PI, 1), lemma1.threshold(PI, 0, 1), lemma1.limit(PI, 0, 1)):
        assert isinstance(x, Fraction)
    assert (lemma1.threshold(PI, 0, 1), lemma1.limit(PI, 0, 1)) == (HALF, 0)
