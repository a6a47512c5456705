from __future__ import annotations

from pathlib import Path

from expo.report.dpo.drift import draw_drift
from expo.report.trainings import EvaluatedRun


def test_drift_is_said_by_rate(runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]) -> None:
    made = draw_drift(runs, tmp_path / "out")
    assert "- ExP-DPO, offline: −0.200 at 0.0001" in made.reading
    assert headings.pop() == "On the toy: trained on all levels, the NLL of fixed winners rises in 0 of 15 trainings"
    for run in [run for run in runs if run.method == "dpo_expert"][:2]:
        margins = run.run.read("margins")
        run.run.write("margins", margins.assign(winner=-20.0 - margins["step"] / 10))
    drawn = draw_drift(runs, tmp_path / "drifted")
    assert headings.pop() == (
        "On the toy: trained on all levels, the NLL of fixed winners rises most often with DPO with expert CoT, in 2 "
        "of 6 trainings"
    )
    assert "Of 15 trainings, 0 of ExP-DPO, 2 of DPO with expert CoT and 0 of DPO with bare answer made" in drawn.reading
