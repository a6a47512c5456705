"""Sentences of Appendix B: lines 410 and 431."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import z3

from theory import improvement, shifts
from theory.domains import bits, point
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
from theory.relations import Said, both, eq, ge, gt, iff, le, lt
from theory.test_lemma2 import mean

HALF = Fraction(1, 2)

# B-onpolicy, line 410: own samples are likely ones


def one_more(counted: bool) -> list[Any]:
    """z3: n sum x^2 >= (sum x)^2 of n probabilities, but not of n + 1. Not `counted`: n stays as it is."""
    n, squares, total, x = z3.Reals("n squares total x")
    left = n + 1 if counted else n
    return [
        Given("probabilities are at least 0 and sum to 1", n >= 1, total >= 0, squares >= 0, x >= 0),
        Given("induction hypothesis", n * squares >= total * total),
        left * (squares + x * x) < (total + x) * (total + x),
    ]


def first_one(power: int) -> sympy.Expr:
    """The base: for one probability n sum x^2 is (sum x)^2; `power` stands for the first 2."""
    x = sympy.Symbol("x")
    return 1 * x**power - x**2


def wrong_ones(pick: Pick) -> Any:
    """(pi, r) with a wrong trajectory."""
    pi = point(pick, 2, 6)
    return pi, (0, *bits(pick, len(pi) - 1))


def drawn_are_likely(of_drawn: bool) -> Statement:
    """A wrong sample drawn from the policy is on average no less likely than the mean of all wrong trajectories.

    Not `of_drawn`: than the mean of all trajectories, right ones too.
    """

    def statement(instance: Any) -> Said:
        pi, r = instance
        wrong = [p for p, x in zip(pi, r, strict=True) if not x]
        level = sum(wrong) / len(wrong) if of_drawn else Fraction(1, len(pi))
        return ge(sum(p * p for p in wrong) / sum(wrong), level)

    return statement


def test_drawn_are_likely() -> None:
    identity(first_one(2), "any one wrong trajectory")
    proved(*one_more(counted=True), size="any number of wrong trajectories, from n to n + 1")


def test_drawn_are_likely_on_instances() -> None:
    for_all(drawn_are_likely(of_drawn=True), wrong_ones)


def test_drawn_control_of_all() -> None:
    no_identity(first_one(3))
    satisfiable(*one_more(counted=False))
    negative_control(drawn_are_likely(of_drawn=False), wrong_ones)


def as_likely_as_positives(instance: Any) -> Said | None:
    """Literal: a wrong sample drawn from the policy is on average no less likely than a right one that is drawn."""
    pi, r = instance
    right, wrong = ([p for p, x in zip(pi, r, strict=True) if x == of] for of in (1, 0))
    return ge(sum(p * p for p in wrong) / sum(wrong), sum(p * p for p in right) / sum(right)) if right else None


def test_less_likely_than_positives() -> None:
    counterexample(as_likely_as_positives, wrong_ones, ((Fraction(1, 3), Fraction(2, 3)), (0, 1)))
    # On a hard question too: eighteen wrong ones share nine tenths.
    assert not as_likely_as_positives(((Fraction(1, 10), *[Fraction(1, 20)] * 18), (1, *[0] * 18)))


# B-updown, line 410: negatives are pushed down, positives up


def small_groups(pick: Pick) -> Any:
    """(pi, times drawn, r): three trajectories, the second alone wrong, each drawn once or more."""
    return point(pick, 3, 3, 3), (1, 1, pick(1, 3)), (1, 0, 1)


def group_moves_each(instance: Any) -> Said:
    """Literal: a GRPO step raises the first, a right one, and lowers the second, a wrong one; tabular.

    Advantages are in proportion to r minus the group's mean, and add up to 0, so logits move by them alone.
    """
    pi, times, r = instance
    level = Fraction(sum(n * x for n, x in zip(times, r, strict=True)), sum(times))
    step = shifts.first_order(pi, [n * (x - level) for n, x in zip(times, r, strict=True)])
    return both(gt(step[0], 0), lt(step[1], 0))


def pairs(pick: Pick) -> Any:
    """pi, the first sample positive, the second negative."""
    return point(pick, 2, 5)


def pair_moves_each(down: int) -> Statement:
    """A step with weight 1 on sample 0 and -`down` on sample 1 raises the first and lowers the second; right for 1."""

    def statement(pi: Any) -> Said:
        gram = softmax(pi).gram
        rates = gram[0] - down * gram[1]
        return both(gt(rates[0], 0), lt(rates[1], 0))

    return statement


def test_group_may_lower_a_positive() -> None:
    pinned = ((Fraction(1, 5), Fraction(1, 5), Fraction(3, 5)), (1, 1, 3), (1, 0, 1))
    assert shifts.first_order(pinned[0], [Fraction(1, 5), Fraction(-4, 5), Fraction(3, 5)])[0] == Fraction(-1, 125)
    counterexample(group_moves_each, small_groups, pinned)


def test_pair_moves_each() -> None:
    for_all(pair_moves_each(1), pairs)


def test_pair_control_positive_alone() -> None:
    negative_control(pair_moves_each(0), pairs)


# B7-partial, line 431: pushes down alone where the model is partially correct


def three_levels(pick: Pick) -> Any:
    """(three values of J, rising, beta): one wrong trajectory, pushed down by beta."""
    levels = sorted(Fraction(pick(1, 5), 6) for _ in range(3)) if pick(0, 1) else [Fraction(n, 4) for n in (1, 2, 3)]
    return tuple(levels), Fraction(1, pick(2, 4))


def pushed_down(value: Any, beta: Any) -> Any:
    """Change of J, one right and one wrong trajectory."""
    return shifts.push((value, 1 - value), 0, Fraction(1), 1, beta)[0]


def least_between(instance: Any) -> Said | None:
    """Literal: the gain at the middle J is no larger than at a lower and at a higher one."""
    levels, beta = instance
    if len(set(levels)) < 3:
        return None
    low, middle, high = (pushed_down(x, beta) for x in levels)
    return both(le(middle, low), le(middle, high))


def above_peak(steps: int) -> list[Any]:
    """z3: the gain J (1 - J)(1 - b^2) / (1 - (1 - b^2)(1 - J)), beta = b^2, exceeds (1 - b) / (1 + `steps` b)."""
    b, value = z3.Reals("b J")
    part = 1 - b * b
    top, bottom = part * value * (1 - value), 1 - part * (1 - value)
    return [
        Given("probabilities are at least 0 and sum to 1", value >= 0, value <= 1),
        Given("a push down", b > 0, b < 1),
        top * (1 + steps * b) > (1 - b) * bottom,
    ]


def test_most_at_a_middle_j() -> None:
    levels = (Fraction(1, 4), HALF, Fraction(3, 4))
    assert [pushed_down(x, HALF) for x in levels] == [Fraction(3, 20), Fraction(1, 6), Fraction(3, 28)]
    counterexample(least_between, three_levels, (levels, HALF))


def test_peak_of_a_push_down() -> None:
    proved(*above_peak(1), size="any beta = b^2 < 1 and any J")
    for b in (Fraction(1, 2), Fraction(1, 3), Fraction(3, 5)):
        assert pushed_down(b / (1 + b), b * b) == (1 - b) / (1 + b)


def test_peak_control_lower() -> None:
    satisfiable(*above_peak(2))


def two_steps(pick: Pick) -> Any:
    """(p_1, p_2): how likely the first step is right, and the second after a right one; in twelfths."""
    return Fraction(pick(1, 11), 12), Fraction(pick(1, 11), 12)


def partly_right(in_x: bool) -> Statement:
    """A push down on an answer wrong at the second step gains less than one at the first iff p_2 (1 - p_2) < 1 - p_1.

    It lowers J if and only if (1 - p_1)^2 > p_2 (1 - p_2). A table for each step; x and y are p_1 and p_2, J = x y. Not
    `in_x`: y in place of x.
    """

    def statement(instance: Any) -> Said:
        x, y = instance
        second, half = (y, 1 - y), (HALF, HALF)
        late = -improvement.tree_gain(((x, 1 - x), second), ((y, 0), (1, 0)), (0, 1))
        early = -improvement.tree_gain(((x, 1 - x), half), ((y, 0), (0, 0)), (1, 0))
        first = x if in_x else y
        less = iff(lt(late, early), lt(y * (1 - y), 1 - first))
        return both(gt(early, 0), less, iff(lt(late, 0), gt((1 - first) ** 2, y * (1 - y))))

    return statement


def test_partly_right() -> None:
    for_all(partly_right(in_x=True), two_steps, n=300)


def test_partly_control_other_step() -> None:
    negative_control(partly_right(in_x=False), two_steps)


# B-both, line 431: both positive and negative samples


def right_and_wrong(pick: Pick) -> Any:
    """(pi, r): the first right, the second wrong, the others either."""
    pi = point(pick, 2, 5)
    return pi, (1, 0, *bits(pick, len(pi) - 2))


def raises_j(up: int, down: int) -> Statement:
    """A step with weight `up` on the right sample and -`down` on the wrong one raises J, tabular; right for 1 and 1.

    The rate is up ((1 - p) pi_0 + c) + down (p pi_1 - c), c = p S2_F - (1 - p) S2_S of either sign.
    """

    def statement(instance: Any) -> Said:
        pi, r = instance
        p, squares = mean(pi, r), np.array(pi) ** 2
        c = p * mean(squares, [1 - x for x in r]) - (1 - p) * mean(squares, r)
        rate = up * improvement.tabular_gain(pi, r, 0) - down * improvement.tabular_gain(pi, r, 1)
        return both(eq(rate, up * ((1 - p) * pi[0] + c) + down * (p * pi[1] - c)), gt(rate, 0))

    return statement


def test_both_raise_j() -> None:
    for_all(raises_j(1, 1), right_and_wrong)


def test_both_control_each_alone() -> None:
    negative_control(raises_j(1, 0), right_and_wrong)
    negative_control(raises_j(0, 1), right_and_wrong)
