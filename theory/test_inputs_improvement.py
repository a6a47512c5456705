"""What theory.improvement and theory.policies refuse."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import improvement
from theory.policies import softmax, tree

HALF = Fraction(1, 2)
PI = (HALF, HALF)
EIGHT = [np.full((2,) * (t + 1), HALF, dtype=object) for t in range(8)]


@pytest.mark.parametrize("f", [improvement.tabular_t1, improvement.tabular_t2, improvement.tabular_gain])
@pytest.mark.parametrize(
    ("pi", "r", "j", "what"),
    [
        ((1,), (1,), 0, "pi needs at least 2"),
        ((HALF, 2 * HALF), (1, 0), 0, "pi must sum to 1"),
        ((3 * HALF, -HALF), (1, 0), 0, "pi holds a negative"),
        ((0.5, float("nan")), (1, 0), 0, "pi holds NaN"),
        ((HALF, 0.5), (1, 0), 0, "pi mixes"),
        (PI, (1, 0, 0), 0, "r needs 2 numbers"),
        (PI, (2, 0), 0, "r must lie in"),
        (PI, (0.5, 0.5), 0, "r is float"),
        (PI, (1, 0), 2, "j must be"),
        (PI, (1, 0), -1, "j must be"),
        (PI, (1, 0), True, "j must be"),
    ],
)
def test_tabular(f: Any, pi: Any, r: Any, j: int, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
        f(pi, r, j)


@pytest.mark.parametrize("f", [improvement.t1, improvement.t2])
def test_terms(f: Any) -> None:
    with pytest.raises(ValueError, match=r"^j must be"):
        f(softmax(PI), (1, 0), 2)
    with pytest.raises(ValueError, match=r"^r must lie in"):
        f(softmax(PI), (1, -1), 0)


@pytest.mark.parametrize(
    ("mass", "reward", "p", "right", "wrong", "what"),
    [
        (0.5, 1, HALF, HALF**2, HALF**2, "mass must be exact"),
        (HALF, 1, 0.5, HALF**2, HALF**2, "p must be exact"),
        (HALF, 1, HALF, 0.25, HALF**2, "right must be exact"),
        (HALF, 1, HALF, HALF**2, 0.25, "wrong must be exact"),
        (HALF, 2, HALF, HALF**2, HALF**2, "reward must be 0 or 1"),
        (HALF, 1, HALF / 2, HALF**2, HALF**2, "mass must lie"),
        (-HALF, 1, HALF, HALF**2, HALF**2, "mass must lie"),
        (HALF, 1, 3 * HALF, HALF**2, HALF**2, "mass must lie"),
        (HALF, 0, 3 * HALF / 2, HALF**2, HALF**2, "mass must lie"),
        (HALF, 1, HALF, HALF**3, HALF**2, "right and wrong"),
        (HALF, 1, HALF, HALF, HALF**2, "right and wrong"),
        (HALF**2, 1, HALF, 3 * HALF**4, HALF**2, "right and wrong"),
        (HALF, 1, HALF, HALF**2, HALF, "right and wrong"),
        (HALF, 1, HALF, HALF**2, -HALF, "right and wrong"),
    ],
)
def test_sums(mass: Any, reward: int, p: Any, right: Any, wrong: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
        improvement.from_sums(mass, reward, p, right, wrong)


def test_sums_at_the_ends() -> None:
    assert improvement.from_sums(Fraction(0), 1, HALF, HALF**2, HALF**2) == (0, 0)
    assert improvement.from_sums(Fraction(0), 0, HALF, HALF**2, HALF**2 / 2) == (0, -(HALF**4))
    assert improvement.from_sums(HALF, 1, Fraction(1), HALF, Fraction(0)) == (HALF**2, -(HALF**2))


def test_second_derivative() -> None:
    for v in ((1, 0, 0), ((1, 0, 0), (0, 1, 0))):
        with pytest.raises(ValueError, match=r"^v needs one number for each of the 2 trajectories, got \(3,\)"):
            improvement.second_derivative(PI, (1, 0), v)
    with pytest.raises(ValueError, match=r"^v is float"):
        improvement.second_derivative(PI, (1, 0), (0.5, 0.5))
    with pytest.raises(ValueError, match=r"^v holds NaN"):
        improvement.remainder_bound((1.0, float("inf")))
    with pytest.raises(ValueError, match=r"^v needs one number for each trajectory"):
        improvement.remainder_bound(1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probs", "q", "tokens", "what"),
    [
        ([PI], [(1, 0)], (0, 1), "probs needs one row"),
        ([PI], [(1, 0, 0)], (0,), "q needs 2 numbers"),
        ([PI], [(2, 0)], (0,), "q must lie in"),
        ([PI], [(1, 0)], (2,), "tokens must be"),
        ([PI] * 9, [(1, 0)] * 9, (0,) * 8 + (2,), "tokens must be"),
        ([(HALF, 0)], [(1, 0)], (0,), "probs must sum to 1"),
    ],
)
def test_tree_gain(probs: Any, q: Any, tokens: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
        improvement.tree_gain(probs, q, tokens)


def test_tree_inner() -> None:
    with pytest.raises(ValueError, match=r"^other needs as many"):
        improvement.tree_inner([PI], (0,), (0, 1))
    with pytest.raises(ValueError, match=r"^other must be"):
        improvement.tree_inner([PI], (0,), (2,))
    with pytest.raises(ValueError, match=r"^probs needs one row"):
        improvement.tree_inner(PI, (0, 1), (0, 1))


@pytest.mark.parametrize(
    ("gradients", "what"),
    [
        ([(1, 0)], "logit_gradients needs one row for each of the 2 trajectories"),
        ((1, 0), "logit_gradients needs one row for each of the 2 trajectories"),
        ([(0.5, 0.5), (1.0, 0.0)], "logit_gradients and pi mix exact and float"),
    ],
)
def test_softmax(gradients: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
        softmax(PI, gradients)


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ([], "tables needs at least one level"),
        ([PI, PI], r"tables\[1\] must have shape \(2, 2\), got \(2,\)"),
        ([PI, [PI, (HALF, HALF, 0)]], r"tables\[1\] is ragged"),
        ([PI, [PI, (HALF, 0)]], r"tables\[1\] must sum to 1"),
        ([[PI, PI]], r"tables\[0\] must have shape \(2,\), got \(2, 2\)"),
        ([*EIGHT, PI], r"tables\[8\] must have shape \(2, 2, 2, 2, 2, 2, 2, 2, 2\), got \(2,\)"),
        ([*EIGHT, np.full((2,) * 9, 0.5)], r"tables\[0\] and .* tables\[8\] mix exact and float"),
        ([PI, [(0.5, 0.5)] * 2], r"tables\[0\] and tables\[1\] mix exact and float"),
    ],
)
def test_tree(tables: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
        tree(tables)


def test_tree_of_floats() -> None:
    exact, floats = tree([PI, [PI, PI]]), tree([(0.5, 0.5), [(0.5, 0.5)] * 2])
    assert {type(x) for x in (*exact.probs.flat, *exact.scores.flat)} == {Fraction}
    assert floats.probs.dtype == floats.scores.dtype == np.float64
    assert np.array_equal(floats.scores, exact.scores.astype(float))
