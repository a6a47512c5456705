"""DPO at several learning rates: whether a low loss tells a better policy, and what becomes of fixed winners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, png, publish
from expo.report.preferences import SMOOTH, called, first_round, metric, smooth
from expo.report.style import GREY, METHOD_COLOURS, Figure, line_style, look, sheet
from expo.report.training import LEVELS, Evaluated, label
from expo.report.words import TOY, number
from expo.text import plural

LOG2 = log(2)
COLUMNS = ["method", "base", "rate", "loss", "before", "after", "nll_before", "nll_after", "problems", "n", "pairs"]


def draw_rates(runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `dpo-loss-<label>.png` and `.csv`: of each run of a grid its last loss, its accuracy, and its drift.

    The CSV (`COLUMNS`) has a row for each run: DPO's loss over its last batches, accuracy on all levels before and
    after, and the NLL (nats per token) of the watched winners of its first round before and after.
    """
    numbers = pd.DataFrame([_row(run) for run in runs], columns=COLUMNS)
    first = runs[0]
    about = (
        f"Left: a mark a run, online hollow; loss is the mean of the last {SMOOTH} batches; dotted: log 2, that of a\n"
        "policy which is the reference. Right: winners of the first round, means over bases, online dashed."
    )
    setting = (
        f"n = {numbers['problems'].iloc[0]} problems of the split `{first.recipe['eval_split']}`, "
        f"k = {numbers['n'].min()} samples each at T = {first.recipe['eval_temperature']:g}; {first.last_step} steps "
        f"of {first.batch} pairs, beta {first.beta:g}, seed {first.recipe.get('seed', 42)}; "
        f"{numbers['base'].nunique()} bases."
    )
    notes = "\n".join([about, setting, *([TOY] if first.is_toy else [])])
    with look():
        image = png(_picture(numbers, f"DPO at several learning rates: {label(runs)}", notes, first.is_toy))
    return publish(out, f"dpo-loss-{label(runs)}", runs, numbers, {".png": image}, _read(numbers))


def _row(run: Evaluated) -> list[object]:
    loss = metric(run, "loss")
    watched = first_round(run)
    per_token = -watched["winner"] / watched["winner_tokens"]
    nll = [float(per_token[watched["step"] == step].mean()) for step in (0, run.last_step)]
    accuracy = [float(run.accuracies(step).mean()) for step in (0, run.last_step)]
    pairs = int((watched["step"] == 0).sum())
    size = [len(run.accuracies(0, LEVELS)), int(run.evaluation["n"].min()), pairs]
    return [run.method, run.base, run.rate, smooth(loss, run.last_step), *accuracy, *nll, *size]


def _picture(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.2, heading, notes, toy)
    for method, rows in numbers.groupby("method", sort=False):
        colour, hollow = METHOD_COLOURS[str(method)], line_style(str(method)) == "--"
        face = "none" if hollow else colour
        left.scatter(rows["loss"], rows["after"] - rows["before"], s=18, color=colour, facecolors=face, linewidths=1)
        drift = (rows["nll_after"] - rows["nll_before"]).groupby(rows["rate"]).mean()
        right.plot(drift.index, drift, line_style(str(method)), color=colour, marker=".", label=called(method))
    left.axhline(0, color=GREY, linewidth=0.8)
    left.axvline(LOG2, color=GREY, linewidth=0.8, linestyle=":")
    left.set_xscale("log")
    left.set_xlabel("DPO's loss at the end")
    left.set_ylabel("change of accuracy, all levels")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set_xscale("log")
    right.set_yscale("symlog", linthresh=0.1)
    right.set_xlabel("learning rate")
    right.set_ylabel("change of NLL of fixed winners,\nnats per token")
    right.legend(fontsize=7)
    return figure


def _read(numbers: pd.DataFrame) -> str:
    """In how many comparisons at one rate, from one base, the lowest loss and the highest accuracy meet."""
    says = []
    for when, rows in (("offline", _offline(numbers)), ("online", numbers.drop(_offline(numbers).index))):
        cells = [held.sort_values("loss") for _, held in rows.groupby(["rate", "base"]) if len(held) > 1]
        if not cells:
            continue
        lowest = [held.iloc[0] for held in cells]
        meet = sum(low["after"] == held["after"].max() for low, held in zip(lowest, cells, strict=True))
        harmed = sum(low["after"] < low["before"] for low in lowest)
        which = Counter(called(low["method"]) for low in lowest).most_common()
        says.append(
            f"- {when}, of {plural(len(cells), 'comparison')} of winners from one base at one rate: the lowest loss "
            f"has the highest accuracy in {meet}, and is worse than no training in {harmed} (lowest loss: "
            f"{', '.join(f'{name} in {count}' for name, count in which)})"
        )
    below = numbers[numbers["loss"] < LOG2]
    worse = int((below["after"] < below["before"]).sum())
    ranks = float(numbers["loss"].corr(numbers["after"], "spearman"))
    says.append(
        f"- of {plural(len(below), 'run')} whose loss ended below log 2, accuracy fell in {worse}; rank correlation of "
        f"loss and accuracy over all {len(numbers)} runs: {number(ranks)}"
    )
    return "\n".join(says)


def _offline(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers[~numbers["method"].str.endswith("_online")]
