"""Line 118: whether cross terms matter in very high dimension, and whether unlikely samples' scores are orthogonal."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import sympy

from theory.domains import gradients, point
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.policies import softmax
from theory.relations import Said, both, each, eq, iff, le

PARAMETERS = 3_090_000_000


def gram_error(factor: Fraction) -> Statement:
    """Logit gradients whose inner products miss C I by at most e: scores miss theirs by 4 e (1 - pi_j)(1 - pi_k)."""

    def statement(instance: Any) -> Said:
        pi, z, C = instance
        n = len(pi)
        held = np.array(z, dtype=object)
        error = max(abs(sum(held[a] * held[b]) - (C if a == b else 0)) for a, b in product(range(n), repeat=2))
        difference = softmax(pi, z).gram - C * softmax(pi).gram
        return each(
            le(abs(difference[a, b]), factor * error * (1 - pi[a]) * (1 - pi[b]))
            for a, b in product(range(n), repeat=2)
        )

    return statement


def gram(pick: Pick) -> Any:
    pi = point(pick, 2, 3)
    return pi, gradients(pick, len(pi)), Fraction(pick(1, 20))


def test_gram_error() -> None:
    for_all(gram_error(Fraction(4)), gram)


def test_gram_error_control_smaller() -> None:
    negative_control(gram_error(Fraction(2)), gram)


def mean_square(n: int, d: int) -> Fraction:
    """Mean of (T2 / T1)^2 over all signs: n equally likely right ones, scores of norm 1, cross terms 1 / sqrt(d)."""
    return Fraction(sum(square for square in squared_sums(n)), len(squared_sums(n)) * d)


@cache
def squared_sums(n: int) -> tuple[int, ...]:
    """Squares of the sums of n - 1 signs, all of them."""
    return tuple(sum(signs) ** 2 for signs in product((-1, 1), repeat=n - 1))


def up_to_dimension(more: int) -> Statement:
    """The mean square is (n - 1) / d: at most 1 if and only if there are at most d + `more` of them; right for 1."""

    def statement(instance: Any) -> Said:
        n, d = instance
        return both(eq(mean_square(n, d), Fraction(n - 1, d)), iff(le(mean_square(n, d), 1), le(n, d + more)))

    return statement


def some_dimensions(pick: Pick) -> Any:
    """(how many trajectories are equally likely, dimensions)."""
    return pick(2, 10), pick(1, 12)


def random_signs(instance: Any) -> Said:
    """Literal: for 2**b equally likely right samples, cross terms of random sign and size 1 / sqrt(d) do not matter.

    The root mean square of T2 / T1, sqrt((2**b - 1) / d), is at most 1. The probability cancels, since it is the
    same for all of them: what counts is how many there are.
    """
    (b,) = instance
    return le(Fraction(2**b - 1, PARAMETERS), 1)


def test_random_signs_up_to_the_dimension() -> None:
    for_all(up_to_dimension(1), some_dimensions)


def test_random_signs_control_one_fewer() -> None:
    negative_control(up_to_dimension(0), some_dimensions)


def test_random_signs() -> None:
    counterexample(random_signs, lambda pick: (pick(1, 144),), (32,), lambda instance: instance[0])


def cosine_errors(shift: int) -> list[sympy.Expr]:
    """Limits of the cosine of two scores as both probabilities, x and t x, fall to 0: m / (1 + m), m = sum rho^2.

    rho is the law of the others, here two of them.
    """
    x, t, rho = sympy.symbols("x t rho", positive=True)
    left = 1 - x - t * x
    square = x**2 + (t * x) ** 2 + (left * rho) ** 2 + (left * (1 - rho)) ** 2
    m = rho**2 + (1 - rho) ** 2
    cosine = (square - x - t * x) / sympy.sqrt((1 - 2 * x + square) * (1 - 2 * t * x + square))
    return [cosine.subs(x, 0) - m / (shift + m)]


def unlikely_pair(pick: Pick) -> Any:
    """The law of the others."""
    return point(pick, 1, 3, 8)


def orthogonal(rho: Any) -> Said:
    """Literal: the scores of two samples become orthogonal as both become less likely; here both have probability 0."""
    inner = softmax((Fraction(0), Fraction(0), *rho)).gram
    return eq(inner[0, 1], 0)


def cosine(shift: int) -> Statement:
    """The cosine is m / (1 + m), m = sum rho^2, at most 1/2."""

    def statement(rho: Any) -> Said:
        inner = softmax((Fraction(0), Fraction(0), *rho)).gram
        m = sum(x * x for x in rho)
        return both(
            eq(inner[0, 0], inner[1, 1]),
            both(eq(inner[0, 1] / inner[0, 0], m / (shift + m)), le(m / (shift + m), Fraction(1, 2))),
        )

    return statement


def test_unlikely_scores_are_not_orthogonal() -> None:
    counterexample(orthogonal, unlikely_pair, (Fraction(1),))


def test_cosine_of_unlikely_scores() -> None:
    for_all(cosine(1), unlikely_pair)


def test_cosine_in_the_limit() -> None:
    identity(cosine_errors(1), "two others")


def test_cosine_control() -> None:
    no_identity(cosine_errors(2)[0])
    negative_control(cosine(2), unlikely_pair)
