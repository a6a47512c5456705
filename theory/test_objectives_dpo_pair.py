"""Section 5.1, a DPO step on one pair: how fast its margin grows, and what its winner does (Observations 1 and 2)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from theory import objectives
from theory.domains import gradients, point, wide
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.policies import Policy, softmax, tree
from theory.relations import Said, both, each, either, eq, gt, lt, when
from theory.test_objectives_dpo import HALF


def two_policies(pick: Pick) -> Any:
    """(pi, pi'): two distributions over two trajectories, the winner first."""
    return point(pick, 2, 2, 5), point(pick, 2, 2, 5)


def less_likely_is_faster(instance: Any) -> Said | None:
    """Where the winner is less likely, the margin grows faster, tabular."""
    pi, other = instance
    if not pi[0] < other[0]:
        return None
    return gt(objectives.margin_speed(softmax(pi), 0, 1), objectives.margin_speed(softmax(other), 0, 1))


def test_less_likely_winner_is_no_faster() -> None:
    counterexample(
        less_likely_is_faster, two_policies, ((Fraction(1, 3), Fraction(2, 3)), (Fraction(1, 2), Fraction(1, 2)))
    )


def any_pair(pick: Pick) -> Any:
    """(pi, plus, minus)."""
    pi = wide(pick)
    plus = pick(0, len(pi) - 1)
    return pi, plus, (plus + pick(1, len(pi) - 1)) % len(pi)


def speed_is_two(instance: Any) -> Said:
    """The margin's speed is 2, whatever the policy: tabular, or for the logit gradients that the instance names."""
    pi, plus, minus, *z = instance
    return eq(objectives.margin_speed(softmax(pi, *z), plus, minus), 2, varies=pi)


def any_pair_of_any_softmax(pick: Pick) -> Any:
    """(pi, plus, minus, logit gradients)."""
    pi, plus, minus = any_pair(pick)
    return pi, plus, minus, gradients(pick, len(pi))


def test_tabular_speed() -> None:
    for_all(speed_is_two, any_pair)


def test_speed_control_any_softmax() -> None:
    negative_control(speed_is_two, any_pair_of_any_softmax)


def letters(pick: Pick) -> Any:
    """(T, winner's token probabilities, by how much the other policy's are larger, the loser's)."""
    T = pick(2, 3)
    a = [Fraction(pick(1, 8), 20) for _ in range(T)]
    more = [Fraction(pick(0, 11), 20) for _ in range(T)]
    return T, a, more, [Fraction(pick(1, 19), 20) for _ in range(T)]


def two_letters(first: Fraction, winner: list[Fraction], loser: list[Fraction]) -> Policy:
    """A tree policy over two letters: the winner writes only 0, the loser only 1, a fork at the first token.

    `first` is the winner's first token, `winner` and `loser` the later ones.
    """
    tables = [np.array([first, 1 - first])]
    for t, (a, b) in enumerate(zip(winner, loser, strict=True), start=1):
        table = np.full((2,) * (t + 1), HALF, dtype=object)
        table[(0,) * t] = [a, 1 - a]
        table[(1,) * t] = [1 - b, b]
        tables.append(table)
    return tree(tables)


def less_likely_tokens_are_faster(instance: Any, at_the_fork: bool = False) -> Said | None:
    """Token by token less likely after the fork: the margin grows faster, at 2 (1 + sum (1-a)^2 + sum (1-b)^2).

    `at_the_fork`: only the first token is less likely, the one at which winner and loser part.
    """
    _, a, more, b = instance
    more = [y if (t == 0) is at_the_fork else Fraction(0) for t, y in enumerate(more)]
    if not any(more):
        return None
    likelier = [x + y for x, y in zip(a, more, strict=True)]
    low, high = (two_letters(winner[0], winner[1:], b[1:]) for winner in (a, likelier))
    last = len(low.probs) - 1
    slow, fast = objectives.margin_speed(high, 0, last), objectives.margin_speed(low, 0, last)
    return both(gt(fast, slow), eq(fast, 2 * (1 + sum((1 - x) ** 2 for x in (*a[1:], *b[1:])))))


def less_likely_first_token_is_faster(instance: Any) -> Said | None:
    """The same with only the first token less likely."""
    return less_likely_tokens_are_faster(instance, at_the_fork=True)


def test_less_likely_tokens_are_faster() -> None:
    for_all(less_likely_tokens_are_faster, letters)


def test_token_control_at_the_fork() -> None:
    negative_control(less_likely_first_token_is_faster, letters)


def winner_drifts(instance: Any) -> Said:
    """A DPO step on the pair lowers log pi_+, or lowers it against that of some other sample, tabular."""
    return either(lt(winner_rate(instance), 0), lt(min(against_others(instance).values()), 0))


def against_others(instance: Any) -> dict[int, Fraction]:
    """<s_+ - s_k, s_+ - s_->: the rate of log pi_+ - log pi_k, by which Property 1 orders samples, for each other k."""
    pi, plus, minus = instance
    gram = softmax(pi).gram
    toward = gram[:, plus] - gram[:, minus]
    return {k: toward[plus] - toward[k] for k in range(len(pi)) if k != plus}


def winner_rises_above_others(instance: Any, loser: int = 2) -> Said:
    """log pi_+ rises at the rate 1 against every other sample, and at the rate 2 against the loser, whatever pi.

    `loser` stands for the 2.
    """
    pi, _, minus = instance
    rates = against_others(instance)
    return both(
        eq(rates[minus], loser, varies=pi),
        when(len(pi) > 2, each(eq(rate, 1, varies=(pi, k)) for k, rate in rates.items() if k != minus)),
    )


def winner_rises_alike(instance: Any) -> Said:
    """At the rate 1 against the loser, too."""
    return winner_rises_above_others(instance, 1)


def winner_rate(instance: Any) -> Fraction:
    """<s_+, s_+ - s_->: the rate of log pi_+ on the pair's step at weight 1, tabular."""
    pi, plus, minus = instance
    gram = softmax(pi).gram
    return gram[plus, plus] - gram[plus, minus]


def winner_rises(instance: Any, sign: int = 1) -> Said:
    """The rate of log pi_+ is 1 - pi_+ + pi_-, above 0; `sign` stands before both probabilities."""
    pi, plus, minus = instance
    rate = 1 - sign * (pi[plus] - pi[minus])
    return both(eq(winner_rate(instance), rate), gt(rate, 0))


def winner_rises_by_the_losers_rate(instance: Any) -> Said:
    """At the rate at which log pi_- falls: the signs of the two probabilities are swapped."""
    return winner_rises(instance, -1)


def test_winner_does_not_drift() -> None:
    counterexample(winner_drifts, any_pair, ((HALF, HALF), 0, 1))


def test_winner_rises() -> None:
    for_all(winner_rises, any_pair)
    # Two pairs, weights 1 and 9: the first winner falls.
    pi = [Fraction(x, 100) for x in (1, 25, 70, 4)]
    assert softmax(pi).gram[0] @ np.array([1, -1, 9, -9]) == Fraction(-47, 10)
    # Logits that share parameters: even one pair's winner may fall.
    s = softmax([Fraction(1, 10), Fraction(1, 10), Fraction(4, 5)], [[1], [2], [0]]).gram
    assert s[0, 0] - s[0, 1] == Fraction(-7, 10)


def test_winner_rises_above_others() -> None:
    for_all(winner_rises_above_others, any_pair)
    # The first of two winners falls against the other, by the difference of their weights, 1 and 9.
    gram = softmax([Fraction(x, 100) for x in (1, 25, 70, 4)]).gram
    assert (gram[0] - gram[2]) @ np.array([1, -1, 9, -9]) == 1 - 9


def test_winner_control_loser_as_others() -> None:
    negative_control(winner_rises_alike, any_pair)


def test_winner_control_signs_swapped() -> None:
    negative_control(winner_rises_by_the_losers_rate, any_pair)
