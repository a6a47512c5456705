"""How near to Bayes' rule a prompted sampler of explanations must be for Lemma 2 to hold of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import GREY, INK, Figure
from expo.report.theory.drawing import BLUE, CLOSED_FORM, ORANGE, draw_theory
from theory import lemma2

PRIOR, X = np.array([0.55, 0.4, 0.05]), np.array([0.1, 0.5, 0.9])


def draw_prompt_radius(out: Path | str) -> Artefact:
    """Write `prompt-radius`: how far a prompted sampler may be from Bayes' rule (claim L2-prompt)."""
    samplers = np.random.default_rng(0).dirichlet(np.ones(3), 1500)
    distance = lemma2.tv(samplers, lemma2.posterior(PRIOR, X))
    numbers = pd.DataFrame({"tv": distance, "gap": (samplers * X).sum(-1) - (PRIOR * X).sum()})
    is_worse, exact = numbers["gap"] < 0, float(lemma2.critical_tv(PRIOR, X))
    assert not is_worse[numbers["tv"] < exact].any()
    return draw_theory(
        out,
        "prompt-radius",
        numbers,
        _plot,
        heading="Lemma 2 for prompted explanations: how near is near enough?",
        notes="One model: π = (.55, .4, .05), X = (.1, .5, .9). Each point is a way to sample explanations, as "
        f"prompting might: 1,500 at random. Below 0 Lemma 2 fails. {CLOSED_FORM}",
        reading=f"Of these random samplers {100 * is_worse.mean():.0f} % are worse than own CoTs, and none within the "
        f"exact radius {exact:.3f}. Only that near to Bayes' rule is Lemma 2 guaranteed for a prompt.",
    )


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, caption)
    safe, exact = float(lemma2.tv_radius(PRIOR, X)), float(lemma2.critical_tv(PRIOR, X))
    is_worse = numbers["gap"] < 0
    for rows, colour, name in (
        (numbers[~is_worse], BLUE, "self-explanations are better"),
        (numbers[is_worse], ORANGE, "worse than own CoTs"),
    ):
        axes.scatter(rows["tv"], rows["gap"], s=7, lw=0, color=colour, label=name)
    axes.axhline(0, color=INK, lw=0.8)
    axes.axvline(safe, color=GREY, ls=":", lw=1.5, label=f"simple radius Var(X) / (J R) = {safe:.3f}")
    axes.axvline(exact, color=GREY, lw=1.5, label=f"exact radius = {exact:.3f}")
    axes.set(xlabel="total variation from the posterior", ylabel="mean of X minus J", xlim=(0, 0.9))
    axes.legend(fontsize=8, loc="upper left", frameon=True, framealpha=1, edgecolor="none")
    return figure
