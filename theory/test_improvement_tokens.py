"""Policies that write token by token: what T1, T2 and cosines of scores become as sequences grow longer."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from theory import improvement
from theory.domains import bits, point, twelfths
from theory.evidence import (
    Pick,
    Statement,
    counterexample,
    for_all,
    negative_control,
)
from theory.policies import tree
from theory.relations import Said, both, eq, le, lt


def written(pick: Pick) -> Any:
    """(tables, rewards, two sequences): 2 or 3 binary tokens, or 2 of three kinds."""
    v, depth = ((2, 2), (2, 2), (2, 2), (2, 3), (3, 2))[pick(0, 4)]
    tables: list[Any] = []
    for t in range(depth):
        rows = [point(pick, v, v, 9) for _ in range(v**t)]
        tables.append(np.array(rows, dtype=object).reshape((v,) * (t + 1)))
    return tables, twelfths(pick, v**depth), pick(0, v**depth - 1), pick(0, v**depth - 1)


def digits(at: int, v: int, depth: int) -> tuple[int, ...]:
    """The tokens of the sequence at a place in lexicographic order."""
    return tuple(at // v ** (depth - 1 - t) % v for t in range(depth))


def along(tables: Any, r: Any, tokens: tuple[int, ...]) -> tuple[Any, Any]:
    """Next-token probabilities and expected rewards along a sequence, by sums over all that may follow."""
    v, depth = tables[0].shape[-1], len(tables)
    q = [np.array(r, dtype=object).reshape((v,) * depth)]
    for table in reversed(tables[1:]):
        q.insert(0, (table * q[0]).sum(-1))
    return [t[tokens[:i]] for i, t in enumerate(tables)], [x[tokens[:i]] for i, x in enumerate(q)]


def token_sums(advantage: bool) -> Statement:
    """Gain and inner product, token by token, agree with sums over sequences; `advantage`: of q over V, not of q."""

    def statement(instance: Any) -> Said:
        tables, r, a, b = instance
        v, depth = tables[0].shape[-1], len(tables)
        policy = tree(tables)
        one, other = digits(a, v, depth), digits(b, v, depth)
        probs, q = along(tables, r, one)
        inner = eq(improvement.tree_inner(probs, one, other), (policy.scores[a] * policy.scores[b]).sum())
        if advantage:
            return both(inner, eq(improvement.tree_gain(probs, q, one), policy.gain(r, a)))
        own = [[x if i == t else Fraction(0) for i, x in enumerate(row)] for row, t in zip(q, one, strict=True)]
        return both(inner, eq(improvement.tree_gain(probs, own, one), policy.gain(r, a)))

    return statement


def test_token_by_token() -> None:
    for_all(token_sums(advantage=True), written)


def test_token_control_own_value_only() -> None:
    negative_control(token_sums(advantage=False), written)


def coin_gain(T: int) -> tuple[Any, Any]:
    """(gain, T1) of a sequence of T fair bits that is right because its first bit is 1."""
    half = Fraction(1, 2)
    probs = [[half, half]] * T
    q = [[Fraction(0), Fraction(1)]] + [[Fraction(1), Fraction(1)]] * (T - 1)
    tokens = (1,) * T
    return improvement.tree_gain(probs, q, tokens), improvement.tree_inner(probs, tokens, tokens) / 2**T


def coin(T: int) -> Said:
    """The same from sums over all 2**T sequences."""
    half = Fraction(1, 2)
    tables = [np.full((2,) * (t + 1), half, dtype=object) for t in range(T)]
    r = tuple(int(at >= 2 ** (T - 1)) for at in range(2**T))
    policy = tree(tables)
    return eq(coin_gain(T), (policy.gain(r, 2**T - 1), improvement.t1(policy, r, 2**T - 1)))


def within_twice(instance: Any) -> Said:
    """Literal: the gain is at most twice T1, as it is where T1 dominates. T fair bits."""
    gain, first = coin_gain(*instance)
    return le(gain, 2 * first)


def test_gain_of_coins_above_twice_t1() -> None:
    assert all(coin(T) for T in range(1, 6))
    assert all(coin_gain(T) == (Fraction(1, 4), Fraction(T, 2 ** (T + 1))) for T in (*range(1, 21), 144))
    counterexample(within_twice, lambda pick: (pick(1, 20),), (5,), lambda instance: instance[0])
    gain, first = coin_gain(144)
    assert f"{float(gain / first):.0e}" == "8e+40"


def less_likely_gains_less(instance: Any) -> Said | None:
    """Literal: of two right samples of one policy the less likely one gains less. What begins with a 0 is wrong."""
    tables, _, a, b = instance
    v, depth = tables[0].shape[-1], len(tables)
    policy, right = tree(tables), tuple(int(at >= v ** (depth - 1)) for at in range(v**depth))
    if not right[a] or not right[b] or policy.probs[a] >= policy.probs[b]:
        return None
    return lt(policy.gain(right, a), policy.gain(right, b))


def second_bit(ones: Fraction) -> Any:
    """A fair bit, then, after a 1, a 1 with probability `ones`."""
    half = Fraction(1, 2)
    return [np.array([half, half], dtype=object), np.array([[half, half], [1 - ones, ones]], dtype=object)]


def test_less_likely_is_not_less() -> None:
    pinned = (second_bit(Fraction(2, 3)), None, 2, 3)
    counterexample(less_likely_gains_less, written, pinned)
    # However unlikely, it gains what the likelier one does, and none gains more.
    for n in (3, 100, 10**6):
        policy = tree(second_bit(1 - Fraction(1, n)))
        assert policy.probs[2] == Fraction(1, 2 * n)
        assert [policy.gain((0, 0, 1, 1), at) for at in range(4)] == [Fraction(x, 4) for x in (-1, -1, 1, 1)]


def prefixes(instance: Any) -> Said | None:
    """Literal: scores of sequences that part at the first token are exactly orthogonal, as Lemma 1 asks of logits."""
    tables, _, a, b = instance
    v, depth = tables[0].shape[-1], len(tables)
    return None if digits(a, v, depth)[0] == digits(b, v, depth)[0] else eq(tree(tables).gram[a, b], 0)


def test_shared_prefixes_are_not_orthogonal() -> None:
    half = Fraction(1, 2)
    tables = [np.full((2,) * (t + 1), half, dtype=object) for t in range(2)]
    assert tree(tables).gram.tolist()[0] == [1, 0, Fraction(-1, 2), Fraction(-1, 2)]
    counterexample(prefixes, written, (tables, (0, 0, 0, 0), 0, 2))


def cosine_of_coins(shared: int) -> Statement:
    """Sequences of T fair bits that part at the first have the cosine -1 / T; or, false, at the second."""

    def statement(instance: Any) -> Said:
        (one, other), half = instance, Fraction(1, 2)
        T = len(one)
        one, other = ((1,) * shared + x[shared:] for x in (one, (1 - one[0], *other[1:])))
        probs = [[half, half]] * T
        square, same = (improvement.tree_inner(probs, x, x) for x in (one, other))
        return both(eq(square, same), eq(improvement.tree_inner(probs, one, other) / square, Fraction(-1, T)))

    return statement


def bits_of_length(pick: Pick) -> Any:
    """Two sequences of 2 to 12 bits."""
    T = pick(2, 12)
    return bits(pick, T), bits(pick, T)


def test_cosine_falls_with_length() -> None:
    for_all(cosine_of_coins(0), bits_of_length)


def test_cosine_control_shared_token() -> None:
    negative_control(cosine_of_coins(1), bits_of_length)
