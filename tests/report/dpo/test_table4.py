from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.report.dpo.table4 import draw_table4
from expo.report.trainings import EvaluatedRun


def test_table4_has_every_arm_by_level(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    numbers = draw_table4(runs, tmp_path).numbers
    assert len(numbers) == 6 * 6
    first = numbers[(numbers["set"] == "all levels") & (numbers["method"] == "dpo_answer")].iloc[0]
    assert first["k"] == 1
    assert first["mean"] == pytest.approx(np.mean([r.accuracies(20).mean() for r in runs if r.method == "dpo_answer"]))
    before = numbers[(numbers["method"] == "base") & (numbers["set"] == "level 1")]["mean"].iloc[0]
    assert before == pytest.approx(np.mean([r.accuracies(0, [1], 4).mean() for r in runs if r.method == "dpo_answer"]))
