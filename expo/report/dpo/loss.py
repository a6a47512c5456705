"""DPO at several learning rates: whether a low loss tells a better policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import LogLocator

from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import by_rate, notes_of
from expo.report.dpo.setting import SMOOTH
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Axes, Figure, legend_outside, line_style, method_colour
from expo.report.trainings import EvaluatedRun, label
from expo.report.words import method_name, number
from expo.text import plural

LOG2 = log(2)


def draw_loss(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-loss-<label>.png` and `.csv`: of each run its last loss and its change of accuracy, by rate.

    The CSV has a row for each run, as `by_rate` makes it.
    """
    numbers = by_rate(runs)
    about = (
        f"A mark a base, online hollow; loss is the mean of the last {SMOOTH} batches. Dotted: log 2, the loss of a "
        "policy that is the reference. A deceptively low loss lies low and to the left of others at the same rate."
    )
    return draw_picture(
        out,
        f"{name}-loss-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=f"DPO's loss against what it did: {label(runs)}",
        notes=notes_of(runs, about),
        reading=_read(numbers),
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    rates = sorted(numbers["rate"].unique())
    figure, (panels,) = sheet(1, len(rates), 2.8, caption)
    for axes, rate in zip(panels, rates, strict=True):
        rows = numbers[numbers["rate"] == rate]
        for method, marks in rows.groupby("method", sort=False):
            colour = method_colour(str(method))
            face = "none" if line_style(str(method)) == "--" else colour
            style: dict[str, Any] = {"s": 18, "color": colour, "facecolors": face, "linewidths": 1}
            axes.scatter(marks["loss"], marks["change"], **style, label=method_name(method))
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.axvline(LOG2, color=GREY, linewidth=0.8, linestyle=":")
        _scale_losses(axes, rows["loss"].max() / rows["loss"].min())
        axes.set_ylim(numbers["change"].min() - 0.05, numbers["change"].max() + 0.05)
        axes.set_title(f"rate {rate:g}", pad=36)
        axes.set_xlabel("loss at the end")
        axes.tick_params(labelsize=7)
    panels[0].set_ylabel("change of accuracy")
    legend_outside(panels[0], 3)
    return figure


def _scale_losses(axes: Axes, ratio: float) -> None:
    """A logarithmic axis where the highest loss is more than ten times the lowest, with few enough ticks to read."""
    if ratio > 10:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if ratio < 100 else (1,), numticks=4))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    else:
        axes.locator_params(axis="x", nbins=3)


def _read(numbers: pd.DataFrame) -> str:
    """In how many comparisons at one rate, from one base, the lowest loss and the highest accuracy meet."""
    is_online = numbers["method"].str.endswith("_online")
    lines = []
    for sampling, rows in (("offline", numbers[~is_online]), ("online", numbers[is_online])):
        by_loss = [arms.sort_values("loss") for _, arms in rows.groupby(["rate", "base"]) if len(arms) > 1]
        if by_loss:
            lines.append(f"- {sampling}, {_read_comparisons(by_loss)}")
    return "\n".join(lines)


def _read_comparisons(by_loss: Sequence[pd.DataFrame]) -> str:
    """What is seen of comparisons of arms, each sorted by loss."""
    lowest = [arms.iloc[0] for arms in by_loss]
    meet = sum(low["change"] == arms["change"].max() for low, arms in zip(lowest, by_loss, strict=True))
    worse, better = sum(low["high"] < 0 for low in lowest), sum(low["low"] > 0 for low in lowest)
    ranks = [float(arms["loss"].corr(arms["change"], "spearman")) for arms in by_loss]
    methods = Counter(method_name(low["method"]) for low in lowest).most_common()
    return (
        f"{plural(len(by_loss), 'comparison')} of winners from one base at one rate: the lowest loss is "
        f"that of {', '.join(f'{name} ({count})' for name, count in methods)}; it has the highest accuracy in "
        f"{meet}; accuracy fell with it in {worse} and rose in {better}, the whole 95 % interval on that side; "
        f"mean rank correlation of loss and change of accuracy {number(sum(ranks) / len(ranks))}"
    )
