"""T1 against T2 as measured: what a right positive's own term and the terms of all others add to the slope of J."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expo.gradients.predictors import MIN_RARER, distinct, few
from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, notes_of
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import COLOURS, GREY, INK, Axes, Figure
from expo.report.words import NAMES, number
from expo.text import plural, sentence

COLUMNS = [
    "run",
    "problem",
    "level",
    "source",
    "log10_t1",
    "t2",
    "t2_error",
    "log10_ratio",
    "larger",
    "right",
    "rollouts",
]


_NONE = "no positive is right in a question with right and wrong rollouts"


def draw_t1_t2(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `t1-t2-<name>.png` and `.csv`: log10(|T2| / T1) of right positives, one strip per kind.

    Only for questions with some right rollouts.
    """
    rows = pd.concat([distinct(run.alignment).assign(run=run.name) for run in runs], ignore_index=True)
    rows = rows[rows["slope_error"].notna() & rows["reward"]]
    t1 = 10.0 ** rows["log10_t1"].astype(float)
    t2, error = rows["slope"].astype(float) - t1, rows["slope_error"].astype(float)
    is_known = ~few(rows)
    decided = [is_known & (t2.abs() - 2 * error > t1), is_known & (t2.abs() + 2 * error < t1)]
    larger = np.select(decided, ["T2", "T1"], "undecided")
    ratio = np.log10(t2.abs()) - rows["log10_t1"].astype(float)
    numbers = rows.assign(t2=t2, t2_error=error, log10_ratio=ratio, larger=larger)[COLUMNS]
    about = (
        "T1: a positive's own term in the slope of J, the expected reward (Eq 6); T2: that of all others. "
        "A mark is a right positive, one that ends in the right answer; hollow: T2 is negative; faint: undecided, "
        "within two standard errors. Beyond ±2 the axis is logarithmic."
    )
    setting = (
        f"It is open which is larger if twice T2's standard error over rollouts reaches T1, or if fewer than "
        f"{MIN_RARER} rollouts are right, or wrong. That T1 dominates is claim E6-dom, which the ledger refutes."
    )
    return draw_picture(
        out,
        f"t1-t2-{name}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers)),
        notes=notes_of(runs, about),
        reading=_read(numbers),
        setting=setting,
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    sources = [source for source in COLOURS if source in set(numbers["source"])]
    figure, ((axes,),) = sheet(1, 1, 0.8 + 0.45 * len(sources), caption)
    axes.axvline(0, color=INK, linewidth=1)
    for place, source in enumerate(sources):
        _plot_strip(axes, numbers[numbers["source"] == source], place, COLOURS[source])
    axes.set_xscale("symlog", linthresh=2)
    axes.set_xticks(
        ticks := [-30, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50], [f"{tick}".replace("-", "−") for tick in ticks]
    )
    finite = [x for x in numbers["log10_ratio"] if np.isfinite(x)]
    axes.set_xlim(1.2 * min([*finite, -1.0]), 1.2 * max([*finite, 1.0]))
    axes.set_yticks(range(len(sources)), [_name(source, numbers) for source in sources])
    axes.set_ylim(max(len(sources), 1) - 0.5, -0.5)
    axes.set_xlabel("log10(|T2| / T1)")
    axes.set_title("T1 is larger", loc="left", fontsize=9, color=GREY)
    axes.set_title("|T2| is larger", loc="right", fontsize=9, color=GREY)
    return figure


def _name(source: str, numbers: pd.DataFrame) -> str:
    return f"{NAMES[source]}, {(numbers['source'] == source).sum()} right"


def _plot_strip(axes: Axes, rows: pd.DataFrame, place: int, colour: str) -> None:
    """The marks of one kind, side by side so that they overlap less."""
    rows = rows.sort_values("log10_ratio")
    height = place + 0.11 * (np.arange(len(rows)) % 5 - 2)
    is_clear = (rows["larger"] != "undecided").to_numpy(bool)
    faces = np.where(rows["t2"] < 0, "white", colour)
    for shown, alpha in ((~is_clear, 0.35), (is_clear, 1.0)):
        x = rows["log10_ratio"].to_numpy(float)[shown]
        axes.scatter(x, height[shown], s=20, edgecolors=colour, c=faces[shown], alpha=alpha, linewidths=1)


def _finding(numbers: pd.DataFrame) -> str:
    if numbers.empty:
        return _NONE
    count = numbers["larger"].value_counts()
    return (
        f"of {plural(len(numbers), 'right positive')}, |T2| is clearly larger in {count.get('T2', 0)}, "
        f"T1 in {count.get('T1', 0)}, and {_undecided(count)}"
    )


def _undecided(count: pd.Series) -> str:
    return plural(int(count.get("undecided", 0)), "is undecided", "are undecided")


def _read(numbers: pd.DataFrame) -> str:
    if numbers.empty:
        return f"{sentence(_NONE)}."
    count = numbers["larger"].value_counts()
    negative = int(((numbers["larger"] == "T2") & (numbers["t2"] < 0)).sum())
    sets = plural(len(numbers.groupby(["run", "problem"])), "set")
    return (
        f"Of {plural(len(numbers), 'right positive')} (with {sets} of rollouts, right and wrong ones, that those of "
        f"one question share) |T2| is larger in {count.get('T2', 0)}, T1 in {count.get('T1', 0)}, by more than twice "
        f"T2's standard error; {_undecided(count)}. Where |T2| is larger it is below 0 in "
        f"{negative}. Median log10 T1: {number(float(numbers['log10_t1'].astype(float).median()))}."
    )
