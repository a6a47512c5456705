"""Cross terms of questions that share parameters (line 118), and what Lemma 1 implies of unlikely samples (line 122).

Questions share parameters by a bilinear logit z(q, c) = <f(q), W e_c>: each has a vector f(q) of features, and the
inner products of scores of two questions are tabular ones times their similarity <f(q), f(q')>.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import z3

from theory import lemma1
from theory.domains import bits, point, wide
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.inputs import array
from theory.policies import eye, softmax
from theory.relations import Said, both, eq, ge, gt, iff, le, lt, when
from theory.test_lemma1_path import HALF, on_path, value
from theory.test_lemma1_size import size
from theory.test_lemma2 import mean

# E6-across, line 118: "unless the questions and corresponding CoTs are highly similar"


def questions(pick: Pick) -> Any:
    """(P, features of each question, pi of each, r of each); all have as many CoTs."""
    n, length = pick(2, 3), pick(2, 3)
    f = tuple((Fraction(pick(1, 3)), Fraction(pick(-3, 3))) for _ in range(n))
    return point(pick, n, n), f, tuple(point(pick, length, length) for _ in f), tuple(bits(pick, length) for _ in f)


def alike(pick: Pick) -> Any:
    """The same, for questions with one policy and one right CoT."""
    chances, f, (pi, *_), _ = questions(pick)
    r = (1, *(0 for _ in pi[1:]))
    return chances, f, (pi,) * len(f), (r,) * len(f)


def rates(instance: Any) -> list[Fraction]:
    """What a step with the first CoT of the first question adds to J, by each question: P(q) <grad J_q, s>."""
    chances, f, pis, rewards = instance
    policies = [bilinear(features, pi) for features, pi in zip(f, pis, strict=True)]
    step = policies[0].scores[0]
    return [p * (x.gradient(r) @ step) for p, x, r in zip(chances, policies, rewards, strict=True)]


def bilinear(features: Any, pi: Any) -> Any:
    """A question's policy; the logit gradient of CoT c is the Kronecker product of the features and e_c."""
    return softmax(pi, np.kron(array([features]), eye(len(pi), array(pi))))


def similarity(f: Any, g: Any) -> Fraction:
    return mean(f, g)


def single_cross_terms(most: int) -> Statement:
    """Each inner product of scores of two questions is at most `most` times their similarity in size; right for 2."""

    def statement(instance: Any) -> Said:
        _, f, pis, _ = instance
        first, second = (bilinear(f[i], pis[i]).scores for i in (0, 1))
        return le(abs(first @ second.T).max(), most * abs(similarity(f[0], f[1])))

    return statement


def others_add(by_chance: bool) -> Statement:
    """Equal questions: the others add the question's own part times sum P(q') <f, f'> / (P(q) <f, f>).

    So they add no more than it if and only if that is at most 1 in size. Not `by_chance`: each question counts once.
    """

    def statement(instance: Any) -> Said | None:
        chances, f, _, _ = instance
        own, *others = rates(instance)
        weights = chances if by_chance else (1,) * len(f)
        share = sum(p * similarity(f[0], g) for p, g in zip(weights[1:], f[1:], strict=True))
        share /= weights[0] * similarity(f[0], f[0])
        return both(eq(sum(others), own * share), iff(le(abs(sum(others)), own), le(abs(share), 1)))

    return statement


def tenth_alike(instance: Any) -> Said:
    """Literal: n equal questions, each similar to another by a cosine of 1/10: the others add no more than the own.

    Their features are (1, 3 e_i).
    """
    n, pi = instance
    f = [(Fraction(1), *(Fraction(3 * (i == k)) for k in range(n))) for i in (0, 1)]
    assert similarity(*f) * 10 == similarity(f[0], f[0])
    own, other = rates(((Fraction(1, n),) * 2, f, (pi,) * 2, ((1, 0),) * 2))
    return le((n - 1) * other, own)


def test_many_unlike_questions() -> None:
    pinned = (12, (HALF, HALF))
    counterexample(tenth_alike, lambda pick: (pick(2, 12), point(pick, 2, 2, 2)), pinned, size=lambda x: x[0])


def test_each_cross_term_is_small() -> None:
    for_all(single_cross_terms(2), questions, n=300)


def test_cross_term_control_similarity_alone() -> None:
    negative_control(single_cross_terms(1), questions)


def test_others_by_their_similarity() -> None:
    for_all(others_add(by_chance=True), alike, n=300)


def test_others_control_counted_once() -> None:
    negative_control(others_add(by_chance=False), alike)


# L1-implies, line 122: "The above lemma implies that ... the cross-term contributions in T2 become negligible"


def two_places(pick: Pick) -> Any:
    """(law rho of the others, k first, x, y): x < y <= 1/2 are two values of pi_j as z_j moves."""
    y = pick(2, 30)
    return wide(pick, 1, 4, 30), Fraction(pick(1, y - 1), 60), Fraction(y, 60)


def small_places(pick: Pick) -> Any:
    """The same, small."""
    return point(pick, 1, 2, 4), Fraction(pick(1, 3), pick(4, 6)), Fraction(1, pick(2, 4))


def implied(instance: Any) -> Said | None:
    """Literal: where F falls with pi_j below 1/2, as the lemma says, |F| is smaller at the smaller pi_j."""
    rho, x, y = instance
    if not x < y <= HALF or lemma1.threshold(on_path(rho, HALF), 0, 1) < HALF:
        return None
    return lt(size(rho, x), size(rho, y))


def largest_at_0(where_it_holds: bool) -> Statement:
    """The lemma holds below 1/2, as z_j moves, iff m >= rho_k.

    There F rises as pi_j falls, up to m - rho_k >= 0. Not `where_it_holds`: everywhere.
    """

    def statement(instance: Any) -> Said:
        rho, x, y = instance
        top = sum(a * a for a in rho) - rho[0]
        rises = both(gt(value(rho, x), value(rho, y)), gt(top, value(rho, x)))
        holds = ge(lemma1.threshold(on_path(rho, HALF), 0, 1), HALF)
        return both(iff(holds, ge(top, 0)), when(top >= 0 or not where_it_holds, rises))

    return statement


def does_not_rise(*conditions: str) -> list[Any]:
    """z3, any L: F = s^2 (1 + m) - s (1 + rho_k), s = 1 - pi_j, does not rise from y to x < y or to m - rho_k."""
    rho_k, m, x, y = z3.Reals("rho_k m x y")
    at = {t: (1 - t) * (1 - t) * (1 + m) - (1 - t) * (1 + rho_k) for t in (x, y)}
    return [
        Given("probabilities are above 0 and sum to 1", rho_k > 0, rho_k <= 1, x > 0, y < 1),
        Given("a sum of squares", m >= rho_k * rho_k, m <= 1),
        Given("pi_j falls below 1/2", x < y, 2 * y <= 1),
        *(Given(condition, {"m >= rho_k": m >= rho_k}[condition]) for condition in conditions),
        z3.Not(z3.And(at[x] > at[y], m - rho_k > at[x])),
    ]


def test_unlikely_is_not_smaller() -> None:
    rho, x, y = (Fraction(1, 5), Fraction(4, 5)), Fraction(1, 5), Fraction(1, 4)
    assert (value(rho, x), value(rho, y), lemma1.limit(on_path(rho, x), 0, 1)) == (
        Fraction(72, 625),
        Fraction(9, 200),
        Fraction(12, 25),
    )
    counterexample(implied, small_places, (rho, x, y))


def test_cross_term_is_largest_at_0() -> None:
    proved(*does_not_rise("m >= rho_k"), size="any L")


def test_cross_term_is_largest_at_0_on_instances() -> None:
    for_all(largest_at_0(where_it_holds=True), two_places)


def test_largest_controls() -> None:
    satisfiable(*does_not_rise())
    negative_control(largest_at_0(where_it_holds=False), two_places)
