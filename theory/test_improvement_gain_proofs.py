"""What a gain's sign and order are worth (Section 3.2), for any number of trajectories.

Gains are forms in m = pi_j, r = r_j, p, S2_S and S2_F, as `test_improvement_proofs.py` proves; x = pi_l, y = r_l.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory.evidence import Given, identity, no_identity, proved, satisfiable
from theory.sums import summed
from theory.test_improvement_proofs import RIGHT, SUMS, WRONG, M, P, R, X, Y, gain

SIMPLEX = "probabilities are at least 0 and sum to 1"


# The mean gain of right samples; the only right one


def average(squared: bool) -> list[sympy.Expr]:
    """Of one parameter: what it adds to the mean gain of right samples is what it adds to |grad J|^2 / p.

    Right samples are drawn with pi_l r_l / p. Not `squared`: |grad J|^2 without p. g is that entry of grad J, u of s_l.
    """
    g, u, same = sympy.symbols("g u same")
    return summed(g * same / (P if squared else 1), (X * Y / P) * g * u, {same: X * Y * u})


def only_right(alone: bool) -> list[Any]:
    """z3: a term pi_l r_l <s_j, s_l> of T2, l != j, is not 0; `alone`: j is the only right trajectory."""
    x, y, product = z3.Reals("x y product")
    return [*([Given("the only right trajectory", y == 0)] if alone else []), x * y * product != 0]


def test_average() -> None:
    """The mean over right samples of <grad J, s_l>, entry by entry; `same` is again that entry of grad J (E3)."""
    identity(average(True), "any parametrisation, any number of trajectories")


def test_only_right() -> None:
    """T2 is the sum of these terms (E6)."""
    proved(*only_right(True), size="any parametrisation, any number of trajectories, term by term")


def test_term_controls() -> None:
    no_identity(average(False)[0])
    satisfiable(*only_right(False))


# The sign of a right sample's gain


def policy() -> tuple[list[Any], list[Given]]:
    """z3: pi_j, p, S2_S, S2_F as free numbers, and what is true of them if j is right."""
    m, p, right, wrong = z3.Reals("m p S2_S S2_F")
    squares = [right >= m * m, right <= m * m + (p - m) * (p - m), wrong >= 0, wrong <= (1 - p) * (1 - p)]
    return [m, p, right, wrong], [
        Given("probabilities are above 0 and sum to 1", m > 0, m <= p, p <= 1),
        Given("a sum of squares", *squares),
    ]


def other_sign(factor: int) -> list[Any]:
    """Negation: the gain is positive if and only if pi_j > S2_S - `factor` p / (1 - p) S2_F."""
    (m, p, right, wrong), known = policy()
    rule = m > right - factor * p / (1 - p) * wrong
    return [*known, Given("p < 1", p < 1), (gain(m, 1, p, right, wrong) > 0) != rule]


def test_sign() -> None:
    """The gain is the form in sums of E6, for any number of trajectories; nothing else of the policy is used."""
    proved(*other_sign(1), size="any number of trajectories, by p, S2_S and S2_F")


def test_sign_control() -> None:
    satisfiable(*other_sign(0))


# P1*: the order of samples, pairs and batches


def relative(sign: int) -> sympy.Expr:
    """Gains of two samples with one reward r, probabilities m and k, minus `sign` (r - p)(m - k)."""
    k = sympy.Symbol("k")
    return sympy.expand(gain(*SUMS) - gain(k, *SUMS[1:]) - sign * (R - P) * (M - k))


def pair(sign: int) -> list[Any]:
    """Negation: a right sample with weight 1 and a wrong one with `sign` gain (1 - p) pi_j + p pi_k, which is > 0."""
    (m, p, right, wrong), known = policy()
    k = z3.Real("k")
    found, form = gain(m, 1, p, right, wrong) + sign * gain(k, 0, p, right, wrong), (1 - p) * m + p * k
    return [*known, Given(SIMPLEX, k > 0, k <= 1 - p), z3.Or(found != form, found <= 0)]


def step(down: bool) -> list[Any]:
    """Negation: with the odds of a right sample times f > 1, of a wrong one over f (not `down`: times f), J rises.

    All others count by p alone: J becomes (p + (f - 1) m) / (1 + (f - 1) m + (g - 1) k) with g = 1/f (or f).
    """
    (m, p, *_), known = policy()
    k, f, g = z3.Reals("k f g")
    after, total = p + (f - 1) * m, 1 + (f - 1) * m + (g - 1) * k
    finite = Given("the finite step", f > 1, g * f == 1 if down else g == f)
    return [*known, Given(SIMPLEX, k > 0, k <= 1 - p), finite, z3.Or(total <= 0, after <= p * total)]


def batch(any_weights: bool) -> list[sympy.Expr]:
    """Weights w gain `form`, the sum of w pi (r - p), if their own sum n is 0; `any_weights` leaves n out of that."""
    w, n, form = sympy.symbols("w n form")
    shift = 0 if any_weights else n * ((1 - P) * RIGHT - P * WRONG)
    return summed(form - shift, w * gain(X, Y, P, RIGHT, WRONG), {form: w * X * (Y - P), n: w})


def signed_term(signed: bool) -> list[Any]:
    """Negation: a term w pi (r - p) is at least 0, where w (`signed`) has the sign of r - p."""
    w, x, y, p = z3.Reals("w x y p")
    sign = [Given("each w_i has the sign of r_i - p", w * (y - p) >= 0)] if signed else []
    return [Given(SIMPLEX, x >= 0), *sign, w * x * (y - p) < 0]


def test_relative() -> None:
    """Gains are forms in sums (E6), and two samples of one policy have p, S2_S and S2_F in common."""
    identity(relative(1), "any number of trajectories")


def test_pair() -> None:
    """As `test_relative`."""
    proved(*pair(-1), size="any number of trajectories, by p, S2_S and S2_F")


def test_step() -> None:
    """A softmax moves with its odds: only the two samples' weights change, and the sum of all."""
    proved(*step(True), size="any number of trajectories, any factor, by p")


def test_batch() -> None:
    """The gain of a batch is the sum of w times each sample's gain, a form in sums (E6)."""
    identity(batch(False), "any number of trajectories and weights")
    proved(*signed_term(True), size="any number of trajectories, term by term")


def test_order_controls() -> None:
    no_identity(relative(-1))
    satisfiable(*pair(1))
    satisfiable(*step(False))
    no_identity(batch(True)[0])
    satisfiable(*signed_term(False))
