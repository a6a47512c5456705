from __future__ import annotations

from pathlib import Path

import pytest

from expo.measure.winrate import step_wins
from expo.report.artefacts import Artefact
from expo.report.picture import Caption
from expo.report.positives import fig3
from expo.report.positives.fig3 import draw_fig3, plot_fig3
from expo.report.positives.measurements import Group, group_by_label
from expo.report.style import look

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
    assert made.setting.startswith("The step checker compares the k-th explanation with the k-th own CoT")
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


def test_the_heading_says_who_has_more_true_steps(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    headings: list[str] = []
    monkeypatch.setattr(fig3, "draw_picture", lambda *_, **words: headings.append(words["heading"]))
    one, other = make("a", policy="tiny-0"), make("b", policy="tiny-0", reverse=True)
    judged, few = make("c", policy="tiny-0", judged=0.5), make("d", policy="tiny-0", n=2)
    both = [make("tiny-0"), make("tiny-1", reverse=True)]
    for records in ([one], [other], [judged], [few], both):
        draw_fig3(*group_by_label(records), tmp_path)
    without_levels = make("e", policy="tiny-0", leveled=False)
    draw_fig3(*group_by_label([without_levels]), tmp_path)
    begin = "After the paper's Figure 3, on the toy: "
    more = f"{begin}self-explanations have more true steps than own CoTs averaged over all levels"
    assert headings == [
        f"{more} (win rate 1.00)",
        f"{more.replace('more', 'fewer')} (win rate 0)",
        f"{more}, by the step checker's count (win rate 1.00)",
        f"{begin}self-explanations and own CoTs cannot be told apart in true steps averaged over all levels "
        "(win rate 1.00)",
        f"{more} in 1 of 2 runs, fewer in 1",
        f"{more.removesuffix(' averaged over all levels')} (win rate 1.00)",
    ]


def test_the_axis_shows_what_there_is_and_rates_have_three_digits(drawn: dict[str, Artefact]):
    numbers = drawn["draw_fig3"].numbers
    intervals = ["low", "high", "finite_sample_low", "finite_sample_high"]
    near = numbers[numbers["run"] == "tiny-0"].assign(
        rate=0.475, **dict(zip(intervals, (0.4, 0.55, 0.35, 0.6), strict=True))
    )
    with look():
        zoomed, whole = (plot_fig3(of, CAPTION).axes[0] for of in (near, numbers))
    low, high = zoomed.get_xlim()
    assert 0.3 < low < 0.35
    assert 0.6 < high < 0.65
    assert "0.475" in [text.get_text() for text in zoomed.texts]
    # The control: rates from 0 to 1 need the whole axis.
    assert whole.get_xlim()[0] < 0.1
    assert whole.get_xlim()[1] >= 1
