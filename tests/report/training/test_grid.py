from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expo.records import Run
from expo.report.accuracy import accuracy_by_base
from expo.report.training.curves import draw_curves
from expo.report.training.grid import best, draw_grid
from expo.report.trainings import find_evaluated, is_grid
from expo.report.words import share

from ..records.trainings import levels, write


def test_of_equal_rates_the_lowest_is_best(folder: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "policy": "tiny-9"}
    for rate in (1e-3, 1e-4):
        write(folder / f"dead-{rate}", {**recipe, "learning_rate": rate}, {20: dict.fromkeys(range(1, 6), -1.0)})
    dead = [r for r in find_evaluated(folder)[0] if r.base == "tiny-9"]
    assert best(dead) == {("all levels", "none"): (1e-4, 0.0)}


def test_several_rates_are_a_grid_and_no_curve(folder: Path, tmp_path: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "learning_rate": 1e-3}
    write(folder / "all-tiny-0-none-fast", recipe, {0: levels(0.0), 20: levels(0.6)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    assert is_grid(runs)
    with pytest.raises(
        ValueError, match="GRPO was trained in several ways, which no mean may join: its runs differ in learning_rate"
    ):
        draw_curves("fig4", runs, [5], "Level 5", tmp_path / "out")
    # Methods may differ in their rates.
    assert not is_grid([r for r in runs if r.method != "none" or r.rate == 1e-3])


def test_a_grid_is_shown_whole(folder: Path, tmp_path: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "learning_rate": 1e-3}
    write(folder / "all-tiny-0-none-fast", recipe, {0: levels(0.0), 20: levels(0.6)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_grid("rates", runs, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "rates-tiny.csv")
    # Three methods, one of them at two rates, and the bases as they were.
    assert len(csv) == 5 * 6
    csv["level"] = csv["level"].replace("all", 0).astype(int)
    whole = csv[(csv["rate"] == 1e-3) & (csv["level"] == 0)].iloc[0]
    assert whole["mean"] == pytest.approx(csv[(csv["rate"] == 1e-3) & (csv["level"] > 0)]["mean"].mean())
    before = csv[(csv["method"] == "base") & (csv["level"] == 4)].iloc[0]
    assert before["mean"] == pytest.approx(np.mean(accuracy_by_base(runs, 0, [4])))
    fast = csv[(csv["rate"] == 1e-3) & (csv["level"] == 5)].iloc[0]
    assert (fast["bases"], fast["method"], fast["beta"]) == (1, "none", 0)
    assert fast["steps_true"] == pytest.approx(0.7)
    assert best(runs) == {
        ("all levels", "explanation"): (3e-4, 1.0),
        ("all levels", "expert"): (3e-4, 1.0),
        ("all levels", "none"): (1e-3, 0.0),
    }
    assert "| all levels | before training | | |" in drawn.shown.read_text(encoding="utf-8")
    assert "| all levels | GRPO | **0.001** | **0** |" in drawn.shown.read_text(encoding="utf-8")
    assert "| all levels | GRPO | 0.0003 | 0 |" in drawn.shown.read_text(encoding="utf-8")
    assert f"GRPO {share(fast['mean'])} (rate 0.001)" in drawn.reading
    assert "GRPO" in drawn.shown.read_text(encoding="utf-8")


def test_a_grid_of_one_base_at_one_level_shows_intervals_and_no_empty_columns(folder: Path, tmp_path: Path) -> None:
    recipe = Run(folder / "all-tiny-0-none").recipe()
    recipe |= {"policy": "tiny-9", "algorithm": "sft", "positive": "answer", "levels": [5], "eval_levels": [5]}
    for rate, accuracy in ((1e-4, 0.2), (1e-3, 0.6)):
        write(folder / f"one-{rate}", {**recipe, "learning_rate": rate}, {0: {5: 0.0}, 20: {5: accuracy}})
    runs = [r for r in find_evaluated(folder)[0] if r.base == "tiny-9"]
    drawn = draw_grid("rates", runs, tmp_path / "out")
    text = drawn.shown.read_text(encoding="utf-8")
    assert "| trained on | method | rate | level 5 | steps | bases |" in text
    last = drawn.numbers.iloc[-1]
    assert f"| **0.001** | {share(last['mean'])} [{share(last['low'])}, {share(last['high'])}] |" in text
    assert (
        f"accuracy at level 5, each method at its best rate: SFT on bare answers {share(last['mean'])} (rate 0.001)."
        in drawn.reading
    )
    # An answer without a step has no share of true ones.
    for run in runs:
        run.evaluation[["steps", "steps_true"]] = 0
    assert draw_grid("rates", runs, tmp_path / "without").numbers["steps_true"].isna().all()


def test_levels_may_have_unlike_numbers_of_problems(folder: Path, tmp_path: Path) -> None:
    alike = draw_grid("rates", [r for r in find_evaluated(folder)[0] if r.is_training], tmp_path / "alike")
    n = pd.read_csv(tmp_path / "alike" / "rates-tiny.csv").query("level != 'all'")["problems"].iloc[0]
    assert f"{n} problems a level" in alike.shown.read_text(encoding="utf-8")
    for file in folder.glob("*/evaluation.parquet"):
        run = Run(file.parent)
        rows = run.read("evaluation")
        first = rows[rows["level"] == 1]["problem"].unique()
        run.write("evaluation", rows[~rows["problem"].isin(first[1:])])
    unlike = draw_grid("rates", [r for r in find_evaluated(folder)[0] if r.is_training], tmp_path / "unlike")
    assert f"1 to {n} problems a level" in unlike.shown.read_text(encoding="utf-8")


def test_of_dpo_the_second_number_is_its_beta(folder: Path, tmp_path: Path) -> None:
    grpo = next(run for run in find_evaluated(folder)[0] if run.method == "explanation")
    write(
        folder / "dpo",
        {**grpo.recipe, "algorithm": "dpo", "beta": 0.3, "max_completion_length": 512},
        {0: levels(0.0), 20: levels(0.5)},
    )
    dpo = next(run for run in find_evaluated(folder)[0] if run.is_dpo)
    for runs, head in (([dpo], "beta"), ([grpo], "weight"), ([grpo, dpo], "weight or beta")):
        drawn = draw_grid("rates", runs, tmp_path / "out")
        assert f"| trained on | method | rate | {head} |" in drawn.shown.read_text(encoding="utf-8")
        assert f"each method at its best rate and {head}: " in drawn.reading
    assert "offline ExP-DPO 45 % (rate 0.0003, weight or beta 0.300)" in drawn.reading
