"""Accuracy against the learning rate, a line for each method: what a comparison at one rate, or at the best, hides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from expo.report.lines import NOTE, name_ends, plot_lines, rate_axis, rate_name
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, Axes, Figure, line_style, method_colour
from expo.report.training.grid import by_setting
from expo.report.training.setting import weights_note
from expo.report.trainings import EvaluatedRun, before_training, check_comparable, label, training_steps
from expo.report.words import listed, method_name, share

COLUMNS = ["trained_on", "method", "rate", "beta", "base", "mean", "low", "high", "lowest", "highest", "bases"]
COLUMNS += ["problems", "n", "split", *LESS]
MOST = 6  # methods that a picture can tell apart


def has_rates(runs: Sequence[EvaluatedRun]) -> bool:
    """Whether any method was trained at several learning rates, all else equal, and there are few enough methods."""
    rates: dict[tuple[str, str, float], set[float]] = {}
    for run in runs:
        rates.setdefault((run.levels, run.method, run.beta), set()).add(run.rate)
    methods = {method for _, method, _ in rates}
    return len(methods) <= MOST and any(len(of_one) > 1 for of_one in rates.values())


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
            f"{_bases_note(means)}; dashed: before training. Beside each name: its highest mean with its 95 % "
            "interval.\n"
            f"n = {means['problems'].iloc[0]} problems of the split {first.recipe['eval_split']}, on which the rate is "
            f"chosen, too; k = {first.sampling}, seed {first.seed}."
        ),
        reading=_read(numbers),
        setting=f"After {training_steps(runs)}.{weights_note(runs)} {RULE_OF_ORDER}.",
    )


def _bases_note(means: pd.DataFrame) -> str:
    return "All runs are from one base" if means["bases"].max() == 1 else NOTE


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
    trained_on = list(dict.fromkeys(numbers["trained_on"]))
    figure, (row,) = sheet(1, len(trained_on), 3.0, caption)
    for axes, on in zip(row, trained_on, strict=True):
        _plot_methods(axes, numbers[numbers["trained_on"] == on])
        axes.set_title(f"accuracy, trained on {on}")
        axes.set_xlabel("learning rate")
    return figure


def _plot_methods(axes: Axes, numbers: pd.DataFrame) -> None:
    """A line for each method and weight, named at its end with its best rate; dashed: before training."""
    is_trained = numbers["method"] != "base"
    trained = numbers[is_trained]
    rate_axis(axes, sorted(trained["rate"].unique()))
    lowest, highest = float(numbers["mean"].min()), float(numbers["mean"].max()) or 1.0
    axes.set_ylim(-0.03 * highest if lowest < 0.4 else lowest - 0.05, 1.04 * highest)
    before = float(numbers.loc[~is_trained & (numbers["base"] == MEAN), "mean"].iloc[0])
    axes.axhline(before, color=GREY, linewidth=0.8, linestyle="--")
    ends = []
    for (method, beta), rows in _at_rates(trained).groupby(["method", "beta"], sort=False):
        colour = method_colour(str(method))
        plot_lines(axes, rows, "mean", colour, "rate", line_style(str(method)))
        means = rows[rows["base"] == MEAN]
        best, last = _best(means), means.sort_values("rate").iloc[-1]
        weight = f", weight {beta:g}" * (trained.loc[trained["method"] == method, "beta"].nunique() > 1)
        name = f"{method_name(str(method))}{weight}\n{with_interval(best)} at {rate_name(best['rate'])}"
        ends.append((float(last["mean"]), name, colour))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    name_ends(axes, ends)


def _at_rates(trained: pd.DataFrame) -> pd.DataFrame:
    """Without the weights of a method that were tried at one rate, if it has others: the table has them."""
    rates = trained.groupby(["method", "beta"])["rate"].transform("nunique")
    return trained[rates == rates.groupby(trained["method"]).transform("max")]


def _best(means: pd.DataFrame) -> pd.Series:
    """The row with the highest mean; among equal ones, the one with the lowest rate."""
    return means.sort_values("mean", ascending=False, kind="stable").iloc[0]


def _bests(numbers: pd.DataFrame) -> dict[str, list[pd.Series]]:
    """For each set of training levels, the best row of each method, highest first."""
    is_trained = (numbers["base"] == MEAN) & (numbers["method"] != "base")
    trained = numbers[is_trained].dropna(subset="mean")
    found: dict[str, list[pd.Series]] = {}
    for (on, _), rows in trained.groupby(["trained_on", "method"], sort=False):
        found.setdefault(str(on), []).append(_best(rows))
    return {on: sorted(rows, key=lambda row: -row["mean"]) for on, rows in found.items()}


def _finding(numbers: pd.DataFrame) -> str:
    """Which method is above all others, each at its best rate, or which are not the highest one's equals."""
    return "at best rates " + "; ".join(f"on {on}, {_order(*rows)}" for on, rows in _bests(numbers).items())


def _order(first: pd.Series, *others: pd.Series) -> str:
    below = [other for other in others if order(other) < 0]
    if len(below) == len(others):
        return f"{method_name(first['method'])} ({share(first['mean'])}) leads"
    if not below:
        return "no method leads"
    ends = listed([f"{method_name(row['method'])} ({share(row['mean'])})" for row in below])
    return f"only {ends} {'is' if len(below) == 1 else 'are'} clearly below the best"


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for on, rows in _bests(numbers).items():
        told = [f"{method_name(row['method'])} {with_interval(row)} at {row['rate']:g}" for row in rows]
        lines.append(f"Trained on {on}, each method at its best rate, from the highest: {listed(told)}.")
    finding = _finding(numbers)
    return " ".join([*lines, f"{finding[0].upper()}{finding[1:]}."])
