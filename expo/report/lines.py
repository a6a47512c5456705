"""Lines over steps or rates: a thick one for the mean over bases, thin ones for the bases, and names at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.ticker import LogLocator, NullFormatter

from expo.report.accuracy import MEAN
from expo.report.style import Axes


def bases_note(bases: int) -> str:
    """What thick and thin lines are, for a picture of this many bases."""
    return (
        f"Thick lines are means over {bases} bases, thin lines the bases" if bases > 1 else "All runs are from one base"
    )


def plot_lines(
    axes: Axes, rows: pd.DataFrame, y: str, colour: str, x: str = "step", style: str = "-", alpha: float = 1.0
) -> None:
    """A thin line for each base and a thick line with marks for their mean; `rows` has a column `base`."""
    for base, line in rows.groupby("base", sort=False):
        look: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.7 * alpha}
        if base == MEAN:
            look = {"linewidth": 2.0, "marker": "o", "markersize": 3.5, "alpha": alpha}
        axes.plot(line[x], line[y], style, color=colour, **look)


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], gap: float = 0.07) -> None:
    """Label each line at the right edge, from (its last value, text, colour); a text has at most two lines.

    Labels are at least `gap` of the axes' height apart for each line of text.
    """
    ends = sorted((end for end in ends if np.isfinite(end[0])), key=lambda end: end[0])
    to_axes = axes.transData + axes.transAxes.inverted()
    places = [float(to_axes.transform((axes.get_xlim()[0], y))[1]) for y, _, _ in ends]
    for place, (_, text, colour) in zip(spread(places, gap * _lines(ends)), ends, strict=True):
        axes.annotate(
            text,
            (1, place),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_readable(colour),
            linespacing=1.1,
            annotation_clip=False,
        )


def _readable(colour: str) -> tuple[float, float, float]:
    """The colour, darker if small letters of it would be hard to read on white."""
    red, green, blue = to_rgb(colour)
    darker = 0.65 if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.6 else 1.0
    return red * darker, green * darker, blue * darker


def _lines(ends: Sequence[tuple[float, str, str]]) -> int:
    return max((text.count("\n") + 1 for _, text, _ in ends), default=1)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The places, lowest first, moved as little as possible so that each is at least `gap` above the one before.

    They stay between 0 and 1 if there is room.
    """
    # Neighbours that are too close form a block around the mean of their wanted places.
    blocks: list[list[float]] = []
    for place in places:
        blocks.append([place])
        while len(blocks) > 1 and _overlap(blocks[-2], blocks[-1], gap):
            last = blocks.pop()
            blocks[-1] += last
    moved = [_centre(block) + gap * (i - (len(block) - 1) / 2) for block in blocks for i in range(len(block))]
    if moved:
        moved = [place - max(0.0, moved[-1] - 1) for place in moved]
        moved = [place + max(0.0, -moved[0]) for place in moved]
    return moved


def _overlap(below: Sequence[float], above: Sequence[float], gap: float) -> bool:
    return _centre(above) - _centre(below) < gap * (len(above) + len(below)) / 2


def _centre(block: Sequence[float]) -> float:
    return sum(block) / len(block)


def with_means(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows, one per base, and for each value of the keys a row with their mean over bases."""
    means = rows.groupby(list(keys), sort=False, as_index=False).mean(numeric_only=True)
    return pd.concat([rows, means.assign(base=MEAN)], ignore_index=True)


def rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    """A logarithmic axis with ticks only at these learning rates."""
    axes.set_xscale("log")
    axes.set_xticks(rates, [rate_name(rate) for rate in rates], fontsize=8)
    axes.minorticks_off()


def log_values(axes: Axes) -> None:
    """A logarithmic axis of values, labelled with a few plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 300 * low else (1,), numticks=8))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e−"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def rate_note(rate: float, rates: pd.Series) -> str:
    """`, rate 3e−5`, for a line's name if the lines of a picture were not all trained at one rate."""
    return f", rate {rate_name(rate)}" if rates.nunique() > 1 else ""


def rate_name(rate: float) -> str:
    """`3e−5`, short enough for an axis label."""
    digits, exponent = f"{rate:.2e}".split("e")
    return f"{float(digits):g}e{int(exponent)}".replace("-", "−")
