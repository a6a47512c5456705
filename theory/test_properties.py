"""Properties 1 and 2 (Sections 3.2 and 3.3)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import z3

from theory.domains import Point, point, twelfths, wide
from theory.evidence import Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.policies import Factorised, factorised
from theory.relations import Said, ge, gt, iff, le

HALF = Fraction(1, 2)
ONE, ZERO = Fraction(1), Fraction(0)


def small(pick: Pick, n: int) -> Point:
    """n probabilities of the right answer with small denominators."""
    return tuple(Fraction(pick(0, d), d) for d in (pick(1, 5) for _ in range(n)))


def cots(pick: Pick) -> Any:
    """(prior, X): 3 or 4 CoTs, at times more."""
    prior = wide(pick, 3, 4)
    return prior, twelfths(pick, len(prior))


# Property 1


def orders(relation: Any) -> list[Any]:
    """z3: some three samples for which the relation is no strict weak order."""
    a, b, c = z3.Reals("a b c")
    apart = [z3.And(relation(a, b), relation(b, a)), z3.And(relation(a, b), relation(b, c), z3.Not(relation(a, c)))]

    def tie(x: Any, y: Any) -> Any:
        return z3.And(z3.Not(relation(x, y)), z3.Not(relation(y, x)))

    return [z3.Or(relation(a, a), *apart, z3.And(tie(a, b), tie(b, c), z3.Not(tie(a, c))))]


def test_property1_orders() -> None:
    proved(*orders(lambda a, b: a > b), size="any three samples")


def test_property1_control_with_margin() -> None:
    satisfiable(*orders(lambda a, b: a > b + z3.Q(1, 10)))


def sequences(pick: Pick) -> Any:
    """((token probability, length) of one sample, the same of another), all tokens of a sample alike."""
    return tuple((Fraction(pick(1, d - 1), d), pick(1, 3)) for d in (pick(2, 5) for _ in range(2)))


def ranks_as_tokens_do(instance: Any) -> Said | None:
    """The sample with the likelier tokens is the likelier sample."""
    (p, length), (q, other) = instance
    return gt(p**length, q**other) if p > q else None


def test_length_counterexample() -> None:
    pinned = ((Fraction(2, 3), 2), (HALF, 1))
    assert pinned[0][0] ** 2 == Fraction(4, 9) < HALF
    assert Fraction(9, 10) ** 10 < HALF
    counterexample(ranks_as_tokens_do, sequences, pinned)


def same_length(pick: Pick) -> Any:
    (p, length), (q, _) = sequences(pick)
    return (p, length), (q, length)


def test_length_same() -> None:
    for_all(ranks_as_tokens_do, same_length)


def test_length_control_any() -> None:
    negative_control(ranks_as_tokens_do, sequences)


def two_answers(instance: Any) -> Factorised:
    """The policy that after CoT c writes the right answer with probability X_c, else the one wrong answer."""
    prior, x = instance
    return factorised(prior, [(right, 1 - right) for right in x])


def capped(instance: Any, share: Fraction = ONE) -> Said:
    """No sample with the right answer is likelier than J."""
    policy = two_answers(instance)
    right = [p for p, r in zip(policy.joint.probs, policy.joint_rewards, strict=True) if r]
    return le(max(right), share * policy.value)


def capped_at_half(instance: Any) -> Said:
    return capped(instance, HALF)


def test_right_samples_capped() -> None:
    for_all(capped, cots)


def test_cap_control_half() -> None:
    negative_control(capped_at_half, cots)


def hard(pick: Pick) -> Any:
    """(prior, X) with small denominators, X > 0."""
    prior = point(pick, 2, 2, weight=4)
    return prior, tuple(Fraction(pick(1, d), d) for d in (pick(1, 5) for _ in prior))


def right_sample_near_maximum(instance: Any) -> Said:
    """Some sample with the right answer has half the probability of the likeliest one at least."""
    policy = two_answers(instance)
    right = [p for p, r in zip(policy.joint.probs, policy.joint_rewards, strict=True) if r]
    return ge(max(right), max(policy.joint.probs) / 2)


def test_near_maximum_counterexample() -> None:
    counterexample(right_sample_near_maximum, hard, ((HALF, HALF), (Fraction(1, 4), Fraction(1, 4))))


# Property 2 as a definition


def judged_pair(pick: Pick) -> Any:
    """((X_1, whether a_1 is right), (X_2, ...)); a right answer has X > 0, a wrong one X < 1."""
    drawn = []
    for _ in range(2):
        d, right = pick(2, 5), pick(0, 1)
        drawn.append((Fraction(pick(right, d - 1 + right), d), right))
    return tuple(drawn)


def right_before_wrong(instance: Any) -> Said | None:
    """Property 2 does not prefer a wrong answer to a right one (line 136)."""
    (x, right), (y, other) = instance
    return le(y, x) if right > other else None


def by_two(right_first: bool) -> Statement:
    """Right answers first, X among equals: follows line 136, and Property 2 where both are right or both wrong.

    Not `right_first`: the other order of the two criteria, X first and right answers among equals.
    """

    def statement(instance: Any) -> Said:
        (x, right), (y, other) = instance
        first, second = ((right, x), (other, y)) if right_first else ((x, right), (y, other))
        return iff(gt(first, second), gt(right, other) if right != other else gt(x, y))

    return statement


def test_right_before_wrong_counterexample() -> None:
    counterexample(right_before_wrong, judged_pair, ((Fraction(1, 3), 1), (HALF, 0)))


def test_right_first_then_x() -> None:
    for_all(by_two(right_first=True), judged_pair)


def test_right_first_control_other_order() -> None:
    negative_control(by_two(right_first=False), judged_pair)
