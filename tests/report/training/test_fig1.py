from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from expo.records import Run
from expo.report.accuracy import MEAN
from expo.report.training.fig1 import draw_fig1, samples_by_base
from expo.report.training.table3 import draw_table3
from expo.report.trainings import EvaluatedRun, find_evaluated

from ..records.trainings import N


def test_a_positive_counts_where_it_was_in_force(folder: Path, tmp_path: Path) -> None:
    run = Run(folder / "all-tiny-0-explanation")
    blank = run.read("positives").iloc[[0]]
    # Held at first, and no more from step 5 on.
    run.write("positives", pd.concat([blank, blank.assign(step=5, problem="p1-0")]))
    groups = run.read("groups")
    run.write("groups", pd.concat([groups, groups.assign(step=5)]))
    recipe = {**run.recipe(), "refresh_steps": 5}
    run.path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert samples_by_base([EvaluatedRun(run)], 5)["added"] == [0.5]
    assert samples_by_base([EvaluatedRun(run)], 4)["added"] == [0.0]
    assert np.isnan(samples_by_base([EvaluatedRun(run)], 3)["right"]).all()
    failed = {**recipe, "sft_failed_groups_only": True}
    run.path("recipe.yaml").write_text(yaml.safe_dump(failed))
    run.write("groups", groups.assign(correct=[1, 1]))
    assert samples_by_base([EvaluatedRun(run)], 5)["added"] == [0.0]


def test_fig1_and_table3_have_the_levels_that_there_are(folder: Path, tmp_path: Path) -> None:
    """Trained on level 5 alone and evaluated at 4 and 5: no other level is drawn, and samples of level 5 alone."""
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    for run in runs:
        run.run.write("evaluation", run.evaluation[run.evaluation["level"] >= 4])
        run.run.path("recipe.yaml").write_text(yaml.safe_dump({**run.recipe, "levels": [5]}))
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    csv = draw_fig1(runs, tmp_path / "out").numbers
    assert set(csv[csv["panel"] == "accuracy"]["level"]) == {4, 5}
    assert set(csv[csv["panel"] == "samples"]["level"]) == {5}
    table = draw_table3(runs, [], tmp_path / "out")
    assert set(table.numbers["level"]) == {4, 5}
    measured = table.shown.read_text(encoding="utf-8").split("## The paper's Table 3")[0]
    assert "level 4 | level 5 |" in measured
    assert "level 3" not in measured
    assert table.reading.startswith("At level 5: ")


def test_fig1_counts_the_samples_of_a_group(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_fig1(runs, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "fig1-tiny.csv")
    samples = csv[csv["panel"] == "samples"].set_index(["method", "level", "kind"])["mean"]
    assert samples["none", 4, "right"] == 1
    assert samples["none", 4, "wrong"] == 3
    assert samples["none", 5, "right"] == 0
    assert samples["explanation", 5, "added"] == 1
    assert samples["none", 5, "added"] == 0
    assert set(csv[csv["panel"] == "accuracy"]["method"]) == {"base", "explanation", "expert", "none"}
    assert "Accuracy at level 5: base" in drawn.reading
    assert headings.pop() == (
        "After the paper's Figure 1, on the toy: in accuracy at level 5, ExP-GRPO (76 %) ends above GRPO SFT-GT-CoT "
        "(28 %) and GRPO (11 %)"
    )
    of_level = csv[(csv["panel"] == "accuracy") & (csv["level"] == 5) & (csv["method"] == "none")]
    assert of_level["base"].tolist() == [MEAN, "tiny-0", "tiny-1", "tiny-2"]
    for run in runs:
        if run.method == "expert":
            rows = run.evaluation
            run.run.write("evaluation", rows.assign(correct=rows["correct"].where(rows["level"] < 5, N)))
    draw_fig1([r for r in find_evaluated(folder)[0] if r.is_training], tmp_path / "out")
    assert headings.pop().endswith("ExP-GRPO (76 %) ends above GRPO (11 %) and below GRPO SFT-GT-CoT (100 %)")


def test_fig1_of_one_method_says_what_it_scores_at_the_hardest_level(
    folder: Path, tmp_path: Path, headings: list[str]
) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.method == "explanation"]
    made = draw_fig1(runs, tmp_path / "out")
    assert headings.pop() == "After the paper's Figure 1, on the toy: in accuracy at level 5, ExP-GRPO scores 76 %"
    assert "differ most" not in made.reading
    words = made.shown.with_suffix(".svg").read_text(encoding="utf-8")
    assert ">base (dashed)" in words
    assert "right on the right" in words


def test_fig1_names_the_level_at_which_methods_differ_most(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    for run in find_evaluated(folder)[0]:
        if run.method == "none":
            rows = run.evaluation
            run.run.write("evaluation", rows.assign(correct=rows["correct"].where(rows["level"] != 2, 0)))
    made = draw_fig1([r for r in find_evaluated(folder)[0] if r.is_training], tmp_path / "out")
    assert ": in accuracy at level 5, ExP-GRPO (76 %) ends above" in headings.pop()
    assert "At level 2, where methods differ most, ExP-GRPO (" in made.reading
