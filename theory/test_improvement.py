"""Section 3.2: the objective (Eq 1), its gradient (Eqs 3 and 4) and its two terms (Eq 6)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from theory import improvement
from theory.domains import bits, gradients, point, twelfths, wide
from theory.evidence import Pick, Statement, for_all, identity, negative_control, no_identity
from theory.policies import factorised, softmax
from theory.relations import Said, both, eq


def sample(pick: Pick) -> Any:
    """(pi, r, j): a policy, rewards, a sample."""
    pi = wide(pick, 2, 5)
    return pi, bits(pick, len(pi)), pick(0, len(pi) - 1)


def graded_sample(pick: Pick) -> Any:
    """As `sample`, with rewards between 0 and 1; at times some of pi is 0."""
    pi = wide(pick, 2, 5, zeros=True)
    return pi, twelfths(pick, len(pi)), pick(0, len(pi) - 1)


def sample_of_any_softmax(pick: Pick) -> Any:
    """(pi, logit gradients, r, j): the logits may depend on the parameters in any way."""
    pi, r, j = sample(pick)
    return pi, gradients(pick, len(pi)), r, j


# Eq 1


def asked(pick: Pick) -> Any:
    """(P(q, a*), chance of each answer to each question): every question has one right answer."""
    questions = point(pick, 1, 3)
    right = [pick(0, 2) for _ in questions]
    law = tuple(tuple(p if a == k else Fraction(0) for a in range(3)) for p, k in zip(questions, right, strict=True))
    return law, tuple(point(pick, 3, 3) for _ in questions)


def asked_with_two_answers(pick: Pick) -> Any:
    """As `asked`, with two right answers to the first question."""
    law, chance = asked(pick)
    half = sum(law[0], Fraction(0)) / 2
    return ((half, half, Fraction(0)), *law[1:]), chance


def answer_may_be_dropped(instance: Any) -> Said:
    """The mean over pairs (q, a*) is the mean over questions, each with the first answer that counts as right."""
    law, chance = instance
    pairs = sum(x * y for row, c in zip(law, chance, strict=True) for x, y in zip(row, c, strict=True))
    right = [next(a for a, x in enumerate(row) if x) for row in law]
    return eq(pairs, sum(sum(row) * c[a] for row, c, a in zip(law, chance, right, strict=True)))


def value_by_cot(chance_counts: bool) -> Statement:
    """J summed over pairs (CoT, answer) is J summed over CoTs, each with its probability.

    Not `chance_counts`: the plain mean over CoTs, all with the same weight.
    """

    def statement(instance: Any) -> Said:
        prior, answers = instance
        policy = factorised(prior, answers)
        weights = prior if chance_counts else (Fraction(1, len(prior)),) * len(prior)
        return eq(policy.joint.value(policy.joint_rewards), factorised(weights, answers).value)

    return statement


def cots(pick: Pick) -> Any:
    """(prior, answers): 2 or 3 CoTs, at times more, with 3 answers each."""
    prior = wide(pick, 2, 3, zeros=True)
    return prior, tuple(point(pick, 3, 3) for _ in prior)


def test_eq1_answer_dropped() -> None:
    for_all(answer_may_be_dropped, asked)


def test_eq1_by_cot() -> None:
    for_all(value_by_cot(chance_counts=True), cots)


def test_eq1_control_two_answers() -> None:
    negative_control(answer_may_be_dropped, asked_with_two_answers)


def test_eq1_control_plain_mean_over_cots() -> None:
    negative_control(value_by_cot(chance_counts=False), cots)


# Eqs 3 and 4


def eq3_error(sign: int) -> list[sympy.Expr]:
    """dJ/dz_k minus `sign` * pi_k (r_k - J), for a softmax over 4 symbolic logits with symbolic rewards."""
    z, r = sympy.symbols("z:4", real=True), sympy.symbols("r:4", real=True)
    total = sum(map(sympy.exp, z))
    pi = [sympy.exp(x) / total for x in z]
    J = sum(p * x for p, x in zip(pi, r, strict=True))
    return [sympy.diff(J, z[k]) - sign * pi[k] * (r[k] - J) for k in range(4)]


def test_eq3_policy_gradient() -> None:
    identity(eq3_error(1), "L = 4, any rewards")


def test_eq3_control_other_sign() -> None:
    no_identity(eq3_error(-1)[0])


def questions(pick: Pick) -> Any:
    """(P(q), one (pi, logit gradients, r) a question, a direction g): both questions share the parameters."""
    chance = point(pick, 2, 2)
    return chance, [sample_of_any_softmax(pick)[:3] for _ in chance], tuple(pick(-3, 3) for _ in range(3))


def slope(pi: Any, z: Any, r: Any, g: Any) -> Fraction:
    """dJ/dt for parameters theta + t g, from pi_l (1 + t <grad z_l, g>) over its sum, to first order in t."""
    u = [sum(a * b for a, b in zip(row, g, strict=True)) for row in z]
    mean = sum(p * x for p, x in zip(pi, u, strict=True))
    return sum((p * x * (y - mean) for p, x, y in zip(pi, r, u, strict=True)), Fraction(0))


def eq4(chance_counts: bool) -> Statement:
    """The slope of J along g is the sum over all q, c, a of P(q) pi r <g, s>."""

    def statement(instance: Any) -> Said:
        chance, held, g = instance
        left = sum(p * slope(pi, z, r, g) for p, (pi, z, r) in zip(chance, held, strict=True))
        right = Fraction(0)
        for p, (pi, z, r) in zip(chance, held, strict=True):
            inner = (softmax(pi, z).scores * np.array(g, dtype=object)).sum(-1)
            right += (p if chance_counts else 1) * sum(a * b * c for a, b, c in zip(pi, r, inner, strict=True))
        return eq(left, right)

    return statement


def test_eq4_sum() -> None:
    for_all(eq4(chance_counts=True), questions)


def test_eq4_control_without_the_chance_of_a_question() -> None:
    negative_control(eq4(chance_counts=False), questions)


# Eq 6


def splits(rewarded: bool) -> Statement:
    """Eq 6: T1 + T2 is the gain, for any logit gradients. Not `rewarded`: with T1's reward left out."""

    def statement(instance: Any) -> Said:
        pi, z, r, j = instance
        policy = softmax(pi, z)
        own = r if rewarded else (1,) * len(pi)
        return eq(improvement.t1(policy, own, j) + improvement.t2(policy, r, j), policy.gain(r, j))

    return statement


def closed_form(norm: int) -> Statement:
    """The closed forms of T1, T2 and the gain agree with sums over trajectories, tabular, rewards in [0, 1].

    Logit gradients are orthogonal and of this norm; beside 1 all three would need the factor C = norm^2.
    """

    def statement(instance: Any) -> Said:
        pi, r, j = instance
        n = len(pi)
        policy = softmax(pi, [[Fraction(norm * (i == k)) for i in range(n)] for k in range(n)])
        return both(
            eq(improvement.tabular_t1(pi, r, j), improvement.t1(policy, r, j)),
            eq(improvement.tabular_t2(pi, r, j), improvement.t2(policy, r, j)),
            eq(improvement.tabular_gain(pi, r, j), policy.gain(r, j)),
        )

    return statement


def closed_form_of_sums(others: bool) -> Statement:
    """T1 and T2 from p, S2_S and S2_F alone agree with sums over trajectories.

    Not `others`: T2 summed over all right trajectories, the sample itself among them.
    """

    def statement(instance: Any) -> Said:
        pi, r, j = instance
        p = sum(x * y for x, y in zip(pi, r, strict=True))
        right = sum(x * x * y for x, y in zip(pi, r, strict=True))
        wrong = sum(x * x * (1 - y) for x, y in zip(pi, r, strict=True))
        first, second = improvement.from_sums(pi[j], r[j], p, right, wrong)
        policy = softmax(pi)
        found = improvement.t2(policy, r, j) if others else policy.gain(r, j)
        return both(eq(first, improvement.t1(policy, r, j)), eq(second, found))

    return statement


def crosses(shared: bool) -> Statement:
    """Scores of two questions have inner product 0; each question has a table of its own unless `shared`."""

    def statement(instance: Any) -> Said:
        pi, other = instance
        n, m = len(pi), len(other)
        table = np.eye(n + m, dtype=int)
        first = softmax(pi, np.array([[Fraction(int(x)) for x in row] for row in table[:n]], dtype=object))
        rows = table[:m] if shared else table[n:]
        second = softmax(other, np.array([[Fraction(int(x)) for x in row] for row in rows], dtype=object))
        return eq(first.scores @ second.scores.T, 0, varies=first.probs)

    return statement


def two_policies(pick: Pick) -> Any:
    """Two questions' policies."""
    return point(pick, 2, 3), point(pick, 2, 3)


def test_eq6_splits_the_gain() -> None:
    for_all(splits(rewarded=True), sample_of_any_softmax)


def test_eq6_closed_forms() -> None:
    for_all(closed_form(1), graded_sample)


def test_eq6_closed_forms_of_sums() -> None:
    for_all(closed_form_of_sums(others=True), sample)


def test_eq6_nothing_across_questions() -> None:
    for_all(crosses(shared=False), two_policies)


def test_eq6_control_without_reward() -> None:
    negative_control(splits(rewarded=False), sample_of_any_softmax)


def test_eq6_control_other_norm() -> None:
    negative_control(closed_form(2), graded_sample)


def test_eq6_control_sample_among_the_others() -> None:
    negative_control(closed_form_of_sums(others=False), sample)


def test_eq6_control_shared_table() -> None:
    negative_control(crosses(shared=True), two_policies)
