from __future__ import annotations

from pathlib import Path

from expo.report.dpo.drift import draw_drift
from expo.report.trainings import EvaluatedRun


def test_drift_is_said_by_rate(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    made = draw_drift(runs, tmp_path)
    assert "- ExP-DPO, offline: −0.200 at 0.0001" in made.reading
