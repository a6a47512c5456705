"""DPO at several learning rates: what becomes of winners that are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import by_rate, notes_of
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Axes, Figure, line_style, method_colour
from expo.report.trainings import EvaluatedRun, label
from expo.report.words import method_name, number


def draw_drift(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-drift-<label>.png` and `.csv`: what becomes of the first round's winners, by rate.

    The CSV has a row for each run, as `by_rate` makes it.
    """
    numbers = by_rate(runs)
    about = (
        "Change of −log π(winner|q) per token over the training, of winners sampled before it: above 0 they have "
        "become less likely (Observation 2). Lines are means over bases, marks the bases; online dashed and hollow."
    )
    return draw_picture(
        out,
        f"{name}-drift-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=f"Drift of fixed winners: {label(runs)}",
        notes=notes_of(runs, about),
        reading=_read(numbers),
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    offline = list(dict.fromkeys(numbers["method"].str.removesuffix("_online")))
    rates = sorted(numbers["rate"].unique())
    figure, (panels,) = sheet(1, len(offline), 2.6, caption)
    for axes, method in zip(panels, offline, strict=True):
        for variant in (method, f"{method}_online"):
            _plot_method(axes, numbers[numbers["method"] == variant], variant, method_colour(method))
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates], fontsize=7)
        axes.minorticks_off()
        axes.set_title(method_name(method).removesuffix(", offline"))
        axes.set_xlabel("learning rate")
        axes.legend(fontsize=7)
    panels[0].set_ylabel("change of NLL, nats per token")
    return figure


def _plot_method(axes: Axes, rows: pd.DataFrame, method: str, colour: str) -> None:
    if rows.empty:
        return
    style = line_style(method)
    change, mean = _change(rows), _mean_change(rows)
    sampling, face = ("online", "none") if style == "--" else ("offline", colour)
    axes.plot(mean.index, mean, style, color=colour, label=sampling)
    axes.scatter(rows["rate"], change, s=12, color=colour, facecolors=face, linewidths=0.8)


def _change(rows: pd.DataFrame) -> pd.Series:
    return rows["nll_after"] - rows["nll_before"]


def _mean_change(rows: pd.DataFrame) -> pd.Series:
    """The mean over bases, by learning rate."""
    return _change(rows).groupby(rows["rate"]).mean()


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, rows in numbers.groupby("method", sort=False):
        changes = [f"{number(change)} at {rate:g}" for rate, change in _mean_change(rows).items()]
        lines.append(f"- {method_name(method)}: {', '.join(changes)}")
    return "Change of the NLL of the first round's winners, nats per token, mean over bases:\n\n" + "\n".join(lines)
