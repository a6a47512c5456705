"""Where Lemma 1's inner product falls as the logit of the positive moves: the true threshold beside the printed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Axes, Figure, log_x
from expo.report.theory.drawing import BLUE, CLOSED_FORM, ORANGE
from theory import lemma1

LOW, HIGH = (3 - np.sqrt(2)) / 4, 0.75


def draw_lemma1_band(out: Path | str) -> Artefact:
    """Write `lemma1-band`: where Lemma 1's inner product falls as z_j moves (claims L1-b, L1-band)."""
    numbers = _numbers()
    low, high = numbers["low"].min(), numbers["high"].max()
    is_printed = bool(np.isclose(low, high))
    found = (
        "is the true threshold"
        if is_printed
        else f"can be off: the true threshold lies between {low:.2f} and {high:.2f}"
    )
    return draw_picture(
        out,
        "lemma1-band",
        (),
        numbers,
        _plot,
        heading=f"Lemma 1's threshold of 1/2 {found}",
        notes=r"The cross term is the inner product of the gradients of $j$ and $j'$; only the logit $z_j$ moves. "
        r"The paper: it falls with $\pi_j$ exactly where $\pi_j < 1/2$. "
        f"Right: over all policies on the other trajectories. {CLOSED_FORM}",
        reading="The printed threshold of 1/2 is right for L = 2, and where the other trajectories are equally likely. "
        f"Otherwise the true threshold lies anywhere between {LOW:.3f} and {HIGH:.2f}: it depends on how the rest of "
        "the probability is spread, and on which j' is meant.",
    )


def _numbers() -> pd.DataFrame:
    share = np.linspace(0, 1, 201)
    # π_j itself plays no role, only the shares ρ, 1 − ρ of the other two.
    three = lemma1.threshold(np.stack([share * 0 + 0.5, share / 2, (1 - share) / 2], -1), 0, 1)
    rows = [{"panel": "L = 3", "x": x, "low": t, "high": t} for x, t in zip(share, three, strict=True)]
    for L in (2, 3, 4, 6, 10, 20, 50, 100, 1000):
        spread = lemma1.threshold(_rest(share, L, spread=True), 0, 1)
        peaked = lemma1.threshold(_rest(share, L, spread=False), 0, 1)
        rows.append({"panel": "all L", "x": L, "low": spread.min(), "high": peaked.max()})
    return pd.DataFrame(rows)


def _rest(share: np.ndarray, L: int, *, spread: bool) -> np.ndarray:
    """Policies with π_j = 1/2 and j' with each share of the rest; the remainder is on one other, or spread over all."""
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
    left.legend(fontsize=8, loc="lower left")
    return figure


def _plot_three(axes: Axes, three: pd.DataFrame) -> None:
    axes.plot(three["x"], three["low"], color=BLUE, lw=2, label="true threshold")
    axes.plot([], [], color=GREY, lw=1.5, label="printed threshold, 1/2")
    axes.fill_between(three["x"], three["low"], 0.5, color=ORANGE, alpha=0.35, lw=0, label="the printed claim is wrong")
    axes.text(0.97, 0.24, r"the cross term falls with $\pi_j$", ha="right")
    axes.text(0.97, 0.85, r"the cross term rises with $\pi_j$", ha="right")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of $j'$ among the other two", ylabel=r"probability $\pi_j$")
    axes.set_title("three trajectories")


def _plot_range(axes: Axes, band: pd.DataFrame) -> None:
    axes.vlines(band["x"], band["low"], band["high"], color=ORANGE, lw=5, alpha=0.5)
    axes.plot(band["x"], band["low"], "o", color=BLUE, ms=4)
    axes.plot(band["x"], band["high"], "o", color=BLUE, ms=4)
    for y, text, offset in ((LOW, "(3 − √2)/4 = {:.3f}", -4), (HIGH, "3/4", 4)):
        axes.axhline(y, color=BLUE, ls=":", lw=1)
        beside: dict[str, Any] = {
            "xytext": (0, offset),
            "textcoords": "offset points",
            "va": "bottom" if offset > 0 else "top",
        }
        axes.annotate(text.format(y), (320, y), color=BLUE, fontsize=8.5, ha="center", **beside)
    log_x(axes, 1.6, 1500)
    axes.set_xticks(band["x"], [f"{L:g}" for L in band["x"]])
    axes.set(ylim=(0.3, 0.85), xlabel="trajectories $L$")
    axes.set_title("range of the true threshold")
