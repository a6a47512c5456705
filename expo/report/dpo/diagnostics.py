"""What DPO does to its pairs, the diagnostics of Observation 1: whether winners become likelier than their losers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import MEAN, base_names, mean_by_base, points, range_of, sign
from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import trained_on
from expo.report.dpo.setting import first_round, metric, setting, smooth
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, INK, Axes, Figure, method_colour
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import listed, method_name, number, share, signed, spanned
from expo.stats import MIN_PROBLEMS, bootstrap_pairs, bootstrap_rate
from expo.text import plural

_MEASURED = ["loss_before", "loss_after", "winner", "loser", "likelier_before", "likelier_after"]
_CHANGE = {f"change_{column}": column for column in ("mean", "low", "high", "lowest", "highest")}
COLUMNS = ["method", "base", *_MEASURED, "low", "high", *_CHANGE, "bases", "pairs", "problems"]
_WHAT = "the share of winners that are likelier than their losers"
_RULE = (
    "The share is said to rise or fall where it does on all bases and the 95 % bootstrap interval of its change, "
    "problems resampled, excludes 0"
)


def draw_diagnostics(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `dpo-diagnostics-<label>.png` and `.csv`: the share of winners that are likelier than their losers.

    The CSV has a row for each method and base, and for their mean: the loss of the first batch and of the last ones,
    the change of the log-probability of winners and losers since the reference in nats, and that share before and
    after. Of all pairs it also has the interval of the share after training, and of its change.
    """
    numbers = pd.DataFrame([row for method, arm in by_method(runs).items() for row in _rows(method, arm)])
    means = _means(numbers)
    bases = plural(count_bases(runs), "base")
    about = (
        f"n = {spanned(means['pairs'])} watched pairs a method, of the first round from {bases}; seed {runs[0].seed}. "
        "Hollow: before training; filled: after. Large: all pairs; small: those of a base.\n"
        "In brackets: the 95 % bootstrap interval of the share after training; "
        f"{spanned(means['problems'].astype(int))} problems resampled, each with its pairs (exact if all pairs agree)."
    )
    return draw_picture(
        out,
        f"dpo-diagnostics-{label(runs)}",
        runs,
        numbers[COLUMNS],
        _plot,
        heading=headline("", runs, f"{trained_on(runs)}, {_finding(means)}"),
        notes=about,
        reading=_read(means),
        setting=f"{_RULE}. {setting(runs)}",
    )


def _rows(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """One row for all pairs, with intervals, and one per base."""
    watched = [_watched(run) for run in runs]
    measured = pd.DataFrame([_measure(run, pairs) for run, pairs in zip(runs, watched, strict=True)])
    of_bases = pd.DataFrame({column: mean_by_base(runs, measured[column]) for column in _MEASURED})
    of_bases["change_mean"] = of_bases["likelier_after"] - of_bases["likelier_before"]
    ranges = range_of([*of_bases["change_mean"]])
    counts = [round(count) for count in mean_by_base(runs, measured["pairs"])]
    mean = {
        "method": method,
        "base": MEAN,
        **of_bases.mean(),
        **_of_all_pairs(pd.concat(watched)),
        "bases": ranges["bases"],
    }
    mean |= {f"change_{end}": ranges[end] for end in ("lowest", "highest")}
    each = zip(base_names(runs), counts, of_bases.iterrows(), strict=True)
    return [mean, *({"method": method, "base": base, "pairs": pairs, **row} for base, pairs, (_, row) in each)]


def _watched(run: EvaluatedRun) -> pd.DataFrame:
    """The watched pairs of its first round by problem: whether the winner was likelier before, and is after."""
    pairs = first_round(run).set_index("problem")
    is_likelier = (pairs["winner"] > pairs["loser"]).astype(float)
    before, after = (is_likelier[pairs["step"] == step] for step in (pairs["step"].min(), pairs["step"].max()))
    return pd.DataFrame({"before": before.to_numpy(), "after": after})


def _of_all_pairs(pairs: pd.DataFrame) -> dict[str, Any]:
    """The shares of all pairs, and the intervals of the last one and of the change."""
    problems = pairs.index.to_series()
    after, change = (
        bootstrap_pairs(of, problems, problems) for of in (pairs["after"], pairs["after"] - pairs["before"])
    )
    if pairs["after"].nunique() == 1:
        # Resampling shows no spread.
        after = bootstrap_rate(pairs["after"].groupby(level=0).mean().to_numpy())
    return {
        "likelier_before": float(pairs["before"].mean()),
        "likelier_after": after.mean,
        "low": after.low,
        "high": after.high,
        "change_mean": change.mean,
        "change_low": change.low,
        "change_high": change.high,
        "pairs": len(pairs),
        "problems": after.n,
    }


def _measure(run: EvaluatedRun, pairs: pd.DataFrame) -> dict[str, float]:
    """What one training did: to its loss, and to the watched pairs of its first round."""
    loss, watched = metric(run, "loss"), first_round(run)
    last = watched[watched["step"] == watched["step"].max()]
    return {
        "loss_before": smooth(loss, 0),
        "loss_after": smooth(loss, run.last_step),
        "winner": float((last["winner"] - last["ref_winner"]).mean()),
        "loser": float((last["loser"] - last["ref_loser"]).mean()),
        "likelier_before": float(pairs["before"].mean()),
        "likelier_after": float(pairs["after"].mean()),
        "pairs": len(pairs),
    }


def _means(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers[numbers["base"] == MEAN]


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    means = _means(numbers)
    figure, ((axes,),) = sheet(1, 1, 0.75 + 0.42 * len(means), caption)
    for place, method in enumerate(means["method"]):
        _plot_arm(axes, numbers[numbers["method"] == method], place, method_colour(method))
    axes.axvline(0.5, color=INK, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(means)), [method_name(method) for method in means["method"]], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(-0.03, 1.03), ylim=(len(means) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(lambda value, _: share(value))
    axes.set_xlabel("winners that are likelier than their losers")
    return figure


def _plot_arm(axes: Axes, rows: pd.DataFrame, place: int, colour: str) -> None:
    """An arrow from before to after, with the bases below it, and both numbers on the right."""
    (mean,), bases = _means(rows).to_dict("records"), rows[rows["base"] != MEAN]
    before, after = mean["likelier_before"], mean["likelier_after"]
    axes.plot([before, after], [place, place], color=colour, linewidth=2)
    for column, face in (("likelier_before", "white"), ("likelier_after", colour)):
        shown: dict[str, Any] = {"color": colour, "markerfacecolor": face, "linestyle": "none", "clip_on": False}
        axes.plot([mean[column]], [place], "o", markersize=8, **shown)
        axes.plot(bases[column], [place + 0.28] * len(bases), "o", markersize=3.5, alpha=0.7, **shown)
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
    axes.text(1.01, place, _moved(mean), color=GREY if before == after else INK, **beside)


def _moved(row: Mapping[Any, Any]) -> str:
    """`46 % → 65 % [50 %, 79 %]`."""
    bracket = f" [{share(row['low'])}, {share(row['high'])}]" if row["problems"] >= MIN_PROBLEMS else ""
    return f"{share(row['likelier_before'])} → {share(row['likelier_after'])}{bracket}"


def _change(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The change of the share, in the form of a `difference`."""
    return {
        **{column: row[name] for name, column in _CHANGE.items()},
        "bases": row["bases"],
        "problems": row["problems"],
    }


def _finding(means: pd.DataFrame) -> str:
    """With how many methods the share of winners that are likelier than their losers rises, falls, or ends at 0."""
    rows = means.to_dict("records")
    if means["problems"].max() < MIN_PROBLEMS:
        return f"too few problems to say how {_WHAT} changes"
    signs = [sign(_change(row)) for row in rows]
    counts = {"rises": signs.count(1), "falls": signs.count(-1)}
    counts["ends at 0 %"] = sum(row["likelier_after"] == 0 for row in rows)
    (first, count), *others = [item for item in counts.items() if item[1]] or [("does not clearly change", len(rows))]
    methods = f"{count} of {len(rows)} methods" if len(rows) > 1 else method_name(rows[0]["method"])
    told = listed([f"{first} with {methods}", *(f"{what} with {n}" for what, n in others)])
    return f"{_WHAT} {told}"


def _read(means: pd.DataFrame) -> str:
    lines = [
        f"- {method_name(row['method'])}: winners {signed(row['winner'])} nats, losers {signed(row['loser'])} nats; "
        f"winners likelier than their losers {_moved(row)}, {points(_change(row))}; "
        f"loss {number(row['loss_before'])} → {number(row['loss_after'])}"
        for row in means.to_dict("records")
    ]
    return (
        "Watched pairs of the first round, from before training to after. Nats: the change of the log-probability "
        "relative to the reference policy.\n\n" + "\n".join(lines)
    )
