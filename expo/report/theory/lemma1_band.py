"""Where Lemma 1's inner product falls as the logit of the positive moves: the true threshold beside the printed one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import GREY, Axes, Figure
from expo.report.theory.drawing import BLUE, CLOSED_FORM, ORANGE, draw_theory
from theory import lemma1

LOW, HIGH = (3 - np.sqrt(2)) / 4, 0.75


def draw_lemma1_band(out: Path | str) -> Artefact:
    """Write `lemma1-band`: where Lemma 1's inner product falls as z_j moves (claims L1-b, L1-band)."""
    return draw_theory(
        out,
        "lemma1-band",
        _numbers(),
        _plot,
        heading="Lemma 1: when does the cross term fall with π_j?",
        notes="Only the logit z_j moves. Grey: the printed threshold 1/2. Orange: where 'if and only if π_j < 1/2' is "
        f"wrong.\nRight: the range of the true threshold over all laws of the others. {CLOSED_FORM}",
        reading="The printed threshold 1/2 is exact for L = 2 and where the others are equally likely. Else the true "
        f"one lies anywhere between {LOW:.3f} and {HIGH:.2f}: it depends on how the rest is spread and on which j' is "
        "meant.",
    )


def _numbers() -> pd.DataFrame:
    share = np.linspace(0, 1, 201)
    # π_j itself does not enter: only the shares ρ, 1 − ρ of the other two.
    three = lemma1.threshold(np.stack([share * 0 + 0.5, share / 2, (1 - share) / 2], -1), 0, 1)
    rows = [{"panel": "L = 3", "x": x, "low": t, "high": t} for x, t in zip(share, three, strict=True)]
    for L in (2, 3, 4, 6, 10, 20, 50, 100, 1000):
        spread = lemma1.threshold(_rest(share, L, spread=True), 0, 1)
        peaked = lemma1.threshold(_rest(share, L, spread=False), 0, 1)
        rows.append({"panel": "all L", "x": L, "low": spread.min(), "high": peaked.max()})
    return pd.DataFrame(rows)


def _rest(share: np.ndarray, L: int, *, spread: bool) -> np.ndarray:
    """Policies with π_j = 1/2, j' with each share of the rest, what is left on one other or spread over all."""
    if L == 2:
        return np.full((len(share), 2), 0.5)
    others = np.zeros((len(share), L - 2))
    others[:, : L - 2 if spread else 1] = ((1 - share) / ((L - 2) if spread else 1))[:, None]
    return np.concatenate([np.full((len(share), 1), 0.5), share[:, None] / 2, others / 2], axis=1)


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.1, caption)
    _plot_three(left, numbers[numbers["panel"] == "L = 3"])
    _plot_range(right, numbers[numbers["panel"] == "all L"])
    for axes in (left, right):
        axes.axhline(0.5, color=GREY, lw=1.5)
    return figure


def _plot_three(axes: Axes, three: pd.DataFrame) -> None:
    axes.plot(three["x"], three["low"], color=BLUE, lw=2)
    axes.fill_between(three["x"], three["low"], 0.5, color=ORANGE, alpha=0.35, lw=0)
    axes.text(0.5, 0.2, "falls", ha="center")
    axes.text(0.5, 0.85, "rises", ha="center")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of j' among the other two, ρ", ylabel="probability π_j")
    axes.set_title("three trajectories: true threshold in blue")


def _plot_range(axes: Axes, band: pd.DataFrame) -> None:
    axes.vlines(band["x"], band["low"], band["high"], color=ORANGE, lw=5, alpha=0.5)
    axes.plot(band["x"], band["low"], "o", color=BLUE, ms=4)
    axes.plot(band["x"], band["high"], "o", color=BLUE, ms=4)
    for y, text in ((LOW, "(3 − √2)/4"), (HIGH, "3/4")):
        axes.axhline(y, color=BLUE, ls=":", lw=1)
        axes.text(1.1, y, text, color=BLUE, fontsize=8, va="bottom")
    axes.set(xscale="log", xlim=(1, 2000), ylim=(0.3, 0.85), xlabel="trajectories L", ylabel="threshold")
    axes.set_title("range of the threshold")
