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

from expo.report.accuracy import mean_by_base, range_of
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import first_round, metric, notes_of
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Axes, Figure, legend_above, line_style, method_colour
from expo.report.trainings import EvaluatedRun, by_method, label
from expo.report.words import method_name, number, share
from theory.objectives import dpo_loss

COLUMNS = ["panel", "method", "step", "x", "y", "lowest", "highest", "bases", "pairs"]


def draw_diagnostics(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `dpo-diagnostics-<label>.png` and `.csv`, four panels on what DPO does to its pairs.

    Loss against relative gain, with the curve that determines one by the other (claim O1-minor); log-probability of
    winner and loser since the reference; the share of winners that are likelier than their losers; and the NLL of the
    first round's winners, which are fixed (Observation 2).
    """
    rows: list[dict[str, Any]] = []
    for method, arm in by_method(runs).items():
        rows += _batches(method, arm)
        rows += _watched_pairs(method, arm)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    about = (
        "Offline solid, online dashed. Top left: a dot a step, mean of its batch; the line is the loss of one pair, "
        "below which no mean can lie. The other panels: watched pairs of the first round, means over bases."
    )
    return draw_picture(
        out,
        f"dpo-diagnostics-{label(runs)}",
        runs,
        numbers,
        partial(_plot, beta=runs[0].beta),
        heading=f"What DPO does to its pairs: {label(runs)}",
        notes=notes_of(about, runs),
        reading=_read(numbers),
    )


def _batches(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """Relative gain in nats and loss of each step's batch."""
    rows = []
    for run in runs:
        gain, loss = metric(run, "rewards/margins") / run.beta, metric(run, "loss")
        for step in loss.index:
            row = {"panel": "gain", "method": method, "step": int(step), "x": gain[step], "y": loss[step]}
            rows.append({**row, "bases": 1, "pairs": run.batch})
    return rows


def _watched_pairs(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """The other panels: means over the watched pairs of the first round, at each step."""
    rows = []
    watched = [first_round(run) for run in runs]
    for step in map(int, sorted(watched[0]["step"].unique())):
        tables = [table[table["step"] == step] for table in watched]
        measured = [_means(table) for table in tables]
        for panel in measured[0]:
            of_bases = mean_by_base(runs, [means[panel] for means in measured])
            mean = sum(of_bases) / len(of_bases)
            row = {"panel": panel, "method": method, "step": step, "x": step, "y": mean}
            rows.append({**row, **range_of(of_bases), "pairs": min(map(len, tables))})
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
    figure, ((gain, change), (likelier, nll)) = sheet(2, 2, 2.5, caption)
    _plot_batches(gain, numbers[numbers["panel"] == "gain"], beta)
    _plot_lines(change, numbers, "winner", "since the reference, nats")
    _plot_lines(change, numbers, "loser", "since the reference, nats", alpha=0.35)
    change.set_title("log π of winner (strong) and loser (faint)")
    _plot_lines(likelier, numbers, "likelier", "share of winners")
    likelier.set_title("winner likelier than its loser")
    likelier.set_ylim(0, 1)
    _plot_lines(nll, numbers, "nll", "nats per token")
    nll.set_title("NLL of the first round's winners")
    nll.set_ylim(bottom=0)
    return figure


def _plot_batches(axes: Axes, batches: pd.DataFrame, beta: float) -> None:
    for method, dots in batches.groupby("method", sort=False):
        axes.plot(dots["x"], dots["y"], ".", markersize=3, alpha=0.6, color=method_colour(str(method)))
    x = np.linspace(min(batches["x"].min(), -1.0), max(batches["x"].max(), 1.0), 200)
    axes.plot(x, dpo_loss(x, beta), color=GREY, linewidth=1, label="loss of one pair")
    axes.set_xlabel("relative gain, nats")
    axes.set_ylabel("loss")
    for method in dict.fromkeys(batches["method"]):
        axes.plot([], [], color=method_colour(method), linestyle=line_style(method), label=method_name(method))
    legend_above(axes, 2, fontsize=7)


def _plot_lines(axes: Axes, numbers: pd.DataFrame, panel: str, quantity: str, alpha: float = 1.0) -> None:
    for method, line in numbers[numbers["panel"] == panel].groupby("method", sort=False):
        colour, style = method_colour(str(method)), line_style(str(method))
        axes.plot(line["x"], line["y"], color=colour, linestyle=style, alpha=alpha)
    axes.set_xlabel("step")
    axes.set_ylabel(quantity)


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, rows in numbers.groupby("method", sort=False):
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
