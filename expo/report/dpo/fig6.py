"""Figure 6 of the paper as measured here: accuracy over loss by step, for each kind of winner."""

from __future__ import annotations

from collections.abc import Sequence
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
    with_interval,
)
from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import winner_name
from expo.report.dpo.setting import SMOOTH, K, metric, setting, smooth
from expo.report.lines import name_ends, plot_lines, rate_name
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import Figure, method_colour
from expo.report.training.setting import NOT_COMPARED, side
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import method_name, number, share
from expo.stats import MIN_PROBLEMS
from expo.text import plural, sentence

COLUMNS = ["method", "rate", "base", "step", "pass_at_4", "low", "high", "lowest", "highest", "loss"]
COLUMNS += ["bases", "problems", "n"]
# As `LESS`, for ExP-DPO less an arm.
GAP = {name.replace("less", "gap"): column for name, column in LESS.items()}
COLUMNS += [*LESS, *GAP]
METHODS = ("dpo_explanation", "dpo_expert", "dpo_answer")


def draw_fig6(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `fig6-<label>.png` and `.csv`: pass@4 (solid) above the loss (dashed) by step, a line a kind of winner.

    The columns `LESS` say by how much a method ends above that of the lowest loss, and `GAP` by how much ExP-DPO ends
    above a method.
    """
    arms = {method: arm for method, arm in by_method(runs).items() if method in METHODS}
    numbers = pd.DataFrame([row for method, arm in arms.items() for row in _rows(method, arm)], columns=COLUMNS)
    lowest, *others = _by_loss(_ends(numbers))
    for arm in others:
        less = compared(arms[arm["method"]], arms[lowest["method"]], None, K)
        numbers.loc[arm.name, [*LESS]] = [*less.values()]
    for arm in (lowest, *others):
        if arm["method"] != METHODS[0] and METHODS[0] in arms:
            gap = compared(arms[METHODS[0]], arms[arm["method"]], None, K)
            numbers.loc[arm.name, [*GAP]] = [*gap.values()]
    ends = _ends(numbers)
    shown = [run for arm in arms.values() for run in arm]
    first = shown[0]
    about = (
        f"Solid: pass@{K} [95 % interval], n = {len(first.accuracies(0))} problems, k = {first.sampling}. "
        f"Dashed: DPO's loss, last {SMOOTH} batches. Thick: means; thin: {plural(count_bases(shown), 'base')}."
        f"{_gaps(ends)}"
    )
    return draw_picture(
        out,
        f"fig6-{label(runs)}",
        shown,
        numbers,
        _plot,
        heading=headline(paper.FIG6.where, runs, f"of DPO on {first.levels}, {_finding(ends)}"),
        notes=about,
        reading=_read(numbers, ends),
        setting=f"{RULE_OF_ORDER}. {setting(shown)}",
    )


def _ends(numbers: pd.DataFrame) -> pd.DataFrame:
    """The rows of each method's own last step."""
    return numbers[numbers["step"] == numbers.groupby("method")["step"].transform("max")]


def _gaps(ends: pd.DataFrame) -> str:
    """A line of the caption: by how much ExP-DPO ends above each other method, paired by problem and base."""
    gaps = []
    for row in ends[ends["gap"].notna()].to_dict("records"):
        gap = {column: row[name] for name, column in GAP.items()}
        gaps.append(f"{points({**gap, 'bases': 1, 'problems': row['problems']})} against {winner_name(row['method'])}")
    return f"\n{winner_name(METHODS[0])}, paired by problem: {'; '.join(gaps)}." if gaps else ""


def _rows(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """For each step, the mean over bases and each base."""
    by_run = [metric(run, "loss") for run in runs]
    rows = []
    for step in map(int, sorted(runs[0].evaluation["step"].unique())):
        losses = mean_by_base(runs, [smooth(loss, step) for loss in by_run])
        mean = summary(runs, step, None, K)
        shared = {"method": method, "rate": runs[0].rate, "step": step}
        shared |= {"problems": mean["problems"], "n": mean["n"]}
        rows.append({**mean, **shared, "base": MEAN, "pass_at_4": mean["mean"], "loss": sum(losses) / len(losses)})
        accuracies = accuracy_by_base(runs, step, None, K)
        for base, accuracy, loss in zip(base_names(runs), accuracies, losses, strict=True):
            rows.append({**shared, "base": base, "pass_at_4": accuracy, "loss": loss})
    return rows


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((accuracy,), (loss,)) = sheet(2, 1, 2.1, caption)
    for axes, column, style in ((accuracy, "pass_at_4", "-"), (loss, "loss", "--")):
        for method, rows in numbers.groupby("method", sort=False):
            plot_lines(axes, rows, column, method_colour(str(method)), style=style)
        axes.set_xticks(sorted(numbers["step"].unique()))
        axes.locator_params(axis="y", nbins=5, steps=[1, 2, 5, 10])
        last = numbers["step"].max()
        ends = [_end(rows, column, last) for _, rows in _ends(numbers).groupby("method", sort=False)]
        name_ends(axes, ends, gap=0.1)
        is_cut = bool(axes.get_ylim()[0] > 0)
        axes.set_title(("loss" if axes is loss else f"pass@{K}") + "; the axis does not begin at 0" * is_cut)
    accuracy.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    loss.set_xlabel("step")
    return figure


def _end(rows: pd.DataFrame, column: str, last_step: int) -> tuple[float, str, str]:
    """Where a method ends, for `name_ends`: its mean, its name with its rate and numbers, and its colour."""
    (mean,), bases = rows[rows["base"] == MEAN].to_dict("records"), rows[rows["base"] != MEAN]
    if column == "loss":
        low, high = (number(value) for value in (bases["loss"].min(), bases["loss"].max()))
        value = number(mean["loss"]) + (f" (bases {low} to {high})" if len(bases) > 1 else "")
    else:
        value = with_interval({**mean, "mean": mean["pass_at_4"]})
    stopped = f", step {mean['step']}" if mean["step"] < last_step else ""
    name = f"{winner_name(mean['method'])}, rate {rate_name(mean['rate'])}{stopped}"
    return mean[column], f"{name}\n{value}", method_colour(mean["method"])


def _read(numbers: pd.DataFrame, ends: pd.DataFrame) -> str:
    lines = []
    for method, line in numbers[numbers["base"] == MEAN].groupby("method", sort=False):
        first, last = line.iloc[0], line.iloc[-1]
        lines.append(
            f"- {method_name(method)}: loss from {number(first['loss'])} to {number(last['loss'])}, pass@{K} from "
            f"{share(first['pass_at_4'])} to {share(last['pass_at_4'])} at step {last['step']}"
        )
    return "\n".join(lines) + f"\n\n{_deceptive(ends)}"


def _by_loss(ends: pd.DataFrame) -> list[pd.Series]:
    """The means over bases at the last step, sorted by loss; the others are compared with the lowest."""
    return [row for _, row in ends[ends["base"] == MEAN].sort_values("loss").iterrows()]


def _too_few(ends: pd.DataFrame) -> str:
    """Why nothing can be said; empty if it can."""
    if ends["method"].nunique() < 2:
        return "one kind of winner has no other to be compared with"
    _, *others = _by_loss(ends)
    if all(side(other) == NOT_COMPARED for other in others):
        return f"there are fewer than {MIN_PROBLEMS} problems, or no base in common"
    return ""


def _finding(ends: pd.DataFrame) -> str:
    """`_deceptive` in a few words."""
    lowest, *others = _by_loss(ends)
    if few := _too_few(ends):
        return few
    found = f"{winner_name(lowest['method'])} has the lowest mean loss"
    if above := [arm for arm in others if order(arm) > 0]:
        return f"{found}, but {winner_name(_best(above)['method'])} ends with a higher pass@{K}"
    if all(order(arm) < 0 for arm in others):
        return f"{found} and ends with the highest pass@{K}"
    return f"{found}, and no other a clearly higher pass@{K}"


def _best(arms: Sequence[pd.Series]) -> pd.Series:
    return max(arms, key=lambda arm: float(arm["pass_at_4"]))


def _deceptive(ends: pd.DataFrame) -> str:
    """Whether the method with the lowest loss is also the most accurate, by `RULE_OF_ORDER`."""
    if few := _too_few(ends):
        return f"Whether a low loss is deceptive is not shown: {few}."
    lowest, *others = _by_loss(ends)
    losses = ends[ends["base"] != MEAN].set_index(["base", "method"])["loss"].unstack()
    count = int((losses.idxmin(axis=1) == lowest["method"]).sum())
    name = method_name(lowest["method"])
    begin = f"{sentence(name)} has the lowest mean loss"
    text = f"{begin}, and the lowest loss on {count} of {plural(len(losses), 'base')}"
    if above := [arm for arm in others if order(arm) > 0]:
        return (
            f"{text}; {method_name(_best(above)['method'])} ends with a higher pass@{K}. A lower loss "
            "does not mean a better policy (claim O1 of the ledger)."
        )
    if all(order(arm) < 0 for arm in others):
        return f"{text}; it ends with the highest pass@{K}. No low loss is deceptive among these."
    return (
        f"{text}; no other method is shown to end with a higher pass@{K}. So it is not shown that the low loss is "
        "deceptive (claim O1 of the ledger)."
    )
