"""Lemma 2's gap between self-explanations and own CoTs: it is a variance, and large only if they are far apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Figure
from expo.report.theory.drawing import CLOSED_FORM
from theory import lemma2

MODELS = 600


def draw_lemma2_gap(out: Path | str) -> Artefact:
    """Write `lemma2-gap`: Lemma 2's gap against the variance of X (claim L2)."""
    numbers = _numbers()
    worst = float((numbers["gap"] - numbers["variance"] / numbers["J"]).abs().max())
    is_near = bool((numbers["gap"] <= numbers["tv"] + 1e-12).all())
    found = (
        "gain at most their distance from own CoTs" if is_near else "can gain more than their distance from own CoTs"
    )
    return draw_picture(
        out,
        "lemma2-gap",
        (),
        numbers,
        _plot,
        heading=f"Lemma 2: self-explanations drawn by Bayes' rule {found}",
        notes=f"A point: one of {MODELS} random models of 4 CoTs c. X = π(a*|q, c); J: the mean of X over own CoTs. "
        r"The gap, what self-explanations $\tilde{c}$ gain: the mean of X over them minus J. Bayes' rule draws them; a "
        f"prompt with the answer need not follow it. {CLOSED_FORM}",
        reading=f"In all {MODELS} models the gap is the variance of X divided by J (the largest difference is "
        f"{worst:.0e}), and "
        f"{'it is never' if is_near else 'it can be'} above the total variation between self-explanations and own CoTs"
        f"{': what gains much cannot stay close' if is_near else ''}.",
    )


def _numbers() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.ones(4), MODELS)
    level = rng.choice([0.03, 0.1, 0.3, 0.6], MODELS)
    x = rng.beta(2 * level[:, None] + 0.05, 2 * (1 - level[:, None]) + 0.05, (MODELS, 4))
    J = (prior * x).sum(-1)
    posterior = lemma2.posterior(prior, x)
    variance = (prior * (x - J[:, None]) ** 2).sum(-1)
    gap = (posterior * x).sum(-1) - J
    return pd.DataFrame({"J": J, "variance": variance, "gap": gap, "tv": lemma2.tv(posterior, prior)})


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.1, caption)
    style: dict[str, Any] = {"c": np.log10(numbers["J"]), "cmap": "cividis", "vmin": -2, "vmax": 0, "s": 9, "lw": 0}
    left.scatter(numbers["variance"], numbers["gap"], **style)
    for j in (0.05, 0.2, 0.8):
        left.plot([0, 0.25], [0, 0.25 / j], color=GREY, lw=0.8)
        left.text(min(0.2, 0.9 * j) + 0.004, min(0.2, 0.9 * j) / j - 0.02, f"J = {j}", fontsize=8, va="top")
    left.set(xlim=(0, 0.25), ylim=(0, 1), xlabel="variance of X over own CoTs", ylabel="gap")
    left.set_title("on hard questions little variance gains much")
    points = right.scatter(numbers["tv"], numbers["gap"], **style)
    right.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    right.text(0.7, 0.74, "gap = distance", fontsize=8, ha="right")
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel=r"total variation between $\tilde{c}$ and own CoTs")
    right.set_title("a large gap needs distance")
    bar = figure.colorbar(points, ax=right, label="J", extend="min", ticks=[-2, -1, 0])
    bar.ax.set_yticklabels(["0.01", "0.1", "1"])
    return figure
