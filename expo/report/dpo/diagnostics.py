"""What DPO does to its pairs, the diagnostics of Observations 1 and 2.

Loss against relative gain, winners against losers, and how likely the first round's winners stay.
"""

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
from expo.report.dpo.setting import SMOOTH, first_round, metric, notes_of
from expo.report.lines import NOTE, log_values, plot_lines
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, Axes, Figure, line_style, method_colour
from expo.report.trainings import EvaluatedRun, by_method, label
from expo.report.words import method_name, number, share, spanned
from expo.text import plural
from theory.objectives import dpo_loss

COLUMNS = ["panel", "method", "base", "step", "x", "y", "lowest", "highest", "bases", "pairs"]
# A row of the picture: what its axes say, and the panels of the numbers in it, of which the second is faint.
ROWS = {
    "log π since the\nreference, nats": ("winner", "loser"),
    "share of winners\nlikelier than loser": ("likelier",),
    "NLL of winners,\nnats per token": ("nll",),
}


def draw_diagnostics(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `dpo-diagnostics-<label>.png` and `.csv`: what DPO does to its pairs, a column for each kind of winner.

    Loss against relative gain, with the curve that determines one by the other (claim O1-minor); log-probability of
    winner and loser since the reference; the share of winners that are likelier than their losers; and the NLL of the
    first round's winners, which are fixed (Observation 2).
    """
    rows: list[dict[str, Any]] = []
    for method, arm in by_method(runs).items():
        rows += _batches(method, arm)
        rows += _watched_pairs(method, arm)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    pairs = spanned(numbers.loc[numbers["panel"] != "gain", "pairs"])
    about = (
        "Top: each dot is the mean of a step's batch; the line is the loss of one pair, below which no mean can lie. "
        f"Below: {pairs} watched pairs a base, of the first round; strong: winners, faint: their losers; dashed: "
        f"sampled anew (online). {NOTE}."
    )
    return draw_picture(
        out,
        f"dpo-diagnostics-{label(runs)}",
        runs,
        numbers,
        partial(_plot, beta=runs[0].beta),
        heading=headline("", runs, _finding(numbers)),
        notes=notes_of(about, runs),
        reading=_read(numbers),
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
    """The other panels: the watched pairs of the first round, at each step; the mean over bases, and each base."""
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
    """The number of each panel over these pairs of one training and step."""
    return {
        "winner": float(pairs["winner"].mean()) - float(pairs["ref_winner"].mean()),
        "loser": float(pairs["loser"].mean()) - float(pairs["ref_loser"].mean()),
        "likelier": float((pairs["winner"] > pairs["loser"]).mean()),
        "nll": float((-pairs["winner"] / pairs["winner_tokens"]).mean()),
    }


def _plot(numbers: pd.DataFrame, caption: Caption, *, beta: float) -> Figure:
    numbers = numbers.assign(winner=numbers["method"].str.removesuffix("_online"))
    winners = list(dict.fromkeys(numbers["winner"]))
    figure, (gains, *grid) = sheet(1 + len(ROWS), len(winners), 1.5, caption)
    batches = numbers[numbers["panel"] == "gain"]
    for axes, winner in zip(gains, winners, strict=True):
        _plot_batches(axes, batches[batches["winner"] == winner], batches, beta)
        axes.set_title(winner_name(winner))
    for panels, (quantity, names) in zip(grid, ROWS.items(), strict=True):
        for axes, winner in zip(panels, winners, strict=True):
            for method, rows in numbers[numbers["winner"] == winner].groupby("method", sort=False):
                _plot_lines(axes, rows, names, str(method))
            axes.tick_params(labelbottom=panels is grid[-1])
            axes.sharey(panels[0])
        panels[0].set_ylabel(quantity, fontsize=8.5)
    grid[1][0].set_ylim(-0.04, 1.04)
    log_values(grid[-1][0])
    for axes in grid[-1]:
        axes.set_xlabel("step")
    gains[0].set_ylabel("loss", fontsize=8.5)
    figure.align_ylabels()
    return figure


def _plot_batches(axes: Axes, batches: pd.DataFrame, every: pd.DataFrame, beta: float) -> None:
    """The batches of one kind of winner, on axes that have room for every batch."""
    for method, dots in batches.groupby("method", sort=False):
        face = "none" if line_style(str(method)) == "--" else method_colour(str(method))
        axes.scatter(dots["x"], dots["y"], s=6, color=method_colour(str(method)), facecolors=face, linewidths=0.5)
    x = np.linspace(min(every["x"].min(), -1.0), max(every["x"].max(), 1.0), 200)
    axes.plot(x, dpo_loss(x, beta), color=GREY, linewidth=1)
    axes.set_ylim(min(every["y"].min(), *dpo_loss(x, beta)) - 0.02, every["y"].max() + 0.02)
    axes.set_xlabel("relative gain, nats", fontsize=8.5)


def _plot_lines(axes: Axes, rows: pd.DataFrame, panels: Sequence[str], method: str) -> None:
    for panel, alpha in zip(panels, (1.0, 0.35), strict=False):
        plot_lines(
            axes, rows[rows["panel"] == panel], "y", method_colour(method), style=line_style(method), alpha=alpha
        )


def _finding(numbers: pd.DataFrame) -> str:
    """In how many arms the loss fell, and in how many that does not mean that winners are likelier than losers."""
    arms = numbers.groupby("method", sort=False)
    likelier = [_last(rows, "likelier") for _, rows in arms]
    unlikely = sum(value < 0.5 for value in likelier)
    fell = sum(_fell(rows[rows["panel"] == "gain"]) for _, rows in arms)
    arms_in_all = plural(len(likelier), "arm")
    return f"the loss falls in {fell} of {arms_in_all}; in {unlikely} winners stay less likely than losers"


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
            f"{share(last['likelier'])}; NLL of the fixed winners {number(first['nll'])} → "
            f"{number(last['nll'])} nats per token"
        )
    return "First step to last, pairs of the first round:\n\n" + "\n".join(lines)


def _moved(nats: float) -> str:
    return f"{'rose' if nats > 0 else 'fell'} by {number(abs(nats))} nats"
