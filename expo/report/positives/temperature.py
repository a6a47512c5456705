"""Property 1 by sampling temperature: where is the self-explanation more likely than the expert CoT?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.verdict import by_problem, compare, hangs_on, worth
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.positives.measurements import LINES, Group, Measurement, notes_of
from expo.report.style import COLOURS, INK, Axes, Figure
from expo.report.toy import warned
from expo.report.words import MARKS, NAMES, UNITS, interval, listed
from expo.stats import MIN_PROBLEMS, Interval, bootstrap
from expo.text import in_markdown

QUANTITIES = ("nll_sum", "nll_per_token")
COLUMNS = ["sweep", "quantity", "temperature", "what", "mean", "low", "high", "n"]
COLUMNS += ["verdict", "largest", "largest_share"]
SOURCES = ("explanation", "expert", "own")
DIFFERENCE = "explanation - expert"


def draw_temperature(group: Group, out: Path | str) -> Artefact:
    """Write `property1-temperature-<label>.png` and `.csv`: NLL by sampling temperature, for each sweep.

    For each temperature, the CSV (`COLUMNS`) has one row for each of `SOURCES`, with its mean over problems, and one
    for the difference, with its verdict and the problem with the largest share of its sum.

    Raises:
        ValueError: if no two runs of the group differ only in temperature.
    """
    if not group.sweeps:
        raise ValueError(f"{group.label}: no two runs differ in temperature alone; measure at another --temperature")
    runs = [run for sweep in group.sweeps for run in sweep]
    numbers = pd.concat([_sweep(sweep) for sweep in group.sweeps], ignore_index=True)
    about = (
        "Upper: means over problems; lower: paired differences; 95 % bootstrap intervals. Property 1, lower NLL of "
        "self-explanations: ✓ holds, ✗ fails, ? undecided."
    )
    rules = "Every score is at temperature 1: only the sampling changes."
    if n := int(numbers.loc[numbers["what"] == DIFFERENCE, "n"].max()):
        rules += f" {worth(n)}"
    reading = "\n\n".join(_read(name, numbers) for name in dict.fromkeys(numbers["sweep"]))
    return draw_picture(
        out,
        f"property1-temperature-{group.label}",
        runs,
        numbers,
        plot_temperature,
        heading=headline("", runs, _found(numbers)),
        notes=notes_of(runs, about, swept=True),
        reading=warned(reading, runs, "\n\n"),
        setting=rules,
    )


def plot_temperature(numbers: pd.DataFrame, caption: Caption) -> Figure:
    """The picture of a table made by `draw_temperature`."""
    names = list(dict.fromkeys(numbers["sweep"]))
    figure, grid = sheet(2 * len(names), 2, 2.1, caption)
    for i, name in enumerate(names):
        for j, quantity in enumerate(QUANTITIES):
            rows = numbers[(numbers["sweep"] == name) & (numbers["quantity"] == quantity)]
            above, below = grid[2 * i][j], grid[2 * i + 1][j]
            _means(above, rows)
            above.set_title(f"{name}: NLL {UNITS[quantity]}, nats")
            _differences(below, rows[rows["what"] == DIFFERENCE])
            below.set_title("self-explanation − expert CoT, nats")
            below.set_xlabel("sampling temperature")
            for axes in (above, below):
                axes.set_xticks(sorted(rows["temperature"].unique()))
                axes.margins(x=0.08)
        _name(grid[2 * i][0])
    return figure


def _sweep(runs: Sequence[Measurement]) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    first = runs[0]
    seed = first.recipe["seed"]
    name = f"{first.policy_name} on {first.task}" + (f", seed {seed}" if seed else "")
    for run in runs:
        for quantity in QUANTITIES:
            place = (name, quantity, run.temperature)
            for source in SOURCES:
                mean = bootstrap(by_problem(run.samples, source, quantity).dropna().to_numpy())
                rows.append((*place, source, mean.mean, mean.low, mean.high, mean.n, "", "", np.nan))
            c = compare(run.samples, "explanation", "expert", quantity, -1)
            gap = c.difference
            rows.append((*place, DIFFERENCE, gap.mean, gap.low, gap.high, gap.n, c.verdict, c.largest, c.share))
    return pd.DataFrame(rows, columns=COLUMNS)


def _means(axes: Axes, numbers: pd.DataFrame) -> None:
    apart = 0.008 * (numbers["temperature"].max() - numbers["temperature"].min())
    for place, source in enumerate(SOURCES):
        rows, colour = numbers[numbers["what"] == source], COLOURS[source]
        x = rows["temperature"] + apart * (place - 1)
        axes.vlines(x, rows["low"], rows["high"], color=colour, lw=1.8)
        axes.plot(x, rows["mean"], "o", ls=LINES[source], color=colour, ms=4, lw=1.4)
    axes.set_ylim(bottom=0)


def _name(axes: Axes) -> None:
    """Label the lines from above."""
    for source in SOURCES:
        axes.plot([], [], "o", ls=LINES[source], color=COLOURS[source], ms=4, lw=1.4, label=NAMES[source])
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])
    axes.legend(loc="upper left", fontsize=8.5, handlelength=3)


def _differences(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axhline(0, color=INK, ls=":", lw=1.2)
    axes.vlines(rows["temperature"], rows["low"], rows["high"], color=COLOURS["explanation"], lw=1.8)
    axes.plot(rows["temperature"], rows["mean"], "o", color=COLOURS["explanation"], ms=4.5)
    axes.margins(y=0.35)
    for row in rows[np.isfinite(rows["high"])].to_dict("records"):
        at, mark = (row["temperature"], row["high"]), MARKS[row["verdict"]]
        # On white, or the line at zero would cross out a mark.
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.annotate(mark, at, (0, 5), textcoords="offset points", ha="center", fontsize=9, bbox=box)


_THAN = {"holds": "lower", "fails": "higher", "undecided": "not told apart"}
_NOT_COMPARED = "too few problems to compare"


def _found(numbers: pd.DataFrame) -> str:
    """The verdict on Property 1 per sequence, as the paper states it, if there is one sweep or all agree."""
    gaps = numbers[(numbers["what"] == DIFFERENCE) & (numbers["quantity"] == QUANTITIES[0])]
    gaps = gaps.assign(word=gaps["verdict"].map(_THAN).where(gaps["n"] >= MIN_PROBLEMS, _NOT_COMPARED))
    told = {tuple(of_one[["temperature", "word"]].itertuples(index=False)) for _, of_one in gaps.groupby("sweep")}
    begin = "NLL per sequence of self-explanations against expert CoTs:"
    if len(told) > 1:
        return f"{begin} sweeps over temperature disagree"
    by_verdict: dict[str, list[str]] = {}
    for temperature, word in told.pop():
        by_verdict.setdefault(word, []).append(f"{temperature:g}")
    if len(by_verdict) == 1:
        return f"{begin} {next(iter(by_verdict))} at each sampling temperature"
    found = listed([f"{word} at {listed(at)}" for word, at in by_verdict.items()])
    return f"{begin} {found.replace(' at ', ' at temperature ', 1)}"


def _read(name: str, numbers: pd.DataFrame) -> str:
    by_quantity = []
    for quantity in QUANTITIES:
        at = (numbers["sweep"] == name) & (numbers["quantity"] == quantity) & (numbers["what"] == DIFFERENCE)
        verdicts = []
        for row in numbers[at].to_dict("records"):
            difference = Interval(row["mean"], row["low"], row["high"], row["n"])
            hangs = hangs_on(row["verdict"], in_markdown(row["largest"]), row["largest_share"])
            shown = interval(difference, sign=True) + (hangs and f"; {hangs}")
            is_said = f"{'is ' * (row['verdict'] == 'undecided')}{row['verdict']}"
            verdicts.append(f"{is_said} at {row['temperature']:g} ({shown})")
        by_quantity.append(f"{UNITS[quantity]} it {listed(verdicts)}")
    return (
        f"**{name}**: NLL of self-explanation minus expert CoT in nats, by sampling temperature. "
        f"Property 1, that self-explanations are in-distribution: {'; '.join(by_quantity)}."
    )
