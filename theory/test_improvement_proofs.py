"""Section 3.2 for any number of trajectories: what `test_improvement.py` checks for individual policies.

The proofs are of finite sums, by their terms (`theory/sums.py`), and then of the sums alone, as free real numbers. Of
trajectory l: x = pi_l, y = r_l, d = 1[l = j]. Of sample j: m = pi_j, r = r_j. Rewards lie between 0 and 1.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory import improvement
from theory.evidence import Given, for_all, identity, no_identity, proved, satisfiable
from theory.relations import Said, both, eq
from theory.sums import summed
from theory.test_improvement import graded_sample

X, Y, D, M, R, P, S2, RIGHT, WRONG = sympy.symbols("x y d m r p S2 S2_S S2_F")


def first(m: Any, r: Any, _p: Any, right: Any, wrong: Any) -> Any:
    """T1, of symbols or numbers: pi_j, r_j, p, S2_S and S2_F."""
    return r * m * (1 - 2 * m + right + wrong)


def second(m: Any, r: Any, p: Any, right: Any, wrong: Any) -> Any:
    """T2 of the same."""
    return (p - r * m) * (right + wrong - m) - right + r * m * m


def gain(m: Any, r: Any, p: Any, right: Any, wrong: Any) -> Any:
    """The gain of the same."""
    return m * (r - p) - (1 - p) * right + p * wrong


SUMS = (M, R, P, RIGHT, WRONG)


def is_the_library(instance: Any) -> Said:
    """The forms in sums that are proved here are those of the library."""
    pi, r, j = instance
    terms = [(x * y, x * x * y, x * x * (1 - y)) for x, y in zip(pi, r, strict=True)]
    sums = pi[j], r[j], *map(sum, zip(*terms, strict=True))
    return both(
        eq(first(*sums), improvement.tabular_t1(pi, r, j)),
        eq(second(*sums), improvement.tabular_t2(pi, r, j)),
        eq(gain(*sums), improvement.tabular_gain(pi, r, j)),
    )


def test_forms_are_those_of_the_library() -> None:
    for_all(is_the_library, graded_sample, 300)


# Eq 1


def one_answer(answers: int) -> list[sympy.Expr]:
    """For one question: P(q) times the chance of the right answer is the sum over answers a of P(q, a) times theirs.

    P(q, a) = P(q) 1[a = a*]. With 2 `answers` there is a second right one, and each has half of P(q).
    """
    q, chance, d, e, right = sympy.symbols("P_q chance d e right")
    share = d if answers == 1 else (d + e) / 2
    return summed(q * right, q * share * chance, {right: d * chance})


def by_cot(chance_counts: bool) -> list[sympy.Expr]:
    """For one CoT: pi_c X_c is the sum over answers a of pi_c pi(a|c) 1[a = a*].

    Not `chance_counts`: one CoT of n counts for 1/n.
    """
    prior, n, answer, d, right = sympy.symbols("pi_c n answer d X_c")
    return summed((prior if chance_counts else 1 / n) * right, prior * answer * d, {right: answer * d})


def test_eq1() -> None:
    """Adding up both over all questions, or over all CoTs, gives Eq 1's two forms of J."""
    identity(one_answer(1), "any number of questions and answers")
    identity(by_cot(True), "any number of CoTs and answers")


def test_eq1_controls() -> None:
    no_identity(one_answer(2)[0])
    no_identity(by_cot(False)[0])


# Eqs 3 and 4


def log_derivative(sign: int = 1, chance_counts: bool = True) -> sympy.Expr:
    """Of one trajectory: d/dt of P(q) r pi, minus `sign` P(q) r pi d log pi / dt, at t = 0.

    pi is any differentiable function of t, a > 0 at t = 0 with the slope b. Not `chance_counts`: the second without
    P(q).
    """
    q, y, a, b, t = sympy.symbols("P_q r a b t", positive=True)
    pi = a + b * t
    score = sympy.diff(sympy.log(pi), t)
    return (sympy.diff(q * y * pi, t) - sign * (q if chance_counts else 1) * y * pi * score).subs(t, 0)


def test_eqs_3_and_4() -> None:
    """Along parameters theta + t g, d log pi / dt = <g, s> by the chain rule, and J is the finite sum of P(q) r pi.

    So its slope along g is the sum of P(q) r pi <g, s>, Eq 4; since g is any, grad J is that of P(q) r pi s, Eq 3.
    """
    identity(log_derivative(), "any parametrisation, any number of trajectories")


def test_eq3_control_descent() -> None:
    no_identity(log_derivative(sign=-1))


def test_eq4_control_without_the_chance_of_a_question() -> None:
    no_identity(log_derivative(chance_counts=False))


# Eq 6


def splits(rewarded: bool) -> list[sympy.Expr]:
    """Of one parameter: what it adds to the gain is what it adds to T1 and T2. Not `rewarded`: T1's reward left out.

    s and u are that entry of s_j and of s_l; `others` is the sum of pi_l r_l u over l != j.
    """
    s, u, others = sympy.symbols("s u others")
    own = M * R * s
    t1 = M * (R if rewarded else 1) * s * s
    return [sympy.expand((own + others) * s - t1 - others * s), *summed(others * s, X * Y * u * s, {others: X * Y * u})]


def inner(norm: int) -> list[sympy.Expr]:
    """<s_j, s_l> = 1[j = l] - pi_j - pi_l + S2, tabular: the sum over parameters a of (d - x)(e - x).

    x = pi_a, d = 1[a = j], e = 1[a = l]. Logit gradients are orthogonal and of this norm.
    """
    e, same, other = sympy.symbols("e same pi_l")
    return summed(same - M - other + S2, norm**2 * (D - X) * (e - X), {same: D * e, M: D * X, other: e * X, S2: X * X})


def closed_forms(others: bool) -> list[sympy.Expr]:
    """The gain sums pi_l r_l <s_j, s_l> over all l, T2 over l != j, T1 is the term of j; then their sum.

    `own` is the sum of pi_l r_l 1[l = j], which is m r; `mass` and `squares` are those of pi_l r_l and pi_l^2 r_l over
    l != j. Not `others`: T2 sums over j too.
    """
    own, mass, squares = sympy.symbols("own mass squares")
    all_l = own + P * (S2 - M) - RIGHT
    rest = mass * (S2 - M) - squares
    own_too = int(not others)
    split = {S2: RIGHT + WRONG, own: M * R, mass: P - M * R * (1 - own_too), squares: RIGHT - M * M * R * (1 - own_too)}
    return [
        sympy.expand(second(*SUMS) - rest.xreplace(split)),
        sympy.expand(gain(*SUMS) - all_l.xreplace(split)),
        sympy.expand(first(*SUMS) - (M * R * (1 - M - M + S2)).xreplace(split)),
        sympy.expand(first(*SUMS) + second(*SUMS) - gain(*SUMS)),
        *summed(all_l, X * Y * (D - M - X + S2), {own: D * X * Y, P: X * Y, RIGHT: X * X * Y}),
        *summed(rest, X * Y * (S2 - M - X), {mass: X * Y, squares: X * X * Y}),
    ]


def crosses(shared: bool) -> list[Any]:
    """z3: one parameter adds to <s, s'> of two questions. It is in the table of one of them: u is 1 for the first.

    `shared`: in both tables.
    """
    u, s, t = z3.Reals("u s t")
    own = Given("Questions with tables of their own", z3.Or(u == 0, u == 1))
    return [own, (u * s) * ((u if shared else 1 - u) * t) != 0]


def test_eq6_splits() -> None:
    """Added up over all parameters: the gain is <grad J, s_j>, T1 is pi_j r_j |s_j|^2, T2 the rest of Eq 4's sum."""
    identity(splits(True), "any parametrisation, any number of trajectories and parameters")


def test_eq6_closed() -> None:
    """By `inner`, T1 and T2 are finite sums of the terms in `closed_forms`: so forms in m, r, p, S2_S and S2_F."""
    identity([*inner(1), *closed_forms(True)], "any number of trajectories, rewards in [0, 1]")


def test_eq6_across() -> None:
    """Every parameter adds 0 to the inner product of two questions' scores."""
    proved(*crosses(False), size="any number of parameters, in the table of one question each")


def test_eq6_controls() -> None:
    no_identity(splits(False)[0])
    no_identity(inner(2)[0])
    no_identity(closed_forms(False)[0])
    satisfiable(*crosses(True))
