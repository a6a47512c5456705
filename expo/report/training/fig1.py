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
    accuracy_text,
    base_names,
    compared,
    labels_note,
    mean_by_base,
    range_of,
    summary,
    with_bases,
)
from expo.report.artefacts import Artefact
from expo.report.lines import name_ends, plot_lines, rate_note
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import COMPACT, GREY, LEGEND_PAD, Axes, Figure, legend_outside, method_colour
from expo.report.training.setting import findings, named, notes_of, setting_of, standing
from expo.report.trainings import EvaluatedRun, before_training, by_method, label, levels_of
from expo.report.words import listed, number, spanned
from expo.text import sentence

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
        f"Left: the last step; dashed: before training. Right: an average group while training, at the "
        f"{_hardest_are(sampled)}.\n{labels_note(_hardest(numbers))}."
    )
    a_level = spanned(row["n"] for row in rows if row["panel"] == "accuracy")
    problems = f"{runs[0].evaluation['problem'].nunique()} test problems, {a_level} a level"
    return draw_picture(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline(paper.FIG1.where, runs, *_findings(numbers)),
        notes=f"{about}\n{notes_of(runs, problems)}",
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
        plot_lines(axes, rows, "mean", colour, "level", "--" if method == "base" else "-")
        hardest = rows[(rows["base"] == MEAN) & (rows["level"] == levels[-1])].iloc[0]
        rate = "" if method == "base" else rate_note(hardest["rate"], numbers["rate"])
        dashed = " (dashed)" if method == "base" else ""
        text = f"{named(method)}{dashed}{rate}\n{with_bases(hardest.rename({'n': 'problems'}))}"
        ends.append((float(hardest["mean"]), text, GREY if method == "base" else colour))
    axes.set_xticks(levels)
    axes.set_xlabel("level")
    axes.set_title("accuracy")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    name_ends(axes, ends)


def _plot_samples(axes: Axes, numbers: pd.DataFrame) -> None:
    """Bars of right samples to the right of 0 and of wrong ones to the left; above the bars of each level, its name."""
    names, place = [], 0
    for level, of_level in numbers.groupby("level"):
        names.append((place, f"level {level}"))
        for method, rows in of_level.groupby("method", sort=False):
            place += 1
            names.append((place, textwrap.fill(named(method), 18, break_on_hyphens=False)))
            mean, colour = rows.set_index("kind")["mean"], method_colour(str(method))
            axes.barh(place, mean["right"], 0.7, color=colour)
            axes.barh(place, mean["added"], 0.7, left=mean["right"], color="white", edgecolor=colour, hatch="////")
            axes.barh(place, -mean["wrong"], 0.7, color=colour, alpha=0.25)
        place += 1
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(*zip(*names, strict=True), fontsize=8)
    axes.set_ylim(place - 0.4, -0.4)
    axes.tick_params(axis="y", length=0)
    for text in axes.get_yticklabels():
        text.set_fontweight("bold" if text.get_text().startswith("level") else "normal")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.05)
    axes.set_title("samples in a group", pad=LEGEND_PAD)
    axes.use_sticky_edges = False
    axes.locator_params(axis="x", integer=True)
    axes.barh(1, 0, color=GREY, alpha=0.25, label="wrong")
    axes.barh(1, 0, color=GREY, label="right")
    axes.barh(1, 0, color="white", edgecolor=GREY, hatch="////", label="positive added")
    legend_outside(axes, 3, **COMPACT)
    axes.set_xlabel("wrong on the left, right on the right", fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")


def _hardest(numbers: pd.DataFrame) -> pd.DataFrame:
    """The mean accuracies at the hardest level."""
    is_accuracy = (numbers["panel"] == "accuracy") & (numbers["base"] == MEAN)
    return numbers[is_accuracy & (numbers["level"] == numbers["level"].max())].rename(columns={"n": "problems"})


def _ends(numbers: pd.DataFrame, level: int) -> pd.DataFrame:
    """The trained methods' mean accuracies at a level, by method."""
    is_accuracy = (numbers["panel"] == "accuracy") & (numbers["base"] == MEAN) & (numbers["method"] != "base")
    return numbers[is_accuracy & (numbers["level"] == level)].rename(columns={"n": "problems"}).set_index("method")


def _findings(numbers: pd.DataFrame) -> tuple[str, ...]:
    """What was found at the hardest level, of which the labels give the accuracies."""
    level = int(numbers["level"].max())
    return findings(_ends(numbers, level), f"accuracy at level {level}")


def _read(numbers: pd.DataFrame) -> str:
    level = int(numbers["level"].max())
    accuracies = [f"{named(row['method'])} {accuracy_text(row)}" for _, row in _hardest(numbers).iterrows()]
    is_right = (numbers["panel"] == "samples") & (numbers["kind"] == "right") & (numbers["level"] == level)
    samples = numbers[is_right].dropna(subset="mean")
    right = [f"{named(row['method'])} {number(row['mean'])}" for _, row in samples.iterrows()]
    finding = _findings(numbers)[0]
    told = [f"Accuracy at level {level}: {listed(accuracies)}.", f"{sentence(finding)}."]
    widest = _widest(numbers)
    if widest != level:
        told.append(f"At level {widest}, where methods differ most, {standing(_ends(numbers, widest))}.")
    told.append(f"Right samples in a group at level {level}, while training: {listed(right) if right else 'no group'}.")
    return " ".join(told)


def _widest(numbers: pd.DataFrame) -> int:
    """The level at which the methods' means are furthest apart; of equal ones, the hardest."""
    levels = sorted({int(level) for level in numbers["level"]})
    return max(levels, key=lambda level: (float(np.ptp(_ends(numbers, level)["mean"])), level))
