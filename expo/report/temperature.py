"""Property 1 against the sampling temperature: where is the self-explanation likelier than the expert CoT?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.verdict import Interval, bootstrap, by_problem, compare, verdict
from expo.report.artefacts import Artefact, png, publish
from expo.report.runs import Group, Record
from expo.report.style import COLOURS, INK, Axes, Figure, look, notes_of, sheet
from expo.report.words import MARKS, NAMES, TOY, UNITS, interval, listed

QUANTITIES = ("nll_sum", "nll_per_token")
COLUMNS = ["sweep", "quantity", "temperature", "what", "mean", "low", "high", "n", "verdict"]
SOURCES = ("own", "explanation", "expert")
DIFFERENCE = "explanation - expert"


def draw_temperature(group: Group, out: Path | str) -> Artefact:
    """Write `property1-temperature-<label>.png` and `.csv`: NLL by sampling temperature, for each sweep.

    The CSV (`COLUMNS`) has a row for each temperature and each of `SOURCES`, its mean over problems, and one
    for the difference, with its verdict.

    Raises:
        ValueError: if no two runs of the group differ in temperature alone.
    """
    if not group.sweeps:
        raise ValueError(f"{group.label}: no two runs differ in temperature alone; measure at another --temperature")
    records = [record for sweep in group.sweeps for record in sweep]
    numbers = pd.concat([_sweep(sweep) for sweep in group.sweeps], ignore_index=True)
    heading = f"Property 1 against sampling temperature: {group.label}"
    about = (
        "Upper: means over problems; lower: paired difference, ✓ holds, ✗ fails, ? undecided. 95 % bootstrap "
        "intervals. Every score is at temperature 1: only the sampling changes."
    )
    with look():
        image = png(temperature(numbers, heading, notes_of(records, about, swept=True), group.is_toy))
    reading = "\n\n".join(_read(name, numbers) for name in dict.fromkeys(numbers["sweep"]))
    reading += f"\n\n{TOY}" if group.is_toy else ""
    return publish(out, f"property1-temperature-{group.label}", records, numbers, {".png": image}, reading)


def temperature(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    """The picture of a table made by `draw_temperature`."""
    names = list(dict.fromkeys(numbers["sweep"]))
    figure, grid = sheet(2 * len(names), 2, 2.1, heading, notes, toy)
    for i, name in enumerate(names):
        for j, quantity in enumerate(QUANTITIES):
            rows = numbers[(numbers["sweep"] == name) & (numbers["quantity"] == quantity)]
            above, below = grid[2 * i][j], grid[2 * i + 1][j]
            _means(above, rows)
            above.set_title(f"{name}, {UNITS[quantity]}")
            _differences(below, rows[rows["what"] == DIFFERENCE])
            below.set_xlabel("sampling temperature")
        grid[2 * i][0].set_ylabel("mean NLL, nats")
        grid[2 * i + 1][0].set_ylabel("explanation − expert")
    return figure


def _sweep(records: Sequence[Record]) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    seed = records[0].recipe["seed"]
    name = f"{records[0].policy} on {records[0].task}" + (f", seed {seed}" if seed else "")
    for record in records:
        for quantity in QUANTITIES:
            place = (name, quantity, record.temperature)
            for source in SOURCES:
                mean = bootstrap(by_problem(record.samples, source, quantity).dropna().to_numpy())
                rows.append((*place, source, mean.mean, mean.low, mean.high, mean.n, ""))
            gap = compare(record.samples, "explanation", "expert", quantity)
            rows.append((*place, DIFFERENCE, gap.mean, gap.low, gap.high, gap.n, verdict(gap, -1)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _means(axes: Axes, rows: pd.DataFrame) -> None:
    for source in SOURCES:
        held, colour = rows[rows["what"] == source], COLOURS[source]
        axes.fill_between(held["temperature"], held["low"], held["high"], color=colour, alpha=0.2, lw=0)
        axes.plot(held["temperature"], held["mean"], "o-", color=colour, ms=4, lw=1.4, label=NAMES[source])
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=8)


def _differences(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axhline(0, color=INK, ls=":", lw=1.2)
    axes.vlines(rows["temperature"], rows["low"], rows["high"], color=COLOURS["explanation"], lw=1.8)
    axes.plot(rows["temperature"], rows["mean"], "o", color=COLOURS["explanation"], ms=4.5)
    axes.margins(x=0.08, y=0.35)
    for row in rows[np.isfinite(rows["high"])].to_dict("records"):
        at, mark = (row["temperature"], row["high"]), MARKS[row["verdict"]]
        # On white, or the line at zero would strike a mark through.
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.annotate(mark, at, (0, 5), textcoords="offset points", ha="center", fontsize=9, bbox=box)


def _read(name: str, numbers: pd.DataFrame) -> str:
    says = []
    for quantity in QUANTITIES:
        held = (numbers["sweep"] == name) & (numbers["quantity"] == quantity) & (numbers["what"] == DIFFERENCE)
        parts = []
        for row in numbers[held].to_dict("records"):
            found = Interval(row["mean"], row["low"], row["high"], row["n"])
            parts.append(f"{row['verdict']} at {row['temperature']:g} ({interval(found, sign=True)})")
        says.append(f"{UNITS[quantity]} {listed(parts)}")
    return (
        f"**{name}**: NLL of self-explanation minus expert CoT in nats, by sampling temperature. "
        f"In-distribution {'; '.join(says)}."
    )
