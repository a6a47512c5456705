"""Gradients while a policy is trained: own samples and positives, and how J rises along them, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact, png, publish
from expo.report.style import GREY, METHOD_COLOURS, Axes, Figure, line_style, look, sheet
from expo.report.training import Evaluated, by_method, label, per_base
from expo.report.words import METHODS, TOY, number
from expo.text import plural

COLUMNS = ["panel", "method", "step", "mean", "lowest", "highest", "bases", "questions"]
PANELS = {
    "norm": "norm of the positive's gradient",
    "cosine": "cosine with an own sample's",
    "t1": "log10 T1 of the positive",
    "slope": "slope of J per unit of length",
}


def with_gradients(runs: Sequence[Evaluated]) -> list[Evaluated]:
    """The trainings that measured gradients as they went, and have a positive."""
    return [run for run in runs if run.is_training and run.run.has("alignment") and run.method != "none"]


def draw_slopes(name: str, runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `slopes-<name>-<label>.png` and `.csv`: four panels over steps, a line for each method, mean over bases."""
    rows: list[list[Any]] = []
    for method, held in by_method(runs).items():
        measured = {run.name: _by_step(run) for run in held}
        for step in sorted(measured[held[0].name]):
            for panel in PANELS:
                at = {run.name: measured[run.name][step][panel] for run in held}
                known = [run for run in held if not np.isnan(at[run.name])]
                if known:
                    values = per_base(known, lambda run, at=at: at[run.name])  # type: ignore[misc]
                    mean, questions = sum(values) / len(values), int(measured[held[0].name][step]["questions"])
                    rows.append([panel, method, step, mean, min(values), max(values), len(values), questions])
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    first = runs[0]
    about = (
        "Of some questions trained on; means over bases, thin lines the lowest and highest. Slopes are of questions\n"
        f"with right and wrong rollouts among {first.recipe['gradient_rollouts']}; gradients of log π(c, a|q) at T = 1."
    )
    setting = f"Trained on {first.levels}; {plural(len({run.base for run in runs}), 'base')}."
    notes = "\n".join([about, setting, *([TOY] if first.is_toy else [])])
    with look():
        image = png(_picture(numbers, f"Gradients over training: {label(runs)}", notes, first.is_toy))
    return publish(out, f"slopes-{name}-{label(runs)}", runs, numbers, {".png": image}, _read(numbers))


def _by_step(run: Evaluated) -> dict[int, dict[str, float]]:
    alignment, pairs = run.run.read("alignment"), run.run.read("gradients")
    pairs = pairs[(pairs["problem"] == pairs["other_problem"]) & (pairs["source"] != pairs["other_source"])]
    positives = alignment[alignment["source"] != "own"]
    out = {}
    for step in map(int, sorted(positives["step"].unique())):
        held, there = positives[positives["step"] == step], pairs[pairs["step"] == step]
        out[step] = {
            "norm": float(held["norm"].mean()),
            "cosine": float((there["product"] / (there["norm"] * there["other_norm"])).mean()),
            "t1": float(held["log10_t1"].mean()),
            "slope": float((held["slope"] / held["norm"]).astype(float).mean()),
            "questions": float(held["problem"].nunique()),
        }
    return out


def _picture(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, grid = sheet(2, 2, 2.3, heading, notes, toy)
    axes_of = dict(zip(PANELS, [axes for row in grid for axes in row], strict=True))
    for panel, what in PANELS.items():
        axes = axes_of[panel]
        for method, line in numbers[numbers["panel"] == panel].groupby("method", sort=False):
            _line(axes, line, str(method))
        axes.set_title(what, pad=20 if panel == "norm" else None)
        axes.set_xlabel("step")
    axes_of["slope"].axhline(0, color=GREY, linewidth=0.8)
    legend = axes_of["norm"].legend(ncols=3, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99))
    legend.set_in_layout(False)
    return figure


def _line(axes: Axes, line: pd.DataFrame, method: str) -> None:
    colour, style = METHOD_COLOURS[method], line_style(method)
    axes.plot(line["step"], line["mean"], style, color=colour, marker=".", markersize=4, label=METHODS[method])
    for edge in ("lowest", "highest"):
        axes.plot(line["step"], line[edge], style, color=colour, linewidth=0.5, alpha=0.6)


def _read(numbers: pd.DataFrame) -> str:
    says = []
    for method, held in numbers.groupby("method", sort=False):
        ends = {
            panel: f"{number(rows['mean'].iloc[0])} → {number(rows['mean'].iloc[-1])}"
            for panel, rows in held.groupby("panel")
        }
        says.append(f"- {METHODS[str(method)]}: " + "; ".join(f"{PANELS[p]} {ends[p]}" for p in PANELS if p in ends))
    return "First step to last:\n\n" + "\n".join(says)
