"""Figure 3 of the paper as measured here: how often the self-explanation beats the own CoT in correct steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.judge.run import pairs
from expo.judge.votes import summarize_votes, votes_on
from expo.measure.verdict import verdict
from expo.measure.winrate import step_wins
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.positives.measurements import Group, Measurement, notes_of
from expo.report.style import COMPACT, INK, LEGEND_PAD, Axes, Figure, legend_outside
from expo.report.words import interval, share
from expo.stats import Interval
from expo.text import plural

COUNTS = ["wins", "ties", "losses", "left_out"]
COLUMNS = ["run", "judge", "level", "rate", "low", "high", "finite_sample_low", "finite_sample_high", "n", *COUNTS]
COLUMNS += ["disagreement", "unparsed", "failed"]  # of a model judge only

_RULES = {"count": "step checker, count", "share": "step checker, share"}
_JUDGE_COLOURS = {_RULES["count"]: "#0072B2", _RULES["share"]: "#56B4E9"}
_MODEL_COLOUR = "#CC79A7"


def draw_fig3(group: Group, out: Path | str) -> Artefact:
    """Write `fig3-<label>.png` and `.csv`: how often the self-explanation beats the own CoT in correct steps.

    The CSV (`COLUMNS`) has a row for each judge (step checker by count, by share, a model's name) and
    level, empty for all levels. `n` counts problems; wins, ties, losses and left_out count pairs for the step
    checker, problems for a model.
    """
    numbers = pd.concat([_win_rates(run) for run in group.runs], ignore_index=True)
    about = (
        "Step checker: k-th explanation against k-th own CoT; a tie counts a half. Count: more true steps. "
        "Share: the larger share of true steps, of pairs where both sides have steps. Black lines: 95 % bootstrap "
        "intervals, problems resampled; thin ones: finite-sample intervals, whose 95 % hold at every n."
    )
    return draw_picture(
        out,
        f"fig3-{group.label}",
        group.runs,
        numbers,
        plot_fig3,
        heading=f"Win rate of self-explanation over own CoT: {group.label}",
        notes=notes_of(group.runs, about),
        reading="\n\n".join(_read(run, numbers) for run in group.runs),
    )


def plot_fig3(numbers: pd.DataFrame, caption: Caption) -> Figure:
    """The picture of a table made by `draw_fig3`."""
    names = list(dict.fromkeys(numbers["run"]))
    has_levels = bool(numbers["level"].notna().any())
    figure, grid = sheet(len(names), 1 + has_levels, 2.3, caption)
    for name, panels in zip(names, grid, strict=True):
        rows = numbers[numbers["run"] == name]
        _bars(panels[0], rows[rows["level"].isna()])
        panels[0].set_title(f"{name}, all problems", pad=LEGEND_PAD)
        if has_levels:
            _by_level(panels[1], rows[rows["level"].notna()])
            panels[1].set_title(f"{name}, by level", pad=LEGEND_PAD)
    return figure


def _win_rates(run: Measurement) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"judge": _RULES[w.rule], "level": w.level, "left_out": w.left_out}
        | {"rate": w.rate.mean, "low": w.rate.low, "high": w.rate.high, "n": w.rate.n}
        | {"finite_sample_low": w.finite_sample.low, "finite_sample_high": w.finite_sample.high}
        | {"wins": w.wins, "ties": w.ties, "losses": w.losses}
        for w in step_wins(run.samples)
    ]
    if run.run.has("votes"):
        rows += _model_rates(run)
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(run=run.name)
    return frame.astype({"level": "Int64", "unparsed": "Int64", "failed": "Int64"})


def _model_rates(run: Measurement) -> list[dict[str, Any]]:
    rows = []
    levels = run.samples.groupby("problem")["level"].first()
    for judge, votes_of_judge in run.run.read("votes").groupby("judge", sort=True):
        votes = votes_on(votes_of_judge, pairs(run.samples), str(judge))
        level_of = votes["problem"].map(levels)
        by_level = [(int(level), votes[level_of == level]) for level in sorted(level_of.dropna().unique())]
        for level, cast in [(None, votes), *by_level]:
            summary = summarize_votes(cast)
            w = summary.win_rate
            rows.append(
                {"judge": str(judge), "level": level, "left_out": summary.left_out}
                | {"rate": w.rate, "low": w.low, "high": w.high, "n": w.problems}
                | {"finite_sample_low": w.finite_sample.low, "finite_sample_high": w.finite_sample.high}
                | {"wins": w.wins, "ties": w.ties, "losses": w.losses}
                | {"disagreement": summary.disagreement, "unparsed": summary.unparsed, "failed": summary.failed}
            )
    return rows


def _bars(axes: Axes, rows: pd.DataFrame) -> None:
    labels = []
    for place, row in enumerate(rows.to_dict("records")):
        axes.barh(place, row["rate"], height=0.42, color=_JUDGE_COLOURS.get(row["judge"], _MODEL_COLOUR))
        for low, high, width in (("low", "high", 1.4), ("finite_sample_low", "finite_sample_high", 0.6)):
            axes.plot([row[low], row[high]], [place, place], color=INK, lw=width, solid_capstyle="butt")
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


def _by_level(axes: Axes, numbers: pd.DataFrame) -> None:
    judges = list(dict.fromkeys(numbers["judge"]))
    for i, judge in enumerate(judges):
        rows, colour = numbers[numbers["judge"] == judge], _JUDGE_COLOURS.get(judge, _MODEL_COLOUR)
        x = rows["level"].astype(float) + 0.12 * (i - (len(judges) - 1) / 2)
        axes.vlines(x, rows["low"], rows["high"], color=colour, lw=1.6)
        axes.plot(x, rows["rate"], "o-", color=colour, ms=4.5, lw=1, label=judge)
    axes.axhline(0.5, color=INK, ls=":", lw=1.2)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xticks(sorted(numbers["level"].unique()))
    axes.set_xlabel("level")
    legend_outside(axes, 3, **COMPACT)


def _read(run: Measurement, numbers: pd.DataFrame) -> str:
    rows = numbers[(numbers["run"] == run.name) & numbers["level"].isna()].to_dict("records")
    return f"{run.subject}: win rate of the self-explanation; {'; '.join(map(_read_judge, rows))}."


def _read_judge(row: dict[Any, Any]) -> str:
    if not row["n"]:
        return f"{row['judge']}: no pair that it could judge"
    rate = Interval(row["rate"], row["low"], row["high"], row["n"])
    bounded = Interval(row["rate"], row["finite_sample_low"], row["finite_sample_high"], row["n"])
    above_half = Interval(bounded.mean - 0.5, bounded.low - 0.5, bounded.high - 0.5, bounded.n)
    word = {"holds": "wins", "fails": "loses", "undecided": "undecided"}[verdict(above_half, 1)]
    text = f"{row['judge']}: {interval(rate, finite_sample=bounded)}, over {plural(rate.n, 'problem')}, **{word}**"
    if row["left_out"]:
        text += f", {row['left_out']} left out"
    if not np.isnan(row["disagreement"]):
        text += f", its two orders disagree on {share(row['disagreement'])}"
        text += f", {row['unparsed']} votes unparsed, {row['failed']} failed"
    return text
