"""What DPO does to its pairs, the diagnostics of Observation 1: loss against relative gain, winners against losers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.accuracy import MEAN, base_names, mean_by_base, range_of
from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import winner_name
from expo.report.dpo.setting import SMOOTH, first_round, metric, setting
from expo.report.lines import plot_lines
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, Axes, Figure, line_style, method_colour
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import method_name, number, share, spanned
from expo.text import plural
from theory.objectives import dpo_loss

COLUMNS = ["panel", "method", "base", "step", "x", "y", "lowest", "highest", "bases", "pairs"]


def draw_diagnostics(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `dpo-diagnostics-<label>.png` and `.csv`: what DPO does to its pairs, one column per kind of winner.

    Loss against relative gain, with the curve that determines one by the other (claim O1-minor); log-probability of
    winner and loser since the reference; and the share of winners that are likelier than their losers.
    """
    rows: list[dict[str, Any]] = []
    for method, arm in by_method(runs).items():
        rows += _batches(method, arm)
        rows += _watched_pairs(method, arm)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    pairs = spanned(numbers.loc[numbers["panel"] != "gain", "pairs"])
    about = (
        "Top: a dot is the mean of a step's batch; no mean lies below the line, the loss of one pair. "
        f"Bottom: {pairs} watched pairs of each base's first round; strong: winners, faint: losers; above: how often a "
        f"winner is likelier than its loser; dashed: online. Thick: means over {plural(count_bases(runs), 'base')}."
    )
    return draw_picture(
        out,
        f"dpo-diagnostics-{label(runs)}",
        runs,
        numbers,
        partial(_plot, beta=runs[0].beta),
        heading=headline("", runs, _finding(numbers, runs[0].levels)),
        notes=about,
        reading=_read(numbers),
        setting=setting(runs),
    )


def _batches(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """Relative gain in nats and loss of each step's batch."""
    rows = []
    for run in runs:
        gain, loss = metric(run, "rewards/margins") / run.beta, metric(run, "loss")
        given = {"panel": "gain", "method": method, "base": run.policy_name, "bases": 1, "pairs": run.batch}
        rows += [{**given, "step": int(step), "x": gain[step], "y": loss[step]} for step in loss.index]
    return rows


def _watched_pairs(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """The other panels: the watched pairs of the first round at each step, for each base and as a mean over bases."""
    rows = []
    watched = [first_round(run) for run in runs]
    for step in map(int, sorted(watched[0]["step"].unique())):
        tables = [table[table["step"] == step] for table in watched]
        measured = [_means(table) for table in tables]
        for panel in measured[0]:
            of_bases = mean_by_base(runs, [means[panel] for means in measured])
            given = {"panel": panel, "method": method, "step": step, "x": step, "pairs": min(map(len, tables))}
            rows.append({**given, **range_of(of_bases), "base": MEAN, "y": sum(of_bases) / len(of_bases)})
            rows += [{**given, "base": b, "y": y} for b, y in zip(base_names(runs), of_bases, strict=True)]
    return rows


def _means(pairs: pd.DataFrame) -> dict[str, float]:
    """The number that each panel shows, over these pairs of one training and step."""
    return {
        "winner": float(pairs["winner"].mean()) - float(pairs["ref_winner"].mean()),
        "loser": float(pairs["loser"].mean()) - float(pairs["ref_loser"].mean()),
        "likelier": float((pairs["winner"] > pairs["loser"]).mean()),
    }


def _plot(numbers: pd.DataFrame, caption: Caption, *, beta: float) -> Figure:
    numbers = numbers.assign(winner=numbers["method"].str.removesuffix("_online"))
    winners = list(dict.fromkeys(numbers["winner"]))
    figure, (gains, changes) = sheet(2, len(winners), 2.1, caption)
    batches = numbers[numbers["panel"] == "gain"]
    for axes, winner in zip(gains, winners, strict=True):
        _plot_batches(axes, batches[batches["winner"] == winner], batches, beta)
        axes.set_title(winner_name(winner), fontweight="bold")
    for axes, winner in zip(changes, winners, strict=True):
        of_winner = numbers[numbers["winner"] == winner]
        for method, rows in of_winner.groupby("method", sort=False):
            _plot_changes(axes, rows, str(method))
        axes.set_title(_likelier_than_losers(of_winner), fontsize=8.5)
        axes.sharey(changes[0])
        axes.set_xlabel("step")
    gains[0].set_ylabel("loss")
    changes[0].set_ylabel("log π since the\nreference, nats")
    figure.align_ylabels()
    return figure


def _plot_batches(axes: Axes, batches: pd.DataFrame, every: pd.DataFrame, beta: float) -> None:
    """The batches of one kind of winner, on axes with room for all batches."""
    for method, dots in batches.groupby("method", sort=False):
        face = "none" if line_style(str(method)) == "--" else method_colour(str(method))
        axes.scatter(dots["x"], dots["y"], s=6, color=method_colour(str(method)), facecolors=face, linewidths=0.5)
    x = np.linspace(min(every["x"].min(), -1.0), max(every["x"].max(), 1.0), 200)
    axes.plot(x, dpo_loss(x, beta), color=GREY, linewidth=1)
    axes.set_ylim(min(every["y"].min(), *dpo_loss(x, beta)) - 0.02, every["y"].max() + 0.02)
    axes.set_xlabel("relative gain, nats")


def _plot_changes(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    for panel, alpha in (("winner", 1.0), ("loser", 0.35)):
        plot_lines(
            axes, rows[rows["panel"] == panel], "y", method_colour(method), style=line_style(method), alpha=alpha
        )


def _likelier_than_losers(rows: pd.DataFrame) -> str:
    """`winner likelier in 46 % → 62 % to 65 %`, at the first step and the last; two arms may differ."""
    means = rows[(rows["panel"] == "likelier") & (rows["base"] == MEAN)]
    ends = [means.loc[means["step"] == step, "y"] for step in (means["step"].min(), means["step"].max())]
    first, last = (" to ".join(dict.fromkeys(map(share, sorted(values)))) for values in ends)
    return f"winner likelier in {first} → {last}"


def _finding(numbers: pd.DataFrame, levels: str) -> str:
    """In how many arms the loss fell, and in how many that does not mean that winners are likelier than losers."""
    arms = numbers.groupby("method", sort=False)
    likelier = [_last(rows, "likelier") for _, rows in arms]
    unlikely = sum(value < 0.5 for value in likelier)
    fell = sum(_fell(rows[rows["panel"] == "gain"]) for _, rows in arms)
    return (
        f"trained on {levels}, DPO's loss falls in {fell} of {plural(len(likelier), 'arm')}; "
        f"in {unlikely} of them most winners end less likely than their losers"
    )


def _fell(batches: pd.DataFrame) -> bool:
    """Whether the loss of the last batches is below that of the first."""
    by_step = batches.groupby("step")["y"].mean()
    return float(by_step.iloc[-SMOOTH:].mean()) < float(by_step.iloc[0])


def _last(rows: pd.DataFrame, panel: str) -> float:
    return float(rows.loc[(rows["panel"] == panel) & (rows["base"] == MEAN), "y"].iloc[-1])


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, rows in numbers[numbers["base"] == MEAN].groupby("method", sort=False):
        first = {panel: line["y"].iloc[0] for panel, line in rows.groupby("panel")}
        last = {panel: line["y"].iloc[-1] for panel, line in rows.groupby("panel")}
        lines.append(
            f"- {method_name(method)}: since the reference, winners {_moved(last['winner'])} and losers "
            f"{_moved(last['loser'])}; winners likelier than their losers {share(first['likelier'])} → "
            f"{share(last['likelier'])}"
        )
    return "First step to last, pairs of the first round:\n\n" + "\n".join(lines)


def _moved(nats: float) -> str:
    return f"{'rose' if nats > 0 else 'fell'} by {number(abs(nats))} nats"
