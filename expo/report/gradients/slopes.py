"""Gradients while a policy is trained: own samples and positives, and how J rises along them, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.predictors import distinct, over_questions, unit_slopes
from expo.measure.verdict import Interval
from expo.report.artefacts import Artefact, png, publish
from expo.report.style import GREY, METHOD_COLOURS, Axes, Figure, legend_above, line_style, look, sheet
from expo.report.training import Evaluated, by_method, label, per_base
from expo.report.words import METHODS, TOY, interval
from expo.text import plural

COLUMNS = ["panel", "method", "step", "mean", "lowest", "highest", "bases", "low", "high", "questions"]
COLUMNS += ["positives", "live"]
PANELS = {
    "norm": "norm of the gradient",
    "cosine": "cosine with an own sample's",
    "t1": "log10 of T1 / norm",
    "slope": "slope of J: (T1 + T2) / norm",
}


def with_gradients(runs: Sequence[Evaluated]) -> list[Evaluated]:
    """The trainings that measured gradients as they went."""
    return [run for run in runs if run.is_training and run.run.has("alignment")]


def draw_slopes(name: str, runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `slopes-<name>-<label>.png` and `.csv`: four panels over steps, a line for each method, mean over bases."""
    numbers = _table(runs)
    first = runs[0]
    about = (
        f"Of {first.recipe['gradient_problems']} questions trained on, at each evaluation; means over bases, thin "
        "lines the lowest and highest. "
        f"Slopes are from {first.recipe['gradient_rollouts']} rollouts each at T = 1, 0 where all are right or all "
        "wrong. T1, whose logs are averaged, is of right positives, the cosine of positives that are not the own "
        "sample's text. Counts and intervals by question: see the CSV.\n"
        "Claims E6-dom and E6-mono of the ledger say when T1 dominates."
        + " GRPO has no positive; its own samples are shown."
        * any(run.method == "none" for run in runs)
    )
    setting = (
        f"Trained on {first.levels}; {plural(len({run.base for run in runs}), 'base')}, own samples at T = "
        f"{first.recipe.get('temperature', 1):g}, seed {first.recipe.get('seed', 42)}."
    )
    notes = "\n".join([about, setting, *([TOY] if first.is_toy else [])])
    with look():
        image = png(_picture(numbers, f"Gradients over training: {label(runs)}", notes, first.is_toy))
    return publish(out, f"slopes-{name}-{label(runs)}", runs, numbers, {".png": image}, _read(numbers))


def _table(runs: Sequence[Evaluated]) -> pd.DataFrame:
    """`COLUMNS`: the mean over bases, the lowest and highest base, and a 95 % bootstrap interval by question.

    `positives` are those of all bases, `live` those of them whose question has right and wrong rollouts.
    """
    rows: list[list[Any]] = []
    for method, held in by_method(runs).items():
        measured = pd.concat([_values(run).assign(run=run.name) for run in held], ignore_index=True)
        for (step, panel), at in measured.dropna(subset="value").groupby(["step", "panel"]):
            means = at.groupby("run")["value"].mean().to_dict()
            bases = per_base([run for run in held if run.name in means], lambda run, of=means: of[run.name])  # type: ignore[misc]
            found = over_questions(at.set_index("problem")["value"])
            spread = [sum(bases) / len(bases), min(bases), max(bases), len(bases)]
            rows.append([panel, method, step, *spread, found.low, found.high, found.n, len(at), int(at["live"].sum())])
    return pd.DataFrame(rows, columns=COLUMNS)


def _values(run: Evaluated) -> pd.DataFrame:
    """A row for each step, question and panel, of its positive, of GRPO's own sample; NaN where there is none."""
    alignment, pairs = run.run.read("alignment"), run.run.read("gradients")
    positive = run.recipe["positive"]
    kind = "own" if positive == "none" or run.recipe.get("beta_sft") == 0 else positive
    pairs = pairs[pairs["source"] != pairs["other_source"]]
    cosine = (pairs["product"] / (pairs["norm"] * pairs["other_norm"])).astype(float)
    positives = alignment[alignment["source"] == kind].merge(
        pairs[["step", "problem"]].assign(cosine=cosine), on=["step", "problem"], how="left"
    )
    # The own sample comes first; a positive of the same text has the same gradient.
    other = positives.merge(distinct(alignment)[["step", "problem", "source"]], how="left", indicator=True)["_merge"]
    norm, t1 = positives["norm"].astype(float), positives["log10_t1"].astype(float)
    found = positives[["step", "problem"]].assign(
        norm=norm,
        cosine=positives["cosine"].where((other == "both").to_numpy() & (kind != "own")),
        t1=(t1 - np.log10(norm)).where(np.isfinite(t1)),
        slope=unit_slopes(positives),
        live=positives["slope_error"].notna(),
    )
    return found.melt(["step", "problem", "live"], list(PANELS), "panel")


def _picture(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, grid = sheet(2, 2, 2.3, heading, notes, toy)
    axes_of = dict(zip(PANELS, [axes for row in grid for axes in row], strict=True))
    methods = numbers["method"].nunique()
    for panel, what in PANELS.items():
        axes = axes_of[panel]
        for method, line in numbers[numbers["panel"] == panel].groupby("method", sort=False):
            _line(axes, line, str(method))
        axes.set_title(what, pad=(20 if methods < 4 else 33) if panel == "norm" else None)
        axes.set_xlabel("step")
    axes_of["slope"].axhline(0, color=GREY, linewidth=0.8)
    legend_above(axes_of["norm"], 3 if methods < 4 else 2)
    return figure


def _line(axes: Axes, line: pd.DataFrame, method: str) -> None:
    colour, style = METHOD_COLOURS[method], line_style(method)
    axes.plot(line["step"], line["mean"], style, color=colour, marker=".", markersize=4, label=METHODS[method])
    for edge in ("lowest", "highest"):
        axes.plot(line["step"], line[edge], style, color=colour, linewidth=0.5, alpha=0.6)


def _read(numbers: pd.DataFrame) -> str:
    says = []
    for method, held in numbers.groupby("method", sort=False):
        ends = {panel: f"{_told(rows.iloc[0])} → {_told(rows.iloc[-1])}" for panel, rows in held.groupby("panel")}
        says.append(f"- {METHODS[str(method)]}: " + "; ".join(f"{PANELS[p]} {ends[p]}" for p in PANELS if p in ends))
    slopes = numbers[numbers["panel"] == "slope"]
    some = f"{slopes['live'].min()} to {slopes['live'].max()} of {slopes['positives'].max()} positives"
    return (
        f"First step to last, with 95 % intervals by question; at a step {some} are of a question with right and wrong "
        "rollouts:\n\n" + "\n".join(says)
    )


def _told(row: pd.Series) -> str:
    return interval(Interval(row["mean"], row["low"], row["high"], row["questions"]))
