"""Sentences on GRPO on hard questions: lines 249 and 255."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from theory import grpo, lemma2, objectives
from theory.domains import bits, gradients, point
from theory.evidence import Pick, Statement, counterexample, for_all, negative_control
from theory.inputs import array
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, gt, le, when
from theory.test_lemma2 import mean

# G-hard, line 249: groups without a signal on hard questions


def two_questions(pick: Pick) -> Any:
    """(p, q, G): how likely a sample is right on the harder question and on the easier one, a group."""
    p, q = sorted(Fraction(pick(0, 60), 60) for _ in range(2))
    return p, q, pick(2, 10)


def harder_is_worse(most: Fraction) -> Statement:
    """No signal, p^G + (1 - p)^G, is more likely on the harder question if both p are at most `most`; right for 1/2.

    That all samples are wrong, (1 - p)^G, is so at any p.
    """

    def statement(instance: Any) -> Said | None:
        p, q, G = instance
        if p == q:
            return None
        return both(
            gt((1 - p) ** G, (1 - q) ** G),
            when(q <= most, gt(grpo.no_signal(p, G), grpo.no_signal(q, G))),
        )

    return statement


def test_harder_is_worse() -> None:
    for_all(harder_is_worse(Fraction(1, 2)), two_questions)


def test_harder_control_any_p() -> None:
    negative_control(harder_is_worse(Fraction(1)), two_questions)


# G-skip, line 249: removing the KL term, or the questions without a signal


def batches(pick: Pick) -> Any:
    """(logit gradients of 3 trajectories, groups of 4: sampled trajectories and rewards)."""
    groups = [([pick(0, 2) for _ in range(4)], bits(pick, 4)) for _ in range(pick(2, 4))]
    if pick(0, 1):
        groups[0] = (groups[0][0], (pick(0, 1),) * 4)
    return gradients(pick, 3), groups


def without(all_equal: bool) -> Statement:
    """The batch's gradient without a KL term, sum of (r - mean) s, is the same without groups of equal rewards.

    So those add nothing, whether they are kept or left out. Not `all_equal`: without groups that have a right answer.
    """

    def statement(instance: Any) -> Said:
        z, groups = instance
        s = softmax([Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)], z).scores
        parts = [(array(r) - Fraction(sum(r), len(r))) @ s[drawn] for drawn, r in groups]
        out = [len(set(r)) == 1 if all_equal else any(r) for _, r in groups]
        kept = sum((part for part, gone in zip(parts, out, strict=True) if not gone), parts[0] * 0)
        return eq(sum(parts), kept)

    return statement


def test_skipped_groups_add_nothing() -> None:
    for_all(without(all_equal=True), batches, n=300)


def test_skipped_control_solved_groups() -> None:
    negative_control(without(all_equal=False), batches)


# GRPO-loop, line 255: the term sets trial and error going


def stalled(pick: Pick) -> Any:
    """(pi, r, eta, G): a policy with a right trajectory, a damped EM step towards self-explanations, a group."""
    pi = point(pick, 2, 5)
    return pi, (1, *bits(pick, len(pi) - 1)), Fraction(pick(1, 11), 12), pick(2, 10)


def fewer_groups_fail(of_group: bool) -> Statement:
    """After the step a group is all wrong (1 - eta)^G times as often as before. Not `of_group`: 1 - eta times."""

    def statement(instance: Any) -> Said | None:
        pi, r, eta, G = instance
        before, after = 1 - mean(pi, r), 1 - mean(objectives.em_step(pi, r, eta), r)
        if not before:
            return None
        factor = (1 - eta) ** (G if of_group else 1)
        return both(eq(after**G, factor * before**G), gt(before**G, after**G))

    return statement


def test_fewer_groups_fail() -> None:
    for_all(fewer_groups_fail(of_group=True), stalled)


def rate_of_failing(instance: Any) -> tuple[Any, Any]:
    """(rate at which -log of a group's chance to be all wrong grows along the term's mean gradient, tabular; J)."""
    pi, r, _, G = instance
    value = mean(pi, r)
    return G * objectives.tabular_sft_gain(pi, r, lemma2.posterior(pi, r)) / (1 - value), value


def falls_at_a_rate(instance: Any) -> Said:
    """Literal: for each of its samples that log falls at a tenth, however small J is.

    A tenth stands for any number: `rate_falls_with_j` gives a J for each.
    """
    return ge(rate_of_failing(instance)[0], Fraction(instance[3], 10))


def hard_question(pick: Pick) -> Any:
    """As `stalled`, two trajectories, J down to 1/40; eta is not used."""
    J = Fraction(1, pick(2, 40))
    return (J, 1 - J), (1, 0), Fraction(1, 2), pick(2, 10)


def rate_falls_with_j(power: int) -> Statement:
    """It falls at a rate of at most 2 G J^power (1 - J), tabular; right for 1."""

    def statement(instance: Any) -> Said | None:
        if all(instance[1]):
            return None
        rate, value = rate_of_failing(instance)
        return both(gt(rate, 0), le(rate, 2 * instance[3] * value**power * (1 - value)))

    return statement


def test_gradient_of_hard_question_counterexample() -> None:
    J = Fraction(1, 19)
    pinned = ((J, 1 - J), (1, 0), Fraction(1, 2), 2)
    assert rate_of_failing(pinned)[0] == 4 * J * (1 - J)
    counterexample(falls_at_a_rate, hard_question, pinned)


def test_rate_falls_with_j() -> None:
    for_all(rate_falls_with_j(1), stalled)


def test_fewer_control_without_the_group() -> None:
    negative_control(fewer_groups_fail(of_group=False), stalled)


def test_rate_control_square() -> None:
    negative_control(rate_falls_with_j(2), stalled)
