"""One step along a positive's gradient: the predicted change of J, and the realised one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, changes, notes_of, step_sizes
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import COLOURS, GREY, LEGEND_PAD, Axes, Figure, legend_outside
from expo.report.words import NAMES, interval, listed, number, spanned
from expo.stats import MIN_PROBLEMS, Interval
from expo.text import plural

COLUMNS = ["run", "problem", "level", "source", "size", "predicted", "predicted_error", "change", "change_error"]
COLUMNS += ["effective", "lost", "few", "change_few", "doubtful", "clear"]
MEDIAN = {"median": "mean", "median_low": "low", "median_high": "high", "median_n": "n"}
# An estimate with a smaller effective sample size depends on a few rollouts.
MIN_EFFECTIVE = 10


def draw_predicted_change(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `predicted-<name>.png` and `.csv`: the change of J after one step against its prediction, by length.

    Both are divided by the length, so that all panels have the same axes.

    A change by enumeration is doubtful if its prediction is less than twice the probability that the enumeration did
    not follow. An estimate from rollouts is doubtful if their effective sample size is below `MIN_EFFECTIVE`, or if too
    few are right or wrong. The change itself does not count, or those that fall short of their prediction would be left
    out. A prediction is clear if it is not doubtful and differs from 0 by more than twice its standard error. The
    columns `MEDIAN` are those of the median ratio of change to prediction over the clear ones of a length.
    """
    rows = pd.concat([changes(runs, size) for size in step_sizes(runs)], ignore_index=True)
    rows = rows[rows["predicted_error"].notna() & rows["change_error"].notna()]
    rows = rows.assign(doubtful=_is_doubtful(rows).astype(bool))
    is_told = rows["predicted"].abs() > 2 * rows["predicted_error"]
    rows = rows.assign(clear=is_told & ~rows["doubtful"] & ~rows["few"].astype(bool))[COLUMNS]
    numbers = pd.concat([rows, _medians(rows)], axis=1)
    readings = [_read(size, numbers[numbers["size"] == size]) for size in step_sizes(runs)]
    by_enumeration = bool(numbers["lost"].notna().all())
    return draw_picture(
        out,
        f"predicted-{name}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers)),
        notes=notes_of(
            runs,
            f"Change of J, the expected reward{', by enumeration' if by_enumeration else ''}, over the length of the "
            "step, against slope / norm. Bars: one standard error. Grey line: as predicted. "
            f"Faint: doubtful, {_doubt(by_enumeration)}. Clear: not doubtful, and two standard errors from 0.",
        ),
        reading="\n".join(readings),
        setting=_setting(by_enumeration),
    )


def _is_doubtful(rows: pd.DataFrame) -> pd.Series:
    lost, effective = rows["lost"].astype(float), rows["effective"].astype(float)
    by_enumeration = 2 * lost > rows["predicted"].abs()
    return by_enumeration.where(rows["lost"].notna(), (effective < MIN_EFFECTIVE) | rows["change_few"])


def _doubt(by_enumeration: bool) -> str:
    """What makes a change doubtful."""
    if by_enumeration:
        return "a prediction less than twice the probability that was not followed"
    return f"worth fewer than {MIN_EFFECTIVE} rollouts, or with too few right or wrong ones"


def _setting(by_enumeration: bool) -> str:
    method = "by enumeration" if by_enumeration else "estimated from other rollouts than the prediction"
    return (
        f"The change of J is {method}. Of positives of one text the first is shown. "
        "On the grey line the step did what its first order says (claim E2 of the ledger)."
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    sizes = sorted(numbers["size"].unique())
    figure, (panels,) = sheet(1, max(1, len(sizes)), 3.5, caption)
    low, high = _limits(numbers)
    for axes, size in zip(panels, sizes, strict=False):
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
        of_size = numbers[numbers["size"] == size]
        _plot_changes(axes, of_size)
        axes.text(0.98, 0.03, _median(of_size), transform=axes.transAxes, ha="right", fontsize=7, color=GREY)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.locator_params(nbins=6)
        axes.set_title(f"step of length {size:g}", pad=LEGEND_PAD)
        axes.set_xlabel("predicted / length")
        axes.tick_params(labelsize=8)
    panels[0].set_ylabel("realised / length")
    legend_outside(panels[0], 5)
    return figure


def _limits(numbers: pd.DataFrame) -> tuple[float, float]:
    """The lowest and the highest number of all panels with its error, with a margin."""
    ends = [numbers[of] + sign * numbers[f"{of}_error"] for of in ("predicted", "change") for sign in (-1, 1)]
    values = pd.concat(ends, axis=1).astype(float).div(numbers["size"].astype(float), axis=0).to_numpy()
    if not values.size:
        return -1.0, 1.0
    room = 0.06 * (values.max() - values.min()) or 1.0
    return float(values.min() - room), float(values.max() + room)


def _plot_changes(axes: Axes, numbers: pd.DataFrame) -> None:
    for source in [source for source in COLOURS if source in set(numbers["source"])]:
        of_source, colour = numbers[numbers["source"] == source], COLOURS[source]
        axes.plot([], [], "o", color=colour, markersize=3.5, label=NAMES[source])
        for is_doubtful, rows in of_source.groupby("doubtful"):
            style: dict[str, Any] = {"color": colour, "alpha": 0.25 if is_doubtful else 1.0, "linewidth": 0.6}
            x, y, x_error, y_error = (
                rows[column].astype(float) / rows["size"].astype(float)
                for column in ("predicted", "change", "predicted_error", "change_error")
            )
            axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="o", markersize=3.5, elinewidth=0.6, **style)


def _finding(numbers: pd.DataFrame) -> str:
    """How much of the predicted change the shortest and the longest step achieved, of those with enough questions."""
    of_size = numbers[numbers["clear"]].groupby("size")[["median", "median_n"]].first()
    if of_size.empty:
        return "no predicted change is clear enough to compare with the realised one"
    medians = of_size.loc[of_size["median_n"] >= MIN_PROBLEMS, "median"]
    if medians.empty:
        return (
            f"clear predictions are of only {spanned(of_size['median_n'].astype(int))} questions, too few to judge them"
        )
    first, *last = [f"{_percent(medians[size])} at length {size:g}" for size in sorted({*medians.index[[0, -1]]})]
    return f"a step realises {listed([first.replace(' %', ' % of its predicted change'), *last])} (medians)"


def _percent(ratio: float) -> str:
    """A ratio in per cent, which may be below 0."""
    return f"{100 * ratio:.0f} %".replace("-", "−")


def _median(rows: pd.DataFrame) -> str:
    """The median that the heading speaks of, with its interval and the number of positives behind it."""
    clear = rows[rows["clear"]]
    if clear.empty:
        return ""
    ratio = _ratio(clear)
    ends = f" [{number(ratio.low, 2)}, {number(ratio.high, 2)}]" if ratio.n >= MIN_PROBLEMS else ""
    clear_of = f"{len(clear)} of {len(rows)} are clear"
    return f"median {number(ratio.mean, 2)}{ends}\n{clear_of},\nof {plural(ratio.n, 'question')}"


def _medians(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns `MEDIAN` for each row: those of its length."""
    of_size = {}
    for size, clear in rows[rows["clear"]].groupby("size"):
        ratio = median_ratio(clear)
        of_size[size] = {column: getattr(ratio, field) for column, field in MEDIAN.items()}
    nothing: dict[str, float] = {**dict.fromkeys(MEDIAN, np.nan), "median_n": 0}
    return pd.DataFrame([of_size.get(size, nothing) for size in rows["size"]], rows.index, list(MEDIAN))


def _ratio(clear: pd.DataFrame) -> Interval:
    mean, low, high, n = clear.iloc[0][list(MEDIAN)]
    return Interval(float(mean), float(low), float(high), int(n))


def _read(size: float, rows: pd.DataFrame) -> str:
    clear = rows[rows["clear"]]
    text = f"- length {size:g}: {plural(len(rows), 'positive')}, of which {int(rows['doubtful'].sum())} are doubtful"
    if clear.empty:
        return f"{text}; no other prediction differs from 0 by more than twice its standard error"
    right = int((np.sign(clear["predicted"]) == np.sign(clear["change"])).sum())
    return (
        f"{text}; {len(clear)} of the others have a prediction that differs from 0 by more than twice its standard "
        f"error. The sign is right in {right} of these, and the median of change over prediction is "
        f"{interval(_ratio(clear))} (1: as predicted)"
    )


def median_ratio(rows: pd.DataFrame, resamples: int = 2000) -> Interval:
    """Median of change over prediction, with its 95 % bootstrap interval by question.

    Not a ratio of sums: that would be decided by a few steep slopes, where the first order fails soonest.
    """
    ratios = (rows["change"] / rows["predicted"]).astype(float)
    by_question = [of_question.to_numpy() for _, of_question in ratios.groupby(rows["problem"])]
    n = len(by_question)
    if n < 2:
        return Interval(float(ratios.median()), -np.inf, np.inf, n)
    rng = np.random.default_rng(0)
    medians = [np.median(np.concatenate([by_question[i] for i in rng.integers(0, n, n)])) for _ in range(resamples)]
    low, high = np.percentile(medians, [2.5, 97.5])
    return Interval(float(ratios.median()), float(low), float(high), n)
