"""A picture of a grid of trainings: each method at its best rate, beside the share of its positives without a slip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.accuracy import MEAN, accuracy_by_base, base_names, difference, mean_by_base, points, range_of, summary
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, INK, Axes, Figure, method_colour
from expo.report.training.grid import best
from expo.report.training.setting import named
from expo.report.trainings import (
    EvaluatedRun,
    before_training,
    check_comparable,
    count_bases,
    label,
    training_steps,
)
from expo.report.words import listed, method_name, method_order, share
from expo.stats import bootstrap
from expo.text import plural

COLUMNS = ["panel", "method", "rate", "beta", "base", "mean", "low", "high", "lowest", "highest", "bases", "n"]
PANELS = {"accuracy": "accuracy", "positives": "positives whose steps are all true"}


def draw_best(name: str, runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `best-<name>-<label>.png` and `.csv`: accuracy on the levels trained on, and the positives' true steps.

    All runs are trained on the same levels. In the CSV `n` counts problems, of positives those that have one.
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
            f"Left: accuracy at {first.levels} after {training_steps(runs)}, mean over "
            f"{plural(count_bases(runs), 'base')} with the 95 % bootstrap interval by problem; circles are the bases. "
            "Right: the share of positives (each times its weight) whose steps are all true, "
            "with its interval; own samples are not in it. The CSV has each method's difference from ExP-GRPO, too.\n"
            f"Split {first.recipe['eval_split']}, {first.sampling}, seed {first.seed}. The rate with the highest mean "
            f"accuracy is chosen on these same problems; the table {name}-{label(runs)} has all of them."
        ),
        reading=_read(numbers),
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
    """The share of positives without a false step, by weight; nothing for methods that learn none with steps."""
    by_run = [_without_slip(run) for run in runs]
    if any(of_run.empty for of_run in by_run):
        return []
    of_bases = mean_by_base(runs, [float(of_run.mean()) for of_run in by_run])
    mean = asdict(bootstrap(pd.concat(by_run, axis=1).mean(axis=1).to_numpy()))
    return [{**mean, **range_of(of_bases), "base": MEAN}, *_of_bases(runs, of_bases)]


def _without_slip(run: EvaluatedRun) -> pd.Series:
    """Of each problem that has a positive with steps, whether all are true; a mean by weight where it has several."""
    held = run.run.read("positives") if run.run.has("positives") and not run.adds_nothing else pd.DataFrame()
    if held.empty or run.recipe.get("algorithm") == "dpo":
        return pd.Series(dtype=float)
    held = held[held["steps"] > 0]
    weight = held["weight"].astype(float).fillna(1.0)
    true = (held["steps"] == held["steps_true"]).astype(float) * weight
    shares: pd.Series = true.groupby(held["problem"]).sum() / weight.groupby(held["problem"]).sum()
    return shares


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    methods = list(dict.fromkeys(numbers["method"]))
    figure, ((left, right),) = sheet(1, 2, 0.9 + 0.26 * len(methods), caption)
    for axes, (panel, title) in zip((left, right), PANELS.items(), strict=True):
        _dots(axes, numbers[numbers["panel"] == panel], methods)
        axes.set_title(title)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    left.set_xlim(left=0)
    left.set_yticks(range(len(methods)), [method_name(m) for m in methods])
    right.set_yticks(range(len(methods)), [""] * len(methods))
    return figure


def _dots(axes: Axes, rows: pd.DataFrame, methods: Sequence[str]) -> None:
    for place, method in enumerate(methods):
        of_method = rows[rows["method"] == method]
        if of_method.empty:
            continue
        row, bases = of_method.iloc[0], of_method.iloc[1:]["mean"]
        colour = method_colour(method)
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([row["mean"]], [place], "o", color=colour, markersize=6)
        axes.plot(bases, [place] * len(bases), "o", color=GREY, markersize=4, fillstyle="none")
        beside = (row["high"], place)
        axes.annotate(share(row["mean"]), beside, (4, 5), textcoords="offset points", fontsize=8, color=INK)
    axes.set_ylim(len(methods) - 0.5, -0.5)


def _apart(numbers: pd.DataFrame) -> pd.DataFrame:
    """The differences from ExP-GRPO with an interval without 0 and every base on one side."""
    less = numbers[numbers["panel"] == "difference"]
    return less[(less["low"] > 0) & (less["lowest"] > 0) | (less["high"] < 0) & (less["highest"] < 0)]


def _finding(numbers: pd.DataFrame, levels: str) -> str:
    less, apart = numbers[numbers["panel"] == "difference"], _apart(numbers)
    if less.empty:
        return f"each method at its best rate, trained on {levels}"
    above = int((apart["mean"] > 0).sum())
    return (
        f"at best rates on {levels}, {above} of {plural(len(less), 'method')} end above ExP-GRPO, "
        f"{len(apart) - above} below"
    )


def _read(numbers: pd.DataFrame) -> str:
    means = numbers[numbers["base"] == MEAN]
    accuracy = means[(means["panel"] == "accuracy") & (means["method"] != "base")]
    order = accuracy.sort_values("mean", ascending=False, kind="stable")
    said = [f"{named(m)} {share(v)}" for m, v in zip(order["method"], order["mean"], strict=True)]
    text = f"At the best rate of each, from the highest: {listed(said)}."
    if (means["panel"] == "difference").any():
        pairs = [f"{named(row['method'])} by {points(row)}" for _, row in _apart(means).iterrows()]
        text += f" Different from ExP-GRPO with an interval without 0 and every base on one side: {listed(pairs)}."
    slips = means[means["panel"] == "positives"].set_index("method")["mean"]
    both = accuracy.set_index("method")["mean"].reindex(slips.index)
    if len(slips) > 2 and slips.nunique() > 1:
        rank = float(np.corrcoef(slips.rank(), both.rank())[0, 1])
        text += (
            f" Over the {len(slips)} methods that learn positives with steps, accuracy and the share of positives "
            f"without a false step have a rank correlation of {rank:.2f}."
        )
    return text
