"""Figure 1 of the paper as measured here: accuracy by level, and the samples of a group at the hardest levels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report import paper
from expo.report.accuracy import (
    LESS,
    MEAN,
    accuracy_by_base,
    base_names,
    compared,
    mean_by_base,
    range_of,
    summary,
    with_bases,
)
from expo.report.artefacts import Artefact
from expo.report.lines import NOTE, name_ends, plot_lines, rate_note
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, LEGEND_PAD, Axes, Figure, legend_outside, method_colour
from expo.report.training.setting import named, notes_of, setting_of, standing
from expo.report.trainings import EvaluatedRun, before_training, by_method, count_bases, label, levels_of
from expo.report.words import listed, number, spanned
from expo.text import plural

COLUMNS = ["panel", "method", "base", "level", "kind", "mean", "low", "high", "lowest", "highest", "bases", "n"]
COLUMNS += ["rate", *LESS]


def draw_fig1(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "fig1") -> Artefact:
    """Write `<name>-<label>.png` and `.csv`: accuracy by level; samples of a group at the hardest levels.

    These are the two hardest training levels, as in the paper, or the only one.
    """
    of_method, levels = by_method(runs), levels_of(runs)
    sampled = [level for level in levels if level in (runs[0].trained_levels or levels)][-2:]
    rows = _accuracies("base", before_training(run for trained in of_method.values() for run in trained), 0, levels)
    for method, trained in of_method.items():
        rows += _accuracies(method, trained, None, levels)
    for method, trained in of_method.items():
        rows += _samples(method, trained, sampled)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    first, *others = of_method
    for method in others:
        is_mean = (numbers["method"] == method) & (numbers["base"] == MEAN) & (numbers["panel"] == "accuracy")
        for level in levels:
            less = compared(of_method[method], of_method[first], [level])
            numbers.loc[is_mean & (numbers["level"] == level), [*LESS]] = [*less.values()]
    numbers["rate"] = numbers["method"].map({method: trained[0].rate for method, trained in of_method.items()})
    about = (
        f"Left: the last step, with 95 % intervals by problem. {NOTE}. "
        f"Right: samples of an average group at the {_hardest_are(sampled)}."
    )
    a_level = spanned(row["n"] for row in rows if row["panel"] == "accuracy")
    problems = f"{runs[0].evaluation['problem'].nunique()} test problems, {a_level} a level"
    return draw_picture(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline(paper.FIG1.where, runs, _finding(numbers)),
        notes=f"{about}\n{notes_of(runs, plural(count_bases(runs), 'base'), problems)}",
        reading=_read(numbers),
        setting=setting_of(runs),
    )


def _hardest_are(levels: Sequence[int]) -> str:
    return f"hardest level{'s' * (len(levels) > 1)} trained on"


def _accuracies(
    method: str, runs: Sequence[EvaluatedRun], step: int | None, levels: Sequence[int]
) -> list[dict[str, Any]]:
    rows = []
    for level in levels:
        mean = summary(runs, step, [level])
        given = {"panel": "accuracy", "method": method, "level": level, "kind": "accuracy", "n": mean["problems"]}
        rows.append({**mean, **given, "base": MEAN})
        of_bases = zip(base_names(runs), accuracy_by_base(runs, step, [level]), strict=True)
        rows += [{**given, "base": base, "mean": accuracy} for base, accuracy in of_bases]
    return rows


def _samples(method: str, runs: Sequence[EvaluatedRun], levels: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "panel": "samples",
            "method": method,
            "base": MEAN,
            "level": level,
            "kind": kind,
            "mean": float(np.mean(of_bases)),
            **range_of(of_bases),
            "n": len(of_bases),
        }
        for level in levels
        for kind, of_bases in samples_by_base(runs, level).items()
    ]


def samples_by_base(runs: Sequence[EvaluatedRun], level: int) -> dict[str, list[float]]:
    """Right, wrong and added positives of a mean group of the level, one number per base; NaN if there is no group."""
    counts = [_samples_of(run, level) for run in runs]
    return {kind: mean_by_base(runs, [count[kind] for count in counts]) for kind in ("right", "wrong", "added")}


def _samples_of(run: EvaluatedRun, level: int) -> dict[str, float]:
    groups = run.run.read("groups")
    groups = groups[groups["level"] == level].astype({"correct": float, "n": float})
    right = float(groups["correct"].mean())
    added = float(_had_positive(run, groups).mean())
    return {"right": right, "wrong": float(groups["n"].mean()) - right, "added": added}


def _had_positive(run: EvaluatedRun, groups: pd.DataFrame) -> pd.Series:
    """Whether each group got a positive: its problem had one at that step and, if that matters, was not solved."""
    if run.adds_nothing:
        return pd.Series(0.0, index=groups.index)
    positives = run.run.read("positives")
    refresh = run.recipe.get("refresh_steps")
    sampled = set(zip(positives["step"], positives["problem"], strict=True))
    in_force = groups["step"] - groups["step"] % refresh if refresh else groups["step"] * 0
    added = [pair in sampled for pair in zip(in_force, groups["problem"], strict=True)]
    if run.recipe.get("sft_failed_groups_only"):
        added = [had and not solved for had, solved in zip(added, groups["correct"] > 0, strict=True)]
    return pd.Series(added, index=groups.index, dtype=float)


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.0, caption)
    _plot_accuracies(left, numbers[numbers["panel"] == "accuracy"])
    _plot_samples(right, numbers[numbers["panel"] == "samples"])
    return figure


def _plot_accuracies(axes: Axes, numbers: pd.DataFrame) -> None:
    ends = []
    levels = sorted(set(numbers["level"]))
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(levels[0] - 0.1, levels[-1] + 0.1)
    for method, rows in numbers.groupby("method", sort=False):
        colour = method_colour(str(method))
        plot_lines(axes, rows, "mean", colour, "level")
        hardest = rows[(rows["base"] == MEAN) & (rows["level"] == levels[-1])].iloc[0]
        rate = "" if method == "base" else rate_note(hardest["rate"], numbers["rate"])
        text = f"{named(method)}{rate}\n{with_bases(hardest.rename({'n': 'problems'}))}"
        ends.append((float(hardest["mean"]), text, GREY if method == "base" else colour))
    axes.set_xticks(levels)
    axes.set_xlabel("level")
    axes.set_title("accuracy")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    name_ends(axes, ends)


# From the top of the axes, where a bar has its place.
_ABOVE: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 8}


def _plot_samples(axes: Axes, numbers: pd.DataFrame) -> None:
    methods = list(dict.fromkeys(numbers["method"]))
    # Between two levels there is room for a bar.
    distance = len(methods) + 1
    levels = sorted(set(numbers["level"]))
    names = [
        textwrap.fill(named(method), 30 // (len(levels) * len(methods)) + 2, break_long_words=False)
        for method in methods
    ]
    for j, level in enumerate(levels):
        for i, method in enumerate(methods):
            at = j * distance + i
            is_shown = (numbers["level"] == level) & (numbers["method"] == method)
            mean = numbers[is_shown].set_index("kind")["mean"]
            colour = method_colour(method)
            axes.bar(at, mean["right"], 0.8, color=colour)
            axes.bar(at, mean["added"], 0.8, bottom=mean["right"], color="white", edgecolor=colour, hatch="////")
            axes.bar(at, -mean["wrong"], 0.8, color=colour, alpha=0.25)
    axes.axhline(0, color=GREY, linewidth=0.8)
    places = [j * distance + i for j in range(len(levels)) for i in range(len(methods))]
    axes.set_xticks(places, names * len(levels), fontsize=8)
    for j, level in enumerate(levels):
        middle = j * distance + (len(methods) - 1) / 2
        axes.annotate(f"level {level}", (middle, 1), (0, -2), va="top", ha="center", **_ABOVE)
    axes.margins(y=0.12)
    axes.set_title("samples in a group", pad=LEGEND_PAD)
    axes.set_ylabel("right above 0, wrong below", fontsize=8)
    axes.use_sticky_edges = False
    axes.locator_params(axis="y", integer=True)
    axes.bar(0, 0, color=GREY, label="right")
    axes.bar(0, 0, color="white", edgecolor=GREY, hatch="////", label="positive added")
    axes.bar(0, 0, color=GREY, alpha=0.25, label="wrong")
    legend_outside(axes, 3)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")


def _hardest(numbers: pd.DataFrame) -> pd.DataFrame:
    """The means of the hardest level."""
    return numbers[(numbers["level"] == numbers["level"].max()) & (numbers["base"] == MEAN)]


def _finding(numbers: pd.DataFrame) -> str:
    """What was found at the level at which the methods' means are furthest apart."""
    is_shown = (numbers["panel"] == "accuracy") & (numbers["method"] != "base") & (numbers["base"] == MEAN)
    by_level = numbers[is_shown].groupby("level")["mean"]
    level = (by_level.max() - by_level.min()).idxmax()
    ends = numbers[is_shown & (numbers["level"] == level)].rename(columns={"n": "problems"}).set_index("method")
    most = ", where methods differ most" if level != numbers["level"].max() else ""
    return f"in accuracy at level {level}{most}, {standing(ends)}"


def _read(numbers: pd.DataFrame) -> str:
    level, hardest = numbers["level"].max(), _hardest(numbers)
    accuracies = [
        f"{named(row['method'])} {number(row['mean'])} [{number(row['low'])}, {number(row['high'])}]"
        for _, row in hardest[hardest["panel"] == "accuracy"].iterrows()
    ]
    samples = hardest[(hardest["panel"] == "samples") & (hardest["kind"] == "right")].dropna(subset="mean")
    right = [f"{named(row['method'])} {number(row['mean'])}" for _, row in samples.iterrows()]
    text = f"Accuracy at level {level}: {listed(accuracies)}. "
    return f"{text}Right samples in a group there, while training: {listed(right) if right else 'no group'}."
