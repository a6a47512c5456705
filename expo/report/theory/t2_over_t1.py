"""T2 against T1 as a right sample becomes unlikely: T1, which the paper takes to dominate, need not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.lines import name_ends
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Figure, log_x
from expo.report.theory.drawing import BLUE, CLOSED_FORM, GREEN, ORANGE
from expo.report.words import share
from theory import improvement

# The other right samples, with the rest diffuse: colour and line, mass of the other right ones, largest share of that
# mass on one of them, mass on one wrong sample.
_RIVALS = {
    "one likely rival": (GREEN, "-.", Fraction(1, 10), 1, Fraction(9, 10)),
    "one rare rival": (BLUE, "-", Fraction(1, 485165195), 1, Fraction(0)),
    "many rivals": (ORANGE, "--", Fraction(1, 10), 0, Fraction(0)),
}


def draw_t2_over_t1(out: Path | str) -> Artefact:
    """Write `t2-over-t1`: T2 against T1 as a right sample leaves the distribution (claims E6-dom, E6-sqrt)."""
    numbers = _numbers()
    crossings = {str(case): _crossing(rows) for case, rows in numbers.groupby("case", sort=False)}
    case = max(crossings, key=lambda case: crossings[case])
    overtaken = crossings[case]
    rarest = numbers[numbers["case"] == case].sort_values("pi_j").iloc[0]
    found = f"T2 overtakes T1 once a right sample is rarer than about {share(overtaken)}"
    return draw_picture(
        out,
        "t2-over-t1",
        (),
        numbers,
        _plot,
        heading=f"Equation 6: {f'with {case}, {found}' if overtaken else 'T1 dominates T2'}",
        notes="In the gain of J, the expected reward, T1 is a right sample's own term (Eq 6), T2 that of all others. "
        "Rivals are the other right samples: one of 10 % beside a wrong one of 90 %, one of e⁻²⁰, or many that share "
        f"10 %. {CLOSED_FORM}",
        reading=f"T1 falls with π_j, T2 need not: with {case}, a sample of probability {rarest['pi_j']:.1g} still "
        f"gains {rarest['gain']:.2g}, of which T1 is {rarest['t1']:.1g}. Dominance is lost about where another "
        "trajectory passes the square root of π_j.",
    )


def _numbers() -> pd.DataFrame:
    rows = []
    for name, (*_, right, largest, wrong) in _RIVALS.items():
        for power in range(2, 61):
            x = Fraction(1, 2**power)
            # The rest keeps its proportions while the sample grows.
            others = (1 - x) * right
            t1, t2 = improvement.from_sums(x, 1, others + x, (others * largest) ** 2 + x * x, ((1 - x) * wrong) ** 2)
            rows.append({"case": name, "pi_j": float(x), "t1": float(t1), "t2": float(t2)})
    numbers = pd.DataFrame(rows)
    return numbers.assign(ratio=numbers["t2"].abs() / numbers["t1"], gain=numbers["t1"] + numbers["t2"])


def _crossing(rows: pd.DataFrame) -> float:
    """The probability of the sample below which |T2| is above T1, from the likeliest on; 0 if there is none."""
    rows = rows.sort_values("pi_j", ascending=False)
    x, ratio = np.log(rows["pi_j"].to_numpy()), np.log(rows["ratio"].to_numpy())
    above = np.flatnonzero(ratio > 0)
    if not len(above) or not above[0]:
        return float(np.exp(x[0])) if len(above) else 0.0
    after = above[0]
    return float(np.exp(np.interp(0, ratio[after - 1 : after + 1], x[after - 1 : after + 1])))


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, caption)
    ends = []
    for case, rows in numbers.groupby("case", sort=False):
        colour, line, *_ = _RIVALS[str(case)]
        axes.plot(rows["pi_j"], rows["ratio"], line, color=colour, lw=2)
        if crossing := _crossing(rows):
            axes.plot([crossing], [1], "o", color=colour, ms=6)
            beside: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "color": colour}
            axes.annotate(f"{crossing:.2g}", (crossing, 1), (-3, 6), **beside)
        ends.append((float(rows.sort_values("pi_j")["ratio"].iloc[0]), str(case), colour))
    axes.axhspan(1e-10, 1, color=GREY, alpha=0.15, lw=0)
    axes.text(0.3, 0.18, "T1 dominates", ha="center", va="center", transform=axes.transAxes)
    axes.text(0.3, 0.8, "T2 dominates", ha="center", va="center", transform=axes.transAxes)
    axes.set(
        yscale="log",
        ylim=(1e-10, 1e20),
        ylabel="|T2| / T1",
        xlabel=r"probability $\pi_j$ of the sample: rarer to the right",
    )
    log_x(axes, numbers["pi_j"].min(), 1)
    axes.set_xticks([10.0**-power for power in range(0, 18, 4)])
    # From likely samples on the left to rare ones on the right, where the lines have their names.
    axes.invert_xaxis()
    name_ends(axes, ends)
    return figure
