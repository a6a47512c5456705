"""One step along a positive's gradient: what it was predicted to do to J, what it did, and what tells that best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.predictors import COLUMNS, PREDICTORS, joined, rank_correlations
from expo.measure.verdict import MIN_PROBLEMS, Interval
from expo.report.artefacts import Artefact, png, publish
from expo.report.gradients import Gradients, notes
from expo.report.style import COLOURS, GREY, INK, Figure, legend_above, look, sheet
from expo.report.words import NAMES, interval
from expo.text import plural

GAIN_COLUMNS = ["run", "problem", "level", "source", "size", "predicted", "predicted_error", "change", "change_error"]
GAIN_COLUMNS += ["effective", "lost", "few", "change_few", "doubtful"]
RANK_COLUMNS = ["size", "change", *COLUMNS]
# Below so many rollouts' worth an estimate rests on a few of them.
MIN_EFFECTIVE = 10


def draw_gains(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `predicted-<name>.png` and `.csv`: the change of J after one step against its prediction, by length.

    Doubtful is a change by enumeration whose prediction is less than twice what the enumeration did not follow, and an
    estimate from rollouts that are worth fewer than `MIN_EFFECTIVE`, or of which too few are right or wrong. The change
    itself has no say: else those that fall short of their prediction would be left out.
    """
    numbers = pd.concat([_joined(runs, size) for size in _sizes(runs)], ignore_index=True)
    numbers = numbers[numbers["predicted_error"].notna() & numbers["change_error"].notna()]
    exact = numbers["lost"].notna()
    lost, effective = numbers["lost"].astype(float), numbers["effective"].astype(float)
    doubtful = (2 * lost > numbers["predicted"].abs()).where(exact, (effective < MIN_EFFECTIVE) | numbers["change_few"])
    numbers = numbers.assign(doubtful=doubtful)[GAIN_COLUMNS]
    how = "by enumeration" if exact.all() else "estimated from other rollouts than the prediction"
    why = (
        "its prediction less than twice what was not followed"
        if exact.all()
        else f"worth fewer than {MIN_EFFECTIVE} rollouts, or too few right or wrong"
    )
    about = (
        f"Change of J {how}, against length x slope / norm; lines: one standard error, over rollouts. "
        f"Faint: a doubtful change, {why}. Of positives of one text the first is shown.\n"
        "On the grey line the step did what its first order says (claim E2 of the ledger)."
    )
    with look():
        image = png(_gains(numbers, f"One step, predicted and realised: {name}", notes(runs, about), runs[0].is_toy))
    says = [_read_gains(size, numbers[numbers["size"] == size]) for size in _sizes(runs)]
    return publish(out, f"predicted-{name}", runs, numbers, {".png": image}, "\n".join(says))


def _sizes(runs: Sequence[Gradients]) -> list[float]:
    return sorted({float(size) for run in runs for size in run.recipe["sizes"]})


def _joined(runs: Sequence[Gradients], size: float, by_rollouts: bool = False) -> pd.DataFrame:
    tables = [joined(run.alignment, run.gains, size, by_rollouts=by_rollouts).assign(run=run.name) for run in runs]
    return pd.concat(tables, ignore_index=True)


def _read_gains(size: float, held: pd.DataFrame) -> str:
    sure = held[~held["doubtful"].astype(bool)]
    told = sure[(sure["predicted"].abs() > 2 * sure["predicted_error"]) & ~sure["few"].astype(bool)]
    right = int((np.sign(told["predicted"]) == np.sign(told["change"])).sum())
    return (
        f"- length {size:g}: {plural(len(held), 'positive')}, {len(held) - len(sure)} doubtful; of the others, "
        f"{len(told)} have a prediction told from 0 (twice its standard error), and the sign is right in {right} of "
        f"these, the median of change over prediction {interval(median_ratio(told))} (1: as predicted)"
    )


def median_ratio(rows: pd.DataFrame, resamples: int = 2000) -> Interval:
    """Median of change over prediction, with its 95 % bootstrap interval by question.

    Not a ratio of sums: a few steps of steep slope, which leave the first order soonest, would decide that.
    """
    ratios = (rows["change"] / rows["predicted"]).astype(float)
    by_question = [held.to_numpy() for _, held in ratios.groupby(rows["problem"])]
    n = len(by_question)
    if n < 2:
        return Interval(float(ratios.median()), -np.inf, np.inf, n)
    rng = np.random.default_rng(0)
    drawn = [np.median(np.concatenate([by_question[i] for i in rng.integers(0, n, n)])) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(ratios.median()), float(low), float(high), n)


def _gains(numbers: pd.DataFrame, heading: str, about: str, toy: bool) -> Figure:
    sizes = sorted(numbers["size"].unique())
    figure, (row,) = sheet(1, max(1, len(sizes)), 2.6, heading, about, toy)
    for axes, size in zip(row, sizes, strict=False):
        at = numbers[numbers["size"] == size]
        for source, of in at.groupby("source", sort=False):
            colour = COLOURS[str(source)]
            axes.plot([], [], "o", color=colour, markersize=3.5, label=NAMES[str(source)])
            for doubtful, held in of.groupby("doubtful"):
                x, y = held["predicted"].astype(float), held["change"].astype(float)
                style: dict[str, Any] = {"color": colour, "alpha": 0.25 if doubtful else 1.0, "linewidth": 0.6}
                errors = {"xerr": held["predicted_error"].astype(float), "yerr": held["change_error"].astype(float)}
                axes.errorbar(x, y, **errors, fmt="o", markersize=3.5, elinewidth=0.6, **style)
        line = np.array(axes.get_xlim())
        axes.plot(line, line, color=GREY, linewidth=0.8, scalex=False, scaley=False)
        axes.set_title(f"length {size:g}", pad=20)
        axes.set_xlabel("predicted")
        axes.tick_params(labelsize=7)
    row[0].set_ylabel("realised change of J")
    legend_above(row[0], 5)
    return figure


def draw_predictors(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `predictors-<name>.png` and `.csv`: which number of a positive ranks the gains of a question's own."""
    # The toy's changes are had both ways; elsewhere there is no enumeration.
    ways = {"enumeration": False, "rollouts": True} if runs[0].is_toy else {"rollouts": True}
    tables = [
        rank_correlations(_joined(runs, size, by_rollouts)).assign(size=size, change=way)
        for way, by_rollouts in ways.items()
        for size in _sizes(runs)
    ]
    numbers = pd.concat(tables, ignore_index=True)[RANK_COLUMNS]
    shown = numbers[numbers["change"] == next(iter(ways))]
    about = (
        f"Spearman's rank correlation with the change of J, by {next(iter(ways))}, over the positives of a question; "
        f"mean over questions with a slope (at most {shown['n'].max()}); lines: 95 % bootstrap intervals, questions "
        "resampled. 1: ranked as their gains are. T1 and probability: claims E6-rank and P1* of the ledger are on "
        "right samples of a tabular policy."
    )
    with look():
        image = png(_predictors(shown, f"What tells a step's gain: {name}", notes(runs, about), runs[0].is_toy))
    return publish(out, f"predictors-{name}", runs, numbers, {".png": image}, _read_predictors(numbers))


def _read_predictors(numbers: pd.DataFrame) -> str:
    says = []
    for (way, size), held in numbers.groupby(["change", "size"]):
        told = []
        for r in held.sort_values("mean", ascending=False).to_dict("records"):
            text = f"{PREDICTORS[str(r['predictor'])]} {_found(r, '')}, n = {r['n']}"
            if r["predictor"] != "nll_sum":
                text += f" (against log-probability {_found(r, 'more_')})"
            told.append(text)
        few = f". Fewer than {MIN_PROBLEMS} questions decide nothing" if held["n"].max() < MIN_PROBLEMS else ""
        says.append(f"- length {size:g}, by {way}: {'; '.join(told)}{few}.")
    return "\n".join(says)


def _found(r: dict[Any, Any], of: str) -> str:
    mean = r["more"] if of else r["mean"]
    return interval(Interval(mean, r[f"{of}low"], r[f"{of}high"], r[f"{of}n"]), sign=bool(of))


def _predictors(numbers: pd.DataFrame, heading: str, about: str, toy: bool) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.0, heading, about, toy)
    sizes = sorted(numbers["size"].unique())
    # The shortest, which is nearest to the first order, stands out.
    shades = np.linspace(1.0, 0.3, len(sizes))
    for i, size in enumerate(sizes):
        held = numbers[numbers["size"] == size].set_index("predictor").loc[list(PREDICTORS)]
        at = np.arange(len(held)) + 0.15 * (i - (len(sizes) - 1) / 2)
        style: dict[str, Any] = {"color": COLOURS["explanation"], "alpha": shades[i]}
        axes.hlines(at, held["low"], held["high"], linewidth=1.2, **style)
        axes.plot(held["mean"], at, "o", markersize=4, label=f"length {size:g}", **style)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(PREDICTORS)), list(PREDICTORS.values()), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(-1, 1)
    axes.set_xlabel("rank correlation with the gain")
    axes.legend(ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure
