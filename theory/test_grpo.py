"""Section 5.2: advantages, and groups without a signal."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import sympy
import z3

from theory import grpo
from theory.domains import bits, gradients, size, wide
from theory.evidence import (
    Given,
    Pick,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    refuted_by_sweep,
    satisfiable,
    sweep,
)
from theory.inputs import Array, array
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, le

N = 100_000


def groups(pick: Pick) -> Any:
    """(logit gradients of 3 trajectories, sampled trajectories, rewards of the samples, eps)."""
    G = size(pick, 2, 8)
    return gradients(pick, 3), [pick(0, 2) for _ in range(G)], bits(pick, G), 10.0 ** -pick(1, 9)


def equal_groups(pick: Pick) -> Any:
    """As `groups`, all rewards equal."""
    z, drawn, r, eps = groups(pick)
    return z, drawn, (r[0],) * len(r), eps


def no_gradient(instance: Any) -> Said:
    """The advantages are all 0, and so is sum_i (r_i - mean) s_i, the gradient but for a positive factor."""
    z, drawn, r, eps = instance
    s = softmax([Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)], z).scores[drawn]
    centred = array(r) - Fraction(sum(r), len(r))
    # A float that is exactly 0 is no rounding.
    return both(eq(grpo.advantages(r, eps), 0, varies=r), eq(centred @ s, 0, varies=s))


def test_equal_rewards_give_no_gradient() -> None:
    for_all(no_gradient, equal_groups)


def test_no_gradient_control_any_rewards() -> None:
    negative_control(no_gradient, groups)


def standard_errors(ddof: int, wrong: float) -> tuple[Array, Array]:
    """Advantages in groups of 16 against sqrt((1-p_G)/p_G) and -sqrt(p_G/(1-p_G)), times sqrt(15/16) for ddof = 1."""
    r = np.random.default_rng(ddof).integers(0, 2, (N, 16)).astype(float)
    r[:, :2] = [0, 1]
    p_G = r.mean(-1, keepdims=True)
    expected = np.where(r == 1, np.sqrt((1 - p_G) / p_G), -np.sqrt(p_G / (1 - p_G))) * np.sqrt(15 / 16 if ddof else 1)
    A = grpo.advantages(r, ddof=ddof)
    # For 16 bits the mean, all deviations and the sum of their squares are exact; roots, quotients and factors are not.
    return np.abs(A - wrong * expected).max(-1), 8 * 2.0**-53 * np.sqrt(15)


def test_advantages_in_closed_form() -> None:
    for ddof in (0, 1):
        sweep(*standard_errors(ddof, 1), why="8 roundings of numbers up to sqrt(15)")
    assert np.allclose(grpo.advantages([1, 0, 0, 0]), [3**0.5, *[-(3**-0.5)] * 3], rtol=1e-15)
    assert np.allclose(grpo.advantages([1, 0], 0.5), [0.5, -0.5], rtol=1e-15)
    assert np.allclose(grpo.advantages([1, 0], ddof=1), [0.5**0.5, -(0.5**0.5)], rtol=1e-15)


def test_advantages_control_signs() -> None:
    refuted_by_sweep(*standard_errors(0, -1))


def mean_size(wrong: float) -> tuple[Array, Array]:
    """mean |A| minus `wrong` * 2 sqrt(p_G (1-p_G)), and mean |A| minus 1, where positive."""
    r = np.random.default_rng(2).integers(0, 2, (N, 16)).astype(float)
    r[:, :2] = [0, 1]
    p_G, size = r.mean(-1), np.abs(grpo.advantages(r)).mean(-1)
    error = np.maximum(np.abs(size - wrong * 2 * np.sqrt(p_G * (1 - p_G))), size - 1)
    return error, 32 * 2.0**-53 * np.sqrt(15)


def test_mean_advantage_is_at_most_one() -> None:
    sweep(*mean_size(1), why="32 roundings of numbers up to sqrt(15)")


def test_mean_advantage_control_half() -> None:
    refuted_by_sweep(*mean_size(0.5))


def questions(pick: Pick) -> Any:
    """(p, G): a question solved with probability p, a group."""
    return Fraction(pick(0, 60), 60), pick(2, 6)


def equal_by_counting(instance: Any, all_right_too: bool = True) -> Said:
    """P(no signal) is the sum over all groups of rewards that are equal, at least 2^(1-G).

    Not `all_right_too`: over the groups that are all wrong.
    """
    p, G = instance
    chance = [(1 - p, p)] * G
    equal = [g for g in product((0, 1), repeat=G) if len(set(g)) == 1 and (all_right_too or not any(g))]
    total = sum(np.prod([c[x] for c, x in zip(chance, g, strict=True)]) for g in equal)
    return both(eq(grpo.no_signal(p, G), total), ge(total, Fraction(2, 2**G)))


def all_wrong_by_counting(instance: Any) -> Said:
    """P(no signal) is that of a group that is all wrong."""
    return equal_by_counting(instance, all_right_too=False)


def equal_at_most_half(instance: Any) -> Said:
    """P(no signal) is at most 1/2."""
    return le(grpo.no_signal(*instance), Fraction(1, 2))


def test_no_signal_by_counting() -> None:
    for_all(equal_by_counting, questions)
    assert grpo.no_signal(Fraction(1, 100), 8) == Fraction(4613723472139601, 5 * 10**15)
    assert np.isclose(grpo.no_signal(0.001, 8), 0.992027944, rtol=1e-9)


def test_no_signal_control_all_wrong() -> None:
    negative_control(all_wrong_by_counting, questions)


def test_no_signal_control_at_most_half() -> None:
    negative_control(equal_at_most_half, questions)


def mixtures(pick: Pick) -> Any:
    """(p of several questions, their shares, G)."""
    shares = wide(pick, 2, 4, zeros=True)
    return [Fraction(pick(0, 30), 30) for _ in shares], shares, pick(2, 12)


def mixing_adds(instance: Any, related: Callable[[Any, Any], Said] = ge) -> Said:
    """The mean over questions is at least (or as `related` says) the value at their mean p."""
    p, shares, G = array(instance[0]), array(instance[1]), instance[2]
    return related(shares @ grpo.no_signal(p, G), grpo.no_signal(shares @ p, G))


def mixing_adds_nothing(instance: Any) -> Said:
    """The mean over questions is the value at their mean p."""
    return mixing_adds(instance, eq)


def test_mixing_questions_adds() -> None:
    for_all(mixing_adds, mixtures)


def test_mixing_control_equal() -> None:
    negative_control(mixing_adds_nothing, mixtures)


def curvature(G: Any, u: Any, v: Any, power: int) -> Any:
    """G (G - power)(u + v), u = p^(G-2) and v = (1-p)^(G-2): the second derivative of p^G + (1-p)^G for power 1."""
    return G * (G - power) * (u + v)


def not_convex(power: int) -> list[Any]:
    """z3: that second derivative is below 0."""
    G, u, v = z3.Reals("G u v")
    return [
        Given("a power of a positive number", u > 0, v > 0),
        Given("a group of G samples", G >= 1),
        curvature(G, u, v, power) < 0,
    ]


def curvature_error(power: int) -> list[sympy.Expr]:
    """p^G + (1-p)^G: its second derivative minus `curvature`, its slope and value at 1/2."""
    p, G = sympy.symbols("p G", positive=True)
    q = sympy.symbols("q", positive=True)
    # q stands for 1 - p: d/dp of (1-p)^G is minus d/dq of q^G.
    second = sympy.diff(p**G, p, 2) + sympy.diff(q**G, q, 2)
    half = sympy.Rational(1, 2)
    slope = (sympy.diff(p**G, p) - sympy.diff(q**G, q)).subs({p: half, q: half})
    return [second - curvature(G, p ** (G - 2), q ** (G - 2), power), slope, 2 * half**G - 2 ** (1 - G)]


def test_no_signal_is_convex() -> None:
    identity(curvature_error(1), "any G")
    proved(*not_convex(1), size="any G >= 1 and any p")


def test_convex_control() -> None:
    no_identity(curvature_error(0)[0])
    satisfiable(*not_convex(2))
