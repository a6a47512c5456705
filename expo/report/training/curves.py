"""Figures 4, 5, 7, 8 and 9 of the paper as measured here, and forgetting: accuracy over training, by method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.accuracy import (
    LESS,
    MEAN,
    accuracy_by_base,
    accuracy_text,
    base_names,
    compared,
    labels_note,
    summary,
    with_bases,
)
from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import winner_name
from expo.report.lines import name_ends, plot_lines, rate_note
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import Axes, Figure, line_style, method_colour
from expo.report.toy import remarked
from expo.report.training.setting import NOT_COMPARED, UNCLEAR, findings, named, notes_of, setting_of, side
from expo.report.trainings import EvaluatedRun, before_training, by_method, label
from expo.report.words import listed, share, spanned
from expo.text import sentence

COLUMNS = ["method", "k", "base", "step", "mean", "low", "high", "lowest", "highest", "bases", "problems", "samples"]
COLUMNS += ["rate", *LESS]


def draw_curves(
    name: str, runs: Sequence[EvaluatedRun], levels: Sequence[int] | None, heading: str, out: Path | str, k: int = 1
) -> Artefact:
    """Write `<name>-<label>.png` and `.csv`: pass@k on these levels (None: all) over steps, by method.

    A thick line is the mean over bases, a thin line a base. If methods are trained offline and online, each kind of
    winner has a panel. `heading` says what is shown; the picture's own heading says what was found.
    """
    arms = by_method(runs)
    rows = [
        row
        for method, of_method in arms.items()
        for step in sorted(of_method[0].evaluation["step"].unique())
        for row in _rows(method, of_method, int(step), levels, k)
    ]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    for method, other in _pairs(list(arms)):
        is_end = (
            (numbers["method"] == method) & (numbers["base"] == MEAN) & (numbers["step"] == arms[method][0].last_step)
        )
        numbers.loc[is_end, [*LESS]] = [*compared(arms[method], arms[other], levels, k).values()]
    figure, start = re.match(r"fig(\d+)", name), _start(runs, levels, k)
    is_forgetting, ends = name.startswith("forgetting"), _ends(numbers)
    found = [_forgotten(ends, start, heading, runs[0].levels)] if is_forgetting else _findings(ends, heading)
    return draw_picture(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        partial(_plot, shown=heading),
        heading=headline(f"Figure {figure[1]}" if figure else "", runs, *found),
        notes=_notes(runs, numbers),
        reading=remarked(_read(ends, start, heading), runs),
        setting=setting_of(runs),
    )


def _rows(
    method: str, runs: Sequence[EvaluatedRun], step: int, levels: Sequence[int] | None, k: int
) -> list[dict[str, Any]]:
    """The mean over bases, with its interval by problem, and each base."""
    mean = summary(runs, step, levels, k)
    shared = {"method": method, "k": k, "step": step, "problems": mean["problems"], "samples": mean["n"]}
    shared["rate"] = runs[0].rate
    of_bases = zip(base_names(runs), accuracy_by_base(runs, step, levels, k), strict=True)
    return [{**mean, **shared, "base": MEAN}, *({**shared, "base": base, "mean": value} for base, value in of_bases)]


def _pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Which methods are compared: online with offline if there are both, else all with the first."""
    online = [(m, m.removesuffix("_online")) for m in methods if m.endswith("_online")]
    return [pair for pair in online if pair[1] in methods] or [(m, methods[0]) for m in methods[1:]]


def _ends(numbers: pd.DataFrame) -> pd.DataFrame:
    """The means over bases at each method's own last step, by method."""
    means = numbers[numbers["base"] == MEAN]
    return means[means["step"] == means.groupby("method")["step"].transform("max")].set_index("method")


def _plot(numbers: pd.DataFrame, caption: Caption, *, shown: str) -> Figure:
    panels = _panels(list(dict.fromkeys(numbers["method"])))
    figure, (row,) = sheet(1, len(panels), 3.0, caption)
    high = float(numbers["mean"].max())
    # Marks at 0 and at 100 % are not cut.
    edge = 0.03 * high if high else 0.03
    for axes, methods in zip(row, panels, strict=True):
        axes.set_ylim(_floor(numbers) or -edge, high + edge if high else 1.0)
        _plot_methods(axes, numbers[numbers["method"].isin(methods)])
        axes.set_title(shown if len(panels) == 1 else winner_name(methods[0]))
    row[0].set_ylabel(_quantity(numbers).lower())
    return figure


def _floor(numbers: pd.DataFrame) -> float:
    """Where the axis begins: at 0 unless that would leave much of it empty."""
    low = float(numbers["mean"].min())
    return 0.0 if low < 0.4 else low - 0.05


def _panels(methods: Sequence[str]) -> list[list[str]]:
    """One panel for all methods or, if some are trained offline and online, one panel for each such pair."""
    if not any(method.endswith("_online") for method in methods):
        return [list(methods)]
    offline = dict.fromkeys(method.removesuffix("_online") for method in methods)
    return [[method for method in methods if method.removesuffix("_online") == kind] for kind in offline]


def _plot_methods(axes: Axes, numbers: pd.DataFrame) -> None:
    ends = []
    for method, rows in numbers.groupby("method", sort=False):
        colour = method_colour(str(method))
        plot_lines(axes, rows, "mean", colour, style=line_style(str(method)))
        last = _ends(rows).iloc[0]
        rate = rate_note(last["rate"], numbers["rate"])
        ends.append((float(last["mean"]), f"{named(method)}{rate}\n{with_bases(last)}", colour))
    axes.set_xlim(0, numbers["step"].max() * 1.01)
    axes.locator_params(axis="y", steps=[1, 2, 5, 10])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.set_xlabel("step")
    name_ends(axes, ends)


def _quantity(numbers: pd.DataFrame) -> str:
    return "Accuracy" if (k := int(numbers["k"].iloc[0])) == 1 else f"Pass@{k}"


def _notes(runs: Sequence[EvaluatedRun], numbers: pd.DataFrame) -> str:
    means = numbers[numbers["base"] == MEAN]
    problems = f"{means['problems'].iloc[0]} test problems"
    dashed = " Dashed: online." * any(method.endswith("_online") for method in means["method"])
    notes = f"{labels_note(_ends(numbers))}.{dashed}\n{notes_of(runs, problems)}"
    notes += " The axis does not begin at 0 %." * bool(_floor(numbers))
    if float(means["mean"].min()) > 0.97:
        notes += " Saturated: nearly everything is solved from the beginning, and nothing can be told apart."
    return notes


def _start(runs: Sequence[EvaluatedRun], levels: Sequence[int] | None, k: int) -> float:
    """The mean over methods before training, without those that start from a trained policy."""
    of_method = by_method(before_training(runs))
    return float(np.mean([np.mean(accuracy_by_base(alike, 0, levels, k)) for alike in of_method.values()]))


def _findings(ends: pd.DataFrame, shown: str) -> list[str]:
    """In what is shown, such as `Accuracy at all levels, trained on ...`, which methods end above which others."""
    what = f"{shown[0].lower()}{shown[1:].partition(',')[0]}"
    if any(method == f"{other}_online" for method, other in _pairs(list(ends.index))):
        return [f"in {what}, {_online(ends)}"]
    return [*findings(ends, what)]


def _forgotten(ends: pd.DataFrame, start: float, shown: str, levels: str) -> str:
    """`training on level 5 takes accuracy at levels 1 to 4 from 82 % to 27 % with ExP-GRPO and 82 % with GRPO`."""
    to = listed([f"{share(row['mean'])} with {named(method)}" for method, row in ends.iterrows()])
    what = f"{shown[0].lower()}{shown[1:].partition(',')[0]}"
    return f"training on {levels} takes {what} from {share(start)} to {to}"


def _online(ends: pd.DataFrame) -> str:
    """Where online methods end against the same ones offline."""
    pairs = dict(_pairs(list(ends.index)))
    sides = {str(method): side(row) for method, row in ends.iterrows() if method in pairs}
    apart = [
        f"{named(method)} ends {'below' if where == 'above' else 'above'} offline"
        for method, where in sides.items()
        if where in ("above", "below")
    ]
    if apart:
        return listed(apart)
    if set(sides.values()) == {UNCLEAR}:
        return "online and offline cannot be told apart"
    if NOT_COMPARED in sides.values():
        return "online is not compared with offline"
    return "neither online nor offline ends above the other on every base"


def _read(ends: pd.DataFrame, start: float, shown: str) -> str:
    accuracies = [f"{named(method)} {accuracy_text(row)}" for method, row in ends.iterrows()]
    finding = _findings(ends, shown)[0]
    return (
        f"{_quantity(ends)} before training {share(start)}; after step {spanned(ends['step'])}: "
        f"{listed(accuracies)}. {sentence(finding)}."
    )
