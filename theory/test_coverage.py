"""What a 'holds' is worth: how often a 95 % interval over n problems says it where the mean is 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from math import comb, prod
from typing import Any

import sympy
import z3

from theory.coverage import BETS, SIDE, Above, bets_above, bootstrap_above, chance_above, miss, wealth
from theory.domains import point
from theory.evidence import (
    Given,
    Pick,
    Statement,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    satisfiable,
)
from theory.relations import Said, both, eq, ge, le, when

Law = tuple[tuple[Fraction, Fraction], ...]


def mean_of(law: Law) -> Fraction:
    return sum((chance * x for x, chance in law), Fraction(0))


def outcomes(laws: tuple[Law, ...]) -> Any:
    """Every outcome of independent draws, one from each law, with its probability."""
    for drawn in product(*laws):
        yield tuple(x for x, _ in drawn), prod((chance for _, chance in drawn), start=Fraction(1))


# The percentile bootstrap


def rare(pick: Pick) -> Any:
    """(problems, one in how many has the large negative difference)."""
    return pick(2, 60), pick(2, 120)


def says_holds(above: Above) -> Statement:
    """Differences are gamma with probability 1 - gamma and gamma - 1 with probability gamma: their mean is 0.

    'Holds' is said with probability at least (1-gamma)^n, and with just that for n <= 1/gamma.
    """

    def statement(instance: Any) -> Said:
        n, one_in = instance
        gamma = Fraction(1, one_in)
        # A difference minus its smallest value is 0 or 1, with mean 1 - gamma.
        held = chance_above(n, 1 - gamma, above)
        return both(ge(held, (1 - gamma) ** n), when(n <= one_in, eq(held, (1 - gamma) ** n)))

    return statement


def test_bootstrap_says_holds() -> None:
    for_all(says_holds(bootstrap_above), rare, 200)
    for n, one_in, chance in ((12, 20, 0.540), (60, 100, 0.547)):
        assert round(float(chance_above(n, 1 - Fraction(1, one_in), bootstrap_above)), 3) == chance


def test_bootstrap_control_an_interval_with_a_level() -> None:
    negative_control(says_holds(bets_above), rare, 200)


# Without a bound


def ruled(pick: Pick) -> Any:
    """(a law of positive differences, gamma, n, which outcomes a rule calls 'holds'), the rare one among them."""
    chances = point(pick, 1, 3, 9)
    law = tuple((Fraction(pick(1, 6)), chance) for chance in chances)
    n = pick(1, 3)
    return law, Fraction(1, pick(2, 9)), n, tuple(pick(0, 1) for _ in range((len(law) + 1) ** n))


def no_level(instance: Any, bound: Fraction | None = None) -> Said:
    """A law mixed with -x0 (1-gamma)/gamma, of probability gamma: the mean is 0, and 'holds' keeps (1-gamma)^n of it.

    x0 is the law's mean. `bound`: how far below 0 a difference can lie; None: as far as it must.
    """
    law, gamma, n, rule = instance
    far = mean_of(law) * (1 - gamma) / gamma
    mixed = (*((x, (1 - gamma) * chance) for x, chance in law), (-far if bound is None else -min(far, bound), gamma))
    places = dict(zip(product(range(len(mixed)), repeat=n), rule, strict=True))

    def holds(parts: Law) -> Fraction:
        drawn = product(range(len(parts)), repeat=n)
        return sum((prod((parts[i][1] for i in at), start=Fraction(1)) for at in drawn if places[at]), Fraction(0))

    return both(eq(mean_of(mixed), 0, varies=mixed), ge(holds(mixed), (1 - gamma) ** n * holds(law)))


def no_level_bounded(instance: Any) -> Said:
    """As `no_level`, of differences that are at least -1."""
    return no_level(instance, Fraction(1))


def test_no_level_without_a_bound() -> None:
    for_all(no_level, ruled, 300)


def test_no_level_control_bounded() -> None:
    negative_control(no_level_bounded, ruled)


# An interval whose level holds


def left_of_one_bet(values: int, against_own: bool = False) -> Any:
    """A bet against x0 turns 1 into 1 + bet (mean/x0 - 1) on average, whatever law a value has: what is left of 0.

    `against_own`: placed against the law's own mean instead of x0.
    """
    x, w, bet, tested = *(sympy.symbols(f"{name}:{values}") for name in "xw"), sympy.Symbol("bet"), sympy.Symbol("x0")
    w = (*w[:-1], 1 - sum(w[:-1]))
    mean = sum(a * b for a, b in zip(w, x, strict=True))
    held = sum(a * (1 - bet + bet * b / (mean if against_own else tested)) for a, b in zip(w, x, strict=True))
    return held - 1 - bet * (mean / tested - 1)


def two_bets(below: int = 1) -> list[Any]:
    """Negated: bets in (0, `below`) never owe, and two on means x0 (1 + u), x0 (1 - u) are at most 1 on average."""
    bet, u, x, x0 = z3.Reals("bet u x x0")
    can_be = [
        Given("a bet between 0 and 1", bet > 0, bet < below),
        Given("a mean x0 above 0", x0 > 0),
        Given("x >= 0", x >= 0),
        Given("the means average x0", u >= -1, u <= 1),
    ]
    return [*can_be, z3.Or(1 - bet + bet * x / x0 < 0, (1 + bet * u) * (1 - bet * u) > 1)]


def test_one_bet_is_fair() -> None:
    for values in (2, 3, 4):
        identity(left_of_one_bet(values), f"laws of {values} values, any bet and mean")
    proved(*two_bets(), size="two values, whatever the bet and the means")


def test_one_bet_control_against_the_mean_itself() -> None:
    no_identity(left_of_one_bet(3, against_own=True))
    satisfiable(*two_bets(2))


def tables(pick: Pick) -> Any:
    """(a law on [0, 1] for each of 1 to 3 values, all alike at times; 1/delta)."""
    laws = []
    for _ in range(pick(1, 3)):
        laws.append(tuple((Fraction(pick(0, 12), 12), chance) for chance in point(pick, 1, 3, 9)))
    return (tuple(laws) if pick(0, 1) else (laws[0],) * len(laws)), pick(2, 6)


def average(means: Sequence[Fraction]) -> Fraction:
    return sum(means, Fraction(0)) / len(means)


def fair(instance: Any, against: Callable[[Sequence[Fraction]], Fraction] = average) -> Said | None:
    """The wealth against the average of the means is 1 on average if they are equal, and at most 1 if not.

    So it reaches 1/delta with probability at most delta. `against`: what the bets are placed against.
    """
    laws, inverse = instance
    means = [mean_of(law) for law in laws]
    if (m := against(means)) == 0:
        return None
    drawn = [(wealth(values, m), chance) for values, chance in outcomes(laws)]
    mean = sum((w * chance for w, chance in drawn), Fraction(0))
    reached = sum((chance for w, chance in drawn if w >= inverse), Fraction(0))
    alike = len(set(means)) == 1
    return both(le(mean, 1), when(alike, eq(mean, 1, varies=laws)), le(reached, Fraction(1, inverse)))


def fair_against_the_least(instance: Any) -> Said | None:
    """As `fair`, against the smallest of the means."""
    return fair(instance, min)


def test_wealth_is_fair() -> None:
    for_all(fair, tables, 300)


def test_wealth_control_against_the_least_mean() -> None:
    negative_control(fair_against_the_least, tables)


def drawn(pick: Pick) -> Any:
    """(values in [0, 1], two means to bet against, the smaller one first)."""
    values = tuple(Fraction(pick(0, 12), 12) for _ in range(pick(1, 6)))
    low = pick(1, 11)
    return values, Fraction(low, 12), Fraction(pick(low + 1, 12), 12)


def ordered(instance: Any, bets: tuple[Fraction, ...] = BETS) -> Said | None:
    """The wealth falls as the mean that it is against rises, and against the mean of the values it is at most 1.

    So the means of less wealth than 1/SIDE are an interval, which holds the mean of the values.
    """
    values, low, high = instance
    if not (own := average(values)):
        return None
    return both(ge(wealth(values, low, bets), wealth(values, high, bets)), le(wealth(values, own, bets), 1))


def ordered_on_credit(instance: Any) -> Said | None:
    """As `ordered`, betting half as much again as one has."""
    return ordered(instance, (Fraction(3, 2),))


def test_an_interval() -> None:
    for_all(ordered, drawn)


def test_an_interval_control_bets_on_credit() -> None:
    negative_control(ordered_on_credit, drawn)


def coin(pick: Pick) -> Any:
    """(n, p): draws, and how likely each is to be 1."""
    return pick(1, 60), Fraction(pick(1, 119), 120)


def covered(above: Above) -> Statement:
    """The 95 % interval of n draws misses p with probability at most 1/20."""

    def statement(instance: Any) -> Said:
        n, p = instance
        return le(miss(n, p, above), Fraction(1, 20))

    return statement


def test_level() -> None:
    for_all(covered(bets_above), coin, 150)
    for n, p in ((12, Fraction(19, 20)), (60, Fraction(99, 100)), (200, Fraction(199, 200))):
        assert miss(n, p, bets_above) <= 2 * SIDE < miss(n, p, bootstrap_above)


def test_level_control_bootstrap() -> None:
    negative_control(covered(bootstrap_above), coin, 150)


def test_level_control_five_is_enough() -> None:
    negative_control(covered(lambda n, k, p: bets_above(n, k, p, Fraction(1, 5))), coin, 150)


# The level rests on the bound


def beyond(pick: Pick) -> Any:
    """(problems, one in how many has a difference beyond the bound that is told)."""
    return pick(8, 40), pick(3, 120)


def believes(true_bound: bool) -> Statement:
    """Differences are 1 with probability 1 - gamma and -(1-gamma)/gamma with probability gamma: their mean is 0.

    The interval that bets make says 'holds' with probability at least (1-gamma)^n, told that they lie in [-1, 1].
    `true_bound`: told the smallest value instead of -1.
    """

    def statement(instance: Any) -> Said:
        n, one_in = instance
        gamma = Fraction(1, one_in)
        least = -(1 - gamma) / gamma
        told = least if true_bound else Fraction(-1)
        # In units of what is told: 0 is the smallest value, 1 the largest, and `at` a difference of 0.
        rare_value, at = (least - told) / (1 - told), -told / (1 - told)
        held = Fraction(0)
        for k in range(n + 1):
            won = sum((1 - g + g / at) ** k * (1 - g + g * rare_value / at) ** (n - k) for g in BETS) / len(BETS)
            if won >= 1 / SIDE:
                held += comb(n, k) * (1 - gamma) ** k * gamma ** (n - k)
        return ge(held, (1 - gamma) ** n)

    return statement


def test_bound_that_is_too_narrow() -> None:
    for_all(believes(true_bound=False), beyond, 100)
    # Seven problems are too few.
    assert not believes(true_bound=False)((7, 100))
    assert [round(float(wealth([Fraction(1)] * n, Fraction(1, 2))), 1) for n in (7, 8)] == [28.7, 49.7]


def test_bound_control_the_true_one() -> None:
    negative_control(believes(true_bound=True), beyond, 100)
