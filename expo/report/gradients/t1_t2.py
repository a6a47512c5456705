"""T1 against T2 as measured: what a right positive's own term and those of all others add to the slope of J."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expo.gradients.predictors import MIN_RARER, distinct, few
from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, notes_of
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import COLOURS, GREY, Figure, legend_above
from expo.report.words import NAMES, number
from expo.text import plural

COLUMNS = ["run", "problem", "level", "source", "log10_t1", "t2", "t2_error", "larger", "right", "rollouts"]


def draw_t1_t2(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `t1-t2-<name>.png` and `.csv`: |T2| against T1 of right positives, where some rollouts are right."""
    rows = pd.concat([distinct(run.alignment).assign(run=run.name) for run in runs], ignore_index=True)
    rows = rows[rows["slope_error"].notna() & rows["reward"]]
    t1 = 10.0 ** rows["log10_t1"].astype(float)
    t2, error = rows["slope"].astype(float) - t1, rows["slope_error"].astype(float)
    is_known = ~few(rows)
    decided = [is_known & (t2.abs() - 2 * error > t1), is_known & (t2.abs() + 2 * error < t1)]
    larger = np.select(decided, ["T2", "T1"], "undecided")
    numbers = rows.assign(t2=t2, t2_error=error, larger=larger)[COLUMNS]
    about = (
        "A mark a right positive; hollow: T2 is negative; faint: twice T2's standard error over rollouts leaves open "
        f"which is larger, or fewer than {MIN_RARER} rollouts are right, or wrong. On the line they are equal.\n"
        "That T1 dominates is claim E6-dom, which the ledger refutes."
    )
    return draw_picture(
        out,
        f"t1-t2-{name}",
        runs,
        numbers,
        _plot,
        heading=f"T2 against T1: {name}",
        notes=notes_of(runs, about),
        reading=_read(numbers),
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.4, caption)
    for source, rows in numbers.groupby("source", sort=False):
        colour = COLOURS[str(source)]
        log10_t1, log10_t2 = rows["log10_t1"].to_numpy(float), np.log10(rows["t2"].abs().to_numpy(float))
        is_clear = (rows["larger"] != "undecided").to_numpy(bool)
        faces = np.where(rows["t2"] < 0, "white", colour)
        for shown, alpha in ((is_clear, 1.0), (~is_clear, 0.3)):
            x, y = log10_t1[shown], log10_t2[shown]
            axes.scatter(x, y, s=20, edgecolors=colour, c=faces[shown], alpha=alpha, linewidths=1)
        axes.scatter([], [], s=20, color=colour, label=NAMES[str(source)])
    low, high = axes.get_ylim()
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    axes.set_xlabel("log10 T1")
    axes.set_ylabel("log10 |T2|")
    legend_above(axes, 3)
    return figure


def _read(numbers: pd.DataFrame) -> str:
    count = numbers["larger"].value_counts()
    negative = int(((numbers["larger"] == "T2") & (numbers["t2"] < 0)).sum())
    sets = plural(len(numbers.groupby(["run", "problem"])), "set")
    return (
        f"Of {plural(len(numbers), 'right positive')} (with {sets} of rollouts, right and wrong ones, that those of "
        f"one question share) |T2| is larger in {count.get('T2', 0)}, T1 in {count.get('T1', 0)}, by more than twice "
        f"T2's standard error; {count.get('undecided', 0)} are undecided. Where |T2| is larger it is below 0 in "
        f"{negative}. Median log10 T1: {number(float(numbers['log10_t1'].astype(float).median()))}."
    )
