from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.report import paper
from expo.report.accuracy import points
from expo.report.dpo.table2 import draw_table2, has_fig8
from expo.report.dpo.table4 import draw_table4
from expo.report.trainings import EvaluatedRun, find_evaluated, is_grid
from expo.report.words import share
from theory import printed

from ..records.trainings import without_levels


def test_table2_has_each_winner_offline_and_online(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    assert not is_grid(runs)
    made = draw_table2(runs, tmp_path)
    assert made.name == "table2-tiny"
    text = made.shown.read_text(encoding="utf-8")
    assert "| | offline ExP-DPO | offline DPO with expert CoT | online ExP-DPO | online DPO with expert CoT |" in text
    held = made.numbers.set_index(["set", "method"])
    by_hand = [run for run in runs if run.method == "dpo_explanation"]
    expected = np.mean([run.accuracies(20, k=4).mean() for run in by_hand])
    assert held.loc[("all levels", "dpo_explanation"), "mean"] == pytest.approx(expected)
    assert share(float(expected)) in text
    assert set(made.numbers["bases"]) == {3}
    less = held.loc[("less dpo_explanation", "dpo_explanation_online")]
    offline, online = (held.loc[("all levels", f"dpo_explanation{s}"), "mean"] for s in ("", "_online"))
    assert less["mean"] == pytest.approx(online - offline)
    told = f"- Online against offline, self-explanation: {share(online)} against {share(offline)}, {points(less)}"
    assert f"{told}.\n" in made.reading
    # The same arms against themselves show no order.
    for run in runs:
        if run.method == "dpo_explanation_online":
            twin = next(r for r in runs if r.method == "dpo_explanation" and r.base == run.base)
            run.run.write("evaluation", twin.evaluation)
    same = draw_table2(find_evaluated(runs[0].run.folder.parent)[0], tmp_path)
    assert (
        "self-explanation: 94 % against 94 %, +0.0 [+0.0, +0.0] points (bases +0.0 to +0.0); no order is"
        in same.reading
    )
    assert "Toy" in text or "toy" in text
    # Winners that were compared on other pairs than each other are said to be.
    assert "- offline ExP-DPO: 5 problems a base for 320 places, 40 % of the pairs of levels 4 and 5" in text
    assert "- offline DPO with expert CoT: 7 problems a base for 320 places, 29 % of the pairs" in text
    assert "right losers in 43 %" in text


def test_the_papers_table_is_apart_and_its_odd_cell_is_marked(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    text = draw_table2(runs, tmp_path).shown.read_text(encoding="utf-8")
    assert text.count("⚠") == 2
    assert "**53.6** ⚠" in text
    assert paper.TABLE2 == printed.TABLE2 == printed.TABLE4
    odd = [(task, i) for task in paper.TABLE2 for i in range(8) if paper.contradicts(task, i)]
    assert odd == [("MATH", 3)]
    shown = draw_table2(runs, tmp_path).numbers
    assert not {45.7, 53.6} & set(shown["mean"])


def test_a_task_without_levels_has_tables_of_the_whole(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    levelled = draw_table2(runs, tmp_path).numbers
    found = without_levels(runs)
    numbers = draw_table2(found, tmp_path).numbers
    page = (tmp_path / "table2-tiny.md").read_text(encoding="utf-8").partition("## The paper")[0]
    assert "levels 4 and 5" not in page
    assert "right losers in" in page
    assert {"all levels", "levels 1 to 3"} < set(levelled["set"])
    assert "levels 1 to 3" not in set(numbers["set"])
    whole = levelled[~levelled["set"].str.contains("levels 1 to 3")]
    assert numbers["mean"].tolist() == pytest.approx(whole["mean"].tolist())
    four = draw_table4(found, tmp_path)
    assert set(four.numbers["set"]) == {"all levels"}
    assert four.reading.startswith("pass@1 at all levels, 60 problems: before training")
    assert "| | accuracy, all levels |\n" in four.shown.read_text(encoding="utf-8")


def test_figure_8_is_drawn_only_where_it_shows_something(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    line = "Figure 8 of the paper, online against offline on an easier test set, is not drawn"
    assert not has_fig8(runs)
    text = draw_table2(runs, tmp_path).shown.read_text(encoding="utf-8")
    assert line in text
    assert text.partition(line)[2].count("; no order is shown.") == 4
    # Two right samples fewer for every third problem: intervals overlap, and yet every base is lower.
    for run in runs:
        rows = next(r for r in runs if r.base == run.base).evaluation
        is_hit = (run.method == "dpo_expert") & (rows["level"] == 3) & rows["problem"].str.endswith(("0", "1", "2"))
        run.run.write("evaluation", rows.assign(correct=rows["correct"].where(~is_hit, 1)))
    apart = find_evaluated(runs[0].run.folder.parent)[0]
    assert has_fig8(apart)
    made = draw_table2(apart, tmp_path)
    assert line not in made.shown.read_text(encoding="utf-8")
    rows = made.numbers.set_index(["set", "method"]).loc["levels 1 to 3"]
    assert rows.loc["dpo_expert", "high"] > rows.loc["dpo_explanation", "low"]
    assert not has_fig8(without_levels(apart))
