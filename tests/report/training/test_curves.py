from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from expo.records import Run
from expo.report.accuracy import LESS, MEAN, accuracy_by_base
from expo.report.picture import Caption
from expo.report.training.changes import what_changed
from expo.report.training.curves import draw_curves
from expo.report.training.grid import draw_grid
from expo.report.training.setting import findings, standing
from expo.report.trainings import EvaluatedRun, by_method, find_evaluated, levels_of

from ..records.trainings import N, levels, without_levels, write


def test_a_task_without_levels_is_shown_as_a_whole(folder: Path, tmp_path: Path) -> None:
    before = find_evaluated(folder)[0]
    expected = accuracy_by_base(by_method(before)["explanation"])
    # All levels are all there are.
    assert expected == pytest.approx(accuracy_by_base(by_method(before)["explanation"], levels=[1, 2, 3, 4, 5]))
    assert levels_of(before) == [1, 2, 3, 4, 5]
    runs = without_levels(before)
    assert levels_of(runs) == []
    trained = [r for r in runs if r.is_training]
    made = draw_curves("fig5", trained, None, "All", tmp_path / "out").numbers.set_index(["method", "base", "step"])
    assert made.loc[("explanation", MEAN, 20), "mean"] == pytest.approx(np.mean(expected))
    assert "accuracy there from" in what_changed(by_method(trained)["explanation"])
    assert "nan" not in what_changed(by_method(trained)["explanation"])
    grid = draw_grid("rates", trained, tmp_path / "out")
    assert set(grid.numbers["level"]) == {"all"}
    text = grid.shown.read_text(encoding="utf-8")
    assert "| trained on | method | rate | weight | all | steps | bases |" in text
    assert "lowest and highest base. 60 problems, 8 samples each" in text
    assert "accuracy at all levels, each method at its best rate and weight: ExP-GRPO" in grid.reading
    assert "–" not in text.split("ExP-GRPO")[1]


def test_a_curve_shows_the_mean_and_each_base(folder: Path, tmp_path: Path) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_curves("fig4", runs, [5], "Accuracy at level 5", tmp_path / "out")
    assert drawn.name == "fig4-tiny"
    csv = pd.read_csv(tmp_path / "out" / "fig4-tiny.csv")
    assert set(csv["step"]) == {0, 10, 20}
    last = csv[(csv["method"] == "explanation") & (csv["step"] == 20)].set_index("base")
    row = last.loc[MEAN]
    of_bases = accuracy_by_base(by_method(runs)["explanation"], 20, [5])
    assert row["mean"] == pytest.approx(np.mean(of_bases))
    assert row["low"] < row["mean"] < row["high"]
    assert last.loc[["tiny-0", "tiny-1", "tiny-2"], "mean"].tolist() == pytest.approx(of_bases)
    assert (row["bases"], row["problems"], row["samples"]) == (3, 12, N)
    assert (
        "In accuracy at level 5, ExP-GRPO (76 %) ends above GRPO SFT-GT-CoT (28 %) and GRPO (11 %). Toy."
        in drawn.reading
    )
    assert "Toy" in drawn.reading
    assert drawn.shown.read_bytes()[:4] == b"\x89PNG"
    runs_shown = json.loads((tmp_path / "out" / "provenance.json").read_text())["fig4-tiny"]["runs"]
    assert len(runs_shown) == 9
    assert all(set(r) >= {"tables", "commit", "policy", "toy"} for r in runs_shown)


def test_an_order_is_said_only_where_no_base_crosses(folder: Path, tmp_path: Path) -> None:
    recipe = Run(folder / "all-tiny-0-none").recipe()
    (folder / "all-tiny-0-none" / "evaluation.parquet").unlink()
    write(folder / "all-tiny-0-none-better", recipe, {0: levels(0.0), 10: levels(0.5), 20: levels(1.0)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_curves("fig4", runs, [5], "Accuracy at level 5", tmp_path / "out")
    assert (
        "ExP-GRPO (76 %) ends above GRPO SFT-GT-CoT (28 %) and above or below GRPO (39 %), depending on the base. Toy."
        in drawn.reading
    )


def test_of_one_base_intervals_by_problem_decide(folder: Path, tmp_path: Path) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training and r.base == "tiny-0"]
    assert (
        "ends above GRPO SFT-GT-CoT (27 %) and GRPO (9.4 %)"
        in draw_curves("fig4", runs, [5], "Accuracy", tmp_path / "a").reading
    )
    # Of level 4 all methods have the same accuracy but for noise.
    close = draw_curves("fig4", runs, [4], "Accuracy", tmp_path / "b").reading
    assert re.search(r"cannot be told apart from GRPO SFT-GT-CoT \([\d.]+ %\) and GRPO \([\d.]+ %\)", close)


def compared_with(first: float, **others: tuple[float, float, float, float, float]) -> pd.DataFrame:
    """Ends of methods: the first one's accuracy, and the others' with LESS: mean, low, high, lowest and highest."""
    rows = [{"method": "explanation", "mean": first, "problems": 30}]
    for method, less in others.items():
        rows.append({"method": method, "mean": first + less[0], "problems": 30, **dict(zip(LESS, less, strict=True))})
    return pd.DataFrame(rows).set_index("method")


@pytest.mark.parametrize(
    ("less", "said"),
    [
        ((-0.3, -0.4, -0.2, -0.5, -0.1), "ends above GRPO (20 %)"),
        # One base ties: no base has the other order.
        ((-0.3, -0.4, -0.2, -0.5, 0.0), "ties with or leads GRPO (20 %)"),
        ((0.3, 0.2, 0.4, 0.0, 0.5), "ties with or trails GRPO (80 %)"),
        # One base has the other order.
        ((-0.3, -0.4, -0.2, -0.5, 0.1), "ends above or below GRPO (20 %), depending on the base"),
        # The interval has 0 in it, whatever the bases say.
        ((-0.1, -0.3, 0.1, -0.2, -0.05), "cannot be told apart from GRPO (40 %)"),
    ],
)
def test_an_order_has_its_words(less: tuple[float, float, float, float, float], said: str) -> None:
    assert standing(compared_with(0.5, none=less)) == f"ExP-GRPO (50 %) {said}"


def test_too_few_problems_or_no_base_in_common_are_no_comparison() -> None:
    few = compared_with(0.5, none=(-0.3, -0.4, -0.2, -0.5, -0.1)).assign(problems=9)
    assert standing(few) == "ExP-GRPO (50 %) is not compared with GRPO (20 %)"
    apart = compared_with(0.5, none=(np.nan,) * 5).assign(mean=[0.5, 0.2])
    assert standing(apart) == "ExP-GRPO (50 %) is not compared with GRPO (20 %)"
    assert standing(compared_with(0.5)) == "ExP-GRPO scores 50 %"


def test_a_heading_of_many_methods_gets_shorter() -> None:
    below = (-0.3, -0.4, -0.2, -0.5, -0.1)
    full, scores, span = findings(compared_with(0.5, none=below, expert=below), "accuracy at level 5")
    assert full == "in accuracy at level 5, ExP-GRPO (50 %) ends above GRPO (20 %) and GRPO SFT-GT-CoT (20 %)"
    assert scores == "at level 5, ExP-GRPO scores 50 %, GRPO 20 % and GRPO SFT-GT-CoT 20 %"
    assert span == "at level 5, ExP-GRPO scores 50 %, the 2 other methods 20 %"
    assert findings(compared_with(0.5), "pass@4")[2] == "in pass@4, ExP-GRPO scores 50 %"


def test_a_method_that_stopped_earlier_ends_where_it_stopped(
    folder: Path, tmp_path: Path, captions: list[Caption]
) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    for run in runs:
        if run.method == "none":
            run.run.write("evaluation", run.evaluation[run.evaluation["step"] <= 10])
            run.run.path("recipe.yaml").write_text(yaml.safe_dump({**run.recipe, "learning_rate": run.rate / 10}))
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    made = draw_curves("fig4", runs, [5], "Accuracy at level 5", tmp_path / "out")
    assert "after step 10 to 20: " in made.reading
    assert re.search(r"ends above GRPO SFT-GT-CoT \([\d.]+ %\) and GRPO \([\d.]+ %\)", made.reading)
    assert "The learning rate of GRPO is 0.1 times that of ExP-GRPO. " in captions[0].notes
    assert "GRPO ends at step 10, ExP-GRPO at step 20." in captions[0].notes


def test_a_caption_says_where_the_axis_is_cut_and_what_is_dashed(
    folder: Path, tmp_path: Path, captions: list[Caption]
) -> None:
    run = next(r for r in find_evaluated(folder)[0] if r.is_training)
    draw_curves("fig4", [run], [5], "Accuracy at level 5", tmp_path / "out")
    run.run.write("evaluation", run.evaluation.assign(correct=run.evaluation["n"]))
    recipe = {**run.recipe, "algorithm": "dpo", "positive": "explanation", "beta": 0.1, "refresh_steps": 10}
    run.run.path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    draw_curves("fig7", [EvaluatedRun(run.run)], [5], "Accuracy at level 5", tmp_path / "out")
    before, after = (caption.notes for caption in captions)
    for said in (" Dashed: online.", " The axis does not begin at 0 %."):
        assert said not in before
        assert said in after


def test_several_orders_make_one_sentence() -> None:
    below, unclear = (-0.3, -0.4, -0.2, -0.5, -0.1), (-0.1, -0.3, 0.1, -0.2, -0.05)
    assert standing(compared_with(0.5, none=below, expert=unclear)) == (
        "ExP-GRPO (50 %) ends above GRPO (20 %) and cannot be told apart from GRPO SFT-GT-CoT (40 %)"
    )


def test_what_is_forgotten_is_said_from_where_to_where(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    shown = "Accuracy at levels 1 to 4, trained on level 5"
    draw_curves("forgetting", runs, [1, 2, 3, 4], shown, tmp_path / "out")
    (heading,) = headings
    assert re.fullmatch(
        r"On the toy: training on all levels takes accuracy at levels 1 to 4 from [\d.]+ % to [\d.]+ % with ExP-GRPO, "
        r"[\d.]+ % with GRPO SFT-GT-CoT and [\d.]+ % with GRPO",
        heading,
    )
