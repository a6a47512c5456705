"""What natural, sampler and combined refuse, and a few numbers known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import combined, natural, sampler
from theory.policies import softmax

F = Fraction
PI = (F(1, 2), F(1, 3), F(1, 6))
R = (1, 0, 1)
MU = (F(1, 2), 0, F(1, 2))

Call = Callable[[], Any]

REFUSED: dict[str, tuple[Call, str]] = {
    "a sample of probability 0": (
        lambda: natural.natural_gain(softmax((0, F(1, 2), F(1, 2))), R, 0),
        "policy must give sample j a positive probability",
    ),
    "a sample of probability 0, floats": (
        lambda: natural.natural_length(softmax([[0.5, 0.5], [0.0, 1.0]]), 0),
        "policy must give sample j a positive probability",
    ),
    "no sample of that number": (lambda: natural.natural_gain(softmax(PI), R, 3), "j must be a whole number"),
    "a row for a matrix": (lambda: natural.pseudo_inverse(PI), "matrix needs two axes"),
    "weights of what is never drawn": (
        lambda: sampler.importance(PI, (1, 1, 0), MU),
        "mu must be positive wherever prior and x are",
    ),
    "an infinite divergence": (lambda: sampler.chi_squared(PI, MU), "q is 0 where p is not"),
    "no right trajectory": (
        lambda: sampler.sft_bias(softmax(PI), (0, 0, 0), MU),
        "r needs a right trajectory: with J = 0",
    ),
    "no right trajectory to keep near": (
        lambda: sampler.gain_slack(softmax(PI), (0, 0, 0), MU),
        "r needs a right trajectory",
    ),
    "a sampler of wrong trajectories": (lambda: sampler.gain_slack(softmax(PI), R, PI), "q is 0 where p is not"),
    "beta 0": (lambda: sampler.winner_rate(softmax(PI), MU, 0), "beta must be greater than 0"),
    "no wrong loser": (
        lambda: sampler.winner_rate(softmax(PI), MU, 1, (1, 1, 1)),
        "r needs a wrong trajectory where losers are wrong only",
    ),
    "ratio 0": (lambda: combined.reach(0, 8), "ratio must be greater than 0"),
    "ratio below 0": (lambda: combined.reach_unscaled([F(1), F(-1)], 8), "ratio must be greater than 0"),
    "ddof 2": (lambda: combined.reach(1, 8, ddof=2), "ddof must be 0 or 1, got 2"),
    "G of 1": (lambda: combined.reach_unscaled(1, 1), "G must be a whole number from 2 on, got 1"),
    "G true": (lambda: combined.reach_unscaled(1, True), "G must be a whole number from 2 on"),
    "G of 2.5": (lambda: combined.reach_unscaled(1, 2.5), "G must be a whole number"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_pseudo_inverses_of_floats_and_of_nothing() -> None:
    assert np.allclose(natural.pseudo_inverse([[2.0, 0.0], [0.0, 1e-13]]), [[0.5, 0.0], [0.0, 0.0]], atol=1e-15)
    assert np.allclose(natural.pseudo_inverse([[2.0, 0.0], [0.0, 1e-9]]), [[0.5, 0], [0, 1e9]], rtol=1e-12)
    nothing = natural.pseudo_inverse([[0, 0, 0], [0, 0, 0]])
    assert nothing.tolist() == [[0, 0]] * 3
    assert all(isinstance(x, Fraction) for x in nothing.flat)
    # A step of a table in floats, whose Fisher matrix has no inverse.
    assert np.isclose(natural.natural_gain(softmax([0.1, 0.2, 0.7]), [1, 1, 0], 0), 0.7, rtol=1e-9)


def test_samplers_that_leave_some_out() -> None:
    assert list(sampler.importance(PI, (1, 0, F(1, 2)), MU)) == [1, 0, F(1, 6)]
    # Nor is the law of what is never drawn asked for.
    assert sampler.chi_squared(MU, (F(1, 2), 0, F(1, 2))) == 0
    assert sampler.chi_squared((0, 0, 1), MU) == 1
    # Bayes' rule has no bias, and all of the slack.
    post = (F(3, 4), 0, F(1, 4))
    assert not sampler.sft_bias(softmax(PI), R, post).any()
    gradient = softmax(PI).gradient(R)
    assert sampler.gain_slack(softmax(PI), R, post) == ((gradient @ gradient) / F(2, 3)) ** 2


def test_where_the_boxed_term_weighs_more() -> None:
    assert np.allclose(combined.reach([0.25, 1, 5], 2), [0.25, 1, 1], rtol=1e-12)
    assert np.isclose(combined.reach(F(1), 8), 0.5378192099, atol=1e-9)
    assert list(combined.reach_unscaled([F(1, 4), F(3)], 3)) == [F(3, 8), 1]
