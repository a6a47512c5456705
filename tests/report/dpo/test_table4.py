from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.report.accuracy import with_interval
from expo.report.dpo.table4 import draw_table4
from expo.report.trainings import EvaluatedRun
from expo.report.words import method_name


def test_table4_has_every_arm_by_level(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    made = draw_table4(runs, tmp_path)
    numbers = made.numbers
    hardest = numbers[(numbers["set"] == "level 5") & (numbers["method"] == "dpo_answer")].iloc[0]
    assert f"{method_name('dpo_answer')} {with_interval(hardest)}" in made.reading
    assert made.reading.startswith("pass@4 at level 5, 12 problems: before training")
    assert len(numbers) == 6 * 6
    first = numbers[(numbers["set"] == "all levels") & (numbers["method"] == "dpo_answer")].iloc[0]
    assert first["k"] == 1
    assert first["mean"] == pytest.approx(np.mean([r.accuracies(20).mean() for r in runs if r.method == "dpo_answer"]))
    before = numbers[(numbers["method"] == "base") & (numbers["set"] == "level 1")]["mean"].iloc[0]
    assert before == pytest.approx(np.mean([r.accuracies(0, [1], 4).mean() for r in runs if r.method == "dpo_answer"]))
