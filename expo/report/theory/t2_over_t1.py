"""T2 against T1 as a right sample becomes unlikely: T1, which the paper takes to dominate, need not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import GREY, Figure, log_x
from expo.report.theory.drawing import BLUE, CLOSED_FORM, GREEN, ORANGE, draw_theory
from theory import improvement

# The other trajectories, with the rest diffuse: colour and line, mass of the other right ones, largest share of that
# mass on one of them, mass on one wrong trajectory.
_BESIDE = {
    "one other right of 10 %, one wrong of 90 %": (GREEN, "-.", Fraction(1, 10), 1, Fraction(9, 10)),
    "one other right of e⁻²⁰, failures diffuse": (BLUE, "-", Fraction(1, 485165195), 1, Fraction(0)),
    "others right 10 % in all, everything diffuse": (ORANGE, "--", Fraction(1, 10), 0, Fraction(0)),
}


def draw_t2_over_t1(out: Path | str) -> Artefact:
    """Write `t2-over-t1`: T2 against T1 as a right sample leaves the distribution (claims E6-dom, E6-sqrt)."""
    numbers = _numbers()
    most = numbers["ratio"].max()
    found = f"need not dominate: T2 can be $10^{{{int(np.log10(most))}}}$ times as large" if most > 1 else "dominates"
    return draw_theory(
        out,
        "t2-over-t1",
        numbers,
        _plot,
        heading=f"Equation 6: T1 {found}",
        notes=r"From right to left a right sample $j$ gets less likely. T1 is its own term of Eq 6, T2 that of all "
        f"others, whose proportions stay. {_falls(numbers)}{CLOSED_FORM}",
        reading="T1 falls with π_j, T2 need not: with one other right trajectory of 10 % and one wrong one of 90 %, a "
        "sample of probability 10⁻¹⁸ still gains 0.072, nearly all of it by T2. Dominance is lost about where another "
        "trajectory passes the square root of π_j.",
    )


def _falls(numbers: pd.DataFrame) -> str:
    falls = bool((numbers["gain"] < 0).any())
    return "Where a line leaves the right panel, a step on $j$ lowers J. " if falls else ""


def _numbers() -> pd.DataFrame:
    rows = []
    for name, (*_, right, share, wrong) in _BESIDE.items():
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
    for name, (colour, line, *_) in _BESIDE.items():
        rows = numbers[numbers["case"] == name]
        left.plot(rows["pi_j"], rows["ratio"], line, color=colour, lw=1.8, label=name)
        right.plot(rows["pi_j"], rows["gain"], line, color=colour, lw=1.8)
    left.axhspan(1e-10, 1, color=GREY, alpha=0.15, lw=0)
    left.text(1e-3, 1e-6, "T1 dominates", ha="right", va="center")
    left.text(1e-17, 1e3, "T2 dominates", ha="left", va="center")
    left.set(yscale="log", ylim=(1e-10, 1e20))
    left.legend(fontsize=7.5, loc="upper right")
    left.set_title("|T2| / T1")
    right.set(yscale="log", ylim=(1e-19, 10))
    right.set_title("what a step on the sample gains, T1 + T2")
    for axes in (left, right):
        log_x(axes, numbers["pi_j"].min(), 1)
        axes.set_xticks([10.0**-power for power in range(0, 18, 4)])
        axes.set_xlabel(r"probability $\pi_j$ of the sample")
    return figure
