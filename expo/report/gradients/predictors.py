"""Which property of a positive best predicts what a step along its gradient does to J."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.gradients.predictors import COLUMNS as CORRELATIONS
from expo.gradients.predictors import PREDICTORS, rank_correlations
from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, changes, notes_of, step_sizes
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import COLOURS, INK, Figure, legend_above
from expo.report.words import interval, number, spanned
from expo.stats import MIN_PROBLEMS, Interval

COLUMNS = ["size", "change", *CORRELATIONS]


def draw_predictors(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `predictors-<name>.png` and `.csv`: which property of a positive ranks the gains within a question."""
    # For the toy, changes are known both by enumeration and from rollouts.
    is_enumerated = any(bool(run.gains["exact_after"].notna().any()) for run in runs)
    by_rollouts = {"enumeration": False, "rollouts": True} if is_enumerated else {"rollouts": True}
    tables = [
        rank_correlations(changes(runs, size, by_rollouts=rollouts)).assign(size=size, change=source)
        for source, rollouts in by_rollouts.items()
        for size in step_sizes(runs)
    ]
    numbers = pd.concat(tables, ignore_index=True)[COLUMNS]
    first = next(iter(by_rollouts))
    shown = numbers[numbers["change"] == first]
    about = (
        f"Spearman's rank correlation with the change of J, the expected reward (by {first}), over a question's "
        "positives: means over n questions, with 95 % intervals. Norm: of the positive's gradient. T1: its own term of "
        f"the slope of J (Eq 6). Length: of the step; the heading is for {step_sizes(runs)[0]:g}."
    )
    setting = (
        "n counts the questions with at least three positives among which the property and the change of J vary. "
        "Claims E6-rank and P1* of the ledger, on T1 and on probability, are about right samples of a tabular policy."
    )
    return draw_picture(
        out,
        f"predictors-{name}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(shown)),
        notes=notes_of(runs, about),
        reading=_read(numbers),
        setting=setting,
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.0, caption)
    # Changes by enumeration come first, if there are any.
    shown = numbers[numbers["change"] == numbers["change"].iloc[0]]
    sizes = sorted(shown["size"].unique())
    # The shortest step, which is closest to first order, is emphasised.
    shades = np.linspace(1.0, 0.3, len(sizes))
    for i, size in enumerate(sizes):
        rows = shown[shown["size"] == size].set_index("predictor").loc[list(PREDICTORS)]
        at = np.arange(len(rows)) + 0.15 * (i - (len(sizes) - 1) / 2)
        style: dict[str, Any] = {"color": COLOURS["explanation"], "alpha": shades[i]}
        axes.hlines(at, rows["low"], rows["high"], linewidth=1.2, **style)
        axes.plot(rows["mean"], at, "o", markersize=4, label=f"length {size:g}", **style)
    axes.axvline(0, color=INK, linewidth=0.8)
    names = [f"{name}, n = {spanned(shown.loc[shown['predictor'] == of, 'n'])}" for of, name in PREDICTORS.items()]
    axes.set_yticks(range(len(PREDICTORS)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(-1, 1)
    axes.set_xlabel("rank correlation with the gain (1: the same order)")
    legend_above(axes, 4)
    return figure


def _finding(shown: pd.DataFrame) -> str:
    """Which property best ranks the gains of the shortest step, if its interval is above all others, and the next."""
    shortest = shown[shown["size"] == shown["size"].min()].dropna(subset="mean").sort_values("mean", ascending=False)
    if shortest.empty or shortest["n"].min() < MIN_PROBLEMS:
        return "too few questions to tell what ranks a step's gains best"
    first, others = shortest.iloc[0], shortest.iloc[1:]
    if len(others) and (first["low"] > others["high"]).all():
        second = others.iloc[0]
        return (
            f"a step's gains are ranked best by {PREDICTORS[str(first['predictor'])]} (rank correlation "
            f"{number(first['mean'], 2)}), then by {PREDICTORS[str(second['predictor'])]} ({number(second['mean'], 2)})"
        )
    return "no property ranks a step's gains clearly best"


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for (source, size), rows in numbers.groupby(["change", "size"]):
        correlations = [_read_row(row) for row in rows.sort_values("mean", ascending=False).to_dict("records")]
        few = f". Fewer than {MIN_PROBLEMS} questions decide nothing" if rows["n"].max() < MIN_PROBLEMS else ""
        lines.append(f"- length {size:g}, by {source}: {'; '.join(correlations)}{few}.")
    return "\n".join(lines)


def _read_row(row: Mapping[Any, Any]) -> str:
    mean = Interval(row["mean"], row["low"], row["high"], row["n"])
    text = f"{PREDICTORS[str(row['predictor'])]} {interval(mean)}, n = {row['n']}"
    if row["predictor"] == "nll_sum":
        return text
    more = Interval(row["more"], row["more_low"], row["more_high"], row["more_n"])
    return f"{text} (against log-probability {interval(more, sign=True)})"
