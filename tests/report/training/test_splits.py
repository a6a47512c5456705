from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from expo.report.training.splits import draw_splits, evaluated_on_splits
from expo.report.trainings import find_evaluated

from ..records.trainings import write

SETTING = {"task": "letters", "samples": 8, "temperature": 0.7, "max_new_tokens": 40, "seed": 0}


def test_methods_are_told_apart_on_every_split(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for seed in (0, 1):
        base = f"bases/model-seed{seed}"
        for split, levels in (("test", (1, 3)), ("new", (3,))):
            asked = {**SETTING, "split": split}
            write(folder / f"base-{split}-{seed}", {**asked, "policy": base}, {0: dict.fromkeys(levels, 0.0)})
            for name, by, share in (
                ("exp", ["explanation"], 0.75),
                ("then", ["sft_explanation", "none"], 0.5),
                ("odd", ["dpo_explanation", "none"], 0.5),
            ):
                write(
                    folder / f"{name}-{split}-{seed}",
                    {**asked, "policy": f"runs/{name}-{seed}/model"},
                    {0: dict.fromkeys(levels, share if split == "test" else 0.25)},
                    trained_from=base,
                    trained_by=by,
                )
            # For pass@k, and not to be compared.
            write(folder / f"many-{seed}", {**SETTING, "split": "test", "samples": 64, "policy": base}, {0: {3: 0.0}})
    runs = evaluated_on_splits(find_evaluated(folder)[0])
    assert {run.recipe["samples"] for run in runs} == {8}
    assert {run.trained_method for run in runs} == {"base", "explanation", "sft_explanation+none"}
    drawn = draw_splits(runs, tmp_path / "figures")
    numbers = (
        pd.read_csv(tmp_path / "figures" / "splits-model-letters.csv")
        .set_index(["method", "split", "level"])
        .sort_index()
    )
    assert len(numbers) == 3 * 3 * 2
    steps = numbers[numbers["quantity"] == "true steps"]
    numbers = numbers[numbers["quantity"] == "accuracy"]
    # Of every problem 7 of 10 steps are true.
    assert (steps["mean"].round(6) == 0.7).all()
    assert set(numbers["bases"]) == {2}
    exp, then = (numbers.loc[method, "mean"] for method in ("explanation", "sft_explanation+none"))
    assert exp["test", 3] > then["test", 3] > numbers.loc["base", "mean"]["test", 3]
    text = drawn.shown.read_text(encoding="utf-8")
    assert "`new` words that were never trained on" in text
    assert "| | test, level 1 | test, level 3 | new, level 3 |" in text
    assert "On `new` at level 3, accuracy: base" in drawn.reading
    assert "On `new` at level 3, true steps: base 70 %" in drawn.reading
    assert "12 problems a level" in text
    # One that was sampled otherwise cannot stand among them.
    odd = {**SETTING, "split": "new", "temperature": 1.0, "policy": "bases/model-seed0"}
    write(folder / "warmer", odd, {0: {3: 0.5}})
    with pytest.raises(ValueError, match="evaluations by split differ in temperature, and cannot be compared"):
        draw_splits(evaluated_on_splits(find_evaluated(folder)[0]), tmp_path / "figures")
    # One split is no comparison.
    assert evaluated_on_splits([run for run in runs if run.recipe["split"] == "new"]) == []
