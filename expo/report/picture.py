"""The skeleton of every picture: a heading above, notes below, the mark of a toy, and reproducible bytes."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.runs import FinishedRun
from expo.report.style import GREY, Axes, ConstrainedLayoutEngine, Figure, PathCollection, look
from expo.report.toy import any_toy, warned
from expo.report.words import listed
from expo.text import sentence

WIDTH = 9.0  # inches; a README's column shows them at about 100 dots an inch
HEADING_WIDTH = 84  # letters of a line of the heading, beside the badge of a toy
NOTE_WIDTH = 155  # letters of a line of the notes
MOST_SVG = 300_000  # bytes


@dataclass(frozen=True)
class Caption:
    """The words around a picture: the heading above, the notes below, and whether it has the badge of a toy."""

    heading: str
    notes: str
    toy: bool

    @classmethod
    def of(cls, runs: Sequence[FinishedRun], heading: str, notes: str) -> Caption:
        """The caption of a picture of these runs; it marks a toy as one."""
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
    setting: str = "",
) -> Artefact:
    """Draw a picture from its numbers alone, and publish both as `<name>.png`, `.svg` and `.csv`.

    Args:
        out: the folder of all artefacts.
        name: of the artefact.
        runs: the runs that are shown.
        numbers: what the picture shows.
        plot: makes the figure; it begins with `sheet`.
        heading: stands above the picture; `headline` makes it.
        notes: stand below it, in two lines or three: what is drawn, and of how many problems and samples.
        reading: what is seen, in words.
        setting: how the runs were made, and by which rules the picture was; beside the reading, not below the picture.
    """
    with look():
        shown = images(plot(numbers, Caption.of(runs, heading, notes)))
    return publish(out, name, runs, numbers, shown, reading, heading, setting)


def headline(where: str, runs: Sequence[FinishedRun], *found: str) -> str:
    """The heading of a picture: `After the paper's Figure 4, on the toy: what was found`.

    Args:
        where: the place in the paper, such as a `Claim.where`; empty if the paper has no such picture.
        runs: the runs that are shown; they name the policies and tasks.
        found: the finding, computed from the numbers, or what is shown if there is no clear finding. Of several
            wordings, the first that needs no third line is taken, or else the last.
    """
    place = f"After the paper's {where.partition(' (')[0]}, " if where else ""
    # A policy that a training made, and not what is trained further.
    trained = all(run.environment.get("trained_from") and "positive" not in run.recipe for run in runs)
    subject = f"{place}{'on the toy' if any_toy(runs) else _policies(runs)}{' after training' * trained}"
    subject = sentence(subject) if any_toy(runs) else subject
    headings = [f"{subject}: {words}" for words in found]
    return next((text for text in headings if _wrapped(text, HEADING_WIDTH).count("\n") < 2), headings[-1])


def _policies(runs: Sequence[FinishedRun]) -> str:
    """`smollm2-135m on gsm8k`; a policy that is named for its task is named without it."""
    named: dict[str, None] = {}
    for run in runs:
        policy = re.sub(r"-seed\d+$", "", Path(run.base).name)
        task = Path(run.recipe["data"]).stem if run.recipe.get("data") else str(run.recipe["task"])
        named[f"{policy.removesuffix(f'-{task}')} on {task}"] = None
    return listed(list(named))


def _whole_formulas(line: str) -> str:
    """The line without spaces inside formulas, or it could be wrapped there: matplotlib prints half a formula raw."""
    return re.sub(r"\$[^$]+\$", lambda found: found[0].replace(" ", "{}"), line)


def _wrapped(text: str, width: int) -> str:
    """Lines of at most this width, none of which ends within `27 %` or `ExP-GRPO`; the last is no word or two alone."""
    whole = text.replace(" %", "\u00a0%")
    lines = textwrap.wrap(whole, width, break_on_hyphens=False)
    if len(lines) > 1:
        narrower = (textwrap.wrap(whole, n, break_on_hyphens=False) for n in range(width, width // 2, -1))
        lines = next((of for of in narrower if len(of) == len(lines) and len(of[-1]) > width // 4), lines)
    return "\n".join(lines)


def sheet(rows: int, columns: int, height: float, caption: Caption) -> tuple[Figure, list[list[Axes]]]:
    """A figure with its caption around `rows` x `columns` axes of `height` inches each."""
    heading = _wrapped(caption.heading, HEADING_WIDTH)
    notes = "\n".join(_wrapped(_whole_formulas(line), NOTE_WIDTH) for line in caption.notes.split("\n"))
    top, bottom = 0.42 + 0.21 * heading.count("\n"), 0.32 + 0.165 * notes.count("\n")
    total = rows * height + top + bottom
    rect = (0, bottom / total, 1, 1 - (top + bottom) / total)
    layout = ConstrainedLayoutEngine(rect=rect, hspace=0.06, wspace=0.04)
    figure = Figure(figsize=(WIDTH, total), layout=layout)
    figure.text(0.012, 1 - 0.14 / total, heading, fontsize=12, fontweight="bold", va="top")
    figure.text(0.012, 0.1 / total, notes, fontsize=8, color=GREY, va="bottom", linespacing=1.35)
    if caption.toy:
        badge = {"boxstyle": "round,pad=0.35", "facecolor": "#F0E442", "edgecolor": "none"}
        figure.text(0.985, 1 - 0.2 / total, "toy", fontsize=10, fontweight="bold", ha="right", va="top", bbox=badge)
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def images(figure: Figure) -> dict[str, str | bytes]:
    """A figure as PNG and as SVG, by suffix; within `look`, the same figure gives the same bytes."""
    return {".png": png(figure), ".svg": svg(figure)}


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    # By default matplotlib's version is written into the file.
    return _saved(figure, "png", {"Software": None})


def svg(figure: Figure) -> bytes:
    """A figure as SVG. Beyond `MOST_SVG` bytes its points become an image, while lines and words stay."""
    metadata = {"Date": None, "Creator": None}
    drawn = _saved(figure, "svg", metadata)
    if len(drawn) > MOST_SVG:
        for points in figure.findobj(PathCollection):
            points.set_rasterized(True)
        drawn = _saved(figure, "svg", metadata)
    # The viewer chooses the font of its words: Verdana, which is as wide, if it has no DejaVu Sans.
    return drawn.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format=kind, metadata=metadata)
    return sink.getvalue()
