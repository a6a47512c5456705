"""pass@k over any number of questions and for any k."""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory.evidence import Given, identity, no_identity, proved, satisfiable

SIMPLEX = "probabilities are at least 0 and sum to 1"
SHARES = "any set of questions"


def one_question(slower: int) -> list[Any]:
    """Negation, one question: one more try leaves no more unsolved, and the next takes away no more than it does.

    q = 1 - p, y = q^k: k, k + 1 and k + 2 tries leave y, q y and q^2 y. `slower` stands before the next step; it is 1.
    """
    q, y = z3.Reals("q y")
    return [Given(SIMPLEX, q >= 0, q <= 1, y >= 0), z3.Or(q * y > y, slower * (q * y - q * q * y) > y - q * y)]


def one_question_more(equal: bool) -> list[Any]:
    """Negation: E y^2 >= (E y)^2 holds for n questions, but not with one more, of share v and with y; y is q^k.

    In sums over shares: `two` of v y^2, `one` of v y, `zero` of v. `equal`: the two sides are equal instead.
    """
    zero, one, two, v, y = z3.Reals("zero one two v y")
    known = [Given(SHARES, zero > 0, v >= 0), Given(SIMPLEX, one >= 0, two >= 0, y >= 0, y <= 1)]
    before, after = two * zero - one * one, (two + v * y * y) * (zero + v) - (one + v * y) * (one + v * y)
    held, fails = (before == 0, after != 0) if equal else (before >= 0, after < 0)
    return [*known, Given("induction hypothesis", held), fails]


def first_question(power: int) -> sympy.Expr:
    """The base: for one question E y^2 is (E y)^2, in sums over shares; `power` stands for the first 2."""
    v, y = sympy.symbols("v y")
    return sympy.expand(v * y**power * v - (v * y) ** 2)


def test_growth() -> None:
    """1 - pass@k is the sum over questions of share times q^k; `one_question` adds up with the shares."""
    proved(*one_question(1), size="any number of questions, any k, question by question")


def test_twice_the_tries() -> None:
    """q^2k is y^2, so 1 - pass@2k is E y^2, which is at least (E y)^2: by induction over questions; shares sum to 1."""
    identity(first_question(2), "any one question")
    proved(*one_question_more(False), size="any number of questions, from n to n + 1, and any k")


def test_controls() -> None:
    satisfiable(*one_question(2))
    no_identity(first_question(3))
    satisfiable(*one_question_more(True))
