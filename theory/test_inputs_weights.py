"""What choices and the share of the boxed term refuse, and a few numbers known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import choices, combined
from theory.policies import softmax

F = Fraction
PI = (F(1, 2), F(1, 3), F(1, 6))
R = (1, 0, 1)

Call = Callable[[], Any]

REFUSED: dict[str, tuple[Call, str]] = {
    "no candidate": (lambda: choices.resampled(PI, R, PI, 0), "K must be a whole number from 1 on, got 0"),
    "K true": (lambda: choices.best_of(PI, R, True), "K must be a whole number from 1 on, got True"),
    "K of 1.5": (lambda: choices.best_of(PI, R, 1.5), "K must be a whole number"),  # type: ignore[arg-type]
    "weights of 0": (lambda: choices.resampled(PI, R, PI, 2), "x must be positive wherever mu is: all K weights"),
    "no sampler": (lambda: choices.resampled(PI, (1, 1, 1), (1, 1, 1), 2), "mu must sum to 1"),
    "weights of what is never drawn": (
        lambda: choices.resampled(PI, (1, 1, 1), (F(1, 2), F(1, 2), 0), 2),
        "mu must be positive wherever prior and x are",
    ),
    "a score too few": (lambda: choices.best_of(PI, (1, 0), 2), "score needs 3 numbers on its last axis"),
    "no gradient": (lambda: combined.least_share(softmax(PI), (1, 1, 1), PI), "r needs a gradient: J does not move"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_one_of_k() -> None:
    assert list(choices.resampled(PI, R, (F(1, 4), 0, F(3, 4)), 1)) == [F(1, 4), 0, F(3, 4)]
    # Weights 2 and 2/9: of two different ones the first is taken nine times in ten.
    found = choices.resampled(PI, R, (F(1, 4), 0, F(3, 4)), 2)
    assert list(found) == [F(1, 16) + F(6, 16) * F(9, 10), 0, F(9, 16) + F(6, 16) * F(1, 10)]
    assert np.isclose(choices.resampled([0.5, 0.5], [1, 0.5], [0.5, 0.5], 2)[0], 1 / 4 + 1 / 2 * 2 / 3)


def test_best_of_k_with_ties_in_a_batch() -> None:
    rows = [(PI, (5, 5, 0)), (PI[::-1], (0, 5, 5))]
    together = choices.best_of([mu for mu, _ in rows], [score for _, score in rows], 2)
    assert [list(law) for law in together] == [list(choices.best_of(mu, score, 2)) for mu, score in rows]


def test_best_of_k() -> None:
    assert list(choices.best_of(PI, (0, 1, 2), 2)) == [F(1, 4), F(25, 36) - F(1, 4), F(11, 36)]
    # The last two are alike; what is never drawn is never the best.
    assert list(choices.best_of(PI, (0, 5, 5), 2)) == [F(1, 4), F(1, 2), F(1, 4)]
    assert list(choices.best_of((F(1, 2), F(1, 2), 0), (0, 1, 2), 2)) == [F(1, 4), F(3, 4), 0]


def test_share_of_the_boxed_term() -> None:
    # s_1 = -s_2 = (1/2, -1/2), grad J = (1/4, -1/4).
    halves = softmax((F(1, 2), F(1, 2)))
    assert combined.least_share(halves, (1, 0), (0, 1)) == 2
    assert combined.least_share(halves, (1, 0), (F(1, 4), F(3, 4))) == 1
    assert combined.least_share(halves, (1, 0), (1, 0)) == 0
