"""The table of each training: its own interval, what its groups gave, and bases that were made twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from expo.records import Run
from expo.report.training.by_base import draw_by_base
from expo.report.training.setting import weights_note
from expo.report.trainings import find_evaluated

from ..records.trainings import write

RECIPE = {
    "task": "letters",
    "levels": [4, 5],
    "eval_split": "test",
    "eval_temperature": 0.7,
    "learning_rate": 1e-4,
}


def runs_of(folder: Path, ends: dict[tuple[str, str], float]) -> list:
    for (positive, base), end in ends.items():
        recipe = {**RECIPE, "positive": positive, "policy": f"bases/model-seed{base}"}
        write(folder / f"{positive}-{base}", recipe, {0: {4: 0.0, 5: 0.0}, 20: {4: end, 5: end, 3: 0.5}})
    return find_evaluated(folder)[0]


def test_each_training_has_a_row_of_its_own(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "runs", {("explanation", "0"): 0.5, ("explanation", "1"): 0.75, ("none", "0"): 0.25})
    made = draw_by_base(runs, tmp_path / "out")
    numbers = made.numbers.set_index(["method", "base"])
    assert len(numbers) == 3
    for run in runs:
        row = numbers.loc[(run.method, run.policy_name)]
        assert row["mean"] == pytest.approx(run.accuracies(20, [4, 5]).mean())
        assert row["low"] < row["mean"] < row["high"]
        assert row["before"] == pytest.approx(run.accuracies(0, [4, 5]).mean())
        # Of the levels trained on alone.
        assert (row["problems"], row["steps_true"]) == (24, 0.7)
        # 1 of 4 right at level 4, none at level 5.
        assert (row["groups"], row["some_right"], row["all_right"]) == (2, 1, 0)
    text = made.shown.read_text(encoding="utf-8")
    assert "| levels 4, 5 | ExP-GRPO | model-seed0 | 42 |" in text
    assert "ExP-GRPO" in made.reading
    assert "more than once" not in text


def test_a_base_that_was_made_twice_is_said(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "runs", {("explanation", "0"): 0.5, ("none", "0"): 0.25, ("none", "1"): 0.25})
    assert weights_note(runs) == ""
    path = Run(tmp_path / "runs" / "none-0").path("environment.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"weights": "none"', '"weights": "others"'))
    again = find_evaluated(tmp_path / "runs")[0]
    assert weights_note(again).startswith(" model-seed0 was made more than once by one recipe;")
    assert "was made more than once" in draw_by_base(again, tmp_path / "out").shown.read_text(encoding="utf-8")


def test_trainings_without_groups_have_none(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "runs", {("explanation", "0"): 0.5})
    runs[0].run.path("groups.parquet").unlink()
    made = draw_by_base(find_evaluated(tmp_path / "runs")[0], tmp_path / "out")
    assert pd.isna(made.numbers["groups"].iloc[0]) or made.numbers["groups"].iloc[0] == 0
    assert "| – | – | – |" in made.shown.read_text(encoding="utf-8")
