"""What pictures of the theory, which show no run, have in common."""

from __future__ import annotations

from expo.report.style import COLOURS

BLUE, ORANGE, GREEN = COLOURS["explanation"], COLOURS["expert"], COLOURS["own_correct"]
CLOSED_FORM = "Closed forms of toy policies; no model was run."
