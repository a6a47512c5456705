from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.gradients.predictors import PREDICTORS, _mean
from expo.report.gradients.predictors import _plot, draw_predictors
from expo.report.gradients.runs import find_gradients
from expo.report.picture import Caption
from expo.report.style import look

from ..records.gradients import write_gradients


def test_predictors_are_ranked(runs: list[Any], tmp_path: Path, headings: list[str]) -> None:
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
    assert headings.pop() == "On the toy: too few questions to tell what ranks a step's gains best"


def test_correlations_that_cancel_are_0() -> None:
    keys = [("run", f"q{i}") for i in range(3)]
    assert _mean(dict(zip(keys, (0.1, 0.2, -0.3), strict=True))).mean == 0
    # The control: summed as they are, these are not quite 0.
    assert np.mean([0.1, 0.2, -0.3]) != 0


def test_each_property_has_its_number_of_questions(runs: list[Any], tmp_path: Path) -> None:
    numbers = draw_predictors("tiny", runs, tmp_path).numbers
    with look():
        (axes,) = _plot(numbers, Caption("heading", "notes", toy=True)).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert f"{PREDICTORS['predicted']}, n = 9" in names
    assert f"{PREDICTORS['learning_signal']}, n = 0" in names


@pytest.mark.parametrize("is_apart", [True, False])
def test_the_best_predictor_is_named_only_where_it_is_apart(
    is_apart: bool, tmp_path: Path, headings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ranked(rows: pd.DataFrame) -> pd.DataFrame:
        means = {"predicted": 0.9, "unit_t1": 0.5 if is_apart else 0.8}
        table = [(name, means.get(name, 0.1)) for name in PREDICTORS]
        known = {"n": 12, "more": 0.0, "more_low": 0.0, "more_high": 0.0, "more_n": 12}
        return pd.DataFrame([{"predictor": n, "mean": m, "low": m - 0.1, "high": m + 0.1, **known} for n, m in table])

    write_gradients(tmp_path / "runs" / "one")
    monkeypatch.setattr("expo.report.gradients.predictors.rank_correlations", ranked)
    draw_predictors("tiny", find_gradients(tmp_path / "runs"), tmp_path / "out")
    following = f"then by {PREDICTORS['unit_t1']} (0.50)"
    best = f"a step's gains are ranked best by {PREDICTORS['predicted']} (rank correlation 0.90), {following}"
    none = "no property ranks a step's gains clearly best"
    assert headings == [f"On the toy: {best if is_apart else none}"]
