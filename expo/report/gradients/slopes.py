"""Gradients during training: own samples and positives, and how J rises along them, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.gradients.predictors import distinct, unit_slopes
from expo.report.accuracy import MEAN, base_names, mean_by_base, range_of
from expo.report.artefacts import Artefact
from expo.report.lines import plot_lines
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, LEGEND_PAD, Axes, Figure, legend_outside, line_style, method_colour
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import interval, listed, method_name, number, spanned
from expo.stats import MIN_PROBLEMS, Interval, bootstrap_questions
from expo.text import plural

COLUMNS = ["panel", "method", "base", "step", "mean", "lowest", "highest", "bases", "low", "high", "questions"]
COLUMNS += ["positives", "live"]
PANELS = {
    "slope": "slope of J: (T1 + T2) / norm",
    "t1": "log10 of T1 / norm",
    "norm": "norm of the gradient",
    "cosine": "cosine with an own sample's gradient",
}


_SETTING = (
    "A slope is 0 where all rollouts of a question are right or all are wrong; where that is so of every question, no "
    "slope is shown. T1 is of right positives, and its logarithms are averaged. The cosine is of positives whose text "
    "is not the own sample's. The CSV has counts and intervals. Claims E6-dom and E6-mono of the ledger say when T1 "
    "dominates."
)


def with_gradients(runs: Sequence[EvaluatedRun]) -> list[EvaluatedRun]:
    """The trainings that measured gradients along the way."""
    return [run for run in runs if run.is_training and run.run.has("alignment")]


def draw_slopes(name: str, runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `slopes-<name>-<label>.png` and `.csv`: four panels over steps, with each method's mean and bases."""
    numbers = _numbers(runs)
    return draw_picture(
        out,
        f"slopes-{name}-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers)),
        notes=_notes(runs),
        reading=_read(numbers),
        setting=_SETTING,
    )


def _numbers(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Rows with `COLUMNS`: the mean over bases, with a 95 % bootstrap interval by question, and each base.

    `positives` counts those of all bases, `live` those whose question has right and wrong rollouts. If none is live,
    rollouts say nothing about the slope, and the row has only counts.
    """
    rows: list[dict[str, Any]] = []
    for method, of_method in by_method(runs).items():
        values = pd.concat([_values(run).assign(run=run.name) for run in of_method], ignore_index=True)
        for (step, panel), at_step in values.dropna(subset="value").groupby(["step", "panel"]):
            means = at_step.groupby("run")["value"].mean().to_dict()
            measured = [run for run in of_method if run.name in means]
            of_bases = mean_by_base(measured, [means[run.name] for run in measured])
            by_question = bootstrap_questions(at_step.set_index("problem")["value"])
            given = {"panel": panel, "method": method, "step": step}
            row = {**given, "base": MEAN, "mean": sum(of_bases) / len(of_bases)}
            row |= {"low": by_question.low, "high": by_question.high, "questions": by_question.n}
            row |= {**range_of(of_bases), "positives": len(at_step), "live": int(at_step["live"].sum())}
            if panel == "slope" and not row["live"]:
                rows.append(row | dict.fromkeys(("mean", "low", "high", "lowest", "highest"), float("nan")))
                continue
            rows.append(row)
            bases = zip(base_names(measured), of_bases, strict=True)
            rows += [{**given, "base": base, "mean": mean} for base, mean in bases]
    return pd.DataFrame(rows, columns=COLUMNS)


def _values(run: EvaluatedRun) -> pd.DataFrame:
    """One row per step, question and panel, for its positive or, with GRPO, its own sample; NaN if there is none."""
    alignment, pairs = run.run.read("alignment"), run.run.read("gradients")
    positive = run.recipe["positive"]
    source = "own" if positive == "none" or run.recipe.get("beta_sft") == 0 else positive
    pairs = pairs[pairs["source"] != pairs["other_source"]]
    cosine = (pairs["product"] / (pairs["norm"] * pairs["other_norm"])).astype(float)
    positives = alignment[alignment["source"] == source].merge(
        pairs[["step", "problem"]].assign(cosine=cosine), on=["step", "problem"], how="left"
    )
    # The own sample comes first; a positive with the same text has the same gradient.
    other = positives.merge(distinct(alignment)[["step", "problem", "source"]], how="left", indicator=True)["_merge"]
    norm, t1 = positives["norm"].astype(float), positives["log10_t1"].astype(float)
    values = positives[["step", "problem"]].assign(
        norm=norm,
        cosine=positives["cosine"].where((other == "both").to_numpy() & (source != "own")),
        t1=(t1 - np.log10(norm)).where(np.isfinite(t1)),
        slope=unit_slopes(positives),
        live=positives["slope_error"].notna(),
    )
    return values.melt(["step", "problem", "live"], list(PANELS), "panel")


def _notes(runs: Sequence[EvaluatedRun]) -> str:
    first = runs[0]
    own_samples = " GRPO has no positive: its own samples are shown." * any(run.adds_nothing for run in runs)
    return (
        "J: the expected reward. T1: the positive's own term of its slope (Eq 6); T2: that of all others. "
        "Bars: 95 % intervals by question; clearly: above 0. Thin lines: bases.\n"
        f"n = {plural(int(first.recipe['gradient_problems']), 'question')} trained on, "
        f"{first.recipe['gradient_rollouts']} rollouts each at T = 1; {first.levels}; "
        f"{plural(count_bases(runs), 'base')}, own samples at T = {first.recipe.get('temperature', 1):g}, "
        f"seed {first.seed}.{own_samples}"
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, grid = sheet(2, 2, 2.3, caption)
    axes_of = dict(zip(PANELS, [axes for row in grid for axes in row], strict=True))
    methods = list(dict.fromkeys(numbers["method"]))
    for panel, title in PANELS.items():
        axes, shown = axes_of[panel], numbers[numbers["panel"] == panel]
        if panel == "slope":
            _plot_slopes(axes, shown[shown["base"] == MEAN], methods)
        else:
            for method, rows in shown.groupby("method", sort=False):
                plot_lines(axes, rows, "mean", method_colour(str(method)), style=line_style(str(method)))
        axes.set_title(title, pad=(LEGEND_PAD if len(methods) < 4 else 33) if panel == "slope" else None)
        axes.set_xlabel("training step")
    for panel in ("cosine", "slope"):
        axes_of[panel].axhline(0, color=GREY, linewidth=0.8)
    legend_outside(axes_of["slope"], 3 if len(methods) < 4 else 2)
    return figure


def _plot_slopes(axes: Axes, means: pd.DataFrame, methods: Sequence[str]) -> None:
    """The means, side by side, with their intervals where there are enough questions; bases would hide them."""
    apart = 0.016 * (means["step"].max() - means["step"].min())
    for i, method in enumerate(methods):
        rows, colour = means[means["method"] == method], method_colour(method)
        x = rows["step"] + apart * (i - (len(methods) - 1) / 2)
        axes.plot(x, rows["mean"], "o", ls=line_style(method), color=colour, ms=3.5, lw=2, label=method_name(method))
        known = rows["questions"] >= MIN_PROBLEMS
        axes.vlines(x[known], rows["low"][known], rows["high"][known], color=colour, lw=1.3)


def _finding(numbers: pd.DataFrame) -> str:
    """The methods along whose positives J rises, with an interval above 0, at each method's first and last step."""
    slopes = numbers[(numbers["panel"] == "slope") & (numbers["base"] == MEAN)]
    compared = slopes[slopes["questions"] >= MIN_PROBLEMS]
    if compared.empty:
        return "too few questions to distinguish the slope of J from 0"
    ends = slopes.groupby("method")["step"]
    first, last = (
        _rising(compared[compared["step"] == ends.transform(end).loc[compared.index]]) for end in ("min", "max")
    )
    if not (first or last):
        return "no method's positives clearly raise J, at first or at the end"
    if first == last:
        return f"the positives of {listed(first)} clearly raise J, at first and at the end"
    if first and last:
        return (
            f"J is clearly raised at first by the positives of {listed(first)}, at the end by those of {listed(last)}"
        )
    one, when, other = (first, "at first", "at the end") if first else (last, "at the end", "at first")
    return f"the positives of {listed(one)} clearly raise J {when}; no method's clearly raise it {other}"


def _rising(rows: pd.DataFrame) -> list[str]:
    """The methods of rows whose slope has an interval above 0."""
    return [method_name(method) for method in rows.loc[rows["low"] > 0, "method"]]


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, of_method in numbers[numbers["base"] == MEAN].groupby("method", sort=False):
        ends = {panel: f"{_mean(rows.iloc[0])} → {_mean(rows.iloc[-1])}" for panel, rows in of_method.groupby("panel")}
        changes = "; ".join(f"{title} {ends[panel]}" for panel, title in PANELS.items() if panel in ends)
        lines.append(f"- {method_name(method)}: {changes}")
    slopes = numbers[(numbers["panel"] == "slope") & (numbers["base"] == MEAN)].astype({"live": int, "positives": int})
    live = f"{spanned(slopes['live'])} of {spanned(slopes['positives'])}"
    return (
        "From the first step to the last, with 95 % intervals by question where there are at least "
        f"{MIN_PROBLEMS} questions. At a step, {live} positives are of a question with right and wrong rollouts.\n\n"
        + "\n".join(lines)
    )


def _mean(row: pd.Series) -> str:
    if np.isnan(row["mean"]):
        return "–"
    if row["questions"] < MIN_PROBLEMS:
        return f"{number(row['mean'])} (of {plural(int(row['questions']), 'question')})"
    return interval(Interval(row["mean"], row["low"], row["high"], row["questions"]))
