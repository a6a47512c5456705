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
from expo.report.paper import FIG3
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.positives.measurements import Group, Measurement, notes_of, over_levels
from expo.report.style import COMPACT, GREY, INK, LEGEND_PAD, Axes, Figure, legend_outside
from expo.report.words import interval, listed, number, share, spanned
from expo.stats import MIN_PROBLEMS, Interval
from expo.text import plural

COUNTS = ["wins", "ties", "losses", "left_out"]
COLUMNS = ["run", "judge", "level", "rate", "low", "high", "finite_sample_low", "finite_sample_high", "n", *COUNTS]
COLUMNS += ["disagreement", "unparsed", "failed"]  # only for a model judge

_RULES = {"count": "step checker, count", "share": "step checker, share"}
_BOTH = "step checker"
_JUDGE_COLOURS = {_BOTH: "#0072B2", _RULES["count"]: "#0072B2", _RULES["share"]: "#56B4E9"}
_MODEL_COLOUR = "#CC79A7"
_FEW = 5  # a level with fewer problems is not drawn


def draw_fig3(group: Group, out: Path | str) -> Artefact:
    """Write `fig3-<label>.png` and `.csv`: how often the self-explanation beats the own CoT in correct steps.

    The CSV (`COLUMNS`) has one row per judge (step checker by count, by share, a model's name) and level, which is
    empty for all levels. `n` counts problems; wins, ties, losses and left_out count pairs for the step checker,
    problems for a model.
    """
    numbers = pd.concat([_win_rates(run) for run in group.runs], ignore_index=True)
    about = (
        "A self-explanation wins with more true steps, or a larger share; a tie counts half. "
        "Thick, and right: 95 % bootstrap intervals; thin: finite-sample ones."
    )
    rules = (
        "The step checker compares the k-th self-explanation of a problem with its k-th own CoT; by share, only where "
        "both have steps. It counts pairs as won, tied or lost, and a model judge counts problems. Bootstrap intervals "
        "resample problems; the level of finite-sample intervals is 95 % at every n. "
        f"The paper, with GPT-4o as the judge: {FIG3.direction}."
        f"{_few_left_out(numbers)}"
    )
    return draw_picture(
        out,
        f"fig3-{group.label}",
        group.runs,
        numbers,
        plot_fig3,
        heading=headline(FIG3.where, group.runs, _found(numbers, over_levels(group.runs))),
        notes=notes_of(group.runs, about),
        reading="\n\n".join(_read(run, numbers) for run in group.runs),
        setting=rules,
    )


def plot_fig3(numbers: pd.DataFrame, caption: Caption) -> Figure:
    """The picture of a table made by `draw_fig3`."""
    numbers = _without_twins(numbers)
    by_level = numbers[numbers["level"].notna() & (numbers["n"] >= _FEW)]
    has_levels = by_level["level"].nunique() > 1
    places = _places(numbers)
    figure, (panels,) = sheet(1, 1 + has_levels, max(2.4, 0.75 + 0.3 * len(places)), caption)
    _rates(panels[0], numbers[numbers["level"].isna()], places)
    held = numbers["level"].dropna().unique()
    panels[0].set_title(f"all problems, which are of level {held[0]}" if len(held) == 1 else "all problems")
    if has_levels:
        _by_level(panels[1], by_level, sorted(map(int, numbers["level"].dropna().unique())))
    return figure


def _few_left_out(numbers: pd.DataFrame) -> str:
    """A sentence on levels that are not drawn because they have few problems."""
    has_few = numbers["level"].nunique() > 1 and bool((numbers.loc[numbers["level"].notna(), "n"] < _FEW).any())
    return f" Levels of fewer than {_FEW} problems are not drawn." * has_few


def _without_twins(numbers: pd.DataFrame) -> pd.DataFrame:
    """The numbers with one step checker if both of its rules say the same of every run and level."""
    count, share_of = (numbers[numbers["judge"] == rule].drop(columns="judge") for rule in _RULES.values())
    if not count.reset_index(drop=True).equals(share_of.reset_index(drop=True)):
        return numbers
    return numbers[numbers["judge"] != _RULES["share"]].replace({"judge": {_RULES["count"]: _BOTH}})


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


def _places(numbers: pd.DataFrame) -> dict[tuple[str, str], float]:
    """The row of each judge and run, from the top, with a gap between judges."""
    pairs = numbers[["judge", "run"]].drop_duplicates()
    judges = list(dict.fromkeys(pairs["judge"]))
    pairs = pairs.sort_values("judge", key=lambda held: held.map(judges.index), kind="stable")
    return {(judge, run): i + 0.6 * judges.index(judge) for i, (judge, run) in enumerate(pairs.to_numpy())}


def _rates(axes: Axes, numbers: pd.DataFrame, places: dict[tuple[str, str], float]) -> None:
    labels = []
    is_alone = numbers["run"].nunique() == 1
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
    for row in numbers.to_dict("records"):
        place, colour = places[row["judge"], row["run"]], _colour(row["judge"])
        for low, high, width in (("finite_sample_low", "finite_sample_high", 0.9), ("low", "high", 2.6)):
            axes.plot([row[low], row[high]], [place, place], color=colour, lw=width, solid_capstyle="butt")
        axes.plot([row["rate"]], [place], "o", color=colour, ms=5)
        counts = f"{row['wins']} / {row['ties']} / {row['losses']}"
        axes.text(-0.02, place, counts, fontsize=8, ha="right", **beside)
        of = f", n = {row['n']}" if row["left_out"] else ""
        axes.text(1.02, place, number(row["rate"]) + of, fontsize=8.5, ha="left", **beside)
        judge = row["judge"].rpartition("/")[2]
        labels.append((place, judge if is_alone else f"{row['run']}, {judge}"))
    axes.set_yticks(*zip(*labels, strict=True), fontsize=8)
    # Room for the numbers of wins, ties and losses.
    axes.tick_params(axis="y", length=0, pad=78)
    axes.set_ylim(max(places.values()) + 0.7, -0.7)
    axes.axvline(0.5, color=INK, ls=":", lw=1.2)
    axes.margins(x=0.06)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("win rate of the self-explanation over the own CoT")
    axes.text(-0.02, -0.62, "won / tied / lost", fontsize=8, ha="right", color=GREY, **beside)


def _by_level(axes: Axes, numbers: pd.DataFrame, levels: list[int]) -> None:
    lines = list(numbers.groupby(["judge", "run"], sort=False))
    for i, ((judge, _), rows) in enumerate(lines):
        colour, shift = _colour(str(judge)), 0.08 * (i - (len(lines) - 1) / 2)
        # No line runs across a level that is not drawn.
        rows = rows.set_index("level").reindex(levels)
        x = rows.index.to_numpy(float) + shift
        axes.vlines(x, rows["low"], rows["high"], color=colour, lw=1.2)
        axes.plot(x, rows["rate"], _line(str(judge)), color=colour, ms=3.5, lw=0.9)
    for judge in dict.fromkeys(numbers["judge"]):
        axes.plot([], [], _line(judge), color=_colour(judge), ms=3.5, lw=0.9, label=judge.rpartition("/")[2])
    axes.axhline(0.5, color=INK, ls=":", lw=1.2)
    drawn = sorted(map(int, numbers["level"].unique()))
    axes.set_xticks(drawn, [f"{level}\n{spanned(numbers.loc[numbers['level'] == level, 'n'])}" for level in drawn])
    axes.set_xlabel("level; below it the number of problems")
    axes.set_title("win rate by level", pad=LEGEND_PAD)
    legend_outside(axes, 3, **COMPACT)


def _colour(judge: str) -> str:
    return _JUDGE_COLOURS.get(judge, _MODEL_COLOUR)


def _line(judge: str) -> str:
    """Dots or other marks, so that nobody needs the colours."""
    return {_BOTH: "o-", _RULES["count"]: "o-", _RULES["share"]: "s--"}.get(judge, "^:")


_MORE = {"wins": "more true steps than own CoTs", "loses": "fewer true steps than own CoTs"}


def _found(numbers: pd.DataFrame, where: str) -> str:
    """Whether self-explanations have more true steps, and how often they win; of several judges by the step checker."""
    rows = numbers[numbers["level"].isna() & (numbers["n"] >= MIN_PROBLEMS)]
    counted = rows[rows["judge"] == _RULES["count"]].to_dict("records")
    if not counted:
        return "too few problems to compare the true steps of self-explanations and own CoTs"
    outcomes = [_outcome(row) for row in counted]
    all_agree = {*map(_outcome, rows.to_dict("records"))} == {*outcomes}
    if len({*outcomes}) > 1:
        wins, losses = (outcomes.count(outcome) for outcome in _MORE)
        fewer = f", fewer in {losses}" if losses else ""
        return f"self-explanations have {_MORE['wins']}{where} in {wins} of {len(outcomes)} runs{fewer}"
    told = "" if all_agree else ", by the step checker's count"
    won = _win_rate(rows[rows["judge"] == _RULES["count"]])
    if outcomes[0] == "wins" and all_agree and (levels := _levels_won(numbers)):
        return f"self-explanations have {_MORE['wins']} {levels}"
    if outcomes[0] in _MORE:
        return f"self-explanations have {_MORE[outcomes[0]]}{where}{told} ({won})"
    return f"self-explanations and own CoTs cannot be told apart in true steps{where}{told} ({won})"


def _levels_won(numbers: pd.DataFrame) -> str:
    """`at levels 4 and 5 (win rate 0.805 to 1.00), and mostly tie below`.

    Empty if they win at all levels, at none, or do not tie elsewhere.
    """
    counted = numbers[(numbers["judge"] == _RULES["count"]) & numbers["level"].notna()]
    won = {
        int(level): all(_outcome(row) == "wins" for row in counted[counted["level"] == level].to_dict("records"))
        for level in sorted(set(counted["level"]))
    }
    levels = [level for level, always in won.items() if always]
    is_won = counted["level"].isin(levels)
    others = counted[~is_won]
    if not levels or others["ties"].sum() <= 0.5 * others[["wins", "ties", "losses"]].to_numpy().sum():
        return ""
    named = f"level{'s' * (len(levels) > 1)} {listed([str(level) for level in levels])}"
    where = "below" if others["level"].max() < levels[0] else "elsewhere"
    return f"at {named} ({_win_rate(counted[is_won])}), and mostly tie {where}"


def _win_rate(rows: pd.DataFrame) -> str:
    """`win rate 0.677 to 0.692`: the lowest and the highest of these rows."""
    return f"win rate {' to '.join(dict.fromkeys(map(number, (rows['rate'].min(), rows['rate'].max()))))}"


def _outcome(row: dict[Any, Any]) -> str:
    """`wins`, `loses` or `undecided`, by the finite-sample interval."""
    half = Interval(row["rate"] - 0.5, row["finite_sample_low"] - 0.5, row["finite_sample_high"] - 0.5, row["n"])
    return {"holds": "wins", "fails": "loses", "undecided": "undecided"}[verdict(half, 1)]


def _read(run: Measurement, numbers: pd.DataFrame) -> str:
    rows = numbers[(numbers["run"] == run.name) & numbers["level"].isna()].to_dict("records")
    return f"{run.subject}: win rate of the self-explanation; {'; '.join(map(_read_judge, rows))}."


def _read_judge(row: dict[Any, Any]) -> str:
    if not row["n"]:
        return f"{row['judge']}: no pair that it could judge"
    rate = Interval(row["rate"], row["low"], row["high"], row["n"])
    bounded = Interval(row["rate"], row["finite_sample_low"], row["finite_sample_high"], row["n"])
    told = interval(rate, finite_sample=bounded)
    text = f"{row['judge']}: {told}, over {plural(rate.n, 'problem')}, **{_outcome(row)}**"
    if row["left_out"]:
        text += f", {row['left_out']} left out"
    if not np.isnan(row["disagreement"]):
        text += f", its two orders disagree on {share(row['disagreement'])}"
        text += f", {row['unparsed']} votes unparsed, {row['failed']} failed"
    return text
