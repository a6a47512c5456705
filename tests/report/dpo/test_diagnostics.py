from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
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
from expo.report.words import method_name
from theory.objectives import dpo_loss

from ..captions import two_lines
from ..records.dpo import BETA


def test_diagnostics_are_of_the_first_rounds_pairs(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    made = draw_diagnostics(runs, tmp_path)
    held = made.numbers[made.numbers["method"] == "dpo_explanation_online"].set_index("base")
    assert held.index.tolist() == [MEAN, "tiny-0", "tiny-1", "tiny-2"]
    mean = held.loc[MEAN]
    assert mean["winner"] == pytest.approx(2.0)
    assert mean["loser"] == pytest.approx(-20.0)
    assert (mean["likelier_before"], mean["likelier_after"], mean["pairs"]) == (0.0, 1.0, 4)
    assert mean["loss_before"] == pytest.approx(float(dpo_loss(0.0, BETA)) + 0.01)
    last = [float(dpo_loss(10 * (step - 1) / 19, BETA)) + 0.01 for step in range(16, 21)]
    assert mean["loss_after"] == pytest.approx(np.mean(last))
    falls = "On the toy: trained on all levels, DPO's loss falls in {} of 5 arms, "
    unlikely = "{} of them most winners {} less likely than their losers"
    assert headings.pop() == falls.format(5) + "and in " + unlikely.format("none", "are")
    assert "winners rose by 2.00 nats and losers fell by 20.0 nats" in made.reading
    for run in runs:
        if run.method == "dpo_expert":
            change(run, "margins", lambda margins: margins.assign(loser=-5.0))
        if run.method == "dpo_answer":
            change(run, "metrics", lambda metrics: metrics.assign(value=1.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop() == falls.format(4) + "but in " + unlikely.format("1", "stay")
    for run in runs:
        if run.method == "dpo_expert":
            # Likelier before, and not after.
            change(run, "margins", lambda margins: margins.assign(loser=-19.0 - margins["step"] * -0.5 - 2.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop() == falls.format(4) + "but in " + unlikely.format("1", "end")


def change(run: EvaluatedRun, table: str, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    run.run.write(table, how(run.run.read(table)))


def test_each_arm_has_its_share_before_and_after(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    for run in runs:
        # Of four pairs one winner stays below its loser, online two.
        below = ["p0", "p1"] if run.method.endswith("_online") else ["p0"]
        change(run, "margins", lambda m, of=below: m.assign(loser=m["loser"].where(~m["problem"].isin(of), -5.0)))
    numbers = draw_diagnostics(runs, tmp_path).numbers
    with look():
        (axes,) = diagnostics._plot(numbers, Caption("heading", "notes", toy=True)).axes
    arms = [label.get_text() for label in axes.get_yticklabels()]
    assert arms == [method_name(method) for method in dict.fromkeys(numbers["method"])]
    shares = dict(zip(arms, (text.get_text() for text in axes.texts), strict=True))
    assert shares["offline ExP-DPO"] == "0 % → 75 %"
    assert shares["online ExP-DPO"] == "0 % → 50 %"
    # Of each arm a bar, and before and after the mean and the bases; the rest is the line at a half.
    points = [(line.get_marker(), [*line.get_xdata()]) for line in axes.lines[:5]]
    assert points == [("None", [0, 0.75]), ("o", [0]), ("o", [0] * 3), ("o", [0.75]), ("o", [0.75] * 3)]
    assert len(axes.lines) == 5 * 5 + 1


def test_pictures_of_dpo_have_two_lines_of_caption(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    for draw in (draw_diagnostics, draw_fig6, draw_loss, draw_drift):
        draw(runs, tmp_path)
    assert [two_lines(caption) for caption in captions] == [True] * 4
    assert not two_lines(replace(captions[0], notes=captions[0].notes.replace("\n", " And more of it." * 12 + "\n")))
