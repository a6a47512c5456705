"""One step along a positive's gradient: the change of J that was predicted, and the one that was realised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, changes, notes_of, step_sizes
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import COLOURS, GREY, LEGEND_PAD, Axes, Figure, legend_outside
from expo.report.words import NAMES, interval
from expo.stats import Interval
from expo.text import plural

COLUMNS = ["run", "problem", "level", "source", "size", "predicted", "predicted_error", "change", "change_error"]
COLUMNS += ["effective", "lost", "few", "change_few", "doubtful"]
# An estimate that is worth fewer rollouts rests on a few of them.
MIN_EFFECTIVE = 10


def draw_predicted_change(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `predicted-<name>.png` and `.csv`: the change of J after one step against its prediction, by length.

    Doubtful is a change by enumeration whose prediction is less than twice what the enumeration did not follow, and an
    estimate from rollouts that are worth fewer than `MIN_EFFECTIVE`, or of which too few are right or wrong. The change
    itself has no say: else those that fall short of their prediction would be left out.
    """
    rows = pd.concat([changes(runs, size) for size in step_sizes(runs)], ignore_index=True)
    rows = rows[rows["predicted_error"].notna() & rows["change_error"].notna()]
    numbers = rows.assign(doubtful=_is_doubtful(rows))[COLUMNS]
    readings = [_read(size, numbers[numbers["size"] == size]) for size in step_sizes(runs)]
    return draw_picture(
        out,
        f"predicted-{name}",
        runs,
        numbers,
        _plot,
        heading=f"One step, predicted and realised: {name}",
        notes=notes_of(runs, _about(numbers)),
        reading="\n".join(readings),
    )


def _is_doubtful(rows: pd.DataFrame) -> pd.Series:
    lost, effective = rows["lost"].astype(float), rows["effective"].astype(float)
    by_enumeration = 2 * lost > rows["predicted"].abs()
    return by_enumeration.where(rows["lost"].notna(), (effective < MIN_EFFECTIVE) | rows["change_few"])


def _about(numbers: pd.DataFrame) -> str:
    if numbers["lost"].notna().all():
        method = "by enumeration"
        reason = "its prediction less than twice what was not followed"
    else:
        method = "estimated from other rollouts than the prediction"
        reason = f"worth fewer than {MIN_EFFECTIVE} rollouts, or too few right or wrong"
    return (
        f"Change of J {method}, against length x slope / norm; lines: one standard error, over rollouts. "
        f"Faint: a doubtful change, {reason}. Of positives of one text the first is shown.\n"
        "On the grey line the step did what its first order says (claim E2 of the ledger)."
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    sizes = sorted(numbers["size"].unique())
    figure, (panels,) = sheet(1, max(1, len(sizes)), 2.6, caption)
    for axes, size in zip(panels, sizes, strict=False):
        _plot_changes(axes, numbers[numbers["size"] == size])
        axes.set_title(f"length {size:g}", pad=LEGEND_PAD)
        axes.set_xlabel("predicted")
        axes.tick_params(labelsize=7)
    panels[0].set_ylabel("realised change of J")
    legend_outside(panels[0], 5)
    return figure


def _plot_changes(axes: Axes, numbers: pd.DataFrame) -> None:
    for source, of_source in numbers.groupby("source", sort=False):
        colour = COLOURS[str(source)]
        axes.plot([], [], "o", color=colour, markersize=3.5, label=NAMES[str(source)])
        for is_doubtful, rows in of_source.groupby("doubtful"):
            style: dict[str, Any] = {"color": colour, "alpha": 0.25 if is_doubtful else 1.0, "linewidth": 0.6}
            x, y, x_error, y_error = (
                rows[column].astype(float) for column in ("predicted", "change", "predicted_error", "change_error")
            )
            axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="o", markersize=3.5, elinewidth=0.6, **style)
    diagonal = np.array(axes.get_xlim())
    axes.plot(diagonal, diagonal, color=GREY, linewidth=0.8, scalex=False, scaley=False)


def _read(size: float, rows: pd.DataFrame) -> str:
    sure = rows[~rows["doubtful"].astype(bool)]
    is_significant = (sure["predicted"].abs() > 2 * sure["predicted_error"]) & ~sure["few"].astype(bool)
    predicted, change = sure.loc[is_significant, "predicted"], sure.loc[is_significant, "change"]
    right = int((np.sign(predicted) == np.sign(change)).sum())
    ratio = interval(median_ratio(sure[is_significant]))
    return (
        f"- length {size:g}: {plural(len(rows), 'positive')}, {len(rows) - len(sure)} doubtful; of the others, "
        f"{len(predicted)} have a prediction told from 0 (twice its standard error), and the sign is right in {right} "
        f"of these, the median of change over prediction {ratio} (1: as predicted)"
    )


def median_ratio(rows: pd.DataFrame, resamples: int = 2000) -> Interval:
    """Median of change over prediction, with its 95 % bootstrap interval by question.

    Not a ratio of sums: a few steps of steep slope, which leave the first order soonest, would decide that.
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
