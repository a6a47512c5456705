"""Accuracy against the learning rate, a line for each method: what a comparison at one rate, or at the best, hides."""

from __future__ import annotations

from collections import Counter
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
from expo.report.lines import bases_note, name_ends, plot_lines, rate_axis
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, Axes, Figure, line_style, method_colour
from expo.report.training.grid import by_setting
from expo.report.training.setting import NOT_COMPARED, against, side, weights_note
from expo.report.trainings import EvaluatedRun, before_training, check_comparable, label, training_steps
from expo.report.words import listed, method_name, share
from expo.stats import MIN_PROBLEMS
from expo.text import plural

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
    trained = f"trained{against(runs)}, " if against(runs) else ""
    return draw_picture(
        out,
        f"by-rate-{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, f"{trained}at the best rates tried, {_finding(numbers)}"),
        notes=(
            f"{bases_note(int(means['bases'].max()))}; dashed: before training. Ring: the best rate; bar: 95 % interval"
            f"{_edge_note(numbers)}.\n"
            f"Split {first.recipe['eval_split']}, which also chose the rate; k = {first.sampling}; seed {first.seed}. "
            f"Clearly: {_agree(means)}the paired difference's 95 % interval excludes 0."
        ),
        reading=_read(numbers),
        setting=f"After {training_steps(runs)}{against(runs)}.{weights_note(runs)} {RULE_OF_ORDER}.",
    )


def _agree(means: pd.DataFrame) -> str:
    return "bases agree, and " if means["bases"].max() > 1 else ""


def _edge_note(numbers: pd.DataFrame) -> str:
    """A caption's words on a best rate at the edge of those tried; empty if there is none."""
    places = {_place(best, numbers) for rows in _bests(numbers).values() for best in rows}
    return "; arrow: at the edge of the grid" * bool(places & {_LOWEST, _HIGHEST})


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
    figure, (row,) = sheet(1, len(trained_on), 3.2, caption)
    for axes, on in zip(row, trained_on, strict=True):
        rows = numbers[numbers["trained_on"] == on]
        _plot_methods(axes, rows)
        axes.set_title(f"accuracy, trained on {on} (n = {plural(int(rows['problems'].iloc[0]), 'problem')})")
        axes.set_xlabel("learning rate")
    return figure


def _plot_methods(axes: Axes, numbers: pd.DataFrame) -> None:
    """A line for each method and weight, named at its end; its best rate is marked; dashed: before training."""
    is_trained = numbers["method"] != "base"
    trained = numbers[is_trained]
    rate_axis(axes, sorted(trained["rate"].unique()))
    before = float(numbers.loc[~is_trained & (numbers["base"] == MEAN), "mean"].iloc[0])
    axes.axhline(before, color=GREY, linewidth=0.8, linestyle="--")
    ends, bests = [], []
    for (method, beta), rows in _at_rates(trained).groupby(["method", "beta"], sort=False):
        colour = method_colour(str(method))
        plot_lines(axes, rows, "mean", colour, "rate", line_style(str(method)))
        means = rows[rows["base"] == MEAN]
        weight = f", weight {beta:g}" * (trained.loc[trained["method"] == method, "beta"].nunique() > 1)
        ends.append((float(means.sort_values("rate")["mean"].iloc[-1]), f"{method_name(str(method))}{weight}", colour))
        bests.append(_best(means))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    # Marks at 0 are not cut, and labels have room above the highest mark; no tick promises more than 100 %.
    lowest, highest = float(numbers["mean"].min()), float(numbers[["mean", "high"]].max().max()) or 1.0
    bottom = -0.03 * highest if lowest < 0.4 else lowest - 0.05
    top = highest + 0.08 * _stacked(bests) * (highest - bottom)
    axes.set_ylim(bottom, top)
    axes.set_yticks([tick for tick in axes.get_yticks() if max(bottom, 0) <= tick <= min(top, 1.001)])
    name_ends(axes, ends)
    _mark(axes, bests, numbers)


def _stacked(bests: Sequence[pd.Series]) -> int:
    """The most labels above one rate."""
    return Counter(best["rate"] for best in bests).most_common(1)[0][1]


def _mark(axes: Axes, bests: Sequence[pd.Series], numbers: pd.DataFrame) -> None:
    """A ring around each method's best mean, its interval as a bar, and its value; a method's only rate has no ring."""
    to_axes = axes.transData + axes.transAxes.inverted()
    rates = sorted(numbers.loc[numbers["method"] != "base", "rate"].unique())
    sides = {rates[-1]: "right", rates[0]: "left"}
    heights: dict[tuple[float, bool], float] = {}
    for best in sorted(bests, key=lambda best: float(best["mean"])):
        rate, colour, where = best["rate"], method_colour(best["method"]), _place(best, numbers)
        is_alone = where == _ALONE
        if best["problems"] >= MIN_PROBLEMS:
            axes.vlines(rate, best["low"], best["high"], color=colour, linewidth=1.2)
        if not is_alone:
            axes.plot([rate], [best["mean"]], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour)
            # A label above the ring would hide the line of a method that is higher at this rate.
            below = bool(
                numbers.loc[(numbers["base"] == MEAN) & (numbers["rate"] == rate), "mean"].max() > best["mean"]
            )
            edge = float(to_axes.transform((rate, _end(best, "low" if below else "high")))[1])
            wanted = edge - 0.045 if below else edge + 0.045
            heights[rate, below] = max(wanted, heights.get((rate, below), 0.0) + 0.065 * ((rate, below) in heights))
        axes.annotate(
            where.format(share(best["mean"])),
            (rate, best["mean"] if is_alone else heights[rate, below]),
            (8 if is_alone else 0, 0),
            xycoords=("data", "data" if is_alone else "axes fraction"),
            textcoords="offset points",
            ha="left" if is_alone else sides.get(rate, "center"),
            va="center",
            fontsize=8,
            color=colour,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
        )


def _end(best: pd.Series, end: str) -> float:
    """The end of the interval of a best rate, which its value stands above or below."""
    return float(best[end] if best["problems"] >= MIN_PROBLEMS else best["mean"])


# Where a best rate lies among those tried, as its value is labelled.
_WITHIN, _LOWEST, _HIGHEST, _ALONE = "{}", "← {}", "{} →", "{} (one rate)"


def _place(best: pd.Series, numbers: pd.DataFrame) -> str:
    """Where a best rate lies among those that were tried with its method and weight."""
    alike = (numbers[["trained_on", "method", "beta"]] == best[["trained_on", "method", "beta"]]).all(axis=1)
    rates = numbers.loc[alike, "rate"]
    if rates.nunique() == 1:
        return _ALONE
    return {rates.min(): _LOWEST, rates.max(): _HIGHEST}.get(best["rate"], _WITHIN)


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
    found = {}
    for on, of_levels in trained.groupby("trained_on", sort=False):
        found[str(on)] = [_best(rows) for _, rows in _at_rates(of_levels).groupby("method", sort=False)]
    return {on: sorted(rows, key=lambda row: -row["mean"]) for on, rows in found.items()}


def _finding(numbers: pd.DataFrame) -> str:
    """Which method is clearly above all others, each at its best rate, or which are clearly below the highest."""
    return "; ".join(f"on {on}, {_order(numbers, *rows)}" for on, rows in _bests(numbers).items())


def _order(numbers: pd.DataFrame, first: pd.Series, *others: pd.Series) -> str:
    below = [other for other in others if order(other) < 0]
    if not others:
        return f"{_ended(first, numbers)} has no other to be compared with"
    if all(side(other) == NOT_COMPARED for other in others):
        return f"too few problems, or no base in common, to compare {_ended(first, numbers)} with the others"
    if len(below) == len(others):
        return f"{_ended(first, numbers)} is clearly the highest"
    if not below:
        return "no method is clearly below the highest"
    ends = listed([_ended(row, numbers) for row in below])
    return f"only {ends} {'is' if len(below) == 1 else 'are'} clearly below the highest"


def _ended(row: pd.Series, numbers: pd.DataFrame) -> str:
    alone = ", tried at one rate" * (_place(row, numbers) == _ALONE)
    return f"{method_name(row['method'])} ({share(row['mean'])}{alone})"


_SAID = {
    _LOWEST: "The best rate is the lowest one tried for",
    _HIGHEST: "The best rate is the highest one tried for",
    _ALONE: "Only one rate was tried for",
}


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for on, rows in _bests(numbers).items():
        told = [f"{method_name(row['method'])} {with_interval(row)} at {row['rate']:g}" for row in rows]
        places = [_place(row, numbers) for row in rows]
        lines.append(f"Trained on {on}, each method at the best of its rates tried, from the highest: {listed(told)}.")
        for where, said in _SAID.items():
            if where in places:
                named = [method_name(row["method"]) for row, place in zip(rows, places, strict=True) if place == where]
                lines.append(f"{said} {listed(named)}.")
    return " ".join([*lines, f"At the best rates tried, {_finding(numbers)}."])
