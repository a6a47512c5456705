from __future__ import annotations

from pathlib import Path

from expo.measure.winrate import step_wins
from expo.report.artefacts import Artefact
from expo.report.picture import Caption
from expo.report.positives.fig3 import draw_fig3, plot_fig3
from expo.report.positives.measurements import Group, group_by_label

from ..records.positives import Make

CAPTION = Caption("heading", "notes", toy=True)


def test_fig3_shows_the_step_checker_and_the_judge(swept: Group, drawn: dict[str, Artefact]):
    made = drawn["draw_fig3"]
    rows = made.numbers[made.numbers["run"] == "tiny-0"]
    expected = step_wins(swept.runs[0].samples)
    checker = rows[rows["judge"].str.startswith("step checker")]
    assert checker["rate"].tolist() == [w.rate.mean for w in expected]
    assert checker["level"].fillna(0).tolist() == [w.level or 0 for w in expected]
    judge = rows[(rows["judge"] == "judge-1") & rows["level"].isna()].iloc[0]
    assert (judge["n"], judge["left_out"], judge["unparsed"], judge["failed"]) == (11, 1, 1, 0)
    # The bootstrap alone would say that it wins.
    assert judge["low"] > 0.5 > judge["finite_sample_low"]
    assert "judge-1: 0.818 [" in made.reading.partition("\n\n")[0]
    assert "over 11 problems, **undecided**" in made.reading.partition("\n\n")[0]
    assert sorted(rows.loc[rows["judge"] == "judge-1", "level"].dropna()) == [1, 2, 3, 4, 5]
    one, other = made.reading.split("\n\n")
    assert "step checker, count: 1.00 [0.735, 1.00], finite-sample [0.639, 1.00], over 12 problems, **wins**" in one
    assert "judge-1" in one
    assert "1 left out" in one
    assert "**loses**" in other
    assert "judge-1" not in other


def test_without_levels_there_is_one_panel(make: Make, tmp_path: Path):
    (held,) = group_by_label([make("tiny-0", leveled=False, judged=0.5)])
    made = draw_fig3(held, tmp_path)
    assert made.numbers["level"].isna().all()
    assert len(plot_fig3(made.numbers, CAPTION).axes) == 1
