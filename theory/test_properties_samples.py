"""Property 2 on sampled pairs of CoT and answer (Section 3.3): weights +1 on one sample and -1 on another."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from theory import properties
from theory.domains import point, size, twelfths, wide
from theory.evidence import Pick, Statement, counterexample, for_all, negative_control
from theory.policies import factorised, softmax
from theory.relations import Said, both, eq, ge, gt, le, when
from theory.test_lemma2 import mean


def policy(pick: Pick) -> Any:
    """(prior, answers, c, a): 2 or 3 CoTs with 2 or 3 answers each, at times more, the right one first; one sample."""
    prior = wide(pick, 2, 3)
    # Many of both would be very many pairs.
    m = size(pick, 2, 3) if len(prior) <= 3 else 2
    return prior, tuple(point(pick, m, m) for _ in prior), pick(0, len(prior) - 1), pick(0, m - 1)


def sample_rate_form(instance: Any, sign: int = 1) -> Said:
    """The two closed forms against <grad J, score>, parameters summed; a right answer's part is not negative."""
    prior, answers, c, a = instance
    joint = factorised(prior, answers)
    n, m = len(prior), len(answers[0])
    product = joint.joint.gradient(joint.joint_rewards) * joint.joint.scores[c * m + a]
    cot, answer = properties.sample_rates(prior, answers, c, a)
    signed = ge(answer, 0) if a == 0 else when(m == 2, le(answer, 0))
    return both(both(eq(cot, sign * product[:n].sum()), eq(answer, product[n:].sum())), signed)


def sample_rate_other_sign(instance: Any) -> Said:
    return sample_rate_form(instance, -1)


def test_sample_rates() -> None:
    for_all(sample_rate_form, policy)


def test_sample_rates_control_other_sign() -> None:
    negative_control(sample_rate_other_sign, policy)


def pair_of_samples(pick: Pick) -> Any:
    """(prior, X): two CoTs, two answers each, small denominators."""
    prior = point(pick, 2, 2, weight=5)
    return prior, tuple(Fraction(pick(1, d - 1), d) for d in (pick(2, 5) for _ in prior))


def rate_of_pair(prior: Any, x: Any, a_1: int, a_2: int) -> Any:
    """Rate of J on weights +1 on (c_1, a_1), -1 on (c_2, a_2)."""
    answers = [(p, 1 - p) for p in x]
    up, down = properties.sample_rates(prior, answers, 0, a_1), properties.sample_rates(prior, answers, 1, a_2)
    return sum(up) - sum(down)


def both_wrong_keeps(instance: Any) -> Said | None:
    """X_1 > X_2, both sampled answers wrong: weights +1 and -1 do not lower J."""
    prior, x = instance
    return ge(rate_of_pair(prior, x, 1, 1), 0) if x[0] > x[1] else None


def test_both_wrong_counterexample() -> None:
    pinned = ((Fraction(2, 3), Fraction(1, 3)), (Fraction(1, 2), Fraction(1, 3)))
    assert rate_of_pair(*pinned, 1, 1) == Fraction(-7, 162)
    assert rate_of_pair((Fraction(3, 4), Fraction(1, 4)), (Fraction(1, 2), Fraction(1, 4)), 1, 1) == Fraction(-9, 128)
    counterexample(both_wrong_keeps, pair_of_samples, pinned)


def cot_parts_raise(beside_j: bool) -> Statement:
    """The CoT parts alone: their rate, not negative if X_1 >= J >= X_2. Not `beside_j`: if X_1 >= X_2."""

    def statement(instance: Any) -> Said:
        prior, x = instance
        value = mean(prior, x) if beside_j else x[0]
        answers = [(p, 1 - p) for p in x]
        parts = [properties.sample_rates(prior, answers, c, 1)[0] for c in range(2)]
        rate = properties.pair_rate(prior, x, 0, 1)
        return both(eq(parts[0] - parts[1], rate), when(x[0] >= value >= x[1], ge(rate, 0)))

    return statement


def cot_and_answer_parts_raise(instance: Any) -> Said | None:
    """The same with the answers' parts."""
    prior, x = instance
    return ge(rate_of_pair(prior, x[:2], 1, 1), 0) if len(x) == 2 and x[0] >= x[1] else None


def inner(pick: Pick) -> Any:
    """(prior, X): 2 to 4 CoTs, at times more."""
    prior = wide(pick, 2, 4)
    return prior, twelfths(pick, len(prior))


def test_cot_parts_raise() -> None:
    for_all(cot_parts_raise(beside_j=True), inner)


def test_cot_parts_control_by_pair() -> None:
    negative_control(cot_parts_raise(beside_j=False), inner)


def test_cot_parts_control_with_answers() -> None:
    negative_control(cot_and_answer_parts_raise, inner)


def labelled(pick: Pick) -> Any:
    """(pi, right ones): trajectory 0 is right, 1 is wrong, the others either."""
    pi = wide(pick, 2, 5)
    return pi, (1, 0, *(pick(0, 1) for _ in pi[2:]))


def right_up_wrong_down(instance: Any, constant: int = 1) -> Said:
    """A logit a trajectory: the rate of +1 on a right one, -1 on a wrong one is (1-p) pi_1 + p pi_2 > 0.

    `constant` stands before the first part.
    """
    pi, r = instance
    model = softmax(pi)
    p = mean(pi, r)
    return both(
        eq(model.gain(r, 0) - model.gain(r, 1), constant * (1 - p) * pi[0] + p * pi[1]),
        gt(constant * (1 - p) * pi[0] + p * pi[1], 0),
    )


def right_up_wrong_down_doubled(instance: Any) -> Said:
    return right_up_wrong_down(instance, 2)


def test_right_up_wrong_down() -> None:
    for_all(right_up_wrong_down, labelled)


def test_right_up_control_doubled() -> None:
    negative_control(right_up_wrong_down_doubled, labelled)


def right_up_wrong_down_factorised(instance: Any) -> Said:
    """A policy that writes CoT, then answer: +1 on (c_1, a*) and -1 on (c_2, wrong) raise J."""
    prior, x = instance
    return gt(rate_of_pair(prior, x, 0, 1), 0)


def test_right_up_counterexample() -> None:
    prior, x = pinned = ((Fraction(2, 5), Fraction(3, 5)), (Fraction(1, 5), Fraction(4, 5)))
    assert rate_of_pair(prior, x, 0, 1) == Fraction(-4, 125)
    counterexample(right_up_wrong_down_factorised, pair_of_samples, pinned)


def test_rates_of_float_batches() -> None:
    prior, answers = np.full((5, 2), 0.5), np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
    for a in range(2):
        found = properties.sample_rates(prior, np.broadcast_to(answers, (5, 2, 3)), 0, a)
        exact = properties.sample_rates([Fraction(1, 2)] * 2, [[Fraction(x) for x in row] for row in answers], 0, a)
        # Halves, quarters and their products are exact in binary.
        assert [list(part) for part in found] == [[float(part)] * 5 for part in exact]
