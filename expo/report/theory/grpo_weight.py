"""GRPO on hard questions: how often a group gives no signal, and how the mean gradient weighs a rare success."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import Figure, log_x
from expo.report.theory.drawing import CLOSED_FORM, draw_theory
from theory import grpo

GROUP_SIZES = (2, 4, 8, 16, 64)


def draw_grpo_weight(out: Path | str) -> Artefact:
    """Write `grpo-weight`: w_G(p) and the probability of no signal (claims G-weight, G-signal)."""
    p = np.logspace(-4, np.log10(0.5), 200)
    tables = [
        pd.DataFrame({"p": p, "weight": grpo.weight(p, G), "no_signal": grpo.no_signal(p, G)})
        # Processors differ in the last digits.
        .map(lambda x: float(f"{x:.12g}"))
        .assign(G=G)[["G", "p", "weight", "no_signal"]]
        for G in GROUP_SIZES
    ]
    rare = float(grpo.no_signal(np.array([0.01]), 8)[0])
    return draw_theory(
        out,
        "grpo-weight",
        pd.concat(tables, ignore_index=True),
        _plot,
        heading=f"GRPO on hard questions: at p = 1 %, {100 * rare:.0f} % of groups of 8 give no signal",
        notes="p: the probability that one of a group's G samples is right. Advantages are divided by the group's "
        "standard deviation; no clipping; samples of one length. "
        f"Dotted: the limit sqrt(G − 1) as p goes to 0. {CLOSED_FORM}",
        reading=f"At p = 1 % and G = 8, {100 * rare:.0f} % of groups give no gradient. Those that do weigh a rare "
        "success by up to sqrt(G − 1): where all samples have one length, the mean gradient is that of J times w_G(p), "
        "which stays bounded where ExP-SFT's 1/J does not.",
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.1, caption)
    for i, G in enumerate(GROUP_SIZES):
        rows = numbers[numbers["G"] == G]
        shade = str(0.75 - 0.17 * i)
        right.plot(rows["p"], rows["weight"], color=shade, lw=1.8)
        right.axhline(np.sqrt(G - 1), color=shade, lw=0.8, ls=":")
        right.text(1.1e-4, np.sqrt(G - 1) + 0.1, f"G = {G}", fontsize=8.5, va="bottom")
        left.plot(rows["p"], rows["no_signal"], color=shade, lw=1.8, label=f"G = {G}")
    left.set(ylim=(0, 1.02))
    left.set_title("probability of a group without signal: all right or all wrong")
    left.legend(fontsize=8.5, loc="lower left")
    right.set(ylim=(0, 9))
    right.set_title("weight of the mean gradient, $w_G(p)$ times that of J")
    for axes in (left, right):
        log_x(axes, 1e-4, 0.5)
        axes.set_xlabel("p, probability that a sample is right")
    return figure
