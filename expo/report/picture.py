"""The skeleton of every picture: a heading above, notes below, the mark of a toy, and bytes that never vary."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.runs import FinishedRun
from expo.report.style import GREY, Axes, ConstrainedLayoutEngine, Figure, look
from expo.report.toy import any_toy, warned

WIDTH = 9.0  # inches; about the width of a README's column at 110 dots an inch
NOTE_WIDTH = 155  # letters of a line of the notes


@dataclass(frozen=True)
class Caption:
    """The words around a picture: the heading above, the notes below, and whether it bears the badge of a toy."""

    heading: str
    notes: str
    toy: bool

    @classmethod
    def of(cls, runs: Sequence[FinishedRun], heading: str, notes: str) -> Caption:
        """The caption of a picture of these runs; it says of a toy that it is one."""
        return cls(heading, warned(notes, runs, "\n"), any_toy(runs))


def draw_picture(
    out: Path | str,
    name: str,
    runs: Sequence[FinishedRun],
    numbers: pd.DataFrame,
    plot: Callable[[pd.DataFrame, Caption], Figure],
    *,
    heading: str,
    notes: str,
    reading: str,
) -> Artefact:
    """Draw a picture from its numbers, and from nothing else, and publish both as `<name>.png` and `.csv`.

    Args:
        out: the folder of all artefacts.
        name: of the artefact.
        runs: the runs that are shown.
        numbers: what the picture shows.
        plot: makes the figure; it begins with `sheet`.
        heading: stands above the picture.
        notes: stand below it: what is drawn, and the setting of the runs.
        reading: what is seen, in words.
    """
    with look():
        image = png(plot(numbers, Caption.of(runs, heading, notes)))
    return publish(out, name, runs, numbers, {".png": image}, reading)


def sheet(rows: int, columns: int, height: float, caption: Caption) -> tuple[Figure, list[list[Axes]]]:
    """A figure with its caption around `rows` x `columns` axes of `height` inches each."""
    notes = "\n".join(textwrap.fill(line, NOTE_WIDTH) for line in caption.notes.split("\n"))
    top, bottom = 0.42, 0.32 + 0.165 * notes.count("\n")
    total = rows * height + top + bottom
    rect = (0, bottom / total, 1, 1 - (top + bottom) / total)
    layout = ConstrainedLayoutEngine(rect=rect, hspace=0.06, wspace=0.04)
    figure = Figure(figsize=(WIDTH, total), layout=layout)
    figure.text(0.012, 1 - 0.14 / total, caption.heading, fontsize=12, fontweight="bold", va="top")
    figure.text(0.012, 0.1 / total, notes, fontsize=8, color=GREY, va="bottom", linespacing=1.35)
    if caption.toy:
        badge = {"boxstyle": "round,pad=0.35", "facecolor": "#F0E442", "edgecolor": "none"}
        figure.text(0.985, 1 - 0.2 / total, "toy", fontsize=10, fontweight="bold", ha="right", va="top", bbox=badge)
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def png(figure: Figure) -> bytes:
    """A figure as PNG; the same figure gives the same bytes."""
    sink = io.BytesIO()
    # By default matplotlib's version is written into the file.
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
