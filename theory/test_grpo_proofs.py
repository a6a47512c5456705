"""Section 5.2 for groups of any size: advantages, and the weight w_G of a question.

Of K right samples and W wrong ones, G = K + W; p is the probability of a right one, q = 1 - p. The share p_G of right
samples in a group is k here.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory.evidence import Given, identity, no_identity, proved, satisfiable

SHARE, ADDED = "a share p_G of right samples", "terms added up"

# G-advantage


def moments(bits: bool) -> list[Any]:
    """Negation, one reward r: (r - k)^2 is r (1 - 2k) + k^2, and |r - k| is r (1 - 2k) + k, if (`bits`) r is 0 or 1.

    Added up over G rewards of which a share k is 1: a variance (ddof = 0) of k (1 - k), a mean size of 2 k (1 - k).
    """
    r, k = z3.Reals("r k")
    square, size = r * (1 - 2 * k) + k * k, r * (1 - 2 * k) + k
    known = [Given(SHARE, k > 0, k < 1), Given("rewards are 0 or 1", z3.Or(r == 0, r == 1) if bits else r >= 0)]
    return [*known, z3.Or((r - k) * (r - k) != square, z3.If(r > k, r - k, k - r) != size)]


def standardised(ddof: int, factor: Any) -> list[Any]:
    """Negation: advantages a and -b are sqrt((1-k)/k) and -sqrt(k/(1-k)), times c, and their mean size `factor`
    sqrt(k (1-k)), times c, which is at most `factor` / 2; all in squares.

    s is the standard deviation; c^2 = (G - ddof) / G, as the variance is G k (1-k) / (G - ddof). `factor` is 2.
    """
    k, s, a, b, size, G = z3.Reals("k s a b size G")
    known = [Given(SHARE, k > 0, k < 1, G >= 2)]
    known += [Given("a square root", s > 0, s * s * (G - ddof) == G * k * (1 - k))]
    known += [Given(ADDED, a * s == 1 - k, b * s == k, size == k * a + (1 - k) * b)]
    c2 = (G - ddof) / G
    wrong = [a < 0, b < 0, a * a * k != c2 * (1 - k), b * b * (1 - k) != c2 * k]
    return [*known, z3.Or(*wrong, size * size != factor * factor * k * (1 - k) * c2, 2 * size > factor)]


def test_advantages() -> None:
    """By `moments` the mean is k and the variance k (1 - k) G / (G - ddof); numbers above 0 are equal if their squares
    are."""
    proved(*moments(True), size="any group, reward by reward")
    for ddof in (0, 1):
        proved(*standardised(ddof, 2), size=f"any group, any share of right samples, ddof = {ddof}")


def test_advantages_controls() -> None:
    satisfiable(*moments(False))
    for ddof in (0, 1):
        satisfiable(*standardised(ddof, 1))


# G-weight and G-weight-bounds: w_G is the sum over K of a term times its root, sqrt(K (G-K))


def term(G: Any, K: Any, p: Any, q: Any) -> Any:
    """C(G, K) p^(K-1) q^(G-K-1) / G."""
    return sympy.binomial(G, K) * p ** (K - 1) * q ** (G - K - 1) / G


def by_chance(divided: bool) -> list[sympy.Expr]:
    """The mean gradient given K right samples, per grad J, is root / (G p q); P(K) times that is the root's term.

    The term of G = 2 is 1. A right sample's advantage is root / K, a wrong one's -root / (G-K). The mean score of right
    samples is grad J / p, that of wrong ones -grad J / q, since over all samples it is 0. Not `divided`: grad J and
    -grad J.
    """
    G, K = sympy.symbols("G K", positive=True, integer=True)
    root, p, q = sympy.symbols("root p q", positive=True)
    right, wrong = (1 / p, -1 / q) if divided else (1, -1)
    mean = (K * (root / K) * right - (G - K) * (root / (G - K)) * wrong) / G
    chance = sympy.binomial(G, K) * p**K * q ** (G - K)
    return [
        sympy.factor((mean - root / (G * p * q)).subs(q, 1 - p)),
        sympy.powsimp(chance / (G * p * q) / term(G, K, p, q)) - 1,
        term(2, 1, p, q) - 1,
    ]


def counted(shift: int) -> sympy.Expr:
    """A term times K (G-K), over G-1 times the term of (p + q)^(G-2) with K - `shift` times p, minus 1; 1 is right."""
    G, K = sympy.symbols("G K", positive=True, integer=True)
    p, q = sympy.symbols("p q", positive=True)
    k = K - shift
    ratio = term(G, K, p, q) * K * (G - K) / ((G - 1) * sympy.binomial(G - 2, k) * p**k * q ** (G - 2 - k))
    return sympy.combsimp(sympy.powsimp(ratio).rewrite(sympy.gamma)) - 1


def at_zero(times: int) -> list[sympy.Expr]:
    """Terms at p = 0, q = 1: that of K = 1, `times` which is 1, minus 1, and that of K = n + 2."""
    G, n = sympy.symbols("G n", nonnegative=True, integer=True)
    p = sympy.Symbol("p", positive=True)
    return [times * sympy.combsimp(term(G, 1, p, 1)) - 1, term(G, n + 2, p, 1).subs(p, 0)]


def outside(low: int) -> list[Any]:
    """Negation, one K: the root of n = K (G-K) is at least `low` n / G, at most n / h for h = sqrt(G-1), and for any
    c > 0 at most (n / c + c) / 2; `low` is 2."""
    K, G, root, h, c = z3.Reals("K G root h c")
    n = K * (G - K)
    known = [Given("the index of a term", K >= 1, G >= K + 1)]
    known += [Given("a square root", root >= 0, root * root == n, h > 0, h * h == G - 1, c > 0)]
    return [*known, z3.Or(root * G < low * n, root * h > n, 2 * c * root > n + c * c)]


def above(tighter: Any) -> list[Any]:
    """Negation: w <= sqrt((G-1) / (G s)) for s = p q, from the last bound at c = sqrt((G-1) G s), summed.

    `total` is the sum of the terms, which is at most 1 / (G s). `tighter` times the bound, in squares; it is 1.
    """
    G, s, c, w, total = z3.Reals("G s c w total")
    known = [Given("0 < p < 1", G >= 2, s > 0, 4 * s <= 1), Given("a square root", c > 0, c * c == (G - 1) * G * s)]
    known += [Given(ADDED, total >= 0, total * G * s <= 1, w >= 0, 2 * c * w <= (G - 1) + c * c * total)]
    return [*known, w * w * G * s > tighter * (G - 1)]


def test_weight() -> None:
    """Samples of a group are drawn independently from one law. So given K their scores have the means in `by_chance`.

    A length |o| that all share divides them all.
    """
    identity(by_chance(True), "any G and K, any parametrisation")


def test_bounds() -> None:
    """Terms are at least 0. By `counted` and the binomial theorem those times n = K (G-K) add up to G-1.

    So the first two bounds in `outside` add up to 2 (G-1) / G <= w_G <= (G-1) / h = sqrt(G-1). The terms alone add up
    to the chance of 0 < K < G, over G p q (`by_chance`), which gives `above`.
    """
    identity([counted(1), by_chance(True)[1]], "any G and K")
    proved(*outside(2), size="any G, term by term")
    proved(*above(1), size="any G and p, by sums over K")


def test_limit() -> None:
    """Each term is a polynomial in p, so continuous at 0; only that of K = 1 is left there, with the root sqrt(G-1)."""
    identity(at_zero(1), "any G and K")


def test_weight_controls() -> None:
    no_identity(by_chance(False)[0])
    no_identity(counted(2))
    no_identity(at_zero(2)[0])
    satisfiable(*outside(3))
    satisfiable(*above(z3.Q(9, 10)))
