from __future__ import annotations

from pathlib import Path

import pytest

from expo.measure.verdict import compare, worth
from expo.report.artefacts import Artefact
from expo.report.picture import Caption
from expo.report.positives import temperature
from expo.report.positives.measurements import Group, group_by_label
from expo.report.positives.temperature import DIFFERENCE, draw_temperature, plot_temperature
from expo.report.style import look

from ..records.positives import Make


def test_temperature_has_a_verdict_at_each(swept: Group, drawn: dict[str, Artefact]):
    made = drawn["draw_temperature"]
    numbers = made.numbers
    assert set(numbers["sweep"]) == {"tiny-0 on chain"}
    gaps = numbers[(numbers["what"] == DIFFERENCE) & (numbers["quantity"] == "nll_sum")]
    assert gaps["temperature"].tolist() == [0.5, 0.9, 1.2]
    (sweep,) = swept.sweeps
    compared = [compare(r.samples, "explanation", "expert", "nll_sum", -1) for r in sweep]
    expected = [c.difference for c in compared]
    assert gaps["largest"].tolist() == [c.largest for c in compared]
    assert gaps[["mean", "low", "high", "n"]].to_numpy().tolist() == [[e.mean, e.low, e.high, e.n] for e in expected]
    assert gaps["verdict"].tolist() == ["holds"] * 3
    assert "holds at 0.5" in made.reading


def test_a_verdict_that_turns_with_the_temperature_is_seen(make: Make, tmp_path: Path):
    records = [make("a", policy="tiny-0"), make("b", policy="tiny-0", temperature=1.5, reverse=True)]
    made = draw_temperature(*group_by_label(records), tmp_path)
    assert "per sequence it holds at 0.9" in made.reading
    assert "fails at 1.5" in made.reading


def test_the_words_say_what_the_marks_are_worth(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rules: list[str] = []

    def caught(*args: object, **words: str) -> None:
        rules.append(words["setting"])

    monkeypatch.setattr(temperature, "draw_picture", caught)
    records = [make("a", policy="tiny-0", n=15), make("b", policy="tiny-0", n=15, temperature=1.5)]
    draw_temperature(*group_by_label(records), tmp_path)
    assert worth(15) in rules[0]
    assert worth(12) not in rules[0]


def test_each_line_has_a_style_of_its_own(drawn: dict[str, Artefact]):
    with look():
        axes, *_ = plot_temperature(drawn["draw_temperature"].numbers, Caption("heading", "notes", toy=True)).axes
    styles = {str(line._unscaled_dash_pattern) for line in axes.lines if len(line.get_xdata())}
    assert len(styles) == len(temperature.SOURCES)


def test_without_a_sweep_there_is_no_temperature_picture(make: Make, tmp_path: Path):
    with pytest.raises(ValueError, match="no two runs differ in temperature alone"):
        draw_temperature(*group_by_label([make("tiny-0")]), tmp_path)


def test_the_heading_says_where_property_1_holds(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    headings: list[str] = []
    monkeypatch.setattr(temperature, "draw_picture", lambda *_, **words: headings.append(words["heading"]))
    one, warm, turned = (
        make("a", policy="tiny-0"),
        make("b", policy="tiny-0", temperature=1.5),
        make("c", policy="tiny-0", temperature=2.0, reverse=True),
    )
    draw_temperature(*group_by_label([one, warm]), tmp_path)
    draw_temperature(*group_by_label([one, warm, turned]), tmp_path)
    # Another sweep says otherwise.
    other = [make("d", policy="tiny-1"), make("e", policy="tiny-1", temperature=1.5, reverse=True)]
    draw_temperature(*group_by_label([one, warm, *other]), tmp_path)
    # With two problems nothing is compared.
    few = make("f", policy="tiny-0", n=2), make("g", policy="tiny-0", n=2, temperature=1.5)
    draw_temperature(*group_by_label(few), tmp_path)
    begin = "On the toy: NLL per sequence of self-explanations against expert CoTs:"
    assert headings == [
        f"{begin} lower at each sampling temperature",
        f"{begin} lower at temperature 0.9 and 1.5 and higher at 2",
        f"{begin} sweeps over temperature disagree",
        f"{begin} too few problems to compare at each sampling temperature",
    ]
