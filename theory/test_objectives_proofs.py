"""The policy that the KL term and the reward lead to, for any number of trajectories."""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory import objectives
from theory.evidence import Given, for_all, identity, no_identity, proved, satisfiable
from theory.relations import Said, eq
from theory.sums import summed
from theory.test_objectives_kl import tilts


def tilted(ref: Any, r: Any, odds: Any, total: Any) -> Any:
    """The optimum's probability of a trajectory, of symbols or numbers: ref odds^r over the sum of these."""
    return ref * odds**r / total


def is_the_library(instance: Any) -> Said:
    """The form that is proved here is that of the library."""
    pi, r, odds = instance
    total = sum(x * odds**y for x, y in zip(pi, r, strict=True))
    return eq([tilted(x, y, odds, total) for x, y in zip(pi, r, strict=True)], list(objectives.kl_optimum(pi, r, odds)))


def test_form_is_that_of_the_library() -> None:
    for_all(is_the_library, tilts, 300)


def gibbs(sign: int) -> list[sympy.Expr]:
    """E r / beta - KL(pi || ref) is log Z - `sign` KL(pi || optimum), by the terms of one trajectory.

    `whole` is the sum of pi, which is 1; `divergence` that of pi log(pi / optimum).
    """
    pi, ref, Z, inverse = sympy.symbols("pi ref Z inverse", positive=True)
    r, whole, divergence = sympy.symbols("r whole divergence", real=True)
    best = tilted(ref, r, sympy.exp(inverse), Z)
    term = pi * (inverse * r - sympy.expand_log(sympy.log(pi / ref)))
    to_best = pi * sympy.expand_log(sympy.log(pi / best))
    return summed(whole * sympy.log(Z) - sign * divergence, term, {whole: pi, divergence: to_best})


def tangent(scale: int) -> list[sympy.Expr]:
    """f(t) = t - 1 - `scale` log t is 0 at t = 1 and has the slope (t - 1) / t; `scale` is 1."""
    t = sympy.Symbol("t", positive=True)
    f = t - 1 - scale * sympy.log(t)
    return [sympy.cancel(sympy.diff(f, t) - (t - 1) / t), f.subs(t, 1)]


def turns(scale: int) -> list[Any]:
    """Negation: the slope of f is below 0 where t < 1 and above 0 where t > 1; `scale` is 1."""
    t = z3.Real("t")
    positive = Given("probabilities are above 0 and sum to 1", t > 0)
    return [positive, z3.And(t != 1, (t - 1) * ((t - scale) / t) <= 0)]


def test_optimum() -> None:
    """Added up over trajectories, with pi summing to 1: E r - beta KL(pi || ref) = beta (log Z - KL(pi || optimum)).

    KL(pi || optimum) is above 0 for any pi but the optimum: f(t) > 0 but for t = 1, and with t = optimum / pi a term
    pi log(pi / optimum) is pi f(t) + pi - optimum, where pi - optimum adds up to 0. A trajectory with pi = 0 adds 0 to
    the divergence, and the others' pi - optimum add up to more than 0.
    """
    identity(gibbs(1), "any number of trajectories")
    identity(tangent(1), "any t")
    proved(*turns(1), size="any t")


def test_optimum_controls() -> None:
    no_identity(gibbs(-1)[0])
    no_identity(tangent(2)[0])
    satisfiable(*turns(2))


def kl_slope(sign: int) -> sympy.Expr:
    """dKL(pi || ref)/dz_k minus pi_k (log(pi_k / ref_k) - `sign` KL), for logits as parameters; c is log ref_k.

    The others count by two sums that z_k does not change: `rest` of e^z_l, and `held` of e^z_l (z_l - log ref_l).
    """
    z, c, held = sympy.symbols("z c held", real=True)
    rest = sympy.Symbol("rest", positive=True)
    total = sympy.exp(z) + rest
    ratio = z - sympy.log(total) - c
    KL = sympy.exp(z) / total * ratio + (held - rest * sympy.log(total)) / total
    return sympy.diff(KL, z) - sympy.exp(z) / total * (ratio - sign * KL)


def test_slope_of_kl() -> None:
    """Of another trajectory l, pi_l log(pi_l / ref_l) is e^z_l / total times z_l - log total - log ref_l."""
    identity(kl_slope(1), "any number of trajectories")


def test_slope_control() -> None:
    no_identity(kl_slope(-1))
