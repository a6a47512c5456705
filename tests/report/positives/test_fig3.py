from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from expo.measure.winrate import step_wins
from expo.records import Run
from expo.report.artefacts import Artefact
from expo.report.picture import Caption
from expo.report.positives import fig3
from expo.report.positives.fig3 import draw_fig3, plot_fig3
from expo.report.positives.measurements import Group, Measurement, group_by_label
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
    assert made.setting.startswith(
        "The step checker compares the k-th self-explanation of a problem with its k-th own CoT"
    )
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
        # Nothing was compared, so that nothing is said to be alike.
        f"{begin}too few problems to compare the true steps of self-explanations and own CoTs",
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


# Level 4 is won in most pairs, levels 1 to 3 are tied.
WON = {1: (0.5, 2, 26), 2: (0.5, 2, 26), 3: (0.5, 2, 26), 4: (0.95, 27, 3)}


def counted(by_level: dict[int, tuple[float, int, int]]) -> pd.DataFrame:
    """A run's numbers by count: for each level its rate, wins and ties of 30 pairs."""
    rows = [(None, 0.7, 50, 70), *((level, *of_level) for level, of_level in by_level.items())]
    table = [
        {
            "level": level,
            "rate": rate,
            "low": rate,
            "high": rate,
            "wins": wins,
            "ties": ties,
            "losses": 30 - wins - ties,
        }
        for level, rate, wins, ties in rows
    ]
    numbers = pd.DataFrame(table).assign(run="a", judge="step checker, count", n=30, left_out=0)
    return numbers.assign(finite_sample_low=numbers["rate"] - 0.1, finite_sample_high=numbers["rate"] + 0.1)


def test_the_heading_says_at_which_levels_they_win():
    def found(by_level: dict[int, tuple[float, int, int]]) -> str:
        return fig3._found(counted(by_level), " on average")

    more = "self-explanations have more true steps than own CoTs"
    assert found(WON) == f"{more} at level 4 (win rate 0.950), and mostly tie below"
    won = f"{more} at levels {{}} and 4 (win rate 0.900 to 0.950), and mostly tie {{}}"
    assert found({**WON, 3: (0.9, 27, 3)}) == won.format(3, "below")
    assert found({**WON, 1: (0.9, 27, 3)}) == won.format(1, "elsewhere")
    # Where they win at no level or at all of them, or where most others are no ties, levels are not named.
    average = f"{more} on average (win rate 0.700)"
    assert found(dict.fromkeys(WON, (0.5, 2, 26))) == average
    assert found(dict.fromkeys(WON, (0.95, 27, 3))) == average
    assert found({level: (rate, wins, 3) for level, (rate, wins, _) in WON.items()}) == average


def test_one_checker_is_drawn_where_both_rules_say_the_same():
    def judges(count: pd.DataFrame, share: pd.DataFrame) -> list[str]:
        both = pd.concat([count, share.assign(judge="step checker, share")], ignore_index=True)
        with look():
            axes = plot_fig3(both, CAPTION).axes[0]
        return [label.get_text() for label in axes.get_yticklabels()]

    numbers = counted(WON)
    assert judges(numbers, numbers) == ["step checker"]
    assert judges(numbers, numbers.assign(wins=numbers["wins"] + 1)) == ["step checker, count", "step checker, share"]


def test_small_levels_are_not_drawn_and_n_is_said_where_pairs_are_left_out():
    def drawn(numbers: pd.DataFrame) -> tuple[set[float], list[str]]:
        with look():
            whole, by_level = plot_fig3(numbers, CAPTION).axes
        line = next(line for line in by_level.lines if line.get_marker() == "o")
        # Where there is no point the line is broken.
        levels = {float(x) for x, y in line.get_xydata() if y == y} if len(line.get_xdata()) == 4 else set()
        assert {label.get_text() for label in by_level.get_xticklabels()} == {f"{level:g}\n30" for level in levels}
        return levels, [text.get_text() for text in whole.texts if text.get_text().startswith("0.700")]

    numbers = counted(WON)
    assert drawn(numbers) == ({1, 2, 3, 4}, ["0.700"])
    few = numbers.assign(n=numbers["n"].mask(numbers["level"] == 2, 4), left_out=1)
    assert drawn(few) == ({1, 3, 4}, ["0.700, n = 30"])
    assert "fewer than 5" in fig3._few_left_out(few)
    assert not fig3._few_left_out(numbers)


def test_one_level_is_named_and_not_averaged_over(make: Make, tmp_path: Path, headings: list[str]):
    record = make("a", policy="tiny-0")
    table = record.run.read("samples")
    record.run.write("samples", table.assign(level=table["level"].where(table["level"].isna(), 3)))
    made = draw_fig3(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path)
    assert headings[0].endswith("have more true steps than own CoTs at level 3 (win rate 1.00)")
    with look():
        (axes,) = plot_fig3(made.numbers, CAPTION).axes
    assert axes.get_title(loc="left") == "all problems, which are of level 3"
