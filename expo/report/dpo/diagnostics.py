"""What DPO does to its pairs, the diagnostics of Observations 1 and 2.

Loss against relative gain, winners against losers, and how likely the first round's winners stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact, png, publish
from expo.report.preferences import called, metric, notes
from expo.report.style import GREY, METHOD_COLOURS, Axes, Figure, line_style, look, sheet
from expo.report.training import Evaluated, by_method, label, per_base
from expo.report.words import number, share
from theory.objectives import dpo_loss

COLUMNS = ["panel", "method", "step", "x", "y", "lowest", "highest", "bases", "pairs"]


def draw_diagnostics(runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `dpo-diagnostics-<label>.png` and `.csv`, four panels on what DPO does to its pairs.

    Loss against relative gain, with the curve that determines one by the other (claim O1-minor); log-probability of
    winner and loser since the reference; the share of winners that are likelier than their losers; and the NLL of the
    first round's winners, which are fixed (Observation 2).
    """
    held = by_method(runs)
    rows: list[list[Any]] = []
    for method, some in held.items():
        rows += _gains(method, some)
        rows += _over_steps(method, some)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    beta = runs[0].beta
    about = (
        "Offline solid, online dashed. Top left: a dot a step, mean of its batch; the line is the loss of one pair, "
        "below which no mean can lie. The other panels: watched pairs of the first round, means over bases."
    )
    with look():
        image = png(
            _four(numbers, beta, f"What DPO does to its pairs: {label(runs)}", notes(about, runs), runs[0].is_toy)
        )
    return publish(out, f"dpo-diagnostics-{label(runs)}", runs, numbers, {".png": image}, _read_diagnostics(numbers))


def _gains(method: str, runs: Sequence[Evaluated]) -> list[list[Any]]:
    """Relative gain in nats and loss of each step's batch."""
    rows = []
    for run in runs:
        gain, loss = metric(run, "rewards/margins") / run.beta, metric(run, "loss")
        rows += [["gain", method, int(s), gain[s], loss[s], np.nan, np.nan, 1, run.batch] for s in loss.index]
    return rows


def _over_steps(method: str, runs: Sequence[Evaluated]) -> list[list[Any]]:
    rows = []
    watched = {run.name: first_round(run) for run in runs}
    for step in sorted(watched[runs[0].name]["step"].unique()):
        at = {name: held[held["step"] == step] for name, held in watched.items()}
        panels = {
            "winner": lambda run, at=at: _mean(at[run.name], "winner") - _mean(at[run.name], "ref_winner"),
            "loser": lambda run, at=at: _mean(at[run.name], "loser") - _mean(at[run.name], "ref_loser"),
            "likelier": lambda run, at=at: float((at[run.name]["winner"] > at[run.name]["loser"]).mean()),
            "nll": lambda run, at=at: float((-at[run.name]["winner"] / at[run.name]["winner_tokens"]).mean()),
        }
        pairs = min(len(held) for held in at.values())
        for panel, value in panels.items():
            values = per_base(runs, value)
            mean = sum(values) / len(values)
            rows.append([panel, method, int(step), int(step), mean, min(values), max(values), len(values), pairs])
    return rows


def first_round(run: Evaluated) -> pd.DataFrame:
    """The watched pairs of a training's first round, at each step measured."""
    held = run.run.read("margins")
    return held[held["sampled"] == held["sampled"].min()]


def _mean(held: pd.DataFrame, column: str) -> float:
    return float(held[column].mean())


def _four(numbers: pd.DataFrame, beta: float, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((gain, change), (likelier, nll)) = sheet(2, 2, 2.5, heading, notes, toy)
    dots = numbers[numbers["panel"] == "gain"]
    for method, some in dots.groupby("method", sort=False):
        gain.plot(some["x"], some["y"], ".", markersize=3, alpha=0.6, color=METHOD_COLOURS[str(method)])
    x = np.linspace(min(dots["x"].min(), -1.0), max(dots["x"].max(), 1.0), 200)
    gain.plot(x, dpo_loss(x, beta), color=GREY, linewidth=1, label="loss of one pair")
    gain.set_xlabel("relative gain, nats")
    gain.set_ylabel("loss")
    _lines(change, numbers, "winner", "since the reference, nats")
    _lines(change, numbers, "loser", "since the reference, nats", faint=True)
    change.set_title("log π of winner (strong) and loser (faint)")
    _lines(likelier, numbers, "likelier", "share of winners")
    likelier.set_title("winner likelier than its loser")
    likelier.set_ylim(0, 1)
    _lines(nll, numbers, "nll", "nats per token")
    nll.set_title("NLL of the first round's winners")
    nll.set_ylim(bottom=0)
    methods = list(dict.fromkeys(dots["method"]))
    for m in methods:
        gain.plot([], [], color=METHOD_COLOURS[m], linestyle=line_style(m), label=called(m))
    gain.legend(fontsize=7, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _lines(axes: Axes, numbers: pd.DataFrame, panel: str, what: str, *, faint: bool = False) -> None:
    for method, line in numbers[numbers["panel"] == panel].groupby("method", sort=False):
        colour, alpha = METHOD_COLOURS[str(method)], 0.35 if faint else 1.0
        axes.plot(line["x"], line["y"], color=colour, linestyle=line_style(str(method)), alpha=alpha)
    axes.set_xlabel("step")
    axes.set_ylabel(what)


def _read_diagnostics(numbers: pd.DataFrame) -> str:
    says = []
    for method in dict.fromkeys(numbers["method"]):
        held = numbers[numbers["method"] == method]
        ends = {p: (g.iloc[0]["y"], g.iloc[-1]["y"]) for p, g in held.groupby("panel") if p != "gain"}
        says.append(
            f"- {called(method)}: since the reference, winners {_moved(ends['winner'][1])} and losers "
            f"{_moved(ends['loser'][1])}; winners likelier than their losers {share(ends['likelier'][0])} → "
            f"{share(ends['likelier'][1])}; NLL of the fixed winners {number(ends['nll'][0])} → "
            f"{number(ends['nll'][1])} nats per token"
        )
    return "First step to last, pairs of the first round:\n\n" + "\n".join(says)


def _moved(nats: float) -> str:
    return f"{'rose' if nats > 0 else 'fell'} by {number(abs(nats))} nats"
