"""Figure 2 of the paper as measured here: the NLL of self-explanation and expert CoT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.verdict import by_problem, compare, hangs_on
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.positives.measurements import Group, Measurement, notes_of
from expo.report.style import COLOURS, COMPACT, LEGEND_PAD, Axes, Figure, legend_outside
from expo.report.words import NAMES, UNITS, interval, number
from expo.text import in_markdown, plural

QUANTITIES = ("nll_sum", "nll_per_token")
BINS = 30
COLUMNS = ["run", "quantity", "source", "kind", "left", "right", "samples", "value"]


def draw_fig2(group: Group, out: Path | str) -> Artefact:
    """Write `fig2-<label>.png` and `.csv`: NLL of self-explanation and expert CoT, two panels for each run.

    The CSV (`COLUMNS`) has a row for each bin, `value` being its share of the source's samples, and one
    for each mean over problems, told apart by `kind`.
    """
    return draw_picture(
        out,
        f"fig2-{group.label}",
        group.runs,
        pd.concat([_nll(run) for run in group.runs], ignore_index=True),
        plot_fig2,
        heading=f"Negative log-likelihood of positives: {group.label}",
        notes=notes_of(group.runs, f"Shares of samples in {BINS} bins. Dashed lines and numbers: means over problems."),
        reading="\n\n".join(_read(run) for run in group.runs),
    )


def plot_fig2(numbers: pd.DataFrame, caption: Caption) -> Figure:
    """The picture of a table made by `draw_fig2`."""
    names = list(dict.fromkeys(numbers["run"]))
    figure, grid = sheet(len(names), 2, 2.5, caption)
    for name, panels in zip(names, grid, strict=True):
        for quantity, axes in zip(QUANTITIES, panels, strict=True):
            _histogram(axes, numbers[(numbers["run"] == name) & (numbers["quantity"] == quantity)])
            axes.set_title(f"{name}, {UNITS[quantity]}", pad=LEGEND_PAD)
            axes.set_xlabel(f"NLL {UNITS[quantity]}, nats")
        panels[0].set_ylabel("share of samples")
    return figure


def _nll(run: Measurement) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    present = [s for s in ("explanation", "expert", "own") if s in set(run.samples["source"])]
    for quantity in QUANTITIES:
        by_source = {s: run.samples.loc[run.samples["source"] == s, quantity].dropna() for s in present}
        edges = np.linspace(0, max(float(values.max()) for values in by_source.values()), BINS + 1)
        for source, values in by_source.items():
            place = (run.name, quantity, source)
            counts, _ = np.histogram(values.to_numpy(dtype=float), edges)
            for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
                rows.append((*place, "bin", left, right, count, count / len(values)))
            mean = by_problem(run.samples, source, quantity).mean()
            rows.append((*place, "mean", np.nan, np.nan, len(values), mean))
    return pd.DataFrame(rows, columns=COLUMNS)


def _histogram(axes: Axes, numbers: pd.DataFrame) -> None:
    for source in dict.fromkeys(numbers["source"]):
        rows = numbers[numbers["source"] == source]
        bins, mean = rows[rows["kind"] == "bin"], float(rows.loc[rows["kind"] == "mean", "value"].iloc[0])
        edges = [*bins["left"], bins["right"].iloc[-1]]
        colour, is_compared = COLOURS[source], source != "own"
        if is_compared:
            axes.stairs(bins["value"], edges, fill=True, color=colour, alpha=0.35, lw=0)
        width = 1.3 if is_compared else 0.8
        axes.stairs(bins["value"], edges, color=colour, lw=width)
        axes.axvline(mean, color=colour, ls="--", lw=width, label=f"{NAMES[source]} {number(mean)}")
    axes.set_xlim(left=0)
    legend_outside(axes, 3, **COMPACT)


def _read(run: Measurement) -> str:
    parts, n = [], 0
    for quantity in QUANTITIES:
        compared = compare(run.samples, "explanation", "expert", quantity, -1)
        n, hangs = compared.difference.n, hangs_on(compared.verdict, in_markdown(compared.largest), compared.share)
        explanation, expert = (by_problem(run.samples, s, quantity).mean() for s in ("explanation", "expert"))
        parts.append(
            f"{UNITS[quantity]} {number(explanation)} against {number(expert)} nats, difference "
            f"{interval(compared.difference, sign=True)}: in-distribution **{compared.verdict}**"
            + (f" ({hangs})" if hangs else "")
        )
    if not n:
        return f"{run.subject}: no problem has both a self-explanation and an expert CoT."
    return (
        f"{run.subject}: mean NLL of self-explanation and expert CoT over {plural(n, 'problem')}: {'; '.join(parts)}."
    )
