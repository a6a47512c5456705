"""How reliable an interval over n problems is: two intervals for a mean, and the probability that each is wrong.

An interval is given by its lower limit alone: for values in [0, 1] the upper limit is 1 minus the lower limit of 1 - x.
A 95 % interval errs with probability 1/40 on each side. For values that are 0 or 1 all probabilities are exact,
as sums over the binomial distribution of k, the number of ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import comb, prod

SIDE = Fraction(1, 40)
# Shares of what one has that are bet; any in (0, 1) keep the level. These make short intervals for 12 to 200 values.
BETS = tuple(Fraction(tenths, 10) for tenths in range(1, 10))

# Of (n, k, p): whether the lower limit of n values, k of them 1 and the others 0, lies above p.
Above = Callable[[int, int, Fraction], bool]


def wealth(values: Sequence[Fraction], mean: Fraction, bets: Sequence[Fraction] = BETS) -> Fraction:
    """What 1 becomes by betting that values in [0, 1] have a larger mean than `mean`. Claim COV-bets.

    For one bet it is the product of 1 - bet + bet x / mean over the values x, and of several bets their mean. It does
    not depend on the order of the values. The lower limit is the largest `mean` whose wealth is 1/SIDE.
    """
    if mean <= 0:
        raise ValueError(f"mean must be above 0, got {mean}")
    return sum((prod((1 - g + g * x / mean for x in values), start=Fraction(1)) for g in bets), Fraction(0)) / len(bets)


def bets_above(n: int, k: int, p: Fraction, side: Fraction = SIDE) -> bool:
    """`Above` of the interval that bets make: whether they turn 1 into 1/`side`. Claim COV-level."""
    _check(n, k, p)
    won = sum((1 - g + g / p) ** k * (1 - g) ** (n - k) for g in BETS) / len(BETS)
    return bool(won >= 1 / side)


def bootstrap_above(n: int, k: int, p: Fraction) -> bool:
    """`Above` of the percentile bootstrap with all resamples. Claim COV-boot.

    A resample has Bin(n, k/n) ones. Its mean's quantile at SIDE lies above p if it is at most p less often than that.
    """
    _check(n, k, p)
    most = n * p.numerator // p.denominator
    at_most = sum(comb(n, j) * k**j * (n - k) ** (n - j) for j in range(most + 1))
    return at_most < SIDE * n**n


def chance_above(n: int, p: Fraction, above: Above) -> Fraction:
    """How often the lower limit of n draws, each 1 with probability p, lies above p: a sum over k ~ Bin(n, p)."""
    return sum((comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if above(n, k, p)), Fraction(0))


def miss(n: int, p: Fraction, above: Above) -> Fraction:
    """How often the interval of n draws, each 1 with probability p, misses p on either side. Claim COV-level."""
    return chance_above(n, p, above) + chance_above(n, 1 - p, above)


def _check(n: int, k: int, p: Fraction) -> None:
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"n must be at least 1, and k from 0 to n; got n = {n}, k = {k}")
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
