"""Table 1 as a measurement: differences of means by problem with their intervals, and what they support.

There are two intervals, both 95 %. The bootstrap interval resamples problems and applies to every quantity; its level
is only nominal, and `worth` says what that means at each n. The finite-sample interval has a level that holds at every
n, and applies only to quantities between 0 and 1: for log-probabilities, an interval with such a level hardly ever
excludes anything (ledger: COV-none).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from expo.stats import MIN_PROBLEMS, Interval, bootstrap, finite_sample, missed_kind
from expo.text import plural

# pi(a*|q, c): computed from the learning signal, so that every record has it.
PROBABILITY = "answer_probability"
MEASUREMENTS = (
    "nll_sum",
    "nll_per_token",
    "nll_cot",
    "learning_signal",
    PROBABILITY,
    "tokens",
    "truncated",
    "leak",
    "correct",
)
# Between 0 and 1, so that differences are between -1 and 1.
BOUNDED = (PROBABILITY, "truncated", "leak", "correct")
# A mean depends on a single problem if that problem is at least this share of its sum.
HANGS = 0.25


@dataclass(frozen=True)
class Comparison:
    """One cell of Table 1: `source` against `reference` in one quantity, over the problems that have both.

    Attributes:
        difference: mean difference with its bootstrap interval.
        finite_sample: the same with the finite-sample interval; None unless the quantity is bounded.
        verdict: from the finite-sample interval if there is one, else from the bootstrap interval.
        largest: the problem whose difference is the largest share of the sum; empty if the sum is 0.
        share: that share; above 1 if the other problems together lie on the other side of 0.
    """

    property: str
    quantity: str
    source: str
    reference: str
    difference: Interval
    finite_sample: Interval | None
    verdict: str
    largest: str
    share: float

    def is_made(self) -> bool:
        """Whether there are enough problems for a verdict; without them, `undecided` says nothing of the two sides."""
        return self.difference.n >= MIN_PROBLEMS


def by_problem(samples: pd.DataFrame, source: str, quantity: str) -> pd.Series:
    """Mean of a quantity over a problem's samples of one source, indexed by problem."""
    rows = samples[samples["source"] == source]
    if quantity == PROBABILITY:
        # A log-probability of 0 can come out slightly above it by rounding.
        rows = rows.assign(**{quantity: np.exp(rows["learning_signal"].astype(float).clip(upper=0))})
    return rows.groupby("problem")[quantity].mean().astype(float)


def compare(
    samples: pd.DataFrame, source: str, reference: str, quantity: str, sign: int, property: str = ""
) -> Comparison:
    """Source minus reference, paired by problem; the property holds if the difference has this sign."""
    sides = [by_problem(samples, side, quantity) for side in (source, reference)]
    paired = pd.concat(sides, axis=1, join="inner")
    gaps = (paired.iloc[:, 0] - paired.iloc[:, 1]).dropna()
    difference = bootstrap(gaps.to_numpy())
    bounded = finite_sample(gaps.to_numpy(), -1, 1) if quantity in BOUNDED else None
    said = verdict(bounded or difference, sign)
    largest, share = _largest(gaps)
    return Comparison(property, quantity, source, reference, difference, bounded, said, largest, share)


def _largest(gaps: pd.Series) -> tuple[str, float]:
    total = float(gaps.sum())
    if not total or not math.isfinite(total):
        return "", float("nan")
    shares = gaps / total
    return str(shares.idxmax()), float(shares.max())


def verdict(difference: Interval, sign: int) -> str:
    """The verdict of an interval on 'the difference has this sign'.

    `holds` means that the interval lies wholly on that side of 0, `fails` that it lies wholly on the other, and
    `undecided` that it includes 0 or that there are fewer than `MIN_PROBLEMS` problems.
    """
    if difference.n < MIN_PROBLEMS:
        return "undecided"
    low, high = sorted((sign * difference.low, sign * difference.high))
    return "holds" if low > 0 else "fails" if high < 0 else "undecided"


def hangs_on(verdict: str, problem: str, share: float) -> str:
    """`problem p7 is 45 % of it`, for a decided mean of which one problem is at least a quarter.

    For an undecided mean a single problem is usually a large share, since the sum is near 0.
    """
    return f"problem {problem} is {100 * share:.0f} % of it" if verdict != "undecided" and share >= HANGS else ""


def worth(n: int) -> str:
    """How much a bootstrap interval of log-probabilities over n problems can show, in a sentence."""
    return (
        f"At n = {n} a bootstrap interval is only nominally a 95 % interval. If 1 in {missed_kind(n)} of all problems "
        f"is of some kind, at least half of all draws of {plural(n, 'problem')} contain none of it, and "
        "log-probabilities have no bound that limits how far that kind moves their mean."
    )


def table1(samples: pd.DataFrame) -> list[Comparison]:
    """Each kind of positive against the paper's two properties, as far as the record has the data.

    In-distribution (Property 1): a lower NLL than the expert CoT; the expert CoT itself is compared with the own CoT.
    The paper states it for sequence probability and plots it per token in its Fig 2, so both are given. Positive
    learning signal (Property 2): a higher pi(a*|q, c) than the own CoT, in logarithms and as a probability; the own CoT
    itself is compared with the self-explanation.
    """
    out = []
    present = set(samples["source"])
    for source in [s for s in ORDER if s in present]:
        for name, quantity, sign, default, own in PROPERTIES:
            reference = own if source == default else default
            if reference not in present:
                continue
            out.append(compare(samples, source, reference, quantity, sign, name))
    return out


def own_answers(samples: pd.DataFrame) -> list[Comparison]:
    """Whether the self-explanation's own answer is right more often than the own CoT's, if both were graded."""
    if not {"explanation", "own"} <= set(samples["source"]):
        return []
    compared = compare(samples, "explanation", "own", "correct", 1, "own answer right")
    return [compared] if compared.difference.n else []


ORDER = ("explanation", "expert", "own", "own_correct", "wrong_explanation", "nonsense")
# property, quantity, sign of the difference that supports it, the default reference, the reference's own reference
PROPERTIES = (
    ("in-distribution", "nll_sum", -1, "expert", "own"),
    ("in-distribution", "nll_per_token", -1, "expert", "own"),
    ("positive learning signal", "learning_signal", 1, "own", "explanation"),
    ("positive learning signal", PROBABILITY, 1, "own", "explanation"),
)


def summary(samples: pd.DataFrame) -> pd.DataFrame:
    """Metrics of a record: means over problems of each source, differences of Table 1, and counts.

    Names are `<source>/<measurement>` and `<source> - <reference>/<measurement>`, each with `/low` and `/high` of the
    bootstrap interval, and for bounded quantities `/finite_sample_low` and `/finite_sample_high`.
    """
    rows: list[tuple[str, float]] = []
    for source in [s for s in ORDER if s in set(samples["source"])]:
        rows.append((f"{source}/problems", float(samples.loc[samples["source"] == source, "problem"].nunique())))
        rows.append((f"{source}/samples", float((samples["source"] == source).sum())))
        for quantity in MEASUREMENTS:
            values = by_problem(samples, source, quantity).dropna().to_numpy()
            bounded = finite_sample(values) if quantity in BOUNDED else None
            rows += as_metrics(f"{source}/{quantity}", bootstrap(values), bounded)
    for c in [*table1(samples), *own_answers(samples)]:
        rows += as_metrics(f"{c.source} - {c.reference}/{c.quantity}", c.difference, c.finite_sample)
    frame = pd.DataFrame(rows, columns=["name", "value"])
    return frame.assign(step=0)[["step", "name", "value"]]


def as_metrics(name: str, mean: Interval, bounded: Interval | None = None) -> list[tuple[str, float]]:
    """An interval as names and values of `metrics`, with the ends of all its intervals; none if n is 0."""
    if not mean.n:
        return []
    rows = [(name, mean.mean), (f"{name}/low", mean.low), (f"{name}/high", mean.high)]
    if bounded:
        rows += [(f"{name}/finite_sample_low", bounded.low), (f"{name}/finite_sample_high", bounded.high)]
    return rows
