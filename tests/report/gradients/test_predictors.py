from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expo.report.gradients.predictors import draw_predictors


def test_predictors_are_ranked(runs: list[Any], tmp_path: Path) -> None:
    made = draw_predictors("tiny", runs, tmp_path)
    assert made.numbers.groupby("change").size().to_dict() == {"enumeration": 6, "rollouts": 6}
    # By rollouts all changes of a question are the same there, which ranks nothing.
    assert made.numbers.set_index(["change", "predictor"])["n"]["rollouts", "predicted"] == 0
    held = made.numbers[made.numbers["change"] == "enumeration"].set_index("predictor")
    assert held.loc["predicted", ["mean", "n"]].tolist() == pytest.approx([1, 9])
    assert held.loc["nll_sum", ["mean", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert held.loc["norm", ["mean", "more"]].tolist() == pytest.approx([-1, -2])
    assert held.loc["learning_signal", "n"] == 0
    assert "norm of the gradient −1.00 [−1.00, −1.00], n = 9 (against log-probability −2.00" in made.reading
    assert "Fewer than 10 questions decide nothing" in made.reading
