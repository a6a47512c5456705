"""DPO at several learning rates: whether a low loss indicates a better policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import by_rate, by_sampling, trained_on, winner_name
from expo.report.dpo.setting import SMOOTH, setting
from expo.report.lines import bases_note, log_values, name_ends, plot_lines, rate_axis, with_means
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, Figure, method_colour
from expo.report.trainings import EvaluatedRun, count_bases, label
from expo.report.words import method_name, number
from expo.text import plural

LOG2 = log(2)


def draw_loss(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-loss-<label>.png` and `.csv`: the change of accuracy above the last loss, by rate and winner.

    The CSV has one row per run, as made by `by_rate`.
    """
    numbers = by_rate(runs)
    first = runs[0]
    about = (
        f"{bases_note(count_bases(runs))}. Loss: the mean of the last {SMOOTH} batches; dotted: log 2, that of the "
        "reference policy.\n"
        "Methods are compared at one base, one rate and one way to sample pairs. "
        f"n = {len(first.accuracies(0))} problems, k = {first.sampling}, seed {first.seed}."
    )
    return draw_picture(
        out,
        f"{name}-loss-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, f"{trained_on(runs)}, {_finding(_comparisons(numbers))}"),
        notes=about,
        reading=_read(numbers),
        setting=setting(runs),
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    columns = by_sampling(numbers)
    figure, grid = sheet(2, len(columns), 2.1, caption)
    for panels, column in zip(grid, ("change", "loss"), strict=True):
        for axes, rows in zip(panels, columns.values(), strict=True):
            for method, of_method in rows.groupby("method", sort=False):
                plot_lines(axes, with_means(of_method, ["rate"]), column, method_colour(str(method)), "rate")
            rate_axis(axes, sorted(numbers["rate"].unique()))
            axes.sharey(panels[0])
    for changes, losses in zip(*grid, strict=True):
        changes.axhline(0, color=GREY, linewidth=0.8)
        changes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}".replace("-", "−"))
        losses.axhline(LOG2, color=GREY, linewidth=0.8, linestyle=":")
        log_values(losses)
        losses.set_xlabel("learning rate")
    for axes, sampling in zip(grid[0], columns, strict=True):
        # A lone column needs no name.
        axes.set_title(sampling * (len(columns) > 1))
    for panels, column in zip(grid, ("change", "loss"), strict=True):
        for axes, rows in zip(panels, columns.values(), strict=True):
            name_ends(axes, _ends(rows, column), gap=0.085)
    grid[0][0].set_ylabel("change of accuracy,\npoints")
    grid[1][0].set_ylabel("loss at the end")
    return figure


def _ends(rows: pd.DataFrame, column: str) -> list[tuple[float, str, str]]:
    """The mean over bases of each method at the highest rate, with its name and colour."""
    last = rows[rows["rate"] == rows["rate"].max()].groupby("method", sort=False)[column].mean()
    return [(value, winner_name(method), method_colour(method)) for method, value in last.items()]


def _comparisons(numbers: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """The winners from one base at one rate, sorted by loss, and grouped by how their pairs were sampled."""
    compared = {
        sampling: [arms.sort_values("loss") for _, arms in rows.groupby(["rate", "base"]) if len(arms) > 1]
        for sampling, rows in by_sampling(numbers).items()
    }
    return {sampling: by_loss for sampling, by_loss in compared.items() if by_loss}


def _meet(by_loss: Sequence[pd.DataFrame]) -> int:
    """In how many comparisons the arm with the lowest loss also has the highest accuracy, alone."""
    return sum(bool((arms["change"].iloc[0] > arms["change"].iloc[1:]).all()) for arms in by_loss)


def _finding(compared: Mapping[str, Sequence[pd.DataFrame]]) -> str:
    every = [arms for by_loss in compared.values() for arms in by_loss]
    if not every:
        return "one kind of winner, and no other to compare its loss with"
    meet = _meet(every)
    counted = f"{meet} of {plural(len(every), 'comparison')}"
    if 0 < meet < len(every):
        return f"the method with the lowest loss has the highest accuracy in {counted}"
    return f"the method with the lowest loss {'always' if meet else 'never'} has the highest accuracy ({counted})"


def _read(numbers: pd.DataFrame) -> str:
    """In how many comparisons at one rate, from one base, the lowest loss goes with the highest accuracy."""
    told = [f"- {sampling}, {_read_comparisons(by_loss)}" for sampling, by_loss in _comparisons(numbers).items()]
    return "\n".join(told)


def _read_comparisons(by_loss: Sequence[pd.DataFrame]) -> str:
    """The finding from comparisons of arms, each sorted by loss."""
    lowest = [arms.iloc[0] for arms in by_loss]
    worse, better = sum(low["high"] < 0 for low in lowest), sum(low["low"] > 0 for low in lowest)
    # Equal changes have no order.
    ranks = [float(arms["loss"].corr(arms["change"], "spearman")) for arms in by_loss if arms["change"].nunique() > 1]
    methods = Counter(method_name(low["method"]) for low in lowest).most_common()
    return (
        f"{plural(len(by_loss), 'comparison')} of winners from one base at one rate: the lowest loss is "
        f"that of {', '.join(f'{name} ({count})' for name, count in methods)}. The method with the lowest loss has the "
        f"highest accuracy in {_meet(by_loss)} of {len(by_loss)}. Its accuracy falls in {worse} and rises in {better}, "
        f"the whole 95 % interval on that side."
        + (
            f" The mean rank correlation of loss and change of accuracy is {number(float(np.mean(ranks)))}."
            if ranks
            else ""
        )
    )
