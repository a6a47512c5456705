"""Figure 6 of the paper as measured here: accuracy over loss by step, for each kind of winner."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report import paper
from expo.report.accuracy import (
    LESS,
    MEAN,
    RULE_OF_ORDER,
    accuracy_by_base,
    base_names,
    compared,
    mean_by_base,
    order,
    summary,
)
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import SMOOTH, K, metric, notes_of, smooth
from expo.report.lines import NOTE, name_ends, plot_lines
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import Figure, method_colour
from expo.report.trainings import EvaluatedRun, by_method, label
from expo.report.words import method_name, number, share

COLUMNS = ["method", "base", "step", "pass_at_4", "low", "high", "lowest", "highest", "loss", "bases", "problems", "n"]
COLUMNS += [*LESS]
METHODS = ("dpo_explanation", "dpo_expert", "dpo_answer")


def draw_fig6(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `fig6-<label>.png` and `.csv`: pass@4 (solid) above the loss (dashed) by step, for each kind of winner."""
    arms = {method: arm for method, arm in by_method(runs).items() if method in METHODS}
    numbers = pd.DataFrame([row for method, arm in arms.items() for row in _rows(method, arm)], columns=COLUMNS)
    ends = numbers[numbers["step"] == numbers["step"].max()]
    lowest, *others = _arms(ends)
    for arm in others:
        less = compared(arms[arm["method"]], arms[lowest["method"]], None, K)
        numbers.loc[arm.name, [*LESS]] = [*less.values()]
    ends = numbers.loc[ends.index]
    shown = [run for arm in arms.values() for run in arm]
    about = (
        f"Solid: pass@{K}, in brackets its 95 % bootstrap interval by problem; dashed: DPO's loss, mean of the last "
        f"{SMOOTH} batches. {NOTE}. {RULE_OF_ORDER}."
    )
    return draw_picture(
        out,
        f"fig6-{label(runs)}",
        shown,
        numbers,
        _plot,
        heading=headline(paper.FIG6.where, runs, _finding(ends)),
        notes=notes_of(about, shown),
        reading=_read(numbers, ends),
    )


def _rows(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """Of each step the mean over bases, and each base."""
    by_run = [metric(run, "loss") for run in runs]
    rows = []
    for step in map(int, sorted(runs[0].evaluation["step"].unique())):
        losses = mean_by_base(runs, [smooth(loss, step) for loss in by_run])
        mean = summary(runs, step, None, K)
        shared = {"method": method, "step": step, "problems": mean["problems"], "n": mean["n"]}
        rows.append({**mean, **shared, "base": MEAN, "pass_at_4": mean["mean"], "loss": sum(losses) / len(losses)})
        accuracies = accuracy_by_base(runs, step, None, K)
        for base, accuracy, loss in zip(base_names(runs), accuracies, losses, strict=True):
            rows.append({**shared, "base": base, "pass_at_4": accuracy, "loss": loss})
    return rows


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((accuracy,), (loss,)) = sheet(2, 1, 2.1, caption)
    for axes, column, style in ((accuracy, "pass_at_4", "-"), (loss, "loss", "--")):
        ends = []
        for method, rows in numbers.groupby("method", sort=False):
            colour = method_colour(str(method))
            plot_lines(axes, rows, column, colour, style=style)
            last = rows[rows["base"] == MEAN].iloc[-1]
            ends.append((float(last[column]), f"{method_name(method)}\n{_value(last, column)}", colour))
        axes.set_xlim(0, numbers["step"].max() * 1.01)
        name_ends(axes, ends, gap=0.11)
    accuracy.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    accuracy.set_ylabel(f"pass@{K}")
    accuracy.tick_params(labelbottom=False)
    loss.set_ylabel("loss")
    loss.set_xlabel("step")
    return figure


def _value(row: pd.Series, column: str) -> str:
    if column == "loss":
        return number(row["loss"])
    return f"{share(row['pass_at_4'])} [{share(row['low'])}, {share(row['high'])}]"


def _read(numbers: pd.DataFrame, ends: pd.DataFrame) -> str:
    lines = []
    for method, line in numbers[numbers["base"] == MEAN].groupby("method", sort=False):
        first, last = line.iloc[0], line.iloc[-1]
        lines.append(
            f"- {method_name(method)}: loss from {number(first['loss'])} to {number(last['loss'])}, pass@{K} from "
            f"{share(first['pass_at_4'])} to {share(last['pass_at_4'])}"
        )
    return "\n".join(lines) + f"\n\n{_deceptive(ends)}"


def _arms(ends: pd.DataFrame) -> list[pd.Series]:
    """The means over bases at the last step, from the lowest loss, with which the others are compared."""
    return [row for _, row in ends[ends["base"] == MEAN].sort_values("loss").iterrows()]


def _is_one(ends: pd.DataFrame) -> bool:
    """Whether there is but one arm, or one base: then nothing can be said."""
    return ends["method"].nunique() < 2 or ends["bases"].min() < 2


def _finding(ends: pd.DataFrame) -> str:
    """`_deceptive` in a few words."""
    _, *others = _arms(ends)
    if _is_one(ends):
        return "one arm, or one base, shows no order"
    if order(_best(others)) > 0:
        return "averaged over bases, the lowest loss is not the best policy"
    if all(order(arm) < 0 for arm in others):
        return "averaged over bases, the lowest loss is the best policy"
    losses = [arm.loc[arm["base"] != MEAN, "loss"] for _, arm in ends.groupby("method")]
    ranges = sorted((of_arm.min(), of_arm.max()) for of_arm in losses)
    are_apart = all(below[1] < above[0] for below, above in pairwise(ranges))
    return f"the losses {'differ' if are_apart else 'overlap'}, pass@{K} cannot be told apart"


def _best(arms: Sequence[pd.Series]) -> pd.Series:
    return max(arms, key=lambda arm: float(arm["pass_at_4"]))


def _deceptive(ends: pd.DataFrame) -> str:
    """Whether the arm with the lowest loss is also the most accurate, where every base says the same."""
    if _is_one(ends):
        return "One arm, or one base, tells nothing of a deceptively low loss."
    lowest, *others = _arms(ends)
    best = _best(others)
    text = f"The lowest loss is that of {method_name(lowest['method'])}"
    if order(best) > 0:
        return (
            f"{text}, and on every base {method_name(best['method'])} is above it: a lower loss does not tell the "
            "better policy (claim O1 of the ledger)."
        )
    if all(order(arm) < 0 for arm in others):
        return f"{text}, and on every base it is above the others: no deceptively low loss among these."
    highest = method_name(_best([lowest, *others])["method"])
    return (
        f"{text}, the highest accuracy that of {highest}, but no order of accuracy is shown, so neither is whether the "
        "low loss is deceptive (claim O1 of the ledger)."
    )
