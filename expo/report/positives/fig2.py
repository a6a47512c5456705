"""Figure 2 of the paper as measured here: the NLL of self-explanation and expert CoT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.verdict import by_problem, compare, hangs_on
from expo.report.artefacts import Artefact
from expo.report.paper import FIG2
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.positives.measurements import LINES, Group, Measurement, cut_texts, notes_of
from expo.report.style import COLOURS, GREY, Axes, Figure, log_x
from expo.report.words import NAMES, UNITS, interval, listed, number, share
from expo.stats import bootstrap
from expo.text import in_markdown, plural

QUANTITIES = ("nll_sum", "nll_per_token")
SOURCES = ("explanation", "expert", "own")
_HEIGHTS = np.linspace(0.08, 0.93, 18)  # at which a curve's name may stand
POINTS = 100  # at which the shares are given
COLUMNS = ["run", "quantity", "source", "kind", "nll", "value", "low", "high", "samples", "problems"]
_DEEPEST = 1e-4  # share of the largest NLL: smaller values are drawn there
_ROW = 0.12  # height of a row of means below the shares


def draw_fig2(group: Group, out: Path | str) -> Artefact:
    """Write `fig2-<label>.png`, `.svg` and `.csv`: how the NLL of each kind of positive is distributed.

    For each run, quantity and source, the CSV (`COLUMNS`) has `POINTS` rows of the `kind` share (the share of a
    problem's samples with an NLL up to `nll`, as a mean over problems) and one row of the kind mean. Both have 95 %
    bootstrap intervals, which resample problems.
    """
    numbers = pd.concat([_nll(quantity, group.runs) for quantity in QUANTITIES], ignore_index=True)
    lines = "A line for each policy." if len(group.runs) > 1 else "Bands: 95 % bootstrap intervals of the shares."
    about = f"{lines} Dots: means over problems with 95 % bootstrap intervals; a few unlikely texts can move a mean."
    cut = cut_texts(group.runs)
    return draw_picture(
        out,
        f"fig2-{group.label}",
        group.runs,
        numbers,
        plot_fig2,
        heading=headline(FIG2.where, group.runs, _found(group)),
        notes=notes_of(group.runs, about) + (cut and f" Cut at the token limit: {cut}."),
        reading="\n\n".join(_read(run) for run in group.runs),
        setting=f"Each text is scored with its answer, at temperature 1. The paper: {FIG2.direction}.",
    )


def plot_fig2(numbers: pd.DataFrame, caption: Caption) -> Figure:
    """The picture of a table made by `draw_fig2`."""
    figure, (panels,) = sheet(1, len(QUANTITIES), 3.6, caption)
    for quantity, axes in zip(QUANTITIES, panels, strict=True):
        rows = numbers[numbers["quantity"] == quantity]
        _shares(axes, rows[rows["kind"] == "share"])
        _means(axes, rows[rows["kind"] == "mean"])
        _name_curves(axes, rows[rows["kind"] == "share"])
        axes.set_xlabel(f"NLL {UNITS[quantity]}, nats")
        axes.set_title("share of samples with at most this NLL")
    _name_rows(panels, numbers)
    return figure


def _nll(quantity: str, runs: tuple[Measurement, ...]) -> pd.DataFrame:
    values = {
        (run.name, source): run.samples.loc[run.samples["source"] == source, ["problem", quantity]].dropna()
        for run in runs
        for source in SOURCES
        if source in set(run.samples["source"])
    }
    # A value counts at every point that is not below it; values below the first point count there, too.
    all_values = np.concatenate([of_source[quantity].to_numpy(dtype=float) for of_source in values.values()])
    largest = float(all_values.max())
    points = np.geomspace(max(float(all_values.min()), _DEEPEST * largest), largest, POINTS)
    rows: list[tuple[Any, ...]] = []
    for (name, source), of_source in values.items():
        counts = (name, quantity, source), (len(of_source), of_source["problem"].nunique())
        for point, *shown in zip(points, *_share_up_to(points, of_source[quantity], of_source["problem"]), strict=True):
            rows.append((*counts[0], "share", point, *shown, *counts[1]))
        mean = bootstrap(of_source.groupby("problem")[quantity].mean().to_numpy(dtype=float))
        rows.append((*counts[0], "mean", np.nan, mean.mean, mean.low, mean.high, *counts[1]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _share_up_to(points: np.ndarray, values: pd.Series, problems: pd.Series) -> tuple[np.ndarray, ...]:
    """For each point, the mean over problems of the share of values up to it, and the ends of its 95 % interval."""
    # The last point is the largest value, except for rounding.
    is_below = values.to_numpy(dtype=float)[:, None] <= points * (1 + 1e-12)
    shares = pd.DataFrame(is_below).groupby(problems.to_numpy()).mean().to_numpy()
    n = len(shares)
    if n < 2:
        return shares[0], np.zeros(len(points)), np.ones(len(points))
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 2_000) / n
    return shares.mean(axis=0), *np.percentile(weights @ shares, [2.5, 97.5], axis=0)


def _shares(axes: Axes, numbers: pd.DataFrame) -> None:
    is_alone = numbers["run"].nunique() == 1
    for (source, _), rows in numbers.groupby(["source", "run"], sort=False):
        colour = COLOURS[str(source)]
        style = {"color": colour, "ls": LINES[str(source)], "lw": 1.8 if is_alone else 1.1}
        axes.step(rows["nll"], rows["value"], where="post", **style)
        if is_alone:
            axes.fill_between(rows["nll"], rows["low"], rows["high"], step="post", color=colour, alpha=0.2, lw=0)
    axes.axhline(0, color=GREY, lw=0.8)
    first, last = numbers["nll"].min(), numbers["nll"].max()
    # The right side leaves room for the value of a mean.
    log_x(axes, first, last * (last / first) ** 0.15)


def _name_curves(axes: Axes, numbers: pd.DataFrame) -> None:
    """Write beside the curves of each source what they are, where the others leave most room."""
    low, high = np.log(axes.get_xlim())
    curves = {
        str(source): np.array([_crossings(rows, low, high) for _, rows in of_source.groupby("run", sort=False)])
        for source, of_source in numbers.groupby("source", sort=False)
    }
    edges, taken = np.array([[0.0], [1.0]]) * np.ones(len(_HEIGHTS)), np.zeros(len(_HEIGHTS), dtype=bool)
    for source, own in curves.items():
        others = np.concatenate([edges, *(curve for name, curve in curves.items() if name != source)])
        place, x, side = _beside(own, others, taken)
        taken |= abs(_HEIGHTS - _HEIGHTS[place]) < 0.12
        axes.annotate(
            NAMES[source],
            (x, _HEIGHTS[place]),
            (4 * side, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
            color=COLOURS[source],
        )


def _crossings(rows: pd.DataFrame, low: float, high: float) -> np.ndarray:
    """Where a curve reaches each of `_HEIGHTS`, as a share of the axis between the logarithms `low` and `high`."""
    at = np.minimum(np.searchsorted(rows["value"].to_numpy(), _HEIGHTS), len(rows) - 1)
    return np.asarray((np.log(rows["nll"].to_numpy()[at]) - low) / (high - low))


def _beside(own: np.ndarray, others: np.ndarray, taken: np.ndarray) -> tuple[int, float, int]:
    """Where a name stands beside its curves: its place in `_HEIGHTS`, its x, and its side, 1 the right, -1 the left.

    There the others, each of which has an x at each height, are farthest away, up to the width of a name.
    """
    found = []
    for side in (1, -1):
        for place in (int(place) for place in np.flatnonzero(~taken)):
            # The heights that a line of text covers.
            rows = slice(max(0, place - 1), place + 2)
            edge = (side * own[:, rows]).max()
            ahead = side * others[:, rows] - edge
            room = min(0.4, ahead[ahead >= 0].min(initial=0.4))
            found.append((room, -abs(_HEIGHTS[place] - 0.5), side, place, side * float(edge)))
    *_, where, place, x = max(found)
    return place, x, where


def _means(axes: Axes, numbers: pd.DataFrame) -> None:
    for place, source in enumerate(_present(numbers), 1):
        rows, colour = numbers[numbers["source"] == source], COLOURS[source]
        # Bases are drawn one below the other.
        y = -_ROW * (place + 0.25 * (np.arange(len(rows)) - (len(rows) - 1) / 2))
        axes.hlines(y, rows["low"], rows["high"], color=colour, lw=1.5)
        axes.plot(rows["value"], y, "o", color=colour, ms=4.5 if len(rows) == 1 else 3.5)
        lowest, highest = float(rows["value"].min()), float(rows["value"].max())
        told = number(lowest) if len(rows) == 1 else f"{number(lowest)} to {number(highest)}"
        at = (float(rows["high"].replace(np.inf, np.nan).fillna(rows["value"]).max()), -_ROW * place)
        axes.annotate(told, at, (6, 0), textcoords="offset points", fontsize=8, va="center", color=colour)


def _name_rows(panels: list[Axes], numbers: pd.DataFrame) -> None:
    """The ticks of both parts; the names of the lower part's rows, which also label the lines."""
    present = _present(numbers)
    places = [-_ROW * place for place in range(1, len(present) + 1)]
    shares = [0, 0.25, 0.5, 0.75, 1]
    for axes in panels:
        names = [f"mean, {NAMES[source]}" if axes is panels[0] else "" for source in present]
        axes.set_yticks([*places, *shares], [*names, *map(share, shares)])
        axes.set_ylim(-_ROW * (len(present) + 0.8), 1.02)
        for label, source in zip(axes.get_yticklabels(), present, strict=False):
            label.set(color=COLOURS[source], fontweight="bold", fontsize=8.5)


def _present(numbers: pd.DataFrame) -> list[str]:
    return [source for source in SOURCES if source in set(numbers["source"])]


_THAN = {"holds": "lower", "fails": "higher"}


def _found(group: Group) -> str:
    """In which quantities self-explanations have a lower NLL than expert CoTs, or in how many runs."""
    comparisons = {
        UNITS[quantity]: [compare(run.samples, "explanation", "expert", quantity, -1) for run in group.runs]
        for quantity in QUANTITIES
    }
    verdicts = {unit: [c.verdict for c in of_unit if c.is_made()] for unit, of_unit in comparisons.items()}
    if not all(verdicts.values()):
        return "too few problems to compare the NLL of self-explanations and expert CoTs"
    if any(len({*found}) > 1 for found in verdicts.values()):
        counts = [f"{found.count('holds')} of {len(found)} runs {unit}" for unit, found in verdicts.items()]
        return f"self-explanations have a lower NLL than expert CoTs in {listed(counts)}"
    (first, one), (second, other) = ((unit, found[0]) for unit, found in verdicts.items())
    apart = "self-explanations have a {} NLL than expert CoTs"
    if one == other:
        told = (
            apart.format(_THAN[one])
            if one in _THAN
            else "self-explanations and expert CoTs cannot be told apart by NLL"
        )
        return f"{told}, {first} and {second}"
    if one in _THAN and other in _THAN:
        return f"{apart.format(_THAN[one])} {first}, and a {_THAN[other]} one {second}"
    (decided, verdict), left = ((first, one), second) if one in _THAN else ((second, other), first)
    return f"{apart.format(_THAN[verdict])} {decided}; {left} they cannot be told apart"


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
