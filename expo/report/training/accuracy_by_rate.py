"""Accuracy against the learning rate, a panel for each method: what a comparison at one rate, or at the best, hides."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import (
    LESS,
    MEAN,
    RULE_OF_ORDER,
    accuracy_by_base,
    base_names,
    compared,
    order,
    summary,
    with_interval,
)
from expo.report.artefacts import Artefact
from expo.report.lines import NOTE, plot_lines, rate_axis, rate_name
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, Axes, Figure, line_style, method_colour
from expo.report.training.grid import by_setting
from expo.report.training.setting import weights_note
from expo.report.trainings import EvaluatedRun, before_training, check_comparable, label, training_steps
from expo.report.words import listed, method_name

COLUMNS = ["trained_on", "method", "rate", "beta", "base", "mean", "low", "high", "lowest", "highest", "bases"]
COLUMNS += ["problems", "n", "split", *LESS]
PANELS = 4  # at most, side by side


def has_rates(runs: Sequence[EvaluatedRun]) -> bool:
    """Whether any method was trained at several learning rates, all else equal."""
    rates: dict[tuple[str, str, float], set[float]] = {}
    for run in runs:
        rates.setdefault((run.levels, run.method, run.beta), set()).add(run.rate)
    return any(len(of_one) > 1 for of_one in rates.values())


def draw_accuracy_by_rate(name: str, runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `by-rate-<name>-<label>.png` and `.csv`: accuracy on the levels trained on, by method and learning rate."""
    for trained_on in {run.levels for run in runs}:
        check_comparable([run for run in runs if run.levels == trained_on])
    numbers = _with_comparisons(pd.DataFrame(_rows(runs), columns=COLUMNS), runs)
    first = runs[0]
    means = numbers[numbers["base"] == MEAN]
    return draw_picture(
        out,
        f"by-rate-{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers)),
        notes=(
            f"Accuracy on the levels trained on, after {training_steps(runs)}. {_bases_note(means)}; grey: the other "
            "methods; dashed: before training. Above each panel: the highest mean with its 95 % bootstrap interval by "
            "problem. The best rate is chosen on the same problems.\n"
            f"n = {means['problems'].iloc[0]} problems of the split `{first.recipe['eval_split']}`, k = "
            f"{first.sampling}, seed {first.seed}.{weights_note(runs)}"
        ),
        reading=_read(numbers),
    )


def _bases_note(means: pd.DataFrame) -> str:
    return "All runs are from one base" if means["bases"].max() == 1 else f"{NOTE}. {RULE_OF_ORDER}"


def _with_comparisons(numbers: pd.DataFrame, runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """The same, with each method's best row compared with the best of all."""
    settings = by_setting(runs)
    for first, *others in _bests(numbers).values():
        highest = settings[tuple(first[COLUMNS[:4]])]
        for other in others:
            less = compared(settings[tuple(other[COLUMNS[:4]])], highest, highest[0].trained_levels)
            numbers.loc[other.name, [*LESS]] = [*less.values()]
    return numbers


def _rows(runs: Sequence[EvaluatedRun]) -> Iterator[dict[str, Any]]:
    settings = by_setting(runs)
    for trained_on in dict.fromkeys(setting[0] for setting in settings):
        before = before_training(run for run in runs if run.levels == trained_on)
        yield from _accuracies((trained_on, "base", 0.0, 0.0), before, 0)
        for setting, alike in settings.items():
            if setting[0] == trained_on:
                yield from _accuracies(setting, alike, None)


def _accuracies(
    setting: tuple[str, str, float, float], runs: Sequence[EvaluatedRun], step: int | None
) -> Iterator[dict[str, Any]]:
    """The mean over bases with its interval, and each base."""
    levels = runs[0].trained_levels
    mean = summary(runs, step, levels)
    given = {**dict(zip(COLUMNS[:4], setting, strict=True)), "split": runs[0].recipe["eval_split"]}
    yield {**given, **mean, "base": MEAN}
    for base, accuracy in zip(base_names(runs), accuracy_by_base(runs, step, levels), strict=True):
        yield {**given, "base": base, "mean": accuracy, "problems": mean["problems"], "n": mean["n"]}


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    trained = numbers[numbers["method"] != "base"]
    panels = list(trained.groupby(["trained_on", "method", "beta"], sort=False))
    counts = Counter(key[0] for key, _ in panels)
    most = max(counts.values())
    columns = ceil(most / ceil(most / PANELS))
    blocks = {on: ceil(count / columns) for on, count in counts.items()}
    figure, grid = sheet(sum(blocks.values()), columns, 1.6, caption)
    top = 0
    for on, rows in blocks.items():
        of_block = [(key, of_one) for key, of_one in panels if key[0] == on]
        every = [axes for row in grid[top : top + rows] for axes in row]
        for axes, (_, of_one) in zip(every, of_block, strict=False):
            _plot_method(axes, of_one, numbers[numbers["trained_on"] == on])
            axes.set_ylim(-0.02 * _highest(numbers, on), 1.04 * _highest(numbers, on))
            axes.tick_params(labelleft=axes in {row[0] for row in grid})
        for axes in every[len(of_block) :]:
            axes.remove()
        for axes in every[: len(of_block)][-columns:]:
            axes.set_xlabel("learning rate", fontsize=8)
        grid[top][0].set_ylabel(f"accuracy,\n{on}", fontsize=8.5)
        top += rows
    return figure


def _highest(numbers: pd.DataFrame, on: object) -> float:
    return float(numbers.loc[numbers["trained_on"] == on, "mean"].max()) or 1.0


def _plot_method(axes: Axes, rows: pd.DataFrame, every: pd.DataFrame) -> None:
    """One method at its rates, in front of the means of the others and of the bases."""
    method, beta = str(rows["method"].iloc[0]), rows["beta"].iloc[0]
    means = every[(every["base"] == MEAN) & (every["method"] != "base")]
    for _, line in means.groupby(["method", "beta"], sort=False):
        axes.plot(line["rate"], line["mean"], color="#CCCCCC", linewidth=0.8)
    before = every.loc[(every["base"] == MEAN) & (every["method"] == "base"), "mean"].iloc[0]
    axes.axhline(before, color=GREY, linewidth=0.8, linestyle="--")
    plot_lines(axes, rows, "mean", method_colour(method), "rate", line_style(method))
    rate_axis(axes, sorted(means["rate"].unique()))
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    weight = f", weight {beta:g}" * (every.loc[every["method"] == method, "beta"].nunique() > 1)
    title = textwrap.fill(f"{method_name(method)}{weight}", 30)
    best = _best(rows[rows["base"] == MEAN])
    axes.set_title(f"{title}\n{with_interval(best)} at {rate_name(best['rate'])}", fontsize=8.5)


def _best(means: pd.DataFrame) -> pd.Series:
    """The row with the highest mean, of equal ones the lowest rate."""
    return means.sort_values("mean", ascending=False, kind="stable").iloc[0]


def _bests(numbers: pd.DataFrame) -> dict[str, list[pd.Series]]:
    """By what was trained on, each method's best row, from the highest."""
    is_trained = (numbers["base"] == MEAN) & (numbers["method"] != "base")
    trained = numbers[is_trained].dropna(subset="mean")
    found: dict[str, list[pd.Series]] = {}
    for (on, _), rows in trained.groupby(["trained_on", "method"], sort=False):
        found.setdefault(str(on), []).append(_best(rows))
    return {on: sorted(rows, key=lambda row: -row["mean"]) for on, rows in found.items()}


def _finding(numbers: pd.DataFrame) -> str:
    """Which method is above all others, each at its best rate, by what was trained on."""
    leads, unclear = [], []
    for on, (first, *others) in _bests(numbers).items():
        if all(order(other) < 0 for other in others):
            leads.append(f"{method_name(first['method'])} leads on {on}")
        else:
            unclear.append(on)
    none = f"{', none clearly' if leads else 'no method clearly leads'} on {listed(unclear)}" if unclear else ""
    return f"at best rates, {listed(leads) if leads else ''}{none}"


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for on, rows in _bests(numbers).items():
        told = [f"{method_name(row['method'])} {with_interval(row)} at {row['rate']:g}" for row in rows]
        lines.append(f"Trained on {on}, each method at its best rate, from the highest: {listed(told)}.")
    finding = _finding(numbers)
    return " ".join([*lines, f"{finding[0].upper()}{finding[1:]}."])
