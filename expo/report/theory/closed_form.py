"""The skeleton of pictures of the theory: computed by the closed forms of `theory`, and from no run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture
from expo.report.style import COLOURS, Figure

BLUE, ORANGE, GREEN = COLOURS["explanation"], COLOURS["expert"], COLOURS["own_correct"]


def draw_closed_form(
    out: Path | str,
    name: str,
    numbers: pd.DataFrame,
    plot: Callable[[pd.DataFrame, Caption], Figure],
    *,
    heading: str,
    notes: str,
    reading: str,
) -> Artefact:
    """Write `<name>.png` and `.csv`, as `draw_picture` does, with a note that no model was run."""
    notes = f"{notes} Closed forms of toy policies; no model was run."
    return draw_picture(out, name, (), numbers, plot, heading=heading, notes=notes, reading=reading)
