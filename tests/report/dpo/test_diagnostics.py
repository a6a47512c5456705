from __future__ import annotations

from pathlib import Path

import pytest

from expo.report.accuracy import MEAN
from expo.report.dpo.diagnostics import draw_diagnostics
from expo.report.trainings import EvaluatedRun
from theory.objectives import dpo_loss

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
    assert last["nll"].item() == pytest.approx(1.8)
    assert set(held[held["panel"] == "nll"]["pairs"]) == {4}
    falls = "On the toy: the loss falls in 5 of 5 arms; in {} winners stay less likely than losers"
    assert headings.pop() == falls.format(0)
    assert "winners rose by 2.00 nats and losers fell by 20.0 nats" in made.reading
    for run in runs:
        if run.method == "dpo_expert":
            margins = run.run.read("margins")
            run.run.write("margins", margins.assign(loser=-5.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop() == falls.format(1)
