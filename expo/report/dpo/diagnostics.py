"""What DPO does to its pairs, the diagnostics of Observation 1: whether winners become likelier than their losers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import MEAN, base_names, mean_by_base
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import first_round, metric, setting, smooth
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import GREY, INK, Axes, Figure, method_colour
from expo.report.trainings import EvaluatedRun, by_method, count_bases, label
from expo.report.words import method_name, number, share, spanned
from expo.text import plural

_MEASURED = ["loss_before", "loss_after", "winner", "loser", "likelier_before", "likelier_after"]
COLUMNS = ["method", "base", *_MEASURED, "pairs"]


def draw_diagnostics(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `dpo-diagnostics-<label>.png` and `.csv`: the share of winners that are likelier than their losers.

    The CSV has a row for each arm and base, and for their mean: the loss of the first batch and of the last ones, the
    change of the log-probability of winners and losers since the reference in nats, and that share before and after.
    """
    numbers = pd.DataFrame([row for method, arm in by_method(runs).items() for row in _rows(method, arm)])
    about = (
        f"{spanned(numbers['pairs'])} watched pairs of each base's first round. Hollow: before training; filled: "
        f"after. Large: means over {plural(count_bases(runs), 'base')}; small: the bases."
    )
    return draw_picture(
        out,
        f"dpo-diagnostics-{label(runs)}",
        runs,
        numbers[COLUMNS],
        _plot,
        heading=headline("", runs, f"trained on {runs[0].levels}, {_finding(_means(numbers))}"),
        notes=about,
        reading=_read(_means(numbers)),
        setting=setting(runs),
    )


def _rows(method: str, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """One row per base, and one for their mean."""
    measured = pd.DataFrame([_measure(run) for run in runs])
    of_bases = pd.DataFrame({column: mean_by_base(runs, measured[column]) for column in _MEASURED})
    shared = {"method": method, "pairs": int(measured["pairs"].min())}
    rows = zip([MEAN, *base_names(runs)], [of_bases.mean(), *(row for _, row in of_bases.iterrows())], strict=True)
    return [{**shared, "base": base, **row} for base, row in rows]


def _measure(run: EvaluatedRun) -> dict[str, float]:
    """What one training did: to its loss, and to the watched pairs of its first round."""
    loss, watched = metric(run, "loss"), first_round(run)
    before, after = (watched[watched["step"] == step] for step in (watched["step"].min(), watched["step"].max()))
    return {
        "loss_before": smooth(loss, 0),
        "loss_after": smooth(loss, run.last_step),
        "winner": float((after["winner"] - after["ref_winner"]).mean()),
        "loser": float((after["loser"] - after["ref_loser"]).mean()),
        "likelier_before": float((before["winner"] > before["loser"]).mean()),
        "likelier_after": float((after["winner"] > after["loser"]).mean()),
        "pairs": len(before),
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
    axes.text(1.01, place, f"{share(before)} → {share(after)}", color=GREY if before == after else INK, **beside)


def _finding(means: pd.DataFrame) -> str:
    """In how many arms the loss fell, and in how many that does not mean that winners are likelier than losers."""
    fell = means[means["loss_after"] < means["loss_before"]]
    unlikely = fell[fell["likelier_after"] < 0.5]
    arms = f"DPO's loss falls in {len(fell)} of {plural(len(means), 'arm')}"
    if unlikely.empty:
        return f"{arms}, and in none of them most winners are less likely than their losers"
    verb = "stay" if (unlikely["likelier_before"] < 0.5).all() else "end"
    return f"{arms}, but in {len(unlikely)} of them most winners {verb} less likely than their losers"


def _read(means: pd.DataFrame) -> str:
    lines = [
        f"- {method_name(row['method'])}: since the reference, winners {_moved(row['winner'])} and losers "
        f"{_moved(row['loser'])}; winners likelier than their losers {share(row['likelier_before'])} → "
        f"{share(row['likelier_after'])}"
        for row in means.to_dict("records")
    ]
    return "First step to last, pairs of the first round:\n\n" + "\n".join(lines)


def _moved(nats: float) -> str:
    return f"{'rose' if nats > 0 else 'fell'} by {number(abs(nats))} nats"
