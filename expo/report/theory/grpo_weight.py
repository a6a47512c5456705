"""GRPO on hard questions: how often a group gives no signal, and how the mean gradient weighs a rare success."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import Figure
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
        heading="GRPO on hard questions: no signal, or a weighted one",
        notes="p: probability that one sample is right. Advantages with the group's standard deviation, no clipping, "
        f"theta = theta_old, samples of one length.\nDotted: the limit sqrt(G − 1) as p goes to 0. {CLOSED_FORM}",
        reading=f"At p = 1 % and G = 8, {100 * rare:.0f} % of groups give no gradient. Those that do weigh a rare "
        "success by up to sqrt(G − 1): where all samples have one length, the mean gradient is that of J times w_G(p), "
        "which stays bounded where ExP-SFT's 1/J does not.",
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.1, caption)
    for i, G in enumerate(GROUP_SIZES):
        rows = numbers[numbers["G"] == G]
        shade = str(0.75 - 0.17 * i)
        right.plot(rows["p"], rows["weight"], color=shade, lw=1.8, label=f"G = {G}")
        right.axhline(np.sqrt(G - 1), color=shade, lw=0.8, ls=":")
        left.plot(rows["p"], rows["no_signal"], color=shade, lw=1.8)
    left.set(xscale="log", ylim=(0, 1), xlabel="p", ylabel="probability of a group without signal")
    left.set_title("all G samples wrong, or all right")
    right.set(xscale="log", xlabel="p", ylim=(0, 9.5), ylabel="w_G(p)")
    right.set_title("mean gradient: w_G(p) times grad J")
    right.legend(fontsize=8, ncols=3, loc="upper right")
    return figure
