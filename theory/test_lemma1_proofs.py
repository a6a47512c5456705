"""Lemma 1 for any number of trajectories: the closed form of the cross term, and its derivative along any direction.

As in `test_improvement_proofs.py`: finite sums by their terms (`theory/sums.py`), then the sums as free numbers.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory import lemma1
from theory.evidence import Given, for_all, identity, no_identity, proved, satisfiable
from theory.relations import Said, both, eq
from theory.sums import summed
from theory.test_lemma1 import with_donors

# Of a trajectory l: x = pi_l, d = d_l, its share of what j gains. Of the two: a = pi_j, b = pi_k, d_k; <d, pi>.
X, D, A, B, D_K, D_PI, S2 = sympy.symbols("x d a b d_k d_pi S2")


def cross_term(a: Any, b: Any, s2: Any) -> Any:
    """F, of symbols or numbers."""
    return s2 - a - b


def slope(a: Any, d_pi: Any, d_k: Any, donors: int = 2) -> Any:
    """dF/dpi_j; `donors` stands for the 2 before <d, pi>."""
    return 2 * a - 1 - donors * d_pi + d_k


def is_the_library(instance: Any) -> Said:
    """The forms in sums that are proved here are those of the library."""
    pi, j, k, d = instance
    d_pi = sum(x * y for x, y in zip(d, pi, strict=True))
    return both(
        eq(cross_term(pi[j], pi[k], sum(x * x for x in pi)), lemma1.cross_term(pi, j, k)),
        eq(slope(pi[j], d_pi, d[k]), lemma1.derivative(pi, j, k, d)),
    )


def test_forms_are_those_of_the_library() -> None:
    for_all(is_the_library, with_donors, 300)


# The assumptions and the closed form


def unit_rows(shared: int) -> list[sympy.Expr]:
    """<z_l, z_m> for rows z_l of c (with a sign) at one place and 0 elsewhere: c^2 for l = m, and 0 for others.

    Summed over places; `same` is the sum of 1[the place is l's] 1[it is m's]. `shared` is that sum for two rows: 0 as
    their places differ, 1 if they share one.
    """
    c, s, t, e, f, same = sympy.symbols("c s t e f same")
    total = c * c * s * t * same
    own = total.subs({same: 1, t: s}).subs(s**2, 1) - c**2
    return [total.subs(same, shared), own, *summed(total, (c * s * e) * (c * t * f), {same: e * f})]


def log_softmax(sign: int) -> list[sympy.Expr]:
    """d log pi_j / dz_l minus 1[l = j] - `sign` pi_l, for l = j and another l; all other e^z are constants."""
    z, own, rest = sympy.symbols("z own rest", positive=True)
    total = sympy.exp(z) + rest
    pi = sympy.exp(z) / total
    return [
        sympy.diff(z - sympy.log(total), z) - (1 - sign * pi),
        sympy.diff(own - sympy.log(total), z) - (0 - sign * pi),
    ]


def expansion(last: int) -> list[sympy.Expr]:
    """Of one parameter: s_j s_k = z_j z_k - z_j mean - z_k mean + `last` mean^2, and mean as the sum of pi_l z_l.

    u and v are that entry of the logit gradients of j and k, w that of l, n a second mean.
    """
    u, v, w, mean, n = sympy.symbols("u v w mean n")
    return [
        sympy.expand((u - mean) * (v - mean) - (u * v - u * mean - v * mean + last * mean**2)),
        *summed(u * mean, X * u * w, {mean: X * w}),
        *summed(mean * n, X * w * n, {mean: X * w}),
    ]


def orthogonal(extra: Any) -> list[sympy.Expr]:
    """The sums in the expansion where <z_l, z_m> = C 1[l = m]: <s_j, s_k> = C (S2 - pi_j - pi_k), j not k.

    `extra` is what |z_j|^2 has beyond C. e and f are 1[l = j] and 1[l = k]; `own` sums pi_l^2 e and is a^2.
    """
    C, e, f, own = sympy.symbols("C e f own")
    with_j, with_k, square = (C + extra) * A, C * B, C * S2 + extra * own
    return [
        sympy.expand(0 - with_j - with_k + square.subs(own, A * A) - C * cross_term(A, B, S2)),
        *summed(with_j, X * (C + extra) * e, {A: X * e}),
        *summed(with_k, X * C * f, {B: X * f}),
        *summed(square, X * X * (C + extra * e), {S2: X * X, own: X * X * e}),
    ]


def test_assumptions() -> None:
    """L of the unit vectors of d >= L parameters, times c and any signs, meet both assumptions."""
    identity(unit_rows(0), "any L <= d")


def test_score() -> None:
    """The logits other than z_l count by the sum of their e^z alone; so s_l = grad z_l - mean by the chain rule."""
    identity(log_softmax(1), "any L")


def test_expands() -> None:
    """Added up over all parameters: <s_j, s_k> by the inner products of logit gradients, lines 371 and 378."""
    identity(expansion(1), "any L, any logit gradients, any number of parameters")


def test_closed() -> None:
    """In the expansion's double sum of pi_l pi_m <z_l, z_m> only l = m is left."""
    identity(orthogonal(0), "any L")


def test_assumptions_control() -> None:
    no_identity(unit_rows(1)[0])


def test_score_control() -> None:
    no_identity(log_softmax(-1)[0])


def test_closed_controls() -> None:
    no_identity(expansion(0)[0])
    no_identity(orthogonal(sympy.Symbol("extra"))[0])


# The derivative


def derivative(donors: int) -> list[sympy.Expr]:
    """F at pi + t v, v = e_j - d, as a form in sums; its slope at t = 0 minus the closed form with `donors` <d, pi>.

    Of trajectory l: v = e - d with e = 1[l = j]. `square` and `linear` are the sums of v^2 and 2 pi_l v.
    """
    t, e, square, linear, own = sympy.symbols("t e square linear own")
    moved = S2 + t * linear + t * t * square
    F = cross_term(A + t, B - t * D_K, moved).subs(linear, 2 * (own - D_PI))
    return [
        sympy.expand((sympy.diff(F, t)).subs({t: 0, own: A}) - slope(A, D_PI, D_K, donors)),
        *summed(moved, (X + t * (e - D)) ** 2, {S2: X * X, linear: 2 * X * (e - D), square: (e - D) ** 2}),
        *summed(2 * (own - D_PI), 2 * X * (e - D), {own: X * e, D_PI: X * D}),
    ]


def falls_elsewhere(share: Any) -> list[Any]:
    """Negation: the slope is negative if and only if pi_j < 1/2 + <d, pi> - `share` d_k, d_k's share being a half."""
    a, d_pi, d_k = z3.Reals("a d_pi d_k")
    return [(slope(a, d_pi, d_k) < 0) != (a < z3.Q(1, 2) + d_pi - share * d_k)]


def test_slope() -> None:
    """S2 at pi + t v is a finite sum, and pi_j, pi_k become a + t and b - t d_k: F is the form in `derivative`."""
    identity(derivative(2), "any L, any donors")


def test_where_it_falls() -> None:
    """The slope is a form in pi_j, <d, pi> and d_k alone."""
    proved(*falls_elsewhere(z3.Q(1, 2)), size="any L, any donors, by pi_j, <d, pi> and d_k")


def test_slope_controls() -> None:
    no_identity(derivative(4)[0])
    satisfiable(*falls_elsewhere(1))


# Reading (e), equal amounts, and the samples of one policy


def equal_amounts(given: int) -> list[sympy.Expr]:
    """d = 1 / (L - 1) for all but j: the slope is L / (L - 1) (2 pi_j - 1).

    <d, pi> is (1 - pi_j) / (L - 1), the sum of pi_l / (L - 1) over l != j. `given` stands for the 1 of d_k.
    """
    L, others = sympy.symbols("L others")
    d_pi = others / (L - 1)
    found = slope(A, d_pi.subs(others, 1 - A), given / (L - 1))
    return [sympy.cancel(found - L / (L - 1) * (2 * A - 1)), *summed(d_pi, X / (L - 1), {others: X})]


def half(wider: Any) -> list[Any]:
    """Negation: L / (L - 1) (2 pi_j - 1) is negative if and only if pi_j < 1/2 + `wider`, which is 0."""
    a, length = z3.Reals("a L")
    return [
        Given("L >= 2", length >= 2),
        (length / (length - 1) * (2 * a - 1) < 0) != (2 * a < 1 + wider),
    ]


def across(sign: int) -> sympy.Expr:
    """F of i and k minus F of j and k, minus `sign` (pi_i - pi_j)."""
    of_i = sympy.Symbol("pi_i")
    return sympy.expand(cross_term(of_i, B, S2) - cross_term(A, B, S2) - sign * (of_i - A))


def test_equal_amounts() -> None:
    """The slope in any direction is a form in pi_j, <d, pi> and d_k (L1-master)."""
    identity(equal_amounts(1), "any L")
    proved(*half(0), size="any L")


def test_across() -> None:
    """The cross term is a form in pi_j, pi_k and S2 (L1-alg), and the samples of one policy have S2 in common."""
    identity(across(-1), "any L")


def test_equal_amounts_control() -> None:
    no_identity(equal_amounts(2)[0])
    satisfiable(*half(z3.Q(1, 100)))


def test_across_control() -> None:
    no_identity(across(1))


# The path of one logit: what the others give is in proportion to their shares rho of the rest, d = rho


def shares(others: int) -> list[sympy.Expr]:
    """<d, pi> is (1 - pi_j) m, as pi_l = (1 - pi_j) rho; and the slope is (1 + rho_k) - 2 (1 - pi_j)(1 + m).

    m is the sum of rho^2. `others` stands for the 1 before m.
    """
    rho, m, of_k = sympy.symbols("rho m rho_k")
    d_pi = (1 - A) * m
    row = (1 + of_k) - 2 * (1 - A) * (1 + others * m)
    return [sympy.expand(slope(A, d_pi, of_k) - row), *summed(d_pi, rho * (1 - A) * rho, {m: rho * rho})]


def falls_at(shift: Any) -> list[Any]:
    """Negation: the slope is below 0 (or 0) iff pi_j is below (or at) tau; tau = 1/2 iff m = rho_k.

    tau = (1 + 2m - rho_k) / (2 (1 + m)) + `shift`, which is 0.
    """
    a, m, of_k = z3.Reals("a m rho_k")
    tau, row = (1 + 2 * m - of_k) / (2 * (1 + m)) + shift, slope(a, (1 - a) * m, of_k)
    known = Given("the sum of their squared shares", m > 0)
    return [known, z3.Or((row < 0) != (a < tau), (row == 0) != (a == tau), (tau == z3.Q(1, 2)) != (m == of_k))]


def test_path() -> None:
    """Where the logit z_j alone moves, pi = (x, (1 - x) rho) with rho fixed, so dpi/dx = e_j - rho."""
    identity(shares(1), "any L, any shares")


def test_path_threshold() -> None:
    """As `test_path`: the slope is a form in pi_j, m and rho_k."""
    proved(*falls_at(0), size="any L, any shares, by pi_j, m and rho_k")


def test_path_controls() -> None:
    no_identity(shares(2)[0])
    satisfiable(*falls_at(z3.Q(1, 100)))
