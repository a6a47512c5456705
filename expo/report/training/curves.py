"""Figures 4, 5, 7, 8 and 9 of the paper as measured here, and what is forgotten: accuracy over training, by method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.accuracy import accuracy_by_base, order_of_bases, range_of
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import Figure, legend_above, line_style, method_colour
from expo.report.toy import remarked
from expo.report.training.setting import named, notes_of
from expo.report.trainings import EvaluatedRun, before_training, by_method, label
from expo.report.words import listed, number
from expo.text import plural

COLUMNS = ["method", "k", "step", "mean", "std", "lowest", "highest", "bases", "problems", "samples"]


def draw_curves(
    name: str, runs: Sequence[EvaluatedRun], levels: Sequence[int] | None, heading: str, out: Path | str, k: int = 1
) -> Artefact:
    """Write `<name>-<label>.png` and `.csv`: pass@k on these levels (None: all) over steps, by method.

    The line is the mean over bases, thin lines are the lowest and highest base of each step; up to three lines have a
    band, one standard deviation over bases (the paper's is over seeds).
    """
    rows = [
        _row(method, of_method, int(step), levels, k)
        for method, of_method in by_method(runs).items()
        for step in sorted(of_method[0].evaluation["step"].unique())
    ]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    return draw_picture(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=heading,
        notes=_notes(runs, numbers),
        reading=remarked(_read(numbers, _start(runs, levels, k)), runs),
    )


def _row(method: str, runs: Sequence[EvaluatedRun], step: int, levels: Sequence[int] | None, k: int) -> dict[str, Any]:
    of_bases = accuracy_by_base(runs, step, levels, k)
    return {
        "method": method,
        "k": k,
        "step": step,
        "mean": float(np.mean(of_bases)),
        "std": float(np.std(of_bases, ddof=1)) if len(of_bases) > 1 else float("nan"),
        **range_of(of_bases),
        "problems": len(runs[0].accuracies(step, levels)),
        "samples": runs[0].eval_samples,
    }


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, caption)
    for method, line in numbers.groupby("method", sort=False):
        colour = method_colour(str(method))
        style = line_style(str(method))
        axes.plot(line["step"], line["mean"], style, color=colour, label=named(method), marker=".", markersize=4)
        if _has_bands(numbers):
            edges = line["mean"] - line["std"], line["mean"] + line["std"]
            axes.fill_between(line["step"], *edges, color=colour, alpha=0.15, linewidth=0)
        for edge in ("lowest", "highest"):
            axes.plot(line["step"], line[edge], style, color=colour, linewidth=0.6, alpha=0.7)
    axes.set_xlabel("step")
    axes.set_ylabel(_quantity(numbers).lower())
    lowest = float(numbers["lowest"].min())
    axes.set_ylim(0 if lowest < 0.4 else lowest - 0.05, min(axes.get_ylim()[1], 1.0))
    legend_above(axes, 3)
    return figure


def _has_bands(numbers: pd.DataFrame) -> bool:
    """Whether the lines have bands; those of more than three lines would hide each other."""
    return numbers["method"].nunique() <= 3


def _quantity(numbers: pd.DataFrame) -> str:
    return "Accuracy" if (k := int(numbers["k"].iloc[0])) == 1 else f"Pass@{k}"


def _notes(runs: Sequence[EvaluatedRun], numbers: pd.DataFrame) -> str:
    band = "; band: one standard deviation over them" if _has_bands(numbers) else ""
    bases = f"{plural(int(numbers['bases'].max()), 'base')}{band}; thin: lowest and highest base"
    notes = notes_of(runs, bases, f"{numbers['problems'].iloc[0]} test problems")
    if float(numbers["mean"].min()) > 0.97:
        notes += "\nSaturated: nearly everything is solved from the beginning, and nothing can be told apart."
    return notes


def _start(runs: Sequence[EvaluatedRun], levels: Sequence[int] | None, k: int) -> float:
    """The mean over methods before training, those left out that begin from a trained policy."""
    of_method = by_method(before_training(runs))
    return float(np.mean([np.mean(accuracy_by_base(alike, 0, levels, k)) for alike in of_method.values()]))


def _read(numbers: pd.DataFrame, start: float) -> str:
    last_step = numbers["step"].max()
    ends = numbers[numbers["step"] == last_step].set_index("method")
    accuracies = [
        f"{named(method)} {number(row['mean'])} (bases {number(row['lowest'])} to {number(row['highest'])})"
        for method, row in ends.iterrows()
    ]
    text = f"{_quantity(numbers)} before training {number(start)}; after step {last_step}: {listed(accuracies)}."
    if {"explanation", "none"} <= set(ends.index):
        text += " " + _order(ends.loc["explanation"], ends.loc["none"])
    return text


def _order(explanation: pd.Series, none: pd.Series) -> str:
    """Whether every base ends higher with one of ExP-GRPO and GRPO than any does with the other."""
    order = order_of_bases(explanation, none)
    if order == 0:
        return "ExP-GRPO and GRPO overlap between bases: no order is shown."
    return f"Every base ends {'higher' if order > 0 else 'lower'} with ExP-GRPO than any with GRPO."
