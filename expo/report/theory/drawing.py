"""The skeleton of pictures of the theory, which show no run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.picture import Caption, images
from expo.report.style import COLOURS, Figure, look

BLUE, ORANGE, GREEN = COLOURS["explanation"], COLOURS["expert"], COLOURS["own_correct"]
CLOSED_FORM = "Closed forms of toy policies; no model was run."


def draw_theory(
    out: Path | str,
    name: str,
    numbers: pd.DataFrame,
    plot: Callable[[pd.DataFrame, Caption], Figure],
    *,
    heading: str,
    notes: str,
    reading: str,
) -> Artefact:
    """Draw a picture from its numbers and publish both, as `draw_picture` does for runs."""
    with look():
        shown = images(plot(numbers, Caption.of((), heading, notes)))
    return publish(out, name, (), numbers, shown, reading, heading)
