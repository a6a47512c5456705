"""Eq 5 and its footnote: the weight that an algorithm gives a sample, and weights by token."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from theory import grpo
from theory.domains import point
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.policies import tree
from theory.relations import Said, both, each, eq, ge, gt, iff, lt, when


def weight_errors(sign: int) -> list[sympy.Expr]:
    """Derivatives of the objectives in the log-probability x of a sample, minus the weights that Eq 5 claims.

    DPO's objective is log sigmoid(beta m), m the margin: it moves with +x for the winner, -x for the loser. GRPO's is
    A / n times the ratio exp(x - old), unclipped, at x = old; SFT's is x.
    """
    beta, n = sympy.symbols("beta n", positive=True)
    m, A, x, old = sympy.symbols("m A x old", real=True)
    sigmoid = 1 / (1 + sympy.exp(beta * m))
    dpo = sympy.diff(-sympy.log(1 + sympy.exp(-beta * m)), m) - sign * beta * sigmoid
    grpo = sympy.diff(A / n * sympy.exp(x - old), x).subs(x, old) - sign * A / n
    return [dpo, grpo, sympy.diff(x, x) - sign]


def test_eq5_weights() -> None:
    identity(weight_errors(1), "any sample, DPO, unclipped GRPO at the sampling policy, SFT")


def test_eq5_control_other_sign() -> None:
    no_identity(weight_errors(-1)[0])


def sft(r: Any) -> list[Fraction]:
    return [Fraction(1) for _ in r]


def reinforce(r: Any) -> list[Fraction]:
    return [Fraction(x) for x in r]


def advantage(r: Any) -> list[float]:
    """GRPO's advantages. Float, but of rewards in sixteenths their signs are exact.

    Sums of sixteenths are exact; a mean that is one of them comes out exactly, another stays on its side of each.
    """
    return [float(x) for x in grpo.advantages([float(x) for x in r])]


def leave_one_out(r: Any) -> list[Fraction]:
    """Rewards minus the mean of the others."""
    return [x - (sum(r, Fraction(0)) - x) / (len(r) - 1) for x in r]


def sign_rule(r: Any, weights: Callable[[Any], Any]) -> Said | None:
    """Better than the batch's mean: w > 0; worse: w < 0. Not met by a batch of equal rewards."""
    if len(set(r)) == 1:
        return None
    mean = sum(r, Fraction(0)) / len(r)
    return each(
        both(iff(gt(x, 0), gt(y, mean)), iff(lt(x, 0), lt(y, mean))) for x, y in zip(weights(r), r, strict=True)
    )


def batch(pick: Pick) -> Any:
    """2 to 6 rewards in {0, 1/16, ..., 1}."""
    return tuple(Fraction(pick(0, 16), 16) for _ in range(pick(2, 6)))


def every_algorithm(r: Any) -> Said | None:
    """Literal: the sign rule, for SFT, REINFORCE and advantages alike."""
    found = [said for f in (sft, reinforce, advantage) if (said := sign_rule(r, f)) is not None]
    return both(*found) if len(found) == 3 else None


def test_eq5_sign_fails_without_baseline() -> None:
    counterexample(every_algorithm, lambda pick: tuple(Fraction(pick(0, 8), 2 ** pick(3, 4)) for _ in range(2)), (0, 1))


def clipped(ratio: Fraction, A: int) -> Fraction:
    """PPO's objective for one token, clipped at 1/5."""
    return min(ratio * A, min(max(ratio, Fraction(4, 5)), Fraction(6, 5)) * A)


def clipped_sign(instance: Any) -> Said | None:
    """Literal: a token's weight, the slope of the objective in its ratio, has the sign of its advantage."""
    ratio, A = instance
    h = Fraction(1, 1000)
    if A == 0 or any(abs(ratio - kink) <= h for kink in (Fraction(4, 5), Fraction(6, 5))):
        return None
    return gt((clipped(ratio + h, A) - clipped(ratio - h, A)) * A, 0)


def test_eq5_sign_fails_where_clipped() -> None:
    counterexample(clipped_sign, lambda pick: (Fraction(pick(1, 30), pick(1, 10)), pick(-1, 1)), (Fraction(2), 1))


def test_eq5_sign_with_baseline() -> None:
    for_all(lambda r: sign_rule(r, advantage), batch)
    for_all(lambda r: sign_rule(r, leave_one_out), batch)


def test_eq5_sign_control_without_baseline() -> None:
    negative_control(lambda r: sign_rule(r, reinforce), batch)


# Footnote 3


def shared_parameter(instance: Any) -> Said | None:
    """Literal: token weights of at least 0 leave <sum_t w_t s_t, sum_t s_t>, the sign of T1, at least 0.

    Two tokens, each one of two; one parameter theta = 0 moves their log odds at the rates given, so their scores are
    half of these.
    """
    rates, w = instance
    u = [Fraction(x, 2) for x in rates]
    return ge(sum(a * x for a, x in zip(w, u, strict=True)) * sum(u), 0)


def test_footnote3_fails() -> None:
    def size(instance: Any) -> int:
        return sum(abs(x) for part in instance for x in part)

    def domain(pick: Pick) -> Any:
        return (pick(-4, 4), pick(-4, 4)), (pick(0, 3), pick(0, 3))

    counterexample(shared_parameter, domain, ((1, -2), (1, 0)), size)


def token_tables(pick: Pick) -> Any:
    """(tables of a tree of 3 binary tokens, a sequence, token weights of at least 0)."""
    tables = [point(pick, 2, 2), *([[point(pick, 2, 2) for _ in range(2)] for _ in range(2**t)] for t in range(2))]
    return [tables[0], tables[1][0], tables[2]], pick(0, 7), tuple(pick(0, 5) for _ in range(3))


def signed_tokens(instance: Any) -> Said:
    """With a table for every prefix, token scores are orthogonal: <sum_t w_t s_t, sum_t s_t> = sum_t w_t |s_t|^2."""
    tables, at, w = instance
    s = tree(tables).scores[at]
    u = [s[0:2], s[2:6], s[6:14]]
    weighted = np.concatenate([x * a for x, a in zip(u, w, strict=True)])
    t1 = (weighted * s).sum()
    return both(
        eq(t1, sum(a * (x * x).sum() for a, x in zip(w, u, strict=True))),
        ge(t1, 0),
        when(any(w), gt(t1, 0)),
    )


def any_weights(pick: Pick) -> Any:
    """As `token_tables`, weights of either sign."""
    tables, at, _ = token_tables(pick)
    return tables, at, tuple(pick(-5, 5) for _ in range(3))


def test_footnote3_with_a_table_per_prefix() -> None:
    for_all(signed_tokens, token_tables)


def test_footnote3_control_negative_weights() -> None:
    negative_control(signed_tokens, any_weights)


def orthogonal_only(orthogonal: bool) -> Statement:
    """T1's sign for two tokens' score vectors in the plane, the second turned to be orthogonal or not."""

    def statement(instance: Any) -> Said:
        (a, b), scale, w = instance
        u, v = (a, b), (-b * scale, a * scale) if orthogonal else (b * scale, a * scale)
        total = [x + y for x, y in zip(u, v, strict=True)]
        return ge(sum((w[0] * x + w[1] * y) * t for x, y, t in zip(u, v, total, strict=True)), 0)

    return statement


def plane(pick: Pick) -> Any:
    return (pick(-5, 5), pick(-5, 5)), pick(-4, 4), (pick(0, 5), pick(0, 5))


def test_footnote3_orthogonal_tokens() -> None:
    for_all(orthogonal_only(orthogonal=True), plane)


def test_footnote3_control_correlated_tokens() -> None:
    negative_control(orthogonal_only(orthogonal=False), plane)
