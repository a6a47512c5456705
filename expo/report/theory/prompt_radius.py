"""How close to Bayes' rule a prompted sampler of explanations must be for Lemma 2 to hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, INK, Figure, legend_above
from expo.report.theory.drawing import BLUE, CLOSED_FORM, ORANGE
from expo.report.words import listed, share
from theory import lemma2

PRIOR, X = np.array([0.55, 0.4, 0.05]), np.array([0.1, 0.5, 0.9])


def draw_prompt_radius(out: Path | str) -> Artefact:
    """Write `prompt-radius`: how far a prompted sampler may be from Bayes' rule (claim L2-prompt)."""
    samplers = np.random.default_rng(0).dirichlet(np.ones(3), 1500)
    distance = lemma2.tv(samplers, lemma2.posterior(PRIOR, X))
    numbers = pd.DataFrame({"tv": distance, "gap": (samplers * X).sum(-1) - (PRIOR * X).sum()})
    is_worse, exact = numbers["gap"] < -1e-12, float(lemma2.critical_tv(PRIOR, X))
    assert not is_worse[numbers["tv"] < exact].any()
    return draw_picture(
        out,
        "prompt-radius",
        (),
        numbers,
        _plot,
        heading=f"Lemma 2 in one model: {_finding(is_worse)}",
        notes=f"One model: three CoTs c of probability {_listed(PRIOR)}, with X = π(a*|q, c) of {_listed(X)}; J is the "
        f"mean of X over own CoTs. A point is one of {len(numbers):,} random ways to sample explanations, as a prompt "
        f"might. {CLOSED_FORM}",
        reading=f"Of these random samplers {share(float(is_worse.mean()))} are worse than own CoTs, and none within "
        f"the exact radius of {exact:.3f}. In this model Lemma 2 is guaranteed only for a prompt that near to Bayes' "
        "rule.",
    )


def _finding(is_worse: pd.Series) -> str:
    if is_worse.any():
        return "a prompt far from Bayes' rule can make explanations worse than own CoTs"
    return "no prompt, however far from Bayes' rule, makes explanations worse than own CoTs"


def _listed(values: np.ndarray) -> str:
    return listed([f"{value:g}" for value in values])


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, caption)
    exact = float(lemma2.critical_tv(PRIOR, X))
    is_worse = numbers["gap"] < -1e-12
    for rows, colour, name in (
        (numbers[~is_worse], BLUE, "explanations lead to a* more often than own CoTs"),
        (numbers[is_worse], ORANGE, "less often: Lemma 2 fails"),
    ):
        axes.scatter(rows["tv"], rows["gap"], s=7, lw=0, color=colour)
        axes.plot([], [], "o", ms=5, color=colour, label=name)
    axes.axhline(0, color=INK, lw=0.8)
    axes.axvspan(0, exact, color=GREY, alpha=0.12, lw=0)
    axes.axvline(exact, color=GREY, lw=1.5)
    # High up at the left there are no points: samplers near Bayes' rule gain about as much as it does.
    axes.text(
        exact / 2, 0.93, f"safe: nearer than {exact:.2f}", ha="center", va="top", transform=axes.get_xaxis_transform()
    )
    axes.set(
        xlabel="total variation between the sampler and Bayes' rule", ylabel="gap: mean of X minus J", xlim=(0, 0.9)
    )
    legend_above(axes, 2)
    return figure
