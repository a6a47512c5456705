"""GRPO on hard questions: how often a group gives no signal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Figure, log_x
from expo.report.theory.drawing import BLUE, CLOSED_FORM
from expo.report.words import share
from theory import grpo

GROUP_SIZES = (2, 4, 8, 16, 64)
# The example of the heading: a group of the usual size on a hard question.
G, P = 8, 0.01
# Where each curve has its name: halfway down.
_NAMED_AT = 0.5


def draw_grpo_weight(out: Path | str) -> Artefact:
    """Write `grpo-weight`: the probability of no signal, and in the CSV also w_G(p) (claims G-signal, G-weight)."""
    p = np.logspace(-4, np.log10(0.5), 200)
    tables = [
        pd.DataFrame({"p": p, "weight": grpo.weight(p, size), "no_signal": grpo.no_signal(p, size)})
        # Processors differ in the last digits.
        .map(lambda x: float(f"{x:.12g}"))
        .assign(G=size)[["G", "p", "weight", "no_signal"]]
        for size in GROUP_SIZES
    ]
    return draw_picture(
        out,
        "grpo-weight",
        (),
        pd.concat(tables, ignore_index=True),
        _plot,
        heading=f"GRPO on hard questions: at p = {100 * P:g} %, {share(_rare())} of groups of {G} give no signal",
        notes="p: the probability that one of a group's G samples is right. A group whose samples are all wrong or all "
        f"right gives no gradient. {CLOSED_FORM}",
        reading=f"At p = {100 * P:g} % and G = {G}, {share(_rare())} of groups give no gradient. Those that do weigh a "
        "rare success by up to sqrt(G − 1): where all samples have one length, the mean gradient is that of J times "
        "w_G(p), which stays bounded where ExP-SFT's 1/J does not.",
    )


def _rare() -> float:
    """How often a group of the example has no signal."""
    return float(grpo.no_signal(np.array([P]), G)[0])


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.0, caption)
    for size, rows in numbers.groupby("G", sort=False):
        colour, width = (BLUE, 2.5) if size == G else (GREY, 1.3)
        axes.plot(rows["p"], rows["no_signal"], color=colour, lw=width)
        # A group of two always has more than half a chance of none.
        named = rows.iloc[(rows["no_signal"] - _NAMED_AT).abs().argmin()]
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        place: dict[str, Any] = {"ha": "center", "va": "center", "bbox": box}
        axes.text(named["p"], named["no_signal"], f"G = {size}", fontsize=9, color=colour, **place)
    axes.plot([P], [_rare()], "o", color=BLUE, ms=7)
    axes.annotate(
        f"p = {100 * P:g} %, G = {G}: {share(_rare())}",
        (P, _rare()),
        (P, 1.12),
        ha="center",
        color=BLUE,
        fontweight="bold",
        arrowprops={"arrowstyle": "-", "color": BLUE},
    )
    axes.set(ylim=(0, 1.22), xlabel="p, probability that a sample is right", ylabel="groups without signal")
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(lambda value, _: share(value))
    log_x(axes, 1e-4, 0.7)
    return figure
