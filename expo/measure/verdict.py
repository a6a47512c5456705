"""Table 1 as a measurement: differences of means with bootstrap intervals by problem, and what they support."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from expo.stats import MIN_PROBLEMS, Interval, bootstrap

MEASUREMENTS = (
    "nll_sum",
    "nll_per_token",
    "nll_cot",
    "learning_signal",
    "tokens",
    "truncated",
    "leak",
    "correct",
)


@dataclass(frozen=True)
class Comparison:
    """One cell of Table 1: `source` against `reference` in one quantity, over the problems that have both.

    `holds` means that the interval of the difference lies wholly on the property's side, `fails` that it lies
    wholly on the other, `undecided` that it holds 0 or that there are fewer than `MIN_PROBLEMS` problems.
    """

    property: str
    quantity: str
    source: str
    reference: str
    difference: Interval
    verdict: str


def by_problem(samples: pd.DataFrame, source: str, quantity: str) -> pd.Series:
    """Mean of a quantity over a problem's samples of one source, indexed by problem."""
    rows = samples[samples["source"] == source]
    return rows.groupby("problem")[quantity].mean().astype(float)


def compare(samples: pd.DataFrame, source: str, reference: str, quantity: str) -> Interval:
    """Difference source minus reference, paired by problem."""
    paired = pd.concat(
        [by_problem(samples, source, quantity), by_problem(samples, reference, quantity)],
        axis=1,
        join="inner",
    )
    return bootstrap((paired.iloc[:, 0] - paired.iloc[:, 1]).dropna().to_numpy())


def verdict(difference: Interval, sign: int) -> str:
    """What an interval says of 'the difference has this sign'."""
    if difference.n < MIN_PROBLEMS:
        return "undecided"
    low, high = sorted((sign * difference.low, sign * difference.high))
    return "holds" if low > 0 else "fails" if high < 0 else "undecided"


def table1(samples: pd.DataFrame) -> list[Comparison]:
    """Each kind of positive against the paper's two properties, as far as the record has what it takes.

    In-distribution (Property 1): a lower NLL than the expert CoT; the expert itself is held against the own CoT.
    Stated on sequence probability in the paper and read per token in its Fig 2, so both are given.
    Positive learning signal (Property 2): a higher log pi(a*|q, c) than the own CoT; the own CoT itself is held
    against the self-explanation.
    """
    out = []
    present = set(samples["source"])
    for source in [s for s in _ORDER if s in present]:
        for name, quantity, sign, default, own in _PROPERTIES:
            reference = own if source == default else default
            if reference not in present:
                continue
            difference = compare(samples, source, reference, quantity)
            out.append(Comparison(name, quantity, source, reference, difference, verdict(difference, sign)))
    return out


_ORDER = ("explanation", "expert", "own", "own_correct", "wrong_explanation", "nonsense")
# property, quantity, sign of the difference that supports it, the default reference, the reference's own reference
_PROPERTIES = (
    ("in-distribution", "nll_sum", -1, "expert", "own"),
    ("in-distribution", "nll_per_token", -1, "expert", "own"),
    ("positive learning signal", "learning_signal", 1, "own", "explanation"),
)


def summary(samples: pd.DataFrame) -> pd.DataFrame:
    """Metrics of a record: `<source>/<measurement>` means over problems with `/low` and `/high`, and counts."""
    rows: list[tuple[str, float]] = []
    for source in [s for s in _ORDER if s in set(samples["source"])]:
        rows.append((f"{source}/problems", float(samples.loc[samples["source"] == source, "problem"].nunique())))
        rows.append((f"{source}/samples", float((samples["source"] == source).sum())))
        for quantity in MEASUREMENTS:
            interval = bootstrap(by_problem(samples, source, quantity).dropna().to_numpy())
            if interval.n:
                rows.append((f"{source}/{quantity}", interval.mean))
                rows.append((f"{source}/{quantity}/low", interval.low))
                rows.append((f"{source}/{quantity}/high", interval.high))
    frame = pd.DataFrame(rows, columns=["name", "value"])
    return frame.assign(step=0)[["step", "name", "value"]]
