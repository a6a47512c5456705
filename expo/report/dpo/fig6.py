"""Figure 6 of the paper as measured here: loss against accuracy over steps, for each kind of winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.accuracy import accuracy_by_base, order_of_bases, range_of
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import SMOOTH, K, metric, notes_of, smooth
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import Figure, legend_above, method_colour
from expo.report.trainings import EvaluatedRun, by_method, label
from expo.report.words import method_name, number, share

COLUMNS = ["method", "step", "pass_at_4", "lowest", "highest", "loss", "bases", "problems", "n"]
METHODS = ("dpo_explanation", "dpo_expert", "dpo_answer")


def draw_fig6(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `fig6-<label>.png` and `.csv`: pass@4 (solid) and loss (dashed) over steps, for each kind of winner."""
    arms = {method: arm for method, arm in by_method(runs).items() if method in METHODS}
    numbers = pd.DataFrame([row for method, arm in arms.items() for row in _rows(method, arm)], columns=COLUMNS)
    shown = [run for arm in arms.values() for run in arm]
    about = f"Solid: pass@{K}; dashed: DPO's loss, mean of the last {SMOOTH} batches. Both are means over bases."
    return draw_picture(
        out,
        f"fig6-{label(runs)}",
        shown,
        numbers,
        _plot,
        heading=f"Loss against accuracy: {label(runs)}",
        notes=notes_of(about, shown),
        reading=_read(numbers),
    )


def _rows(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    losses = [metric(run, "loss") for run in runs]
    rows = []
    for step in map(int, sorted(runs[0].evaluation["step"].unique())):
        of_bases = accuracy_by_base(runs, step, None, K)
        rows.append(
            {
                "method": method,
                "step": step,
                "pass_at_4": float(np.mean(of_bases)),
                **range_of(of_bases),
                "loss": float(np.mean([smooth(loss, step) for loss in losses])),
                "problems": len(runs[0].accuracies(step)),
                "n": runs[0].eval_samples,
            }
        )
    return rows


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, caption)
    losses = axes.twinx()
    losses.grid(False)
    for method, line in numbers.groupby("method", sort=False):
        colour = method_colour(str(method))
        axes.plot(line["step"], line["pass_at_4"], color=colour, label=method_name(method), marker=".", markersize=4)
        losses.plot(line["step"], line["loss"], color=colour, linestyle="--")
    axes.set_xlabel("step")
    axes.set_ylabel(f"pass@{K} (solid)")
    axes.set_ylim(0, 1.1 * float(numbers["pass_at_4"].max()))
    losses.set_ylabel("loss (dashed)")
    losses.set_ylim(0, 1.1 * float(numbers["loss"].max()))
    losses.spines["right"].set_visible(True)
    legend_above(axes, 3)
    return figure


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, line in numbers.groupby("method", sort=False):
        first, last = line.iloc[0], line.iloc[-1]
        lines.append(
            f"- {method_name(method)}: loss from {number(first['loss'])} to {number(last['loss'])}, pass@{K} from "
            f"{share(first['pass_at_4'])} to {share(last['pass_at_4'])}"
        )
    return "\n".join(lines) + f"\n\n{_deceptive(numbers[numbers['step'] == numbers['step'].max()])}"


def _deceptive(ends: pd.DataFrame) -> str:
    """Whether the arm with the lowest loss is also the most accurate, where every base says the same."""
    lowest, *others = (row for _, row in ends.sort_values("loss").iterrows())
    if not others or ends["bases"].min() < 2:
        return "One arm, or one base, tells nothing of a deceptively low loss."
    best = max(others, key=lambda row: row["pass_at_4"])
    text = f"The lowest loss is that of {method_name(lowest['method'])}"
    if order_of_bases(best, lowest) > 0:
        return (
            f"{text}, and every base of {method_name(best['method'])} is above every base of it: a lower loss does not "
            "tell the better policy (claim O1 of the ledger)."
        )
    if all(order_of_bases(lowest, row) > 0 for row in others):
        return f"{text}, and every base of it is above those of the others: no deceptively low loss among these."
    highest = max(lowest, best, key=lambda row: row["pass_at_4"])
    return (
        f"{text}, the highest accuracy that of {method_name(highest['method'])}, but the bases overlap: no order of "
        "accuracy is shown, so neither is whether the low loss is deceptive (claim O1 of the ledger)."
    )
