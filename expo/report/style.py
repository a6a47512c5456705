"""One look for all pictures: a colour for each kind of positive and each method, the same in every picture.

The first six are from Okabe and Ito (2008). `tests/report/test_style.py` computes how far apart all of them look.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from expo.report.words import plain_method
from expo.text import install

# All modules of pictures import matplotlib's classes from here, so that each of them fails with this message.
try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine as ConstrainedLayoutEngine
except ImportError as error:
    raise ImportError(f"pictures need matplotlib: {install('notebooks')}") from error

# In the order of NAMES. A test compares all that can stand in one picture, as colour-blind eyes see them too.
COLOURS = {
    "explanation": "#0072B2",
    "expert": "#D55E00",
    "own": "#444444",
    "own_correct": "#009E73",
    "wrong_explanation": "#CC79A7",
    "nonsense": "#56B4E9",
    "answer": "#7A2E00",
    "posterior": "#2A14B4",
    "best_signal": "#2D003C",
    "best_joint": "#96C369",
    "right": "#0F4B69",
}
METHOD_COLOURS = {**COLOURS, "none": COLOURS["own"], "base": "#BBBBBB", "again": "#6E6E7D"}
METHOD_COLOURS |= {
    f"{algorithm}_{source}": colour for algorithm in ("sft", "dpo") for source, colour in COLOURS.items()
}
METHOD_COLOURS["sft_explanation+none"] = "#96C369"
METHOD_COLOURS |= {f"dpo_{source}_online": colour for source, colour in COLOURS.items()}


def method_colour(method: str) -> str:
    """The colour of a method: that of its positives. A variant has that of the method it is one of."""
    return METHOD_COLOURS.get(method) or METHOD_COLOURS[plain_method(method)]


def line_style(method: str) -> str:
    """Dotted without own samples (SFT), dashed where pairs are sampled anew while the policy is trained."""
    plain = plain_method(method)
    if plain.startswith("sft_") and "+" not in plain:
        return ":"
    return "--" if plain.endswith("_online") else "-"


INK, GREY = "#222222", "#777777"
COMPACT = {"handlelength": 1.2, "columnspacing": 1.0, "handletextpad": 0.4}  # spacing of a legend of long names
LEGEND_PAD = 20  # points between axes and title, for one row of a legend

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
    "savefig.dpi": 200,
    # Ids in an SVG would vary, and letters would be those of whatever font its reader has.
    "svg.hashsalt": "expo",
    "svg.fonttype": "path",
}


def look() -> AbstractContextManager[None]:
    """The look, while a figure is drawn and saved; a user's own matplotlibrc has no say."""
    defaults: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if k != "backend"}
    return mpl.rc_context(defaults | _RC)


def legend_above(axes: Axes, columns: int, fontsize: float = 8) -> None:
    """A legend over the left of the only axes of a row."""
    axes.legend(ncols=columns, fontsize=fontsize, loc="lower left", bbox_to_anchor=(0, 1))


def legend_outside(axes: Axes, columns: int, **spacing: Any) -> None:
    """A legend between the title and the axes, where it hides no data; a title's `LEGEND_PAD` keeps the room for it.

    It stands outside the layout: else long names would make these axes narrower than the others of their row.
    """
    legend = axes.legend(ncols=columns, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99), **spacing)
    legend.set_in_layout(False)
