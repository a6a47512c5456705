"""DPO at several learning rates: whether a low loss tells a better policy, and what becomes of fixed winners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from pathlib import Path

import pandas as pd
from matplotlib.ticker import LogLocator

from expo.measure.verdict import Interval, bootstrap
from expo.report.artefacts import Artefact, png, publish
from expo.report.diagnostics import first_round
from expo.report.preferences import SMOOTH, called, metric, smooth
from expo.report.style import GREY, METHOD_COLOURS, Figure, legend_above, line_style, look, sheet
from expo.report.training import Evaluated, label
from expo.report.words import TOY, number
from expo.text import plural

LOG2 = log(2)
COLUMNS = ["method", "base", "rate", "loss", "before", "change", "low", "high", "nll_before", "nll_after"]
COLUMNS += ["problems", "n", "pairs"]


def draw_losses(runs: Sequence[Evaluated], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-loss-<label>.png` and `.csv`: of each run its last loss and its change of accuracy, by rate.

    The CSV (`COLUMNS`) has a row for each run: DPO's loss over its last batches; accuracy on all levels before, and its
    change with a 95 % bootstrap interval (problems resampled); the NLL (nats per token) of the watched winners of its
    first round, before and after.
    """
    numbers = table(runs)
    about = (
        f"A mark a base, online hollow; loss is the mean of the last {SMOOTH} batches. Dotted: log 2, the loss of a "
        "policy that is the reference. A deceptively low loss lies low and to the left of others at the same rate."
    )
    with look():
        image = png(
            _losses(numbers, f"DPO's loss against what it did: {label(runs)}", _notes(runs, about), runs[0].is_toy)
        )
    return publish(out, f"{name}-loss-{label(runs)}", runs, numbers, {".png": image}, _read_losses(numbers))


def draw_drift(runs: Sequence[Evaluated], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-drift-<label>.png` and `.csv` (`COLUMNS`): what becomes of the first round's winners, by rate."""
    numbers = table(runs)
    about = (
        "Change of −log π(winner|q) per token over the training, of winners sampled before it: above 0 they have "
        "become less likely (Observation 2). Lines are means over bases, marks the bases; online dashed and hollow."
    )
    with look():
        image = png(_drift(numbers, f"Drift of fixed winners: {label(runs)}", _notes(runs, about), runs[0].is_toy))
    says = []
    for method, rows in numbers.groupby("method", sort=False):
        moved = (rows["nll_after"] - rows["nll_before"]).groupby(rows["rate"]).mean()
        says.append(f"- {called(method)}: " + ", ".join(f"{number(v)} at {rate:g}" for rate, v in moved.items()))
    reading = "Change of the NLL of the first round's winners, nats per token, mean over bases:\n\n" + "\n".join(says)
    return publish(out, f"{name}-drift-{label(runs)}", runs, numbers, {".png": image}, reading)


def table(runs: Sequence[Evaluated]) -> pd.DataFrame:
    """A row (`COLUMNS`) for each run by DPO."""
    rows = []
    for run in runs:
        watched = first_round(run)
        per_token = -watched["winner"] / watched["winner_tokens"]
        nll = [float(per_token[watched["step"] == step].mean()) for step in (0, run.last_step)]
        before, after = run.accuracies(0), run.accuracies(run.last_step)
        change: Interval = bootstrap((after - before).to_numpy())
        size = [len(before), int(run.evaluation["n"].min()), int((watched["step"] == 0).sum())]
        loss = smooth(metric(run, "loss"), run.last_step)
        moved = [float(before.mean()), change.mean, change.low, change.high]
        rows.append([run.method, run.base_name, run.rate, loss, *moved, *nll, *size])
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["rate", "method", "base"], ignore_index=True)


def _losses(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    rates = sorted(numbers["rate"].unique())
    figure, (row,) = sheet(1, len(rates), 2.8, heading, notes, toy)
    for axes, rate in zip(row, rates, strict=True):
        held_at = numbers[numbers["rate"] == rate]
        for method, held in held_at.groupby("method", sort=False):
            colour = METHOD_COLOURS[str(method)]
            face = "none" if line_style(str(method)) == "--" else colour
            axes.scatter(
                held["loss"], held["change"], s=18, color=colour, facecolors=face, linewidths=1, label=called(method)
            )
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.axvline(LOG2, color=GREY, linewidth=0.8, linestyle=":")
        if (spread := held_at["loss"].max() / held_at["loss"].min()) > 10:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if spread < 100 else (1,), numticks=4))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        else:
            axes.locator_params(axis="x", nbins=3)
        axes.set_ylim(numbers["change"].min() - 0.05, numbers["change"].max() + 0.05)
        axes.set_title(f"rate {rate:g}", pad=36)
        axes.set_xlabel("loss at the end")
        axes.tick_params(labelsize=7)
    row[0].set_ylabel("change of accuracy")
    legend_above(row[0], 3)
    return figure


def _drift(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    kinds = list(dict.fromkeys(numbers["method"].str.removesuffix("_online")))
    figure, (row,) = sheet(1, len(kinds), 2.6, heading, notes, toy)
    for axes, kind in zip(row, kinds, strict=True):
        for method in (kind, f"{kind}_online"):
            held = numbers[numbers["method"] == method]
            if held.empty:
                continue
            colour, style = METHOD_COLOURS[kind], line_style(method)
            moved = held["nll_after"] - held["nll_before"]
            mean = moved.groupby(held["rate"]).mean()
            when, face = ("online", "none") if style == "--" else ("offline", colour)
            axes.plot(mean.index, mean, style, color=colour, label=when)
            axes.scatter(held["rate"], moved, s=12, color=colour, facecolors=face, linewidths=0.8)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xscale("log")
        rates = sorted(numbers["rate"].unique())
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates], fontsize=7)
        axes.minorticks_off()
        axes.set_title(called(kind).removesuffix(", offline"))
        axes.set_xlabel("learning rate")
        axes.legend(fontsize=7)
    row[0].set_ylabel("change of NLL, nats per token")
    return figure


def _notes(runs: Sequence[Evaluated], about: str) -> str:
    first = runs[0]
    setting = (
        f"n = {len(first.accuracies(0))} problems of the split `{first.recipe['eval_split']}`, "
        f"k = {first.evaluation['n'].min()} samples each at T = {first.recipe['eval_temperature']:g}; "
        f"{first.last_step} steps of {first.batch} pairs, beta {first.beta:g}, "
        f"{'losers right or wrong' if first.recipe.get('right_losers', True) else 'wrong losers only'}, "
        f"seed {first.recipe.get('seed', 42)}; "
        f"{plural(len({run.base for run in runs}), 'base')}."
    )
    return "\n".join([about, setting, *([TOY] if first.is_toy else [])])


def _read_losses(numbers: pd.DataFrame) -> str:
    """In how many comparisons at one rate, from one base, the lowest loss and the highest accuracy meet."""
    says = []
    online = numbers["method"].str.endswith("_online")
    for when, rows in (("offline", numbers[~online]), ("online", numbers[online])):
        cells = [held.sort_values("loss") for _, held in rows.groupby(["rate", "base"]) if len(held) > 1]
        if not cells:
            continue
        lowest = [held.iloc[0] for held in cells]
        meet = sum(low["change"] == held["change"].max() for low, held in zip(lowest, cells, strict=True))
        worse, better = sum(low["high"] < 0 for low in lowest), sum(low["low"] > 0 for low in lowest)
        ranks = [float(held["loss"].corr(held["change"], "spearman")) for held in cells]
        which = Counter(called(low["method"]) for low in lowest).most_common()
        says.append(
            f"- {when}, {plural(len(cells), 'comparison')} of winners from one base at one rate: the lowest loss is "
            f"that of {', '.join(f'{name} ({count})' for name, count in which)}; it has the highest accuracy in "
            f"{meet}; accuracy fell with it in {worse} and rose in {better}, the whole 95 % interval on that side; "
            f"mean rank correlation of loss and change of accuracy {number(sum(ranks) / len(ranks))}"
        )
    return "\n".join(says)
