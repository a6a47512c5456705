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
    summary,
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
from expo.stats import bootstrap
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
            "Dots: means with 95 % intervals by problem. Circles: the bases. ▲ ▼: above or below ExP-GRPO on "
            "every base, with an interval that excludes 0.\n"
            f"n = {int(numbers['n'].iloc[0])} problems of the split {first.recipe['eval_split']}, on which the rates "
            f"are chosen, too; k = {first.sampling}, seed {first.seed}."
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
        if plain in chosen and method != plain[1]:
            less = difference(alike, _at(runs, plain[1], *chosen[plain]), first.trained_levels)
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


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    shown = numbers[numbers["panel"] == "accuracy"]
    means = shown[shown["base"] == MEAN].sort_values("mean", ascending=False, kind="stable")
    figure, ((axes,),) = sheet(1, 1, 0.7 + 0.25 * len(means), caption)
    apart = _apart(numbers).set_index("method")["mean"]
    for place, (_, row) in enumerate(means.iterrows()):
        bases = shown.loc[(shown["method"] == row["method"]) & (shown["base"] != MEAN), "mean"]
        mark = "" if row["method"] not in apart else " ▲" if apart[row["method"]] > 0 else " ▼"
        _dot(axes, place, row, bases, mark)
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(means)), [method_name(m) for m in means["method"]])
    axes.set_title("accuracy")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    return figure


def _dot(axes: Axes, place: int, row: pd.Series, bases: pd.Series, mark: str) -> None:
    colour = method_colour(row["method"])
    axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot([row["mean"]], [place], "o", color=colour, markersize=6)
    axes.plot(bases, [place] * len(bases), "o", color=GREY, markersize=4, fillstyle="none")
    beside = (max(row["high"], bases.max()), place)
    text = f"{share(row['mean'])}{mark}"
    axes.annotate(text, beside, (6, 0), textcoords="offset points", va="center", fontsize=8, color=INK)


def _apart(numbers: pd.DataFrame) -> pd.DataFrame:
    """The differences from ExP-GRPO on every base, with an interval that excludes 0."""
    less = numbers[numbers["panel"] == "difference"]
    return less[(less["low"] > 0) & (less["lowest"] > 0) | (less["high"] < 0) & (less["highest"] < 0)]


def _finding(numbers: pd.DataFrame, levels: str) -> str:
    accuracy = numbers[(numbers["panel"] == "accuracy") & (numbers["base"] == MEAN)].set_index("method")["mean"]
    trained = accuracy.drop("base").sort_values(ascending=False, kind="stable")
    first = f"in accuracy at {levels}, {method_name(str(trained.index[0]))} is highest ({share(trained.iloc[0])})"
    less, apart = numbers[numbers["panel"] == "difference"], _apart(numbers)
    if less.empty:
        return first
    above = int((apart["mean"] > 0).sum())
    return f"{first}; {above} of {plural(len(less), 'method')} end above ExP-GRPO, {len(apart) - above} below"


def _read(numbers: pd.DataFrame) -> str:
    means = numbers[numbers["base"] == MEAN]
    accuracy = means[(means["panel"] == "accuracy") & (means["method"] != "base")]
    order = accuracy.sort_values("mean", ascending=False, kind="stable")
    said = [f"{named(m)} {share(v)}" for m, v in zip(order["method"], order["mean"], strict=True)]
    text = f"At the best rate of each, from the highest: {listed(said)}."
    if (means["panel"] == "difference").any():
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
