"""A picture of a grid of trainings: each method at its best rate, from the highest accuracy to the lowest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.accuracy import (
    MEAN,
    RULE_OF_ORDER,
    accuracy_by_base,
    base_names,
    difference,
    mean_by_base,
    points,
    range_of,
    sign,
    summary,
    with_interval,
)
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, INK, Axes, Figure, method_colour
from expo.report.training.grid import best
from expo.report.training.setting import named
from expo.report.trainings import (
    EvaluatedRun,
    before_training,
    check_comparable,
    label,
    training_steps,
)
from expo.report.words import listed, method_name, method_order, share
from expo.stats import MIN_PROBLEMS, bootstrap
from expo.text import plural

COLUMNS = ["panel", "method", "rate", "beta", "base", "mean", "low", "high", "lowest", "highest", "bases", "n"]


def draw_best(name: str, runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `best-<name>-<label>.png` and `.csv`: accuracy on the levels trained on, and the positives' true steps.

    All runs are trained on the same levels. The CSV has the share of positives whose steps are all true, too; `n`
    counts problems, of positives those that have one.
    """
    check_comparable(runs)
    numbers = _numbers(runs)
    first = runs[0]
    return draw_picture(
        out,
        f"best-{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers, first.levels)),
        notes=(
            "Dots: means with 95 % intervals by problem, [low, high] on the right (bootstrap, exact at 0 % and 100 %). "
            f"Circles: the {plural(int(numbers['bases'].max()), 'base')}.\n"
            f"{_marks(numbers)}"
            f"n = {int(numbers['n'].iloc[0])} problems of the split {first.recipe['eval_split']}, on which the rates "
            f"are also chosen; k = {first.sampling}, seed {first.seed}."
        ),
        reading=_read(numbers),
        setting=f"After {training_steps(runs)}. The table {name}-{label(runs)} has all rates. {RULE_OF_ORDER}.",
    )


def _numbers(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    first = runs[0]
    rows = _accuracy("base", before_training(runs), 0.0, 0.0, 0)
    chosen = best(runs)
    plain = (first.levels, "explanation")
    for method in sorted({m for levels, m in chosen if levels == first.levels}, key=method_order):
        rate, beta = chosen[first.levels, method]
        alike = _at(runs, method, rate, beta)
        rows += _accuracy(method, alike, rate, beta)
        others = _at(runs, plain[1], *chosen[plain]) if plain in chosen and method != plain[1] else []
        if {run.base for run in alike} & {run.base for run in others}:
            less = difference(alike, others, first.trained_levels)
            given = {"panel": "difference", "method": method, "rate": rate, "beta": beta, "base": MEAN}
            rows.append({**given, **less, "n": less["problems"]})
        for row in _positives(alike):
            rows.append({"panel": "positives", "method": method, "rate": rate, "beta": beta, **row})
    return pd.DataFrame(rows, columns=COLUMNS)


def _at(runs: Sequence[EvaluatedRun], method: str, rate: float, beta: float) -> list[EvaluatedRun]:
    return [run for run in runs if (run.method, run.rate, run.beta) == (method, rate, beta)]


def _accuracy(
    method: str, runs: Sequence[EvaluatedRun], rate: float, beta: float, step: int | None = None
) -> list[dict[str, Any]]:
    """The mean over bases, and each base."""
    levels = runs[0].trained_levels
    found, of_bases = summary(runs, step, levels), accuracy_by_base(runs, step, levels)
    given = {"panel": "accuracy", "method": method, "rate": rate, "beta": beta, "n": found["problems"]}
    return [{**found, **given, "base": MEAN}, *({**given, **row} for row in _of_bases(runs, of_bases))]


def _of_bases(runs: Sequence[EvaluatedRun], values: Sequence[float]) -> list[dict[str, Any]]:
    return [{"base": base, "mean": value} for base, value in zip(base_names(runs), values, strict=True)]


def _positives(runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """The share of positives without a false step, by weight; empty for methods that learn none with steps."""
    by_run = [_without_slip(run) for run in runs]
    if any(of_run.empty for of_run in by_run):
        return []
    of_bases = mean_by_base(runs, [float(of_run.mean()) for of_run in by_run])
    mean = asdict(bootstrap(pd.concat(by_run, axis=1).mean(axis=1).to_numpy()))
    return [{**mean, **range_of(of_bases), "base": MEAN}, *_of_bases(runs, of_bases)]


def _without_slip(run: EvaluatedRun) -> pd.Series:
    """For each problem whose positive has steps, whether all are true; a weighted mean if it has several positives."""
    held = run.run.read("positives") if run.run.has("positives") and not run.adds_nothing else pd.DataFrame()
    if held.empty or run.recipe.get("algorithm") == "dpo":
        return pd.Series(dtype=float)
    held = held[held["steps"] > 0]
    weight = held["weight"].astype(float).fillna(1.0)
    true = (held["steps"] == held["steps_true"]).astype(float) * weight
    shares: pd.Series = true.groupby(held["problem"]).sum() / weight.groupby(held["problem"]).sum()
    return shares


def _marks(numbers: pd.DataFrame) -> str:
    """What the marks of `_plot` mean; empty if it has none."""
    if _apart(numbers).empty:
        return ""
    return "▲ ▼: above or below ExP-GRPO on every base, with a 95 % interval of the difference that excludes 0.\n"


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    shown = numbers[numbers["panel"] == "accuracy"]
    means = shown[shown["base"] == MEAN].sort_values("mean", ascending=False, kind="stable")
    figure, ((axes,),) = sheet(1, 1, 0.7 + 0.25 * len(means), caption)
    apart = _apart(numbers).set_index("method")["mean"]
    for place, (_, row) in enumerate(means.iterrows()):
        bases = shown.loc[(shown["method"] == row["method"]) & (shown["base"] != MEAN), "mean"]
        mark = "" if row["method"] not in apart else " ▲" if apart[row["method"]] > 0 else " ▼"
        _dot(axes, place, row, bases)
        text = f"{with_interval(row.rename({'n': 'problems'}))}{mark}"
        axes.annotate(text, (1, place), (5, 0), va="center", color=INK, annotation_clip=False, **_BESIDE)
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(means)), [method_name(m) for m in means["method"]])
    axes.set_title("accuracy of each method at its best rate, highest first")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    return figure


# From the right edge of the axes, at a row's place.
_BESIDE: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8}


def _dot(axes: Axes, place: int, row: pd.Series, bases: pd.Series) -> None:
    colour = method_colour(row["method"])
    if row["n"] >= MIN_PROBLEMS:
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot([row["mean"]], [place], "o", color=colour, markersize=6)
    axes.plot(bases, [place] * len(bases), "o", color=GREY, markersize=4, fillstyle="none")


def _differences(numbers: pd.DataFrame) -> pd.DataFrame:
    """The differences from ExP-GRPO that are of enough problems to show an order."""
    less = numbers[numbers["panel"] == "difference"].rename(columns={"n": "problems"})
    return less[less["problems"] >= MIN_PROBLEMS]


def _apart(numbers: pd.DataFrame) -> pd.DataFrame:
    """Those that are shown to be above or below 0."""
    less = _differences(numbers)
    return less.loc[[sign(row) != 0 for _, row in less.iterrows()]]


def _finding(numbers: pd.DataFrame, levels: str) -> str:
    accuracy = numbers[(numbers["panel"] == "accuracy") & (numbers["base"] == MEAN)].set_index("method")["mean"]
    trained = accuracy.drop("base")
    highest = [str(method) for method in trained.index[trained == trained.max()]]
    names = listed([method_name(method) for method in highest])
    first = f"in accuracy at {levels}, {names} {'is' if len(highest) == 1 else 'are'} highest ({share(trained.max())})"
    less, apart = _differences(numbers), _apart(numbers)
    if less.empty:
        return first
    plain = "it" if highest == ["explanation"] else f"ExP-GRPO ({share(trained['explanation'])})"
    if apart.empty:
        return f"{first}; no other method is shown to end above or below {plain}"
    above = int((apart["mean"] > 0).sum())
    if len(less) == 1:
        return f"{first}; {plain} ends {'below' if above else 'above'} the other method"
    return f"{first}; {plain} ends below {above} of {len(less)} other methods and above {len(apart) - above}"


def _read(numbers: pd.DataFrame) -> str:
    means = numbers[numbers["base"] == MEAN]
    accuracy = means[(means["panel"] == "accuracy") & (means["method"] != "base")]
    order = accuracy.sort_values("mean", ascending=False, kind="stable")
    said = [f"{named(m)} {share(v)}" for m, v in zip(order["method"], order["mean"], strict=True)]
    text = f"Each method at its best rate, from the highest: {listed(said)}."
    if len(_differences(means)):
        pairs = [f"{named(row['method'])} by {points(row)}" for _, row in _apart(means).iterrows()]
        text += f" Different from ExP-GRPO on every base, with an interval that excludes 0: {listed(pairs)}."
    slips = means[means["panel"] == "positives"].set_index("method")["mean"]
    both = accuracy.set_index("method")["mean"].reindex(slips.index)
    if len(slips) > 2 and slips.nunique() > 1:
        rank = float(np.corrcoef(slips.rank(), both.rank())[0, 1])
        text += (
            f" Over the {len(slips)} methods that learn positives with steps, accuracy and the share of positives "
            f"without a false step have a rank correlation of {rank:.2f}."
        )
    return text
