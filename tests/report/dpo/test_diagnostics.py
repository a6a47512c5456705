from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from expo.report.accuracy import MEAN
from expo.report.dpo import diagnostics
from expo.report.dpo.diagnostics import draw_diagnostics
from expo.report.dpo.drift import draw_drift
from expo.report.dpo.fig6 import draw_fig6
from expo.report.dpo.loss import draw_loss
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.trainings import EvaluatedRun
from theory.objectives import dpo_loss

from ..captions import two_lines
from ..records.dpo import BETA


def test_diagnostics_are_of_the_first_rounds_pairs(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    made = draw_diagnostics(runs, tmp_path)
    held = made.numbers[made.numbers["method"] == "dpo_explanation_online"]
    dots = held[held["panel"] == "gain"]
    assert (dots["y"].to_numpy() >= dpo_loss(dots["x"].to_numpy(float), BETA) - 1e-9).all()
    assert dots["x"].max() == pytest.approx(10.0)
    at_end = held[held["step"] == 20]
    last = at_end[at_end["base"] == MEAN].set_index("panel")["y"]
    assert sorted(at_end.loc[at_end["panel"] == "winner", "base"]) == [MEAN, "tiny-0", "tiny-1", "tiny-2"]
    assert last["winner"].item() == pytest.approx(2.0)
    assert last["loser"].item() == pytest.approx(-20.0)
    assert last["likelier"].item() == 1.0
    assert set(held[(held["panel"] == "likelier") & (held["step"] == 0)]["y"]) == {0.0}
    assert set(held[held["panel"] == "likelier"]["pairs"]) == {4}
    falls = (
        "On the toy: trained on all levels, DPO's loss falls in 5 of 5 arms; in {} of them most winners end less "
        "likely than their losers"
    )
    assert headings.pop() == falls.format(0)
    assert "winners rose by 2.00 nats and losers fell by 20.0 nats" in made.reading
    for run in runs:
        if run.method == "dpo_expert":
            margins = run.run.read("margins")
            run.run.write("margins", margins.assign(loser=-5.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop() == falls.format(1)


def test_a_column_says_how_often_its_winners_are_likelier(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    for run in runs:
        margins = run.run.read("margins")
        # Of four pairs one winner stays below its loser, online two.
        below = margins["problem"].isin(["p0", "p1"] if run.method.endswith("_online") else ["p0"])
        run.run.write("margins", margins.assign(loser=margins["loser"].where(~below, -5.0)))
    numbers = draw_diagnostics(runs, tmp_path).numbers
    with look():
        figure = diagnostics._plot(numbers, Caption("heading", "notes", toy=True), beta=BETA)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["ExP-DPO", "DPO with expert CoT", "DPO with bare answer"]
    both, alone = "winner likelier in 0 % → 50 % to 75 %", "winner likelier in 0 % → 75 %"
    assert titles[3:] == [both, both, alone]
    # No panel but the six, and none is flat: its lines do not all stay where they begin.
    for axes in figure.axes:
        drawn = [line.get_ydata() for line in axes.lines]
        assert any(max(y) - min(y) > 1e-3 for y in drawn)


def test_pictures_of_dpo_have_two_lines_of_caption(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    for draw in (draw_diagnostics, draw_fig6, draw_loss, draw_drift):
        draw(runs, tmp_path)
    assert [two_lines(caption) for caption in captions] == [True] * 4
    assert not two_lines(replace(captions[0], notes=captions[0].notes.replace("\n", " And more of it." * 12 + "\n")))
