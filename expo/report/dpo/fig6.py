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
    points,
    summary,
)
from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import winner_name
from expo.report.dpo.setting import SMOOTH, K, metric, setting, smooth
from expo.report.lines import name_ends, plot_lines
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import Figure, method_colour
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import method_name, number, share
from expo.text import plural

COLUMNS = ["method", "base", "step", "pass_at_4", "low", "high", "lowest", "highest", "loss", "bases", "problems", "n"]
# As `LESS`, for ExP-DPO less an arm.
GAP = {name.replace("less", "gap"): column for name, column in LESS.items()}
COLUMNS += [*LESS, *GAP]
METHODS = ("dpo_explanation", "dpo_expert", "dpo_answer")


def draw_fig6(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `fig6-<label>.png` and `.csv`: pass@4 (solid) beside the loss (dashed) by step, a line a kind of winner.

    The columns `LESS` say by how much an arm ends above that of the lowest loss, and `GAP` by how much ExP-DPO ends
    above an arm.
    """
    arms = {method: arm for method, arm in by_method(runs).items() if method in METHODS}
    numbers = pd.DataFrame([row for method, arm in arms.items() for row in _rows(method, arm)], columns=COLUMNS)
    ends = numbers[numbers["step"] == numbers["step"].max()]
    lowest, *others = _arms(ends)
    for arm in others:
        less = compared(arms[arm["method"]], arms[lowest["method"]], None, K)
        numbers.loc[arm.name, [*LESS]] = [*less.values()]
    for arm in _arms(ends):
        if arm["method"] != METHODS[0] and METHODS[0] in arms:
            gap = compared(arms[METHODS[0]], arms[arm["method"]], None, K)
            numbers.loc[arm.name, [*GAP]] = [*gap.values()]
    ends = numbers.loc[ends.index]
    shown = [run for arm in arms.values() for run in arm]
    first = shown[0]
    about = (
        f"Means over {plural(count_bases(shown), 'base')}: pass@{K} of {len(first.accuracies(0))} test problems, "
        f"{first.sampling}; DPO's loss, mean of the last {SMOOTH} batches.{_gaps(ends)}"
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


def _gaps(ends: pd.DataFrame) -> str:
    """A line of the caption: by how much ExP-DPO ends above each other arm, paired by problem and base."""
    gaps = [
        f"{winner_name(row['method'])} {points({column: row[name] for name, column in GAP.items()} | {'bases': 1})}"
        for row in ends[ends["gap"].notna()].to_dict("records")
    ]
    return f"\n{winner_name(METHODS[0])} less the other, paired, 95 % bootstrap: {'; '.join(gaps)}." if gaps else ""


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
    means = numbers[numbers["base"] == MEAN]
    figure, (panels,) = sheet(1, 2, 2.7, caption)
    for axes, column, style in zip(panels, ("pass_at_4", "loss"), ("-", "--"), strict=True):
        for method, rows in means.groupby("method", sort=False):
            plot_lines(axes, rows, column, method_colour(str(method)), style=style)
        axes.set_xlabel("step")
        axes.set_xticks(sorted(means["step"].unique()))
    accuracy, loss = panels
    accuracy.locator_params(axis="y", steps=[1, 2, 5, 10])
    accuracy.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    accuracy.set_title(f"pass@{K}")
    loss.set_title("loss")
    for axes, column, worded in ((accuracy, "pass_at_4", "{:.1%}"), (loss, "loss", "{:.3f}")):
        last = means[means["step"] == means["step"].max()].to_dict("records")
        texts = [f"{winner_name(row['method'])}\n{worded.format(row[column]).replace('%', ' %')}" for row in last]
        colours = [method_colour(row["method"]) for row in last]
        name_ends(axes, [*zip((row[column] for row in last), texts, colours, strict=True)])
    return figure


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
