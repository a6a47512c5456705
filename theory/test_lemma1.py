"""Lemma 1 (line 120): its domain, its assumptions, its closed form, and its derivative along any direction."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import sympy
import z3

from theory import lemma1
from theory.domains import corner, gradients, point, wide
from theory.evidence import (
    Pick,
    Statement,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
)
from theory.policies import softmax
from theory.relations import Said, both, each, eq, gt

HALF = Fraction(1, 2)


def pairs(pick: Pick) -> Any:
    """(pi, j, k): 2 to 5 trajectories, at times more; two of them."""
    pi = wide(pick, 2, 5)
    j = pick(0, len(pi) - 1)
    return pi, j, (j + pick(1, len(pi) - 1)) % len(pi)


def small(pick: Pick) -> Any:
    """(pi, 0, 1), small: where counterexamples are looked for."""
    return point(pick, 2, 4, 9), 0, 1


def with_donors(pick: Pick, *, empty: bool = True) -> Any:
    """(pi, j, k, donors): any distribution over the others, some of it 0; if `empty`, at times of some with pi = 0."""
    pi, j, k = pairs(pick)
    if empty and corner(pick):
        left = [p if i == j else p * pick(0, 1) for i, p in enumerate(pi)]
        pi = tuple(p / sum(left) for p in left)
    w = [0 if i == j else pick(0, 9) for i in range(len(pi))]
    w[k] += not any(w)
    return pi, j, k, tuple(Fraction(x, sum(w)) for x in w)


# The domain and the assumptions


def asked(pick: Pick, questions: int) -> Any:
    """(prior over CoTs, answers after each) of every question."""
    priors = [point(pick, 2, 3, 9) for _ in range(questions)]
    return tuple((prior, tuple(point(pick, 2, 3, 9) for _ in prior)) for prior in priors)


def sums_to_one(instance: Any, left_out: int = 0) -> Said:
    """The probabilities pi(c_j, a_j | q_j) over the set are those of a softmax over it: their sum is 1.

    The set has every CoT and answer of every question but the first `left_out`.
    """
    chances = [p * x for prior, rows in instance for p, row in zip(prior, rows, strict=True) for x in row]
    return eq(sum(chances[left_out:]), 1, varies=chances)


def test_one_question() -> None:
    for_all(sums_to_one, lambda pick: asked(pick, 1))


def test_two_questions() -> None:
    half = (HALF, HALF)
    pinned = ((half, (half, half)), (half, (half, half)))
    counterexample(sums_to_one, lambda pick: asked(pick, 2), pinned)


def test_domain_control_any_number_of_questions() -> None:
    negative_control(sums_to_one, lambda pick: asked(pick, pick(1, 2)))


def test_domain_control_part_of_the_answers() -> None:
    negative_control(lambda instance: sums_to_one(instance, 1), lambda pick: asked(pick, 1))


def orthonormal(pick: Pick) -> Any:
    """L <= d logit gradients: c times unit vectors of d parameters, permuted, signs any."""
    length = pick(2, 5)
    d = length + pick(0, 2)
    c, places = Fraction(pick(1, 5)), list(range(d))
    rows = []
    for _ in range(length):
        at = places.pop(pick(0, len(places) - 1))
        rows.append(tuple(c * (2 * pick(0, 1) - 1) if i == at else Fraction(0) for i in range(d)))
    return tuple(rows)


def crowded(pick: Pick) -> Any:
    """L = d + 1 logit gradients, none 0."""
    d = pick(1, 3)
    rows = [tuple(Fraction(pick(-3, 3)) for _ in range(d - 1)) for _ in range(d + 1)]
    return tuple((*row, Fraction(pick(1, 3))) for row in rows)


def meets_assumptions(z: Any) -> Said:
    """(1) orthogonal, (2) all with the same norm, above 0."""
    held = np.array(z, dtype=object)
    inner = held @ held.T
    norms = np.diag(inner)
    off = inner - np.diag(norms)
    return both(eq(norms, norms[0]), gt(norms[0], 0), eq(off, 0))


@cache
def can_be_met(instance: tuple[int, int]) -> Said:
    """Literal: L vectors of d real numbers can meet both assumptions; z3 looks for them."""
    length, d = instance
    z = [[z3.Real(f"z{i}_{a}") for a in range(d)] for i in range(length)]
    C, solver = z3.Real("C"), z3.Solver()
    solver.add(C > 0)
    for i in range(length):
        for k in range(i + 1):
            solver.add(sum(x * y for x, y in zip(z[i], z[k], strict=True)) == (C if i == k else 0))
    found = solver.check()
    assert found != z3.unknown
    return eq(found, z3.sat)


def test_assumptions_met() -> None:
    for_all(meets_assumptions, orthonormal)


def test_assumptions_cannot_be_met() -> None:
    counterexample(can_be_met, lambda pick: (pick(1, 3), pick(1, 2)), (2, 1), size=sum)
    assert [bool(can_be_met(x)) for x in ((1, 1), (2, 2), (3, 2))] == [True, True, False]
    # Qwen2.5-3B: the answers of two tokens alone outnumber the parameters.
    assert 151_936**2 == 23_084_548_096 > 3_090_000_000


def test_assumptions_control_one_trajectory_more() -> None:
    negative_control(meets_assumptions, crowded)


# The closed form, lines 370 to 381


def closed_form(instance: Any) -> Said:
    """<s_j, s_k> summed from scores is C F."""
    z, w = instance
    pi = tuple(Fraction(x, sum(w)) for x in w)
    C = sum(x * x for x in z[0])
    inner = softmax(pi, z).gram
    return each(eq(inner[j, k], C * lemma1.cross_term(pi, j, k)) for j, k in combinations(range(len(pi)), 2))


def weighted(pick: Pick, z: Any) -> Any:
    return z, tuple(pick(1, 60) for _ in z)


def expands(last: int) -> Statement:
    """Lines 371 and 378, any logit gradients: s_j = grad z_j - mean, and <s_j, s_k> term by term.

    `last` stands before the last term, the squared norm of the mean: 1, or 0 to leave it out.
    """

    def statement(instance: Any) -> Said:
        pi, z = instance
        g = np.array(z, dtype=object) @ np.array(z, dtype=object).T
        p = np.array(pi, dtype=object)
        terms = g - (g @ p)[:, None] - (g @ p)[None, :] + last * (p @ g @ p)
        return eq(softmax(pi, z).gram, terms)

    return statement


def any_softmax(pick: Pick) -> Any:
    """(pi, logit gradients), 2 to 5 trajectories, at times more."""
    pi = wide(pick, 2, 5, zeros=True)
    return pi, gradients(pick, len(pi))


def log_softmax_errors(sign: int) -> list[sympy.Expr]:
    """d log pi_0 / dz_l minus (1[l = 0] - sign pi_l), 4 symbolic logits."""
    z = sympy.symbols("z:4", real=True)
    total = sum(map(sympy.exp, z))
    return [
        sympy.diff(z[0] - sympy.log(total), z[i]) - (int(i == 0) - sign * sympy.exp(z[i]) / total) for i in range(4)
    ]


def test_score_of_a_softmax() -> None:
    identity(log_softmax_errors(1), "L = 4")


def test_expansion() -> None:
    for_all(expands(1), any_softmax)


def test_closed_form() -> None:
    for_all(closed_form, lambda pick: weighted(pick, orthonormal(pick)))


def test_score_control_other_sign() -> None:
    no_identity(log_softmax_errors(-1)[0])


def test_expansion_control_without_the_last_term() -> None:
    negative_control(expands(0), any_softmax)


def test_closed_form_control_any_gradients() -> None:
    negative_control(closed_form, lambda pick: weighted(pick, gradients(pick, 3)))


# The derivative, line 384


def moved(pi: Any, j: int, d: Any, t: Fraction) -> tuple[Fraction, ...]:
    """pi with t more on j, taken from the others as `d` says."""
    return tuple(p + (t if i == j else -t * x) for i, (p, x) in enumerate(zip(pi, d, strict=True)))


def quotient(f: Callable[[Fraction], Any]) -> Fraction:
    """The derivative at 0 of a polynomial of degree 2, from its values before 0, exactly.

    Backwards j gives: what the others take, they may have none of.
    """
    h = Fraction(1, 10_000)
    return Fraction((3 * f(0 * h) - 4 * f(-h) + f(-2 * h)) / (2 * h))


def inner(pi: Any, j: int, k: int) -> Fraction:
    """<s_j, s_k> from scores."""
    s = softmax(pi).scores
    return Fraction((s[j] * s[k]).sum())


def master(factor: int) -> Statement:
    """The closed form of dF/dpi_j agrees with difference quotients of inner products of scores."""

    def statement(instance: Any) -> Said:
        pi, j, k, d = instance
        found = quotient(lambda t: inner(moved(pi, j, d, t), j, k))
        return eq(lemma1.derivative(pi, j, k, d) + (factor - 1) * d[k], found)

    return statement


def test_derivative() -> None:
    for_all(master(1), with_donors)


def test_derivative_control_donor_counts_twice() -> None:
    negative_control(master(2), with_donors)


def as_printed(instance: Any) -> Said:
    """Literal (line 384): the derivative is 2 pi_j - 1, whoever gives."""
    pi, j, k, d = instance
    return eq(lemma1.derivative(pi, j, k, d), 2 * pi[j] - 1)


def test_printed_derivative_fails() -> None:
    def domain(pick: Pick) -> Any:
        pi, j, k = small(pick)
        return pi, j, k, tuple(lemma1.donors_single(pi, j, pick(1, len(pi) - 1)))

    third = Fraction(1, 3)
    counterexample(as_printed, domain, ((third, 2 * third), 0, 1, (Fraction(0), Fraction(1))))
    assert lemma1.derivative((third, 2 * third), 0, 1, (0, 1)) == -2 * third
