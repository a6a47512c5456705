"""T2 against T1 as a right sample becomes unlikely: T1, which the paper takes to dominate, need not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import GREY, Figure
from expo.report.theory.drawing import BLUE, CLOSED_FORM, GREEN, ORANGE, draw_theory
from theory import improvement

# What lies beside a right sample, the rest diffuse: colour, mass of the other right trajectories and the largest share
# of it that one has, mass on one wrong trajectory.
_BESIDE = {
    "one other right of 10 %, one wrong of 90 %": (GREEN, Fraction(1, 10), 1, Fraction(9, 10)),
    "one other right of e⁻²⁰, failures diffuse": (BLUE, Fraction(1, 485165195), 1, Fraction(0)),
    "others right 10 % in all, everything diffuse": (ORANGE, Fraction(1, 10), 0, Fraction(0)),
}


def draw_t2_over_t1(out: Path | str) -> Artefact:
    """Write `t2-over-t1`: T2 against T1 as a right sample leaves the distribution (claims E6-dom, E6-sqrt)."""
    return draw_theory(
        out,
        "t2-over-t1",
        _numbers(),
        _plot,
        heading="T1 need not dominate where the sample is unlikely",
        notes="A right sample j that gets ever less likely, the others in fixed proportion. T1 is the sample's own "
        f"term, T2 all others' (Eq 6).\nThe paper takes T1 to dominate: the grey half-plane. {CLOSED_FORM}",
        reading="T1 falls with π_j, T2 need not: with one other right trajectory of 10 % and one wrong one of 90 %, a "
        "sample of probability 10⁻¹⁸ still gains 0.072, nearly all of it by T2. Dominance is lost about where another "
        "trajectory passes the square root of π_j.",
    )


def _numbers() -> pd.DataFrame:
    rows = []
    for name, (_, right, share, wrong) in _BESIDE.items():
        for power in range(2, 61):
            x = Fraction(1, 2**power)
            # The rest keeps its proportions while the sample grows.
            others = (1 - x) * right
            t1, t2 = improvement.from_sums(x, 1, others + x, (others * share) ** 2 + x * x, ((1 - x) * wrong) ** 2)
            rows.append({"case": name, "pi_j": float(x), "t1": float(t1), "t2": float(t2)})
    numbers = pd.DataFrame(rows)
    return numbers.assign(ratio=numbers["t2"].abs() / numbers["t1"], gain=numbers["t1"] + numbers["t2"])


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.1, caption)
    for name, (colour, *_) in _BESIDE.items():
        rows = numbers[numbers["case"] == name]
        left.plot(rows["pi_j"], rows["ratio"], color=colour, lw=1.8, label=name)
        right.plot(rows["pi_j"], rows["gain"], color=colour, lw=1.8)
    left.axhspan(1e-10, 1, color=GREY, alpha=0.15, lw=0)
    left.set(xscale="log", yscale="log", ylim=(1e-9, 1e18), xlabel="probability π_j", ylabel="|T2| / T1")
    left.legend(fontsize=7.5, loc="upper right")
    left.set_title("|T2| against T1")
    right.set(xscale="log", xlabel="probability π_j", ylabel="T1 + T2: rate of J")
    right.set_title("what a step on the sample gains")
    return figure
