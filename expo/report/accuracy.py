"""Accuracies of trainings over their bases: means with intervals, the lowest and highest base, and how to word them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.trainings import EvaluatedRun
from expo.report.words import share
from expo.stats import MIN_PROBLEMS, Interval, bootstrap, bootstrap_rate

# The value of a column `base` in the row of the mean over bases.
MEAN = "mean over bases"
# Columns for the difference of two accuracies, and their names in a `difference`.
LESS = {"less": "mean", "less_low": "low", "less_high": "high", "less_lowest": "lowest", "less_highest": "highest"}
RULE_OF_ORDER = (
    "One method is said to end above another where all bases agree on it and the 95 % bootstrap interval of the "
    "difference, paired by problem and base, excludes 0"
)
LEGEND = (
    "unbiased from n samples a problem: the mean over bases, in brackets its 95 % interval by problem (bootstrap over "
    "problems, each with its mean over bases; exact where no problem differs from another; none for fewer than "
    f"{MIN_PROBLEMS} problems), and in parentheses the lowest and highest base."
)


def accuracy_by_base(
    runs: Sequence[EvaluatedRun], step: int | None = None, levels: Iterable[int] | None = None, k: int = 1
) -> list[float]:
    """Mean pass@k of each base; a `step` of None means the last one.

    Several runs from one base, such as with several seeds, count as one: their mean.
    """
    return [float(accuracies.mean()) for accuracies in _problems_by_base(runs, step, levels, k).values()]


def base_names(runs: Iterable[EvaluatedRun]) -> list[str]:
    """The bases in the order of `accuracy_by_base` and `mean_by_base`, by the last one or two parts of their names."""
    paths = [Path(base) for base in dict.fromkeys(run.base for run in runs)]
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else ["/".join(path.parts[-2:]) for path in paths]


def mean_by_base(runs: Iterable[EvaluatedRun], values: Iterable[float]) -> list[float]:
    """One number per base: the mean over its runs; `values` has one value per run."""
    by_base: dict[str, list[float]] = {}
    for run, value in zip(runs, values, strict=True):
        by_base.setdefault(run.base, []).append(value)
    return [sum(of_base) / len(of_base) for of_base in by_base.values()]


def mean_accuracy(runs: Sequence[EvaluatedRun], levels: Iterable[int] | None = None) -> float:
    """Mean accuracy over problems and bases at the last step."""
    return float(_mean_over_bases(_problems_by_base(runs, None, levels, 1).values()).mean())


def summary(
    runs: Sequence[EvaluatedRun], step: int | None = None, levels: Iterable[int] | None = None, k: int = 1
) -> dict[str, Any]:
    """The columns of a table for an accuracy: mean, interval and range over bases, and the number of bases.

    The mean is over bases and problems. Its bootstrap interval is over problems, each averaged over bases, so it says
    nothing about other bases; the range does.
    """
    return _summary(list(_problems_by_base(runs, step, levels, k).values()), runs)


def _summary(by_base: Sequence[pd.Series], runs: Sequence[EvaluatedRun]) -> dict[str, Any]:
    mean = _interval(by_base)
    of_bases = [float(of_base.mean()) for of_base in by_base]
    return {**asdict(mean), **range_of(of_bases), "problems": mean.n, "n": runs[0].eval_samples}


def difference(
    runs: Sequence[EvaluatedRun], others: Sequence[EvaluatedRun], levels: Iterable[int] | None = None, k: int = 1
) -> dict[str, Any]:
    """The same columns for the difference of two accuracies at the last step, paired by problem and base."""
    levels = None if levels is None else list(levels)
    these, those = (_problems_by_base(of, None, levels, k) for of in (runs, others))
    by_base = [these[base] - those[base] for base in these if base in those]
    mean = bootstrap(_mean_over_bases(by_base))
    ranges = range_of([float(of_base.mean()) for of_base in by_base])
    return {**asdict(mean), **ranges, "problems": mean.n, "n": runs[0].eval_samples}


def true_steps(runs: Sequence[EvaluatedRun], levels: Iterable[int] | None = None) -> dict[str, Any]:
    """The same columns for the share of true steps at the last step, over problems whose samples have any steps."""
    levels = None if levels is None else list(levels)
    return _summary(list(_by_base(runs, lambda run: run.steps_true(run.last_step, levels)).values()), runs)


def share_of_true_steps(run: EvaluatedRun, step: int, levels: Iterable[int] | None = None) -> float:
    """The share of true steps among all steps in a run's samples at a training step; NaN if there are none."""
    rows = run.at(step, levels)
    steps = int(rows["steps"].sum())
    return float(rows["steps_true"].sum() / steps) if steps else float("nan")


def _problems_by_base(
    runs: Sequence[EvaluatedRun], step: int | None, levels: Iterable[int] | None, k: int
) -> dict[str, pd.Series]:
    """For each base, pass@k of each problem."""
    levels = None if levels is None else list(levels)
    return _by_base(runs, lambda run: run.accuracies(run.last_step if step is None else step, levels, k))


def _by_base(runs: Sequence[EvaluatedRun], values: Callable[[EvaluatedRun], pd.Series]) -> dict[str, pd.Series]:
    """For each base, one number per problem: the mean over the base's runs."""
    by_base: dict[str, list[pd.Series]] = {}
    for run in runs:
        by_base.setdefault(run.base, []).append(values(run))
    return {base: pd.concat(of_base, axis=1).mean(axis=1) for base, of_base in by_base.items()}


def _interval(by_base: Sequence[pd.Series]) -> Interval:
    mean = bootstrap_rate(_mean_over_bases(by_base))
    if mean.n < 2 or mean.low < mean.high:
        return mean
    # All problems have the same value, though bases differ.
    of_bases = [bootstrap_rate(of_base.to_numpy()) for of_base in by_base]
    low, high = (float(np.mean(ends)) for ends in zip(*((base.low, base.high) for base in of_bases), strict=True))
    return replace(mean, low=low, high=high)


def _mean_over_bases(by_base: Iterable[pd.Series]) -> np.ndarray:
    """For each problem, the mean over bases."""
    return pd.concat(by_base, axis=1).mean(axis=1).to_numpy()


def range_of(bases: Sequence[float]) -> dict[str, Any]:
    """The columns of a table for the lowest and the highest base, and the number of bases."""
    return {"lowest": min(bases), "highest": max(bases), "bases": len(bases)}


def accuracy_text(row: Mapping[Any, Any] | pd.Series) -> str:
    """A cell of a table from a row: mean, interval and, for several bases, their range."""
    return with_interval(row) + (f" {bases_text(row)}" if row["bases"] > 1 else "")


def with_interval(row: Mapping[Any, Any] | pd.Series) -> str:
    """The mean of a row, with its interval in brackets unless there are too few problems for one."""
    bracket = f" [{share(row['low'])}, {share(row['high'])}]" if row["problems"] >= MIN_PROBLEMS else ""
    return share(row["mean"]) + bracket


def with_bases(row: Mapping[Any, Any] | pd.Series) -> str:
    """The mean of a row with its interval, or with its bases' range if that is more than twice as wide."""
    return f"{share(row['mean'])} {bases_text(row)}" if _is_wide(row) else with_interval(row)


def bases_text(row: Mapping[Any, Any] | pd.Series) -> str:
    """The range of the bases in a row, in words."""
    low, high = share(row["lowest"]), share(row["highest"])
    return f"(every base {low})" if low == high else f"(bases {low} to {high})"


def _is_wide(row: Mapping[Any, Any] | pd.Series) -> bool:
    return bool(row["bases"] > 1 and row["highest"] - row["lowest"] > 2 * (row["high"] - row["low"]))


def labels_note(rows: pd.DataFrame) -> str:
    """What `with_bases` writes after the means of these rows, for the caption of a picture."""
    is_few = rows["problems"] < MIN_PROBLEMS
    if is_few.all():
        return f"No intervals: fewer than {MIN_PROBLEMS} problems"
    told = ["[low, high]: 95 % interval by problem, bootstrap (exact at 0 % and 100 %)"]
    told += [f"none where there are fewer than {MIN_PROBLEMS} problems"] * bool(is_few.any())
    told += ["(bases low to high) instead where that range is over twice as wide"] * any(
        _is_wide(row) for _, row in rows.iterrows()
    )
    return "; ".join(told)


def points(row: Mapping[Any, Any] | pd.Series) -> str:
    """A difference in points with its interval, unless of too few problems, and for several bases their range."""
    mean, low, high, lowest, highest = (f"{100 * row[c]:+.1f}" for c in ("mean", "low", "high", "lowest", "highest"))
    bracket = f" [{low}, {high}]" if row["problems"] >= MIN_PROBLEMS else ""
    bases = f" (bases {lowest} to {highest})" if row["bases"] > 1 else ""
    return f"{mean}{bracket} points{bases}".replace("-", "−")


def compared(
    runs: Sequence[EvaluatedRun], others: Sequence[EvaluatedRun], levels: Iterable[int] | None = None, k: int = 1
) -> dict[str, float]:
    """The columns `LESS`: the difference of two accuracies at the last step; NaN without a base in common."""
    if not {run.base for run in runs} & {run.base for run in others}:
        return dict.fromkeys(LESS, float("nan"))
    less = difference(runs, others, levels, k)
    return {name: less[column] for name, column in LESS.items()}


def order(row: Mapping[Any, Any] | pd.Series) -> int:
    """1 if a row's accuracy is above the one that `LESS` compares it with, -1 if below, 0 if no order is shown."""
    return sign({**{column: row[name] for name, column in LESS.items()}, "problems": row["problems"]})


def sign(less: Mapping[Any, Any] | pd.Series) -> int:
    """1 if a `difference` is shown to be above 0, -1 if below, else 0, by `RULE_OF_ORDER`.

    Fewer problems than `MIN_PROBLEMS` never show one.
    """
    if less["problems"] < MIN_PROBLEMS:
        return 0
    is_above, is_below = less["low"] > 0 and less["lowest"] > 0, less["high"] < 0 and less["highest"] < 0
    return int(is_above) - int(is_below)
