"""DPO at several learning rates: what happens to winners that are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.dpo.by_rate import by_rate, trained_on, winner_name
from expo.report.dpo.setting import setting
from expo.report.lines import bases_note, plot_lines, rate_axis, with_means
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import INK, Figure, line_style, method_colour
from expo.report.trainings import EvaluatedRun, count_bases, label
from expo.report.words import listed, method_name, method_order, number, spanned
from expo.text import plural

# Changes of less than this many nats a token are drawn to scale, larger ones by their logarithm.
_LINEAR = 0.1
# Smaller changes do not count as changes.
_LEAST = 0.001


def draw_drift(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "dpo") -> Artefact:
    """Write `<name>-drift-<label>.png` and `.csv`: what happens to the first round's winners, by rate.

    The CSV has one row per run, as made by `by_rate`.
    """
    numbers = by_rate(runs)
    online = "; dashed: online" * bool(numbers["method"].str.endswith("_online").any())
    about = (
        f"NLL: −log π(winner|q) per token, the mean of {spanned(numbers['pairs'])} winners of each training's first "
        f"round. Above 0 they became less likely (Observation 2). Changes below {_LEAST:g} do not count. The axis is "
        f"logarithmic beyond ±{_LINEAR:g}. {bases_note(count_bases(runs))}{online}. Seed {runs[0].seed}."
    )
    return draw_picture(
        out,
        f"{name}-drift-{label(runs)}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, f"{trained_on(runs)}, {_finding(numbers)}"),
        notes=about,
        reading=_read(numbers),
        setting=setting(runs),
    )


def _winners(numbers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each kind of winner, offline and online together."""
    kinds = numbers["method"].str.removesuffix("_online")
    return {kind: numbers[kinds == kind] for kind in sorted(set(kinds), key=method_order)}


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    winners = _winners(numbers)
    figure, (panels,) = sheet(1, len(winners), 2.8, caption)
    for axes, (kind, rows) in zip(panels, winners.items(), strict=True):
        for method, of_method in rows.assign(change=_change(rows)).groupby("method", sort=False):
            lines = with_means(of_method, ["rate"])
            plot_lines(axes, lines, "change", method_colour(str(method)), "rate", line_style(str(method)))
        axes.axhline(0, color=INK, linewidth=1)
        rate_axis(axes, sorted(numbers["rate"].unique()))
        axes.sharey(panels[0])
        axes.set_xlabel("learning rate")
        axes.set_title(f"{winner_name(kind)}\n{_likelier(rows)}")
    panels[0].set_yscale("symlog", linthresh=_LINEAR, linscale=0.7)
    panels[0].autoscale(axis="y")
    panels[0].yaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    panels[0].set_ylabel("change of the winners' NLL,\nnats per token")
    return figure


def _change(rows: pd.DataFrame) -> pd.Series:
    """The change of the winners' NLL, 0 if it is less than `_LEAST`."""
    change = rows["nll_after"] - rows["nll_before"]
    return change.where(change.abs() >= _LEAST, 0.0)


def _likelier(rows: pd.DataFrame) -> str:
    """`likelier in 26 of 27`, or `less likely in ...`, whichever is more."""
    changes = _change(rows)
    fallen, risen = int((changes < 0).sum()), int((changes > 0).sum())
    return f"{'likelier' if fallen >= risen else 'less likely'} in {max(fallen, risen)} of {len(rows)}"


def _finding(numbers: pd.DataFrame) -> str:
    """What most winners become, and of which kind the most become the opposite."""
    changes = _change(numbers)
    sign = 1 if (changes < 0).sum() >= (changes > 0).sum() else -1
    found = f"winners become {_likelier(numbers)} trainings"
    against = {kind: int((sign * _change(rows) > 0).sum()) for kind, rows in _winners(numbers).items()}
    most = max(against.values())
    kinds = [kind for kind, count in against.items() if count == most]
    if len(kinds) == len(against) or not most:
        return found
    opposite = "less likely" if sign > 0 else "likelier"
    each = " each" * (len(kinds) > 1)
    of = len(_winners(numbers)[kinds[0]])
    return f"{found}, but those of {listed([*map(winner_name, kinds)])} {opposite} in {most} of {of}{each}"


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for method, rows in numbers.groupby("method", sort=False):
        means = _change(rows).groupby(rows["rate"]).mean()
        changes = [f"{number(change)} at {rate:g}" for rate, change in means.items()]
        lines.append(f"- {method_name(method)}: {', '.join(changes)}")
    kinds = [f"those of {winner_name(kind)} {_likelier(rows)}" for kind, rows in _winners(numbers).items()]
    return (
        "Change of the NLL of the first round's winners, nats per token, mean over bases:\n\n"
        + "\n".join(lines)
        + f"\n\nOf {plural(len(numbers), 'training')}, winners become likelier (their NLL falls) or less likely: "
        f"{listed(kinds)}."
    )
