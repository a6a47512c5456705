"""Figure 6 of the paper as measured here: accuracy over loss by step, for each kind of winner."""

from __future__ import annotations

from collections import Counter
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
from expo.report.dpo.by_rate import winner_name
from expo.report.dpo.setting import SMOOTH, K, metric, setting, smooth
from expo.report.lines import plot_lines
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import Axes, Figure, method_colour
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import method_name, number, share
from expo.text import plural

COLUMNS = ["method", "base", "step", "pass_at_4", "low", "high", "lowest", "highest", "loss", "bases", "problems", "n"]
COLUMNS += [*LESS]
METHODS = ("dpo_explanation", "dpo_expert", "dpo_answer")


def draw_fig6(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `fig6-<label>.png` and `.csv`: pass@4 (solid) over the loss (dashed) by step, a column a kind of winner."""
    arms = {method: arm for method, arm in by_method(runs).items() if method in METHODS}
    numbers = pd.DataFrame([row for method, arm in arms.items() for row in _rows(method, arm)], columns=COLUMNS)
    ends = numbers[numbers["step"] == numbers["step"].max()]
    lowest, *others = _arms(ends)
    for arm in others:
        less = compared(arms[arm["method"]], arms[lowest["method"]], None, K)
        numbers.loc[arm.name, [*LESS]] = [*less.values()]
    ends = numbers.loc[ends.index]
    shown = [run for arm in arms.values() for run in arm]
    first = shown[0]
    about = (
        f"Solid: pass@{K} of {len(first.accuracies(0))} test problems, {first.sampling}; dashed: DPO's loss, mean of "
        f"the last {SMOOTH} batches. Thick: means over {plural(count_bases(shown), 'base')}, pass@{K} with its 95 % "
        "bootstrap interval by problem; thin: each base."
    )
    return draw_picture(
        out,
        f"fig6-{label(runs)}",
        shown,
        numbers,
        _plot,
        heading=headline(paper.FIG6.where, runs, _finding(ends, shown[0].levels)),
        notes=about,
        reading=_read(numbers, ends),
        setting=f"{RULE_OF_ORDER}. {setting(shown)}",
    )


def _rows(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """For each step, the mean over bases and each base."""
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
    methods = list(dict.fromkeys(numbers["method"]))
    figure, grid = sheet(2, len(methods), 2.1, caption)
    for panels, column, style in zip(grid, ("pass_at_4", "loss"), ("-", "--"), strict=True):
        for axes, method in zip(panels, methods, strict=True):
            rows = numbers[numbers["method"] == method]
            plot_lines(axes, rows, column, method_colour(method), style=style)
            axes.set_title(_title(rows[rows["base"] == MEAN], column), fontsize=9)
            axes.sharey(panels[0])
            _count_coinciding(axes, rows, column)
    accuracies, losses = grid
    for axes, method in zip(accuracies, methods, strict=True):
        axes.set_title(f"{winner_name(method)}\n{axes.get_title(loc='left')}", fontsize=9)
        axes.tick_params(labelbottom=False)
        axes.locator_params(axis="y", steps=[1, 2, 5, 10])
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    for axes in losses:
        axes.set_xlabel("step")
    accuracies[0].set_ylabel(f"pass@{K}")
    losses[0].set_ylabel("loss")
    figure.align_ylabels()
    return figure


def _count_coinciding(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """Say at its end of how many bases a thin line is, where several coincide."""
    bases = rows[rows["base"] != MEAN].groupby("base")[column]
    for line, count in Counter(tuple(values) for _, values in bases).items():
        if count > 1:
            at = (rows["step"].max(), line[-1])
            axes.annotate(f"{count} bases", at, (0, -3), textcoords="offset points", ha="right", va="top", fontsize=8)


def _title(means: pd.DataFrame, column: str) -> str:
    """`73 % → 75 % [70 %, 80 %]`: the mean over bases at the first step and at the last."""
    first, last = means.iloc[0], means.iloc[-1]
    if column == "loss":
        return f"loss {number(first['loss'])} → {number(last['loss'])}"
    interval = f"[{share(last['low'])}, {share(last['high'])}]"
    return f"pass@{K} {share(first['pass_at_4'])} → {share(last['pass_at_4'])} {interval}"


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
    """The means over bases at the last step, sorted by loss; the others are compared with the lowest."""
    return [row for _, row in ends[ends["base"] == MEAN].sort_values("loss").iterrows()]


def _is_one(ends: pd.DataFrame) -> bool:
    """Whether there is only one arm or one base, so that nothing can be said."""
    return ends["method"].nunique() < 2 or ends["bases"].min() < 2


def _finding(ends: pd.DataFrame, levels: str) -> str:
    """`_deceptive` in a few words."""
    lowest, *others = _arms(ends)
    if _is_one(ends):
        return f"DPO on {levels} of one arm, or from one base, shows no order"
    if order(_best(others)) > 0:
        best = winner_name(_best(others)["method"])
        return f"of DPO on {levels}, {best} ends highest in pass@{K}, {winner_name(lowest['method'])} lowest in loss"
    if all(order(arm) < 0 for arm in others):
        return f"of DPO on {levels}, {winner_name(lowest['method'])} ends highest in pass@{K} and lowest in loss"
    losses = [arm.loc[arm["base"] != MEAN, "loss"] for _, arm in ends.groupby("method")]
    ranges = sorted((of_arm.min(), of_arm.max()) for of_arm in losses)
    are_apart = all(below[1] < above[0] for below, above in pairwise(ranges))
    return f"of DPO on {levels}, the losses {'differ' if are_apart else 'overlap'}, pass@{K} cannot be told apart"


def _best(arms: Sequence[pd.Series]) -> pd.Series:
    return max(arms, key=lambda arm: float(arm["pass_at_4"]))


def _deceptive(ends: pd.DataFrame) -> str:
    """Whether the arm with the lowest loss is also the most accurate, if all bases agree."""
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
