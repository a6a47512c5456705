"""Each method at its best rate: accuracies are the grid's, and positives count by their weight."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expo.report.accuracy import MEAN
from expo.report.picture import Caption
from expo.report.training.best_picture import draw_best
from expo.report.training.grid import draw_grid
from expo.report.trainings import EvaluatedRun, find_evaluated
from expo.stats import MIN_PROBLEMS

from ..records.trainings import N, levels, write

RECIPE: dict[str, Any] = {
    **{"task": "chain", "levels": [5], "positive": "explanation", "eval_split": "rate", "eval_temperature": 0.7},
    "positive_tries": 2,
}


def means(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers[numbers["base"] == MEAN].set_index(["panel", "method"])


def positives(run: EvaluatedRun, rows: list[tuple[str, int, int, float | None]]) -> None:
    """Positives with so many steps, so many of them true, and a weight."""
    first = run.run.read("positives").iloc[[0]]
    made = [
        first.assign(problem=problem, steps=steps, steps_true=true, weight=weight)
        for problem, steps, true, weight in rows
    ]
    run.run.write("positives", pd.concat(made, ignore_index=True))


@pytest.fixture
def runs(tmp_path: Path) -> list[EvaluatedRun]:
    for base in ("tiny-0", "tiny-1"):
        for choice, rate, end in (("first", 1e-4, 0.2), ("first", 1e-3, 0.4), ("weighted", 1e-3, 0.7)):
            recipe = {**RECIPE, "policy": base, "learning_rate": rate, "positive_choice": choice}
            write(tmp_path / "runs" / f"{base}-{choice}-{rate}", recipe, {0: levels(0.0), 20: levels(end)})
    found = [run for run in find_evaluated(tmp_path / "runs")[0] if run.is_training]
    for run in found:
        if run.method == "explanation":
            positives(run, [("a", 3, 3, None), ("b", 3, 2, None), ("c", 0, 0, None)])
        else:
            # Of a the false one has a quarter of the weight.
            positives(run, [("a", 3, 3, 0.75), ("a", 3, 2, 0.25), ("b", 3, 3, 1.0)])
    return [run for run in find_evaluated(tmp_path / "runs")[0] if run.is_training]


def test_the_best_rate_and_positives_by_weight(runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]) -> None:
    made = draw_best("posterior", runs, tmp_path)
    held = means(made.numbers)
    bases = made.numbers[made.numbers["base"] != MEAN].groupby(["panel", "method"])["mean"]
    assert bases.max().loc["accuracy", "explanation"] == held.loc[("accuracy", "explanation"), "highest"]
    assert bases.size().loc["positives", "explanation"] == 2
    assert held.loc[("accuracy", "explanation"), "rate"] == 1e-3
    grid = draw_grid("posterior", runs, tmp_path).numbers
    of_grid = grid[(grid["method"] == "explanation") & (grid["rate"] == 1e-3) & (grid["level"] == 5)].iloc[0]
    shown = held.loc[("accuracy", "explanation")]
    for column in ("mean", "low", "high", "lowest", "highest"):
        assert shown[column] == of_grid[column]
    # Of c, which has no step, nothing is said.
    assert held.loc[("positives", "explanation"), "mean"] == 0.5
    assert held.loc[("positives", "explanation_weighted_2"), "mean"] == pytest.approx((0.75 + 1) / 2)
    assert ("positives", "base") not in held.index
    assert made.shown.read_bytes().startswith(b"\x89PNG")
    assert made.reading.startswith("Each method at its best rate, from the highest: ExP-GRPO (all by weight of 2) ")
    less = held.loc[("difference", "explanation_weighted_2")]
    assert less["mean"] == pytest.approx(held.loc[("accuracy", "explanation_weighted_2"), "mean"] - shown["mean"])
    assert less["lowest"] <= less["mean"] <= less["highest"]
    assert "excludes 0: ExP-GRPO (all by weight of 2) by +38.0 [" in made.reading
    assert headings == [
        "On the toy: in accuracy at level 5, ExP-GRPO (all by weight of 2) is highest (74 %); "
        "ExP-GRPO (36 %) ends below the other method"
    ]
    # Two methods are too few for a correlation.
    assert "rank correlation" not in made.reading


def test_methods_without_positives_have_no_second_number(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    for run in runs:
        if run.method == "explanation":
            positives(run, [("a", 0, 0, None)])
    held = means(draw_best("posterior", runs, tmp_path).numbers)
    assert ("positives", "explanation") not in held.index
    # A table with an empty cell has a count as a floating-point number; the caption has a whole number.
    assert "n = 12 problems" in captions[0].notes
    assert ("positives", "explanation_weighted_2") in held.index


def test_methods_are_sorted_and_marked_where_they_differ(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    words = draw_best("posterior", runs, tmp_path).shown.with_suffix(".svg").read_text(encoding="utf-8")
    names = re.findall(r">(before training|ExP-GRPO(?: \(all[^<]*)?)</text>", words)
    assert names == ["ExP-GRPO (all by weight of 2)", "ExP-GRPO", "before training"]
    assert len(re.findall(r">[\d.]+ % \[[^<]*\] ▲</text>", words)) == 1
    assert "▼</text>" not in words


def test_no_mark_where_bases_disagree(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    worse = next(run for run in runs if run.method != "explanation" and run.recipe["policy"] == "tiny-1")
    recipe, name = worse.recipe, worse.name
    for table in ("evaluation.parquet", "recipe.yaml"):
        worse.run.path(table).unlink()
    write(tmp_path / "runs" / f"{name}-again", recipe, {0: levels(0.0), 20: levels(0.3)})
    again = [run for run in find_evaluated(tmp_path / "runs")[0] if run.is_training]
    words = draw_best("posterior", again, tmp_path).shown.with_suffix(".svg").read_text(encoding="utf-8")
    assert " ▲</text>" not in words


def test_fewer_than_ten_problems_show_no_order(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    for run in runs:
        rows = run.evaluation
        few = rows[rows["problem"].isin(sorted(rows["problem"][rows["level"] == 5].unique())[: MIN_PROBLEMS - 1])]
        run.run.write("evaluation", few)
    made = draw_best("posterior", [EvaluatedRun(run.run) for run in runs], tmp_path)
    assert "ends below" not in captions[0].heading
    assert "▲" not in captions[0].notes + made.shown.with_suffix(".svg").read_text(encoding="utf-8")
    assert "excludes 0" not in made.reading


def test_the_highest_methods_may_tie(runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]) -> None:
    for run in runs:
        run.run.write("evaluation", run.evaluation.assign(correct=N))
    draw_best("posterior", [EvaluatedRun(run.run) for run in runs], tmp_path)
    assert headings == [
        "On the toy: in accuracy at level 5, ExP-GRPO and ExP-GRPO (all by weight of 2) are highest (100 %); "
        "no other method is shown to end above or below ExP-GRPO (100 %)"
    ]
