"""One look for all pictures, with the colours of `expo.report.colours`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from expo.report.colours import COLOURS as COLOURS
from expo.report.colours import METHOD_COLOURS as METHOD_COLOURS
from expo.report.colours import line_style as line_style
from expo.report.colours import method_colour as method_colour
from expo.text import install

# All modules that draw import matplotlib's classes from here, so that each of them fails with this message.
try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection as LineCollection
    from matplotlib.collections import PathCollection as PathCollection
    from matplotlib.figure import Figure as Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine as ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
except ImportError as error:
    raise ImportError(f"pictures need matplotlib: {install('notebooks')}") from error

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
    "svg.hashsalt": "expo",  # otherwise ids in an SVG would vary
    "svg.fonttype": "none",  # words stay text, so that they can be searched and read aloud
}


def look() -> AbstractContextManager[None]:
    """Apply the look while a figure is drawn and saved; the user's own matplotlibrc has no effect."""
    defaults: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if k != "backend"}
    return mpl.rc_context(defaults | _RC)


def log_x(axes: Axes, low: float, high: float) -> None:
    """A logarithmic x axis from `low` to `high`, with plain numbers at its ticks; for few decades also at 2 and 5."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    if low > 1e-5 and high < 1e6:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 1e-4 else f"{x:f}".rstrip("0")))


def legend_above(axes: Axes, columns: int, fontsize: float = 8) -> None:
    """A legend over the left of the only axes of a row."""
    axes.legend(ncols=columns, fontsize=fontsize, loc="lower left", bbox_to_anchor=(0, 1))


def legend_outside(axes: Axes, columns: int, **spacing: Any) -> None:
    """A legend between the title and the axes, where it hides no data; the title's `LEGEND_PAD` leaves room for it.

    It is outside the layout: otherwise long names would make these axes narrower than the others in their row.
    """
    legend = axes.legend(ncols=columns, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99), **spacing)
    legend.set_in_layout(False)
