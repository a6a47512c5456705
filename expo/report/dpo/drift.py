"""DPO at several learning rates: what happens to winners that are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import by_rate, notes_of, setting_of, trained_on, winner_name
from expo.report.lines import NOTE, log_values, plot_lines, rate_name, with_means
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import Axes, Figure, line_style, method_colour
from expo.report.trainings import EvaluatedRun, label
from expo.report.words import listed, method_name, method_order, number
from expo.text import plural


def draw_drift(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-drift-<label>.png` and `.csv`: what happens to the first round's winners, by rate.

    The CSV has one row per run, as made by `by_rate`.
    """
    numbers = by_rate(runs)
    online = "; dashed: online" * bool(numbers["method"].str.endswith("_online").any())
    about = (
        "NLL: −log π(winner|q) of winners sampled before the training; above its left end a line says that they became "
        f"less likely (Observation 2). {NOTE}{online}."
    )
    return draw_picture(
        out,
        f"{name}-drift-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, f"{trained_on(runs)}, {_finding(numbers)}"),
        notes=notes_of(runs, about),
        reading=_read(numbers),
        setting=setting_of(runs),
    )


def _winners(numbers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each kind of winner, offline and online together."""
    kinds = numbers["method"].str.removesuffix("_online")
    return {kind: numbers[kinds == kind] for kind in sorted(set(kinds), key=method_order)}


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    winners, rates = _winners(numbers), sorted(numbers["rate"].unique())
    figure, (panels,) = sheet(1, len(winners), 2.8, caption)
    for axes, (method, rows) in zip(panels, winners.items(), strict=True):
        for variant, of_variant in rows.groupby("method", sort=False):
            _plot_method(axes, of_variant, rates, str(variant))
        axes.sharey(panels[0])
        axes.set_xticks(range(len(rates) + 1), ["before", *map(rate_name, rates)], fontsize=8)
        axes.set_xlabel("learning rate")
        axes.set_title(winner_name(method))
    log_values(panels[0])
    panels[0].set_ylabel("NLL of fixed winners,\nnats per token")
    return figure


def _plot_method(axes: Axes, rows: pd.DataFrame, rates: Sequence[float], method: str) -> None:
    """Lines over the rates, starting from before the training, which has no rate."""
    after = rows.assign(place=rows["rate"].map(rates.index) + 1, nll=rows["nll_after"])
    before = rows.drop_duplicates("base").assign(place=0, nll=rows["nll_before"])
    points = pd.concat([before, after], ignore_index=True)[["base", "place", "nll"]]
    plot_lines(axes, with_means(points, ["place"]), "nll", method_colour(method), "place", line_style(method))


def _change(rows: pd.DataFrame) -> pd.Series:
    return rows["nll_after"] - rows["nll_before"]


def _less_likely(numbers: pd.DataFrame) -> dict[str, int]:
    """The number of trainings in which the winners of each kind became less likely."""
    return {kind: int((_change(rows) > 0).sum()) for kind, rows in _winners(numbers).items()}


def _finding(numbers: pd.DataFrame) -> str:
    (most, count), *others = sorted(_less_likely(numbers).items(), key=lambda item: -item[1])
    if others and count > others[0][1]:
        trainings = len(_winners(numbers)[most])
        return (
            f"the NLL of fixed winners rises most often with {winner_name(most)}, in {count} of {trainings} trainings"
        )
    every = count + sum(n for _, n in others)
    return f"the NLL of fixed winners rises in {every} of {plural(len(numbers), 'training')}"


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, rows in numbers.groupby("method", sort=False):
        means = _change(rows).groupby(rows["rate"]).mean()
        changes = [f"{number(change)} at {rate:g}" for rate, change in means.items()]
        lines.append(f"- {method_name(method)}: {', '.join(changes)}")
    less_likely = [f"{count} of {winner_name(kind)}" for kind, count in _less_likely(numbers).items()]
    return (
        "Change of the NLL of the first round's winners, nats per token, mean over bases:\n\n"
        + "\n".join(lines)
        + f"\n\nOf {plural(len(numbers), 'training')}, {listed(less_likely)} made the winners less likely."
    )
