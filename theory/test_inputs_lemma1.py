"""What theory.lemma1 refuses, and that exact numbers stay exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from theory import inputs, lemma1

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
        (PI, 0, 0, "j and (k|donor) must differ"),
        (PI, 3, 0, "j must be"),
        (PI, 0, -1, "(k|donor) must be"),
    ],
)
def test_pairs(f: Any, pi: Any, j: int, k: int, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
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
    with pytest.raises(ValueError, match=f"^{what}"):
        lemma1.derivative(PI, 0, 1, donors)


def test_nothing_left() -> None:
    for f in (lemma1.threshold, lemma1.limit):
        with pytest.raises(ValueError, match=r"^pi must leave something"):
            f((1, 0), 0, 1)
    with pytest.raises(ValueError, match=r"^pi must leave something"):
        lemma1.donors_proportional([[0.5, 0.5], [1.0, 0.0]], 0)
    with pytest.raises(ValueError, match="j must be"):
        lemma1.donors_equal(PI, 3)


def test_exact_stays_exact() -> None:
    assert lemma1.donors_proportional(PI, 0).tolist() == [0, HALF, HALF]
    assert lemma1.donors_equal(PI, 1).tolist() == [HALF, 0, HALF]
    assert lemma1.donors_single(PI, 1, 2).tolist() == [0, 0, 1]
    for x in (*lemma1.donors_equal(PI, 1), lemma1.threshold(PI, 0, 1), lemma1.limit(PI, 0, 1)):
        assert isinstance(x, Fraction)
    assert (lemma1.threshold(PI, 0, 1), lemma1.limit(PI, 0, 1)) == (HALF, 0)


def test_a_sum_that_is_off_by_just_the_tolerance_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SUM_TOLERANCE", 0.5)
    assert list(inputs.simplex([0.75, 0.75], "pi")) == [0.75, 0.75]
    with pytest.raises(ValueError, match="pi must sum to 1"):
        inputs.simplex([0.75, 1.0], "pi")
