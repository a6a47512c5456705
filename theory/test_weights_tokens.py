"""Learning some of a self-explanation's tokens: when the mean step still raises J, and when it lowers it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory.domains import point
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.inputs import Array, array
from theory.policies import tree
from theory.relations import Said, both, eq, ge

N = 40
Tokens = tuple[int, ...]
Kept = Callable[[Tokens], list[bool]]


def written(pick: Pick) -> Any:
    """(next-token tables of a CoT of two or three tokens, two tokens in all; X of each CoT, that of the last is 1)."""
    length = pick(2, 3)
    tables = [np.reshape([point(pick, 2, 2, 6) for _ in range(2**t)], (2,) * (t + 1)).tolist() for t in range(length)]
    return tables, (*(Fraction(pick(0, 6), 6) for _ in range(2**length - 1)), Fraction(1))


def policy_of(instance: Any) -> tuple[Any, Array, list[int]]:
    """(the policy over CoTs and answers, its rewards, where the parameters of each token's tables begin and end)."""
    tables, x = instance
    answers = np.array([(y, 1 - y) for y in x], dtype=object).reshape((2,) * (len(tables) + 1))
    held = tree([*tables, answers])
    return held, array([1, 0] * len(x)), [2 ** (t + 1) - 2 for t in range(len(tables) + 2)]


def masked_mean(instance: Any, kept: Kept) -> Array:
    """E sum over kept tokens of s_t, CoTs by Bayes' rule; the answer a* always counts."""
    held, r, ends = policy_of(instance)
    post, total = held.probs * r / held.value(r), held.scores[0] * 0
    for i, tokens in enumerate(product((0, 1), repeat=len(ends) - 1)):
        for t, keep in enumerate([*kept(tokens[:-1]), True]):
            if keep:
                total[ends[t] : ends[t + 1]] += post[i] * held.scores[i][ends[t] : ends[t + 1]]
    return total


def half(instance: Any, most: bool) -> Kept:
    """The half of a CoT that the hint moves least, or `most`, as `expo train` has it; for mu by Bayes' rule.

    A token moves by |log mu(t|..., a*) - log pi(t|...)|. The least moved half has one more of an odd number, and the
    first of ties.
    """
    held, r, _ = policy_of(instance)
    tables = instance[0]
    right = (held.probs * r).reshape((2,) * (len(tables) + 1))

    def moved(tokens: Tokens, t: int) -> Fraction:
        before, after = right[tokens[:t]].sum(), right[tokens[: t + 1]].sum()
        # What Bayes' rule never draws does not count.
        change = after / before / array(tables[t])[tokens[: t + 1]] if after else Fraction(1)
        return max(change, 1 / change)

    def kept(tokens: Tokens) -> list[bool]:
        order = sorted(range(len(tokens)), key=lambda t: moved(tokens, t))
        least = order[: (len(tokens) + 1) // 2]
        return [(t in least) != most for t in range(len(tokens))]

    return kept


def rate(instance: Any, kept: Kept) -> Fraction:
    """<grad J, masked mean>."""
    held, r, _ = policy_of(instance)
    return Fraction(held.gradient(r) @ masked_mean(instance, kept))


# Masks that the sample decides


def small(pick: Pick) -> Any:
    """Two tokens, in small numbers; the same table before each."""
    a, b = pick(1, 2), pick(1, 2)
    row, shares = [Fraction(a, a + b), Fraction(b, a + b)], [Fraction(w, 6) for w in (0, 2, 3, 4, 6)]
    return [row, [row, row]], (*(shares[pick(0, 4)] for _ in range(3)), Fraction(1))


def least_moved_raises(instance: Any) -> Said:
    """Literal: the mean step on the half that the hint moves least does not lower J."""
    return ge(rate(instance, half(instance, most=False)), 0)


def most_moved_raises(instance: Any) -> Said:
    """Literal: nor does that on the other half."""
    return ge(rate(instance, half(instance, most=True)), 0)


def even(p: Fraction, *x: Fraction) -> Any:
    """Two tokens, each the first one with probability p, and X."""
    row = [p, 1 - p]
    return [row, [row, row]], x


def test_least_moved_may_lower_j() -> None:
    pinned = even(Fraction(1, 2), Fraction(0), Fraction(1), Fraction(1), Fraction(1))
    counterexample(least_moved_raises, small, pinned)
    assert rate(pinned, half(pinned, most=False)) == Fraction(-1, 24)
    assert rate(pinned, lambda tokens: [True] * len(tokens)) == Fraction(1, 12)


def test_most_moved_may_lower_j() -> None:
    pinned = even(Fraction(1, 3), Fraction(1, 2), Fraction(2, 3), Fraction(2, 3), Fraction(1))
    counterexample(most_moved_raises, small, pinned)
    assert rate(pinned, half(pinned, most=True)) == Fraction(-31, 41_796)


def masks(pick: Pick) -> Any:
    """(tables and X, for each prefix and token whether it is kept)."""
    return written(pick), [(pick(0, 1), pick(0, 1)) for _ in range(7)]


def place(prefix: Tokens) -> int:
    """Of a prefix among all, by length and then in order."""
    return 2 ** len(prefix) - 1 + sum(token * 2**i for i, token in enumerate(reversed(prefix)))


def kept_by_prefix(instance: Any, by_token: bool = False) -> Said:
    """Where what came before decides whether a token is kept, J rises at sum |grad_kept J|^2 / J, the kept tables'.

    Not below 0 then. `by_token`: the token itself decides, too.
    """
    of_policy, keep = instance
    held, r, ends = policy_of(of_policy)
    gradient, value = held.gradient(r), held.value(r)
    square = (gradient[ends[-2] :] ** 2).sum()
    for t in range(len(ends) - 2):
        for prefix in product((0, 1), repeat=t):
            at = 2 * place(prefix)
            square += keep[place(prefix)][0] * (gradient[at : at + 2] ** 2).sum()

    def kept(tokens: Tokens) -> list[bool]:
        return [bool(keep[place(tokens[:t])][token * by_token]) for t, token in enumerate(tokens)]

    found = rate(of_policy, kept)
    return both(eq(found, square / value), ge(found, 0))


def kept_by_token(instance: Any) -> Said:
    """The token itself decides, too."""
    return kept_by_prefix(instance, by_token=True)


def test_kept_by_prefix() -> None:
    for_all(kept_by_prefix, masks, N)


def test_prefix_control_by_token() -> None:
    negative_control(kept_by_token, masks, N)


def halves(instance: Any, counted: int = 2) -> Said:
    """The two halves' mean steps add up to grad J / J, in which the answer's tables count `counted` times, which is 2.

    So the rates of J on the two add up to at least |grad J|^2 / J.
    """
    held, r, ends = policy_of(instance)
    whole = held.gradient(r) / held.value(r)
    whole[ends[-2] :] *= counted
    parts = [half(instance, most) for most in (False, True)]
    rates = sum(rate(instance, part) for part in parts)
    gradient = held.gradient(r)
    return both(
        eq(sum(masked_mean(instance, part) for part in parts), whole),
        ge(rates, gradient @ gradient / held.value(r)),
    )


def halves_with_one_answer(instance: Any) -> Said:
    """The answer counts once."""
    return halves(instance, counted=1)


def test_halves() -> None:
    for_all(halves, written, N // 2)


def test_halves_control_one_answer() -> None:
    negative_control(halves_with_one_answer, written, N)
