"""Figures 2 and 3 of the paper as measured here: NLL of the positives, and win rates.

Each picture is drawn from the table that is saved beside it, and from nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.grading.judge import summarize_votes, votes_on
from expo.measure.judging import pairs
from expo.measure.verdict import Interval, by_problem, compare, verdict
from expo.measure.winrate import step_wins
from expo.report.artefacts import Artefact, png, publish
from expo.report.runs import Group, Record
from expo.report.style import COLOURS, INK, Axes, Figure, look, notes_of, sheet
from expo.report.words import NAMES, UNITS, interval, number, share
from expo.text import plural

QUANTITIES = ("nll_sum", "nll_per_token")
BINS = 30
TITLE_PAD = 20
FIG2_COLUMNS = ["run", "quantity", "source", "kind", "left", "right", "samples", "value"]
FIG3_COUNTS = ["wins", "ties", "losses", "left_out"]
FIG3_COLUMNS = ["run", "judge", "level", "rate", "low", "high", "n", *FIG3_COUNTS]
FIG3_COLUMNS += ["disagreement", "unparsed", "failed"]  # of a model judge only

_RULES = {"count": "step checker, count", "share": "step checker, share"}
_JUDGE_COLOURS = {_RULES["count"]: "#0072B2", _RULES["share"]: "#56B4E9"}
_LEGEND: dict[str, Any] = {
    "ncols": 3,
    "fontsize": 8,
    "handlelength": 1.2,
    "columnspacing": 1,
    "handletextpad": 0.4,
}
_MODEL_COLOUR = "#CC79A7"


def draw_fig2(group: Group, out: Path | str) -> Artefact:
    """Write `fig2-<label>.png` and `.csv`: NLL of self-explanation and expert CoT, two panels for each run.

    The CSV (`FIG2_COLUMNS`) has a row for each bin, `value` being its share of the source's samples, and one
    for each mean over problems, told apart by `kind`.
    """
    numbers = pd.concat([_nll(record) for record in group.runs], ignore_index=True)
    heading = f"Negative log-likelihood of positives: {group.label}"
    notes = notes_of(group.runs, f"Shares of samples in {BINS} bins. Dashed lines and numbers: means over problems.")
    with look():
        image = png(fig2(numbers, heading, notes, group.is_toy))
    reading = "\n\n".join(_read_fig2(record) for record in group.runs)
    return publish(out, f"fig2-{group.label}", group.runs, numbers, {".png": image}, reading)


def fig2(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    """The picture of a table made by `draw_fig2`."""
    names = list(dict.fromkeys(numbers["run"]))
    figure, grid = sheet(len(names), 2, 2.5, heading, notes, toy)
    for name, row in zip(names, grid, strict=True):
        for quantity, axes in zip(QUANTITIES, row, strict=True):
            _histogram(axes, numbers[(numbers["run"] == name) & (numbers["quantity"] == quantity)])
            axes.set_title(f"{name}, {UNITS[quantity]}", pad=TITLE_PAD)
            axes.set_xlabel(f"NLL {UNITS[quantity]}, nats")
        row[0].set_ylabel("share of samples")
    return figure


def draw_fig3(group: Group, out: Path | str) -> Artefact:
    """Write `fig3-<label>.png` and `.csv`: how often the self-explanation beats the own CoT in correct steps.

    The CSV (`FIG3_COLUMNS`) has a row for each judge (step checker by count, by share, a model's name) and
    level, empty for all levels. `n` counts problems; wins, ties, losses and left_out count pairs for the step
    checker, problems for a model.
    """
    numbers = pd.concat([_win_rates(record) for record in group.runs], ignore_index=True)
    heading = f"Win rate of self-explanation over own CoT: {group.label}"
    about = (
        "Step checker: k-th explanation against k-th own CoT; a tie counts a half. Count: more true steps. "
        "Share: the larger share of true steps, of pairs where both sides have steps. Black lines: 95 % bootstrap "
        "intervals, problems resampled."
    )
    with look():
        image = png(fig3(numbers, heading, notes_of(group.runs, about), group.is_toy))
    reading = "\n\n".join(_read_fig3(record, numbers) for record in group.runs)
    return publish(out, f"fig3-{group.label}", group.runs, numbers, {".png": image}, reading)


def fig3(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    """The picture of a table made by `draw_fig3`."""
    names = list(dict.fromkeys(numbers["run"]))
    has_levels = bool(numbers["level"].notna().any())
    figure, grid = sheet(len(names), 1 + has_levels, 2.3, heading, notes, toy)
    for name, row in zip(names, grid, strict=True):
        rows = numbers[numbers["run"] == name]
        _bars(row[0], rows[rows["level"].isna()])
        row[0].set_title(f"{name}, all problems", pad=TITLE_PAD)
        if has_levels:
            _by_level(row[1], rows[rows["level"].notna()])
            row[1].set_title(f"{name}, by level", pad=TITLE_PAD)
    return figure


def _nll(record: Record) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    present = [s for s in ("explanation", "expert", "own") if s in set(record.samples["source"])]
    for quantity in QUANTITIES:
        values = {s: record.samples.loc[record.samples["source"] == s, quantity].dropna() for s in present}
        edges = np.linspace(0, max(float(v.max()) for v in values.values()), BINS + 1)
        for source, held in values.items():
            place = (record.name, quantity, source)
            counts, _ = np.histogram(held.to_numpy(dtype=float), edges)
            for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
                rows.append((*place, "bin", left, right, count, count / len(held)))
            mean = by_problem(record.samples, source, quantity).mean()
            rows.append((*place, "mean", np.nan, np.nan, len(held), mean))
    return pd.DataFrame(rows, columns=FIG2_COLUMNS)


def _histogram(axes: Axes, rows: pd.DataFrame) -> None:
    for source in dict.fromkeys(rows["source"]):
        held = rows[rows["source"] == source]
        bins, mean = held[held["kind"] == "bin"], float(held.loc[held["kind"] == "mean", "value"].iloc[0])
        edges = [*bins["left"], bins["right"].iloc[-1]]
        colour, thick = COLOURS[source], source != "own"
        if thick:
            axes.stairs(bins["value"], edges, fill=True, color=colour, alpha=0.35, lw=0)
        axes.stairs(bins["value"], edges, color=colour, lw=1.3 if thick else 0.8)
        label = f"{NAMES[source]} {number(mean)}"
        axes.axvline(mean, color=colour, ls="--", lw=1.3 if thick else 0.8, label=label)
    axes.set_xlim(left=0)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Names between title and panel, where no data can be hidden; `TITLE_PAD` keeps the room."""
    legend = axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), **_LEGEND)
    # Else a long name would make its panel narrower.
    legend.set_in_layout(False)


def _read_fig2(record: Record) -> str:
    says, n = [], 0
    for quantity in QUANTITIES:
        found = compare(record.samples, "explanation", "expert", quantity)
        n = found.n
        one, other = (by_problem(record.samples, s, quantity).mean() for s in ("explanation", "expert"))
        says.append(
            f"{UNITS[quantity]} {number(one)} against {number(other)} nats, difference "
            f"{interval(found, sign=True)}: in-distribution **{verdict(found, -1)}**"
        )
    if not n:
        return f"{record.called}: no problem has both a self-explanation and an expert CoT."
    return (
        f"{record.called}: mean NLL of self-explanation and expert CoT over {plural(n, 'problem')}: {'; '.join(says)}."
    )


def _win_rates(record: Record) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"judge": _RULES[w.rule], "level": w.level, "left_out": w.left_out}
        | {"rate": w.rate.mean, "low": w.rate.low, "high": w.rate.high, "n": w.rate.n}
        | {"wins": w.wins, "ties": w.ties, "losses": w.losses}
        for w in step_wins(record.samples)
    ]
    if record.run.has("votes"):
        rows += _model_rates(record)
    frame = pd.DataFrame(rows, columns=FIG3_COLUMNS).assign(run=record.name)
    return frame.astype({"level": "Int64", "unparsed": "Int64", "failed": "Int64"})


def _model_rates(record: Record) -> list[dict[str, Any]]:
    rows = []
    levels = record.samples.groupby("problem")["level"].first()
    for name, every in record.run.read("votes").groupby("judge", sort=True):
        votes = votes_on(every, pairs(record.samples), str(name))
        level_of = votes["problem"].map(levels)
        parts = [(int(v), votes[level_of == v]) for v in sorted(level_of.dropna().unique())]
        for level, cast in [(None, votes), *parts]:
            found = summarize_votes(cast)
            w = found.win_rate
            rows.append(
                {"judge": str(name), "level": level, "left_out": found.left_out}
                | {"rate": w.rate, "low": w.low, "high": w.high, "n": w.problems}
                | {"wins": w.wins, "ties": w.ties, "losses": w.losses}
                | {"disagreement": found.disagreement, "unparsed": found.unparsed, "failed": found.failed}
            )
    return rows


def _bars(axes: Axes, rows: pd.DataFrame) -> None:
    labels = []
    for place, row in enumerate(rows.to_dict("records")):
        axes.barh(place, row["rate"], height=0.42, color=_JUDGE_COLOURS.get(row["judge"], _MODEL_COLOUR))
        axes.plot([row["low"], row["high"]], [place, place], color=INK, lw=1.4, solid_capstyle="butt")
        # Two decimals leave the text to the right of the line at 0.5.
        rate = f"{row['rate']:.2f} [{row['low']:.2f}, {row['high']:.2f}], n = {row['n']}"
        axes.text(0.995, place - 0.35, rate, fontsize=8, ha="right", va="center")
        judge = row["judge"].rpartition("/")[2]
        labels.append(f"{judge}\n{row['wins']} won, {row['ties']} tied, {row['losses']} lost")
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.set_ylim(len(rows) - 0.6, -0.65)
    axes.set_xlim(0, 1)
    axes.axvline(0.5, color=INK, ls=":", lw=1.2)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("win rate")


def _by_level(axes: Axes, rows: pd.DataFrame) -> None:
    judges = list(dict.fromkeys(rows["judge"]))
    for i, judge in enumerate(judges):
        held, colour = rows[rows["judge"] == judge], _JUDGE_COLOURS.get(judge, _MODEL_COLOUR)
        x = held["level"].astype(float) + 0.12 * (i - (len(judges) - 1) / 2)
        axes.vlines(x, held["low"], held["high"], color=colour, lw=1.6)
        axes.plot(x, held["rate"], "o-", color=colour, ms=4.5, lw=1, label=judge)
    axes.axhline(0.5, color=INK, ls=":", lw=1.2)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xticks(sorted(rows["level"].unique()))
    axes.set_xlabel("level")
    _legend(axes)


def _read_fig3(record: Record, numbers: pd.DataFrame) -> str:
    says = []
    for row in numbers[(numbers["run"] == record.name) & numbers["level"].isna()].to_dict("records"):
        if not row["n"]:
            says.append(f"{row['judge']}: no pair that it could judge")
            continue
        above_half = Interval(row["rate"] - 0.5, row["low"] - 0.5, row["high"] - 0.5, row["n"])
        word = {"holds": "wins", "fails": "loses", "undecided": "undecided"}[verdict(above_half, 1)]
        rate = interval(Interval(row["rate"], row["low"], row["high"], row["n"]))
        text = f"{row['judge']}: {rate} over {plural(row['n'], 'problem')}, **{word}**"
        if row["left_out"]:
            text += f", {row['left_out']} left out"
        if not np.isnan(row["disagreement"]):
            text += f", its two orders disagree on {share(row['disagreement'])}"
            text += f", {row['unparsed']} votes unparsed, {row['failed']} failed"
        says.append(text)
    return f"{record.called}: win rate of the self-explanation; {'; '.join(says)}."
