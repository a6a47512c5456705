"""Line 116 at the size of a language model: T2 compared with T1.

Probabilities are powers of 2, so that every number is exact; 2**-144 has log-probability -99.8.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import z3

from theory import improvement
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.policies import softmax
from theory.relations import Said, both, eq, le

RARE = Fraction(1, 2**144)
DIFFUSE = "diffuse trajectories count only through their total probability; their squared probabilities are neglected"


def ratio(mass: Fraction, p: Fraction, right: Fraction, wrong: Fraction) -> Fraction:
    """T2 / T1 of a right sample."""
    first, second = improvement.from_sums(mass, 1, p, right, wrong)
    return second / first


# All trajectories alike


def even_ratio(sign: int) -> Statement:
    """L trajectories of the same probability, n of them right: T2 / T1 = -(n - 1) / (L - 1)."""

    def statement(instance: Any) -> Said:
        L, n = instance
        pi, r = (Fraction(1, L),) * L, (1,) * n + (0,) * (L - n)
        policy = softmax(pi)
        first, second = improvement.t1(policy, r, 0), improvement.t2(policy, r, 0)
        p = Fraction(n, L)
        same = eq(ratio(Fraction(1, L), p, p / L, (1 - p) / L), second / first)
        return both(eq(second * (L - 1), sign * -(n - 1) * first), same)

    return statement


def alike(pick: Pick) -> Any:
    L = pick(2, 9)
    return L, pick(1, L)


def test_even_policy() -> None:
    for_all(even_ratio(1), alike)


def even_at_scale(own: int) -> Statement:
    """The same for L = 2**144 trajectories, p L of them right: T2 / T1 = -(p L - own) / (L - own).

    `own` is 1, for the sample is none of the others; with 0 it is -p, which is near but not the same.
    """

    def statement(p: Fraction) -> Said:
        L = 2**144
        return eq(ratio(RARE, p, p / L, (1 - p) / L), -(p * L - own) / (L - own))

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
    """T2 / T1 with one other right trajectory at 2**-b, the rest wrong and diffuse."""
    y = Fraction(1, 2**b)
    return ratio(RARE, RARE + y, RARE**2 + y * y, Fraction(0))


def beside_one_wrong(b: int) -> Fraction:
    """T2 / T1 with one wrong trajectory at 2**-b, p = 1/1024 right and diffuse."""
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
    """Negation: samples j and k right, x = pi_j, y = pi_k, the rest wrong and diffuse (its squares count for nothing).

    With y^2 (1 - y) <= bound x (1 - x)^2, |T2| <= T1; and, `lost`, with y^2 (1 - y) > bound x, |T2| > T1. T2 < 0.
    """
    x, y, diffuse = z3.Reals("x y diffuse")
    square, squares = y * y * (1 - y), x * x + y * y + diffuse
    first, second = x * (1 - 2 * x + squares), y * (squares - x - y)
    known = [Given("probabilities are above 0 and sum to 1", x > 0, y > 0, x + y < 1), Given(DIFFUSE, diffuse == 0)]
    if lost:
        return [*known, Given("pi_k^2 (1 - pi_k) > pi_j", square > bound * x), -second <= first]
    kept = Given("pi_k^2 (1 - pi_k) <= 3/4 pi_j (1 - pi_j)^2", square <= bound * x * (1 - x) ** 2)
    return [*known, kept, z3.Or(-second > first, second > first)]


def beside_wrong(factor: int) -> list[Any]:
    """Negation: x = pi_j, right ones of mass p - x diffuse, y = pi_k of one wrong, p > 2x. T2 > T1 iff y^2 is above the
    square root rule's x (1 - x)(factor + p - 2x) / (p - 2x)."""
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
