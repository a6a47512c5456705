"""Appendix B's push of one logit against a gradient step: the step may raise the probability of another trajectory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import GREY, Axes, Figure
from expo.report.theory.drawing import BLUE, CLOSED_FORM, ORANGE
from theory import shifts

# Corners of the simplex of three trajectories: 1 on the left, 2 on the right, 3 on top.
_CORNERS = np.array([[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]])
_PLACES, _CHANGES = ([f"{symbol}_{k}" for k in (1, 2, 3)] for symbol in ("pi", "d"))


def draw_appendix_b(out: Path | str) -> Artefact:
    """Write `appendix-b`: a push of one logit against a gradient step (claims B3-ascent, B4-descent)."""
    grid = np.array([(i, j, 16 - i - j) for i in range(1, 15) for j in range(1, 16 - i)]) / 16
    push = shifts.first_order(grid, np.broadcast_to([1.0, 0, 0], grid.shape).copy())
    step = shifts.gradient_step(grid, 0)
    tables = []
    for kind, change in (("logit push", push), ("gradient step", step)):
        columns = dict(zip([*_PLACES, *_CHANGES], [*grid.T, *change.T], strict=True))
        tables.append(pd.DataFrame({"kind": kind, **columns}))
    count = int(_raises_another(step).sum())
    raised = (
        f"another in {count} of {len(grid)} places; the paper says never" if count else "no other, as the paper says"
    )
    return draw_picture(
        out,
        "appendix-b",
        (),
        pd.concat(tables, ignore_index=True),
        _plot,
        heading=f"Appendix B: a gradient step on one trajectory raises {raised}",
        notes="Each place in a triangle is a policy over three trajectories. An arrow says where it moves if "
        "trajectory 1 is pushed up; its length is that of the move to the power 1/2. Appendix B says that all others "
        f"fall. {CLOSED_FORM}",
        reading="A push of one logit lowers every other probability. The gradient step that training takes does not: "
        f"in {count} of {len(grid)} places it raises one of the others, taking from the most "
        "likely one.",
    )


def _raises_another(change: np.ndarray) -> np.ndarray:
    """Whether trajectory 2 or 3 becomes more likely as well."""
    return np.any(change[:, 1:] > 1e-12, axis=-1)


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, (panels,) = sheet(1, 2, 3.4, caption)
    for axes, (kind, rows) in zip(panels, numbers.groupby("kind", sort=False), strict=True):
        _plot_arrows(axes, rows[_PLACES].to_numpy(), rows[_CHANGES].to_numpy())
        count = int(_raises_another(rows[_CHANGES].to_numpy()).sum())
        axes.set_title(f"{kind}: {count} of {len(rows)} raise another")
    for colour, text in ((BLUE, "1 alone rises"), (ORANGE, "another rises too")):
        panels[1].plot([], [], color=colour, lw=3, label=text)
    panels[1].legend(fontsize=8.5, loc="upper right", bbox_to_anchor=(1.15, 1))
    return figure


def _plot_arrows(axes: Axes, grid: np.ndarray, change: np.ndarray) -> None:
    at, move = grid @ _CORNERS, change @ _CORNERS
    length = np.linalg.norm(move, axis=1, keepdims=True)
    move = move / np.sqrt(np.maximum(length, 1e-12))
    raises = _raises_another(change)
    for which, colour, width in ((~raises, BLUE, 0.004), (raises, ORANGE, 0.008)):
        axes.quiver(*at[which].T, *move[which].T, color=colour, angles="xy", scale=7, width=width)
    axes.plot(*np.vstack([_CORNERS, _CORNERS[:1]]).T, color=GREY, lw=1)
    for (x, y), text in zip(_CORNERS, ("1 (pushed up)", "2", "3"), strict=True):
        axes.text(x, y + (0.03 if y else -0.03), text, ha="center", va="bottom" if y else "top")
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.1, 0.95), aspect="equal")
    axes.axis("off")
