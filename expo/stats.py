"""The statistics of every table and picture: intervals, rank correlation, unbiased pass@k."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np
import pandas as pd

# Below this a percentile bootstrap interval is too narrow to decide anything.
MIN_PROBLEMS = 10
RESAMPLES = 10_000
PAIR_RESAMPLES = 2_000
# Fractions of the capital that `finite_sample` bets. Any values keep the level; these give short intervals for 12 to
# 200 problems.
_BETS = np.arange(1, 10)[:, None] / 10


@dataclass(frozen=True)
class Interval:
    """A mean over `n` problems with a 95 % interval: a bootstrap over problems, or a finite-sample interval."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def brackets(self) -> str:
        """The interval without the mean."""
        return f"[{self.low:.3g}, {self.high:.3g}]" if self.n != 1 else "[of one problem]"

    def __str__(self) -> str:
        return f"{self.mean:.3g} {self.brackets}"


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of one value per problem, shape (n,), with its interval. NaN without values; no interval below n = 2."""
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, float("-inf"), float("inf"), 1)
    rng = np.random.default_rng(seed)
    means = np.concatenate([values[rng.integers(0, n, (500, n))].mean(1) for _ in range(RESAMPLES // 500)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean, float(low), float(high), n)


def bootstrap_rate(values: np.ndarray) -> Interval:
    """Mean of values from 0 to 1 with a `bootstrap` interval. For one problem it is the whole range of a rate.

    If every problem has 0, or every problem has 1, resampling shows no spread; the interval is then the exact binomial
    one (Clopper and Pearson), one end of which is the value.
    """
    rate = bootstrap(values)
    if not rate.n:
        return rate
    if rate.n > 1 and rate.low == rate.high and rate.mean in (0.0, 1.0):
        reach = 1 - 0.025 ** (1 / rate.n)
        rate = replace(rate, low=rate.mean - reach, high=rate.mean + reach)
    return replace(rate, low=max(rate.low, 0.0), high=min(rate.high, 1.0))


def finite_sample(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> Interval:
    """Mean of values from `low` to `high`, one per problem, with a 95 % interval whose level holds at every n.

    Problems are independent; nothing is assumed about their distribution within the bounds (ledger: COV-bets). The
    interval excludes a mean if betting that the values are higher, or lower, would have turned 1 into 40. It is wider
    than the bootstrap interval, which has no such guarantee. NaN without values.

    Raises:
        ValueError: for a value outside the bounds.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    if not ((values >= low) & (values <= high)).all():
        raise ValueError(f"finite_sample: values must be between {low:g} and {high:g}")
    scaled = (values - low) / (high - low)
    ends = _lower(scaled), 1 - _lower(1 - scaled)
    mean, (least, most) = float(values.mean()), (low + (high - low) * end for end in ends)
    return Interval(mean, min(least, mean), max(most, mean), len(values))


def _lower(values: np.ndarray) -> float:
    """The largest mean, to within 1e-9, against which betting that values in [0, 1] are higher turns 1 into 40."""
    left_out, mean = 0.0, float(values.mean())
    while mean - left_out > 1e-9:
        middle = (left_out + mean) / 2
        logs = np.log1p(_BETS * (values / middle - 1)).sum(1)
        if np.logaddexp.reduce(logs) >= log(40 * len(_BETS)):
            left_out = middle
        else:
            mean = middle
    return left_out


def missed_kind(n: int) -> int:
    """The smallest N such that at least half of all draws of n problems miss a kind that makes up 1 in N problems.

    From 1 - 1/N >= 2^(-1/n) (ledger: COV-boot).
    """
    return ceil(1 / (1 - 2 ** (-1 / n)))


def bootstrap_questions(values: pd.Series) -> Interval:
    """Mean with its interval, resampling questions. The index gives each value's question; a question may repeat."""
    return bootstrap(values.astype(float).dropna().groupby(level=0).mean().to_numpy())


def bootstrap_pairs(values: pd.Series, first: pd.Series, second: pd.Series) -> Interval:
    """Mean over pairs of samples with its interval, resampling questions.

    `first` and `second` are the questions of a pair; a pair counts as often as both are drawn together.
    """
    codes, questions = pd.factorize(pd.concat([first, second], ignore_index=True))
    of_first, of_second = codes[: len(first)], codes[len(first) :]
    n, numbers = len(questions), values.to_numpy(float)
    if n < 2:
        return Interval(float(numbers.mean()), float("-inf"), float("inf"), n)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, PAIR_RESAMPLES)
    weights = drawn[:, of_first] * np.where(of_first == of_second, 1, drawn[:, of_second])
    sums = weights.sum(1)
    # If no pair is drawn there is no mean.
    low, high = np.percentile((weights @ numbers)[sums > 0] / sums[sums > 0], [2.5, 97.5])
    return Interval(float(numbers.mean()), float(low), float(high), n)


def rank_correlation(x: pd.Series, y: pd.Series) -> float:
    """Spearman's rank correlation; ties share their mean rank, and infinities are ranked too.

    NaN if either input is constant.
    """
    x_ranks, y_ranks = x.rank(), y.rank()
    if x_ranks.nunique() < 2 or y_ranks.nunique() < 2:
        return float("nan")
    return float(x_ranks.corr(y_ranks))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): unbiased from n samples of which c are right (ledger: PASSK).

    Computed as a product of k factors below 1, so that no binomial overflows.

    Raises:
        ValueError: unless 1 <= k <= n and 0 <= correct <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k}: k must be between 1 and the number of samples per problem ({n})")
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be between 0 and {n}, got {correct}")
    if n - correct < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - correct + 1, n + 1)))


def pass_at_k_of(counts: pd.DataFrame, k: int) -> pd.Series:
    """`pass_at_k` for each row of a table with columns `n` and `correct`; the index is kept."""
    values = [pass_at_k(int(n), int(c), k) for n, c in zip(counts["n"], counts["correct"], strict=True)]
    return pd.Series(values, index=counts.index, dtype=float)
