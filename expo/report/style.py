"""One look for all pictures: a colour for each source, safe for colour-blind eyes (Okabe and Ito 2008)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from expo.report.runs import Record
from expo.report.words import TOY

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
except ImportError as error:
    raise ImportError("pictures need matplotlib: pip install 'expo-toolkit[notebooks]'") from error

COLOURS = {
    "own": "#444444",
    "explanation": "#0072B2",
    "expert": "#D55E00",
    "own_correct": "#009E73",
    "wrong_explanation": "#CC79A7",
    "nonsense": "#56B4E9",
    "answer": "#B8860B",
}
METHOD_COLOURS = {**COLOURS, "none": "#444444", "base": "#BBBBBB", "again": "#999999"}
METHOD_COLOURS |= {f"{of}_{kind}": colour for of in ("sft", "dpo") for kind, colour in COLOURS.items()}
METHOD_COLOURS |= {f"dpo_{kind}_online": colour for kind, colour in COLOURS.items()}
INK, GREY = "#222222", "#777777"
NOTE = 155  # letters of a line of the notes
WIDTH = 9.0  # inches; about the width of a README's column at 110 dots an inch

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 110,
}


def line_style(method: str) -> str:
    """Dashed where pairs are sampled anew while the policy is trained."""
    return "--" if method.endswith("_online") else "-"


def look() -> AbstractContextManager[None]:
    """The look, while a figure is drawn and saved; a user's own matplotlibrc has no say."""
    defaults: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if k != "backend"}
    return mpl.rc_context(defaults | _RC)


def sheet(
    rows: int, columns: int, height: float, heading: str, notes: str, toy: bool
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a heading above, notes below, and `rows` x `columns` axes of `height` inches each."""
    notes = "\n".join(textwrap.fill(line, NOTE) for line in notes.split("\n"))
    top, bottom = 0.42, 0.32 + 0.165 * notes.count("\n")
    total = rows * height + top + bottom
    rect = (0, bottom / total, 1, 1 - (top + bottom) / total)
    layout = ConstrainedLayoutEngine(rect=rect, hspace=0.06, wspace=0.04)
    figure = Figure(figsize=(WIDTH, total), layout=layout)
    figure.text(0.012, 1 - 0.14 / total, heading, fontsize=12, fontweight="bold", va="top")
    figure.text(0.012, 0.1 / total, notes, fontsize=8, color=GREY, va="bottom", linespacing=1.35)
    if toy:
        badge = {"boxstyle": "round,pad=0.35", "facecolor": "#F0E442", "edgecolor": "none"}
        figure.text(0.985, 1 - 0.2 / total, "toy", fontsize=10, fontweight="bold", ha="right", va="top", bbox=badge)
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def legend_above(axes: Axes, columns: int) -> None:
    """A legend over the left of a row of axes, outside the layout: else the first of them would be as wide as it."""
    legend = axes.legend(ncols=columns, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99))
    legend.set_in_layout(False)


def notes_of(records: Sequence[Record], about: str, *, swept: bool = False) -> str:
    """The lines beneath a picture: what is drawn, each run's setting, and that a toy is a toy.

    `swept` leaves out the temperature, which is then an axis.
    """
    settings: dict[str, list[str]] = {}
    for record in records:
        settings.setdefault(record.size if swept else record.setting, []).append(record.name)
    lines = [about, *(f"{', '.join(names)}: {setting}." for setting, names in settings.items())]
    return "\n".join([*lines, TOY] if any(r.is_toy for r in records) else lines)
