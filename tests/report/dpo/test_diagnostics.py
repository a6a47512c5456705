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
from expo.stats import bootstrap
from theory.objectives import dpo_loss

from ..captions import two_lines
from ..records.dpo import BETA


def test_diagnostics_are_of_the_first_rounds_pairs(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    few = draw_diagnostics(runs, tmp_path)
    # Four problems show no change, however large, and have no interval.
    assert "trained on all levels, too few problems to say how the share of winners" in headings.pop()
    assert "0 % → 100 %, +100.0 points" in few.reading
    assert "[" not in few.reading
    for run in runs:
        change(run, "margins", of_many_problems)
    made = draw_diagnostics(runs, tmp_path)
    held = made.numbers[made.numbers["method"] == "dpo_explanation_online"].set_index("base")
    assert held.index.tolist() == [MEAN, "tiny-0", "tiny-1", "tiny-2"]
    mean = held.loc[MEAN]
    assert mean["winner"] == pytest.approx(2.0)
    assert mean["loser"] == pytest.approx(-20.0)
    assert (mean["likelier_before"], mean["likelier_after"], mean["pairs"]) == (0.0, 1.0, 36)
    assert mean["loss_before"] == pytest.approx(float(dpo_loss(0.0, BETA)) + 0.01)
    last = [float(dpo_loss(10 * (step - 1) / 19, BETA)) + 0.01 for step in range(16, 21)]
    assert mean["loss_after"] == pytest.approx(np.mean(last))
    found = "On the toy: trained on all levels, the share of winners that are likelier than their losers {}"
    assert headings.pop() == found.format("rises with 5 of 5 methods")
    assert "winners +2.00 nats, losers −20.0 nats; winners likelier than their losers 0 % → 100 % [" in made.reading
    assert "relative to the reference policy" in made.reading
    for run in runs:
        if run.method == "dpo_expert":
            change(run, "margins", lambda margins: margins.assign(loser=-5.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop() == found.format("rises with 4 of 5 methods and ends at 0 % with 1")
    for run in runs:
        if run.method == "dpo_expert":
            # Likelier before, and not after.
            change(run, "margins", lambda margins: margins.assign(loser=-19.0 - margins["step"] * -0.5 - 2.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop() == found.format("rises with 4 of 5 methods, falls with 1 and ends at 0 % with 1")
    draw_diagnostics([run for run in runs if run.method == "dpo_explanation"], tmp_path)
    assert headings.pop() == found.format(f"rises with {method_name('dpo_explanation')}")


def test_a_change_that_one_base_does_not_share_is_not_called_one(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    for run in runs:
        change(run, "margins", of_many_problems)
        if run.base == "tiny-0":
            change(run, "margins", lambda margins: margins.assign(winner=-15.0, loser=-15.0 - 1.0))
    draw_diagnostics(runs, tmp_path)
    assert headings.pop().endswith("likelier than their losers does not clearly change with 5 of 5 methods")


def test_intervals_are_of_all_pairs_with_problems_resampled(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    for run in runs:
        change(run, "margins", of_many_problems)
        # A quarter of the winners never become likelier than their losers.
        change(run, "margins", lambda m: m.assign(loser=m["loser"].where(~m["problem"].str.startswith("p0"), -5.0)))
    numbers = draw_diagnostics(runs, tmp_path).numbers
    mean = numbers[(numbers["base"] == MEAN) & (numbers["method"] == "dpo_explanation")].iloc[0]
    assert (mean["pairs"], mean["problems"]) == (36, 12)
    # Of 12 problems each has the same pairs at all bases, so that there are 12 values.
    expected = bootstrap(np.array([0.0] * 3 + [1.0] * 9))
    assert (mean["low"], mean["high"]) == pytest.approx((expected.low, expected.high), abs=0.09)
    assert "n = 36 watched pairs a method" in captions[0].notes
    assert "12 problems resampled" in captions[0].notes


def change(run: EvaluatedRun, table: str, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    run.run.write(table, how(run.run.read(table)))


def of_many_problems(margins: pd.DataFrame) -> pd.DataFrame:
    """Three times as many pairs, each of a problem of its own."""
    copies = [margins.assign(problem=margins["problem"] + f"-{i}") for i in range(3)]
    return pd.concat(copies, ignore_index=True)


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
    assert shares[method_name("dpo_explanation")] == "0 % → 75 %"
    assert shares[method_name("dpo_explanation_online")] == "0 % → 50 %"
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
