"""Lines 116 to 118 at the size of a language model: T1 and T2, high dimension.

Probabilities are powers of 2, so that every number is exact; 2**-144 has log-probability -99.8.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import sympy
import z3

from theory import improvement
from theory.domains import gradients, point
from theory.evidence import (
    Given,
    Pick,
    Statement,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    satisfiable,
)
from theory.policies import softmax
from theory.relations import Said, both, each, eq, iff, le

RARE = Fraction(1, 2**144)
DIFFUSE = "diffuse trajectories count by their mass alone, their squares not at all"
PARAMETERS = 3_090_000_000


def ratio(mass: Fraction, p: Fraction, right: Fraction, wrong: Fraction) -> Fraction:
    """T2 / T1 of a right sample."""
    first, second = improvement.from_sums(mass, 1, p, right, wrong)
    return second / first


# All trajectories alike


def even_ratio(sign: int) -> Statement:
    """M trajectories of the same probability, K of them right: T2 / T1 = -(K - 1) / (M - 1)."""

    def statement(instance: Any) -> Said:
        M, K = instance
        pi, r = (Fraction(1, M),) * M, (1,) * K + (0,) * (M - K)
        policy = softmax(pi)
        first, second = improvement.t1(policy, r, 0), improvement.t2(policy, r, 0)
        p = Fraction(K, M)
        same = eq(ratio(Fraction(1, M), p, p / M, (1 - p) / M), second / first)
        return both(eq(second * (M - 1), sign * -(K - 1) * first), same)

    return statement


def alike(pick: Pick) -> Any:
    M = pick(2, 9)
    return M, pick(1, M)


def test_even_policy() -> None:
    for_all(even_ratio(1), alike)


def even_at_scale(own: int) -> Statement:
    """The same for M = 2**144 trajectories, pM of them right: T2 / T1 = -(pM - own) / (M - own).

    `own` is 1, for the sample is none of the others; with 0 it is -p, which is near but not the same.
    """

    def statement(p: Fraction) -> Said:
        M = 2**144
        return eq(ratio(RARE, p, p / M, (1 - p) / M), -(p * M - own) / (M - own))

    return statement


def part(pick: Pick) -> Fraction:
    """p in 4096ths, neither 0 nor 1."""
    return Fraction(pick(1, 4095), 4096)


def test_even_policy_at_scale() -> None:
    for_all(even_at_scale(1), part)


def test_even_policy_control_other_sign() -> None:
    negative_control(even_ratio(-1), alike)


def test_even_policy_control_sample_among_the_others() -> None:
    negative_control(even_at_scale(0), part)


# One other trajectory of weight


def one_other_right(instance: Any) -> Said:
    """Literal: T1 dominates. Sample at 2**-144, one other right trajectory at 2**-b, the rest wrong and diffuse."""
    return le(abs(beside_one_right(*instance)), 1)


def one_other_wrong(instance: Any) -> Said:
    """The same with one wrong trajectory at 2**-b; the other right ones, p = 1/1024 in all, diffuse."""
    return le(abs(beside_one_wrong(*instance)), 1)


def beside_one_right(b: int) -> Fraction:
    """T2 / T1 beside one right trajectory at 2**-b, the rest wrong and diffuse."""
    y = Fraction(1, 2**b)
    return ratio(RARE, RARE + y, RARE**2 + y * y, Fraction(0))


def beside_one_wrong(b: int) -> Fraction:
    """T2 / T1 beside one wrong trajectory at 2**-b, p = 1/1024 right and diffuse."""
    return ratio(RARE, Fraction(1, 1024), RARE**2, Fraction(1, 4**b))


def farthest(pick: Pick) -> Any:
    """b from 1 to 143, from above: the search shrinks towards an unlikely other trajectory."""
    return (144 - pick(1, 143),)


def near(x: Fraction, power: int) -> str:
    """x / 10**power, to one digit."""
    return f"{float(x / Fraction(10) ** power):.0f}"


def test_one_other_right_trajectory() -> None:
    counterexample(one_other_right, farthest, (72,), lambda instance: -instance[0])
    assert [near(beside_one_right(b), power) for b, power in ((29, 25), (2, 42))] == ["-8", "-1"]


def test_one_other_wrong_trajectory() -> None:
    counterexample(one_other_wrong, farthest, (66,), lambda instance: -instance[0])
    assert [near(beside_one_wrong(b), power) for b, power in ((66, 0), (58, 5), (14, 31), (2, 39))] == list("4381")


def beside_right(lost: bool, bound: Any) -> list[Any]:
    """Negation: samples x, y right, the rest wrong and diffuse (its squares count for nothing).

    With y^2 (1 - y) <= bound x (1 - x)^2, |T2| <= T1; and, `lost`, with y^2 (1 - y) > bound x, |T2| > T1. T2 < 0.
    """
    x, y, diffuse = z3.Reals("x y diffuse")
    square, squares = y * y * (1 - y), x * x + y * y + diffuse
    first, second = x * (1 - 2 * x + squares), y * (squares - x - y)
    known = [Given("probabilities are above 0 and sum to 1", x > 0, y > 0, x + y < 1), Given(DIFFUSE, diffuse == 0)]
    if lost:
        return [*known, Given("y^2 (1 - y) > pi_j", square > bound * x), -second <= first]
    kept = Given("y^2 (1 - y) <= 3/4 pi_j (1 - pi_j)^2", square <= bound * x * (1 - x) ** 2)
    return [*known, kept, z3.Or(-second > first, second > first)]


def beside_wrong(factor: int) -> list[Any]:
    """Negation: sample x, right ones of mass p - x diffuse, one wrong y, p > 2x. T2 > T1 iff y^2 is above the square
    root rule's x (1 - x)(factor + p - 2x) / (p - 2x)."""
    x, y, p, diffuse = z3.Reals("x y p diffuse")
    squares = x * x + y * y + diffuse
    first, second = x * (1 - 2 * x + squares), (p - x) * (squares - x) - diffuse
    rule = y * y * (p - 2 * x) > x * (1 - x) * (factor + p - 2 * x)
    return [
        Given("probabilities are above 0 and sum to 1", x > 0, y > 0, p + y <= 1),
        Given(DIFFUSE, diffuse == 0),
        Given("p > 2 pi_j", p > 2 * x),
        (second > first) != rule,
    ]


def test_square_root_rule_right() -> None:
    proved(*beside_right(False, z3.Q(3, 4)), size="any two right trajectories, diffuse rest")
    proved(*beside_right(True, 1), size="any two right trajectories, diffuse rest")


def test_square_root_rule_wrong() -> None:
    proved(*beside_wrong(1), size="any wrong trajectory, diffuse rest")


def test_square_root_rule_controls() -> None:
    satisfiable(*beside_right(False, 1))
    satisfiable(*beside_right(True, z3.Q(3, 4)))
    satisfiable(*beside_wrong(2))


# Independent tokens


def typical(T: int) -> Fraction:
    """T2 / T1 of a typical sequence of T tokens from (1/2, 1/4, 1/8, 1/8), right half of the time, failures diffuse."""
    p = Fraction(1, 2)
    x = Fraction(1, 2 ** (T // 2 + 2 * T // 4 + 3 * T // 4))
    return ratio(p * x, p, p * p * Fraction(11, 32) ** T, Fraction(0))


def typical_sequence(instance: Any) -> Said:
    """Literal: T1 dominates. A typical sequence of T tokens, T a multiple of 4."""
    return le(abs(typical(*instance)), 1)


def test_independent_tokens() -> None:
    counterexample(typical_sequence, lambda pick: (4 * pick(1, 20),), (8,), lambda instance: instance[0])
    assert [near(typical(T), power) for T, power in ((8, 0), (80, 4), (504, 31))] == ["-1", "-3", "-1"]
    assert typical(8) < -1


# High dimension


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
    """Mean of (T2 / T1)^2 over all signs: n right trajectories alike, scores of norm 1, cross terms 1 / sqrt(d)."""
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
    """(how many trajectories are alike, dimensions)."""
    return pick(2, 10), pick(1, 12)


def random_signs(instance: Any) -> Said:
    """Literal: beside 2**b right trajectories alike, cross terms of random sign and size 1 / sqrt(d) do not count.

    The root mean square of T2 / T1, sqrt((2**b - 1) / d), is at most 1. The probability cancels, since all are alike:
    what counts is how many trajectories there are.
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
    """Limits of the cosine of two scores as both probabilities, x and t x, fall to 0: m / (1 + m), m = sum q_l^2.

    q is the law of the others, here two of them.
    """
    x, t, q = sympy.symbols("x t q", positive=True)
    left = 1 - x - t * x
    square = x**2 + (t * x) ** 2 + (left * q) ** 2 + (left * (1 - q)) ** 2
    m = q**2 + (1 - q) ** 2
    cosine = (square - x - t * x) / sympy.sqrt((1 - 2 * x + square) * (1 - 2 * t * x + square))
    return [cosine.subs(x, 0) - m / (shift + m)]


def unlikely_pair(pick: Pick) -> Any:
    """The law of the others."""
    return point(pick, 1, 3, 8)


def orthogonal(q: Any) -> Said:
    """Literal: the scores of two ever less likely samples become orthogonal; here both have probability 0."""
    inner = softmax((Fraction(0), Fraction(0), *q)).gram
    return eq(inner[0, 1], 0)


def cosine(shift: int) -> Statement:
    """The cosine is m / (1 + m), m = sum q_l^2, at most 1/2."""

    def statement(q: Any) -> Said:
        inner = softmax((Fraction(0), Fraction(0), *q)).gram
        m = sum(x * x for x in q)
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
