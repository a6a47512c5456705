"""How far the posterior is from the prior, and how near a sampler must be to it, for any number of CoTs.

As in `test_improvement_proofs.py`: per CoT an identity or an inequality, added up over CoTs; then the sums as free
numbers. Of CoT c: w = pi_c, x = X_c, J the sum of w x.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory.evidence import Given, identity, no_identity, proved, satisfiable
from theory.sums import summed

SIMPLEX, CHANCE, ADDED = "probabilities are at least 0 and sum to 1", "X is a probability", "terms added up"


def absolute(x: Any) -> Any:
    """z3: |x|."""
    return z3.If(x >= 0, x, -x)


# Total variation: L2-radius-tv and the last part of E7-distance


def lost(share: Any) -> list[Any]:
    """Negation, one CoT: a change d of its probability changes E X by d (x - middle), at least -`share` R |d|.

    x lies between low and high, R = high - low; share is a half.
    """
    d, x, low, high = z3.Reals("d x low high")
    within = Given("max X - min X", low <= x, x <= high)
    return [within, 2 * d * (x - (low + high) / 2) < -2 * share * (high - low) * absolute(d)]


def beyond_radius(widened: Any) -> list[Any]:
    """Negation: a sampler within `widened` V / (J R) of the posterior has E X >= J.

    V = Var(X), E_post X = J + V / J; from the posterior to it E X changes by at least -R times the distance.
    """
    J, V, R, distance, change = z3.Reals("J V R distance change")
    return [
        Given("J > 0", J > 0),
        Given("a sum of squares", V >= 0),
        Given("X is not the same after every CoT", R > 0),
        Given(ADDED, distance >= 0, change >= -R * distance),
        Given("within Var(X) / (J R) of the posterior in total variation", distance <= widened * V / (J * R)),
        J + V / J + change < J,
    ]


def two_cots(share: Any) -> list[Any]:
    """Negation: of two CoTs, `share` of V / (J R) of the posterior can move to the lower X, and that takes E X to J.

    The prior gives q to x and 1 - q to y < x; V = q (1 - q) R^2, R = x - y.
    """
    q, x, y, J, moved = z3.Reals("q x y J moved")
    post = q * x
    mean = post * x + (J - post) * y - J * moved * (x - y)
    return [
        Given(SIMPLEX, q > 0, q < 1),
        Given(CHANCE, y >= 0, x <= 1, q * x + (1 - q) * y == J),
        Given("X is not the same after every CoT", x > y),
        Given(ADDED, J * moved == share * q * (1 - q) * (x - y)),
        z3.Or(J * moved > post, mean != J * J),
    ]


def test_radius() -> None:
    """A change of distribution has sum 0, so it changes E X by the sum of d (x - middle), whatever the middle.

    By `lost` that is at least -R/2 times the sum of |d|, which is -R times the total variation.
    """
    proved(*lost(z3.Q(1, 2)), size="any number of CoTs, term by term")
    proved(*beyond_radius(1), size="any number of CoTs, by J, Var X, R and the distance")


def test_radius_of_two() -> None:
    """Moving probability m from one CoT to another is a total variation of m, so the radius is reached."""
    proved(*two_cots(1), size="any prior and X of two CoTs")


def test_radius_controls() -> None:
    satisfiable(*lost(z3.Q(2, 5)))
    satisfiable(*beyond_radius(z3.Q(11, 10)))
    satisfiable(*two_cots(z3.Q(11, 10)))


# E7-distance


def apart(halves: int) -> list[Any]:
    """Negation, one CoT: |w x / J - w| / 2 is w |x - J| / (`halves` J)."""
    w, x, J = z3.Reals("w x J")
    return [
        Given(SIMPLEX, w >= 0),
        Given("J > 0", J > 0),
        absolute(w * x / J - w) / 2 != w * absolute(x - J) / (halves * J),
    ]


def above_mean(bound: Any) -> list[Any]:
    """Negation, one CoT: w (|x - J| + (x - J)) / 2 is at most w x (1 - J), and equal to it where x is 0 or 1.

    The left side is w (x - J) where x > J, and 0 elsewhere. `bound` replaces 1 - J by bound - J.
    """
    w, x, J = z3.Reals("w x J")
    left, right = w * (absolute(x - J) + (x - J)) / 2, w * x * (bound - J)
    certain = z3.And(z3.Or(x == 0, x == 1), left != right)
    known = [Given(SIMPLEX, w >= 0), Given(CHANCE, x >= 0, x <= 1, J <= 1), Given("J > 0", J > 0)]
    return [*known, z3.Or(left > right, certain)]


def test_distance() -> None:
    """Total variation is the sum over CoTs of half of the differences in `apart`: E|X - J| / (2 J).

    As w (x - J) adds up to 0, E|X - J| / 2 is the sum of the left sides in `above_mean`, and their right sides add up
    to J (1 - J). So the distance is at most 1 - J, and equal to it where every X is 0 or 1.
    """
    proved(*apart(2), size="any number of CoTs, term by term")
    proved(*above_mean(1), size="any number of CoTs, term by term")


def test_gap_within_distance() -> None:
    """The gap is the change of E X from the prior to the posterior; `lost` for the other way, as in `test_radius`."""
    proved(*lost(z3.Q(1, 2)), size="any number of CoTs, term by term")


def test_distance_controls() -> None:
    satisfiable(*apart(1))
    satisfiable(*above_mean(z3.Q(9, 10)))
    satisfiable(*lost(z3.Q(2, 5)))


# E7-divergence


def log_ratio(sign: int) -> list[sympy.Expr]:
    """KL's term of one CoT is post (log x - log J), post = w x / J; added up, E_post log X + log(1/J)."""
    w, x, J, post, total, whole = sympy.symbols("w x J post total whole", positive=True)
    term = sympy.expand_log(sympy.log((w * x / J) / w) - (sympy.log(x) - sign * sympy.log(J)))
    return [
        term,
        *summed(
            total - whole * sympy.log(J),
            post * (sympy.log(x) - sympy.log(J)),
            {total: post * sympy.log(x), whole: post},
        ),
    ]


def above_log(share: Any) -> list[Any]:
    """Negation, one CoT: its term post (log X + log(1/J)) is at most `share` post log(1/J); log X <= 0 as X <= 1."""
    post, log_x, log_inverse = z3.Reals("post log_x log_inverse")
    known = [Given(SIMPLEX, post >= 0), Given(CHANCE, log_x <= 0, log_inverse >= 0)]
    return [*known, post * (log_x + log_inverse) > share * post * log_inverse]


def test_divergence() -> None:
    """Added up over CoTs of the posterior, whose probabilities sum to 1: KL <= log(1/J). CoTs with X = 0 add 0."""
    identity(log_ratio(1), "any number of CoTs")
    proved(*above_log(1), size="any number of CoTs, term by term")


def test_divergence_controls() -> None:
    no_identity(log_ratio(-1)[0])
    satisfiable(*above_log(z3.Q(1, 2)))
