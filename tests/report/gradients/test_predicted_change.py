from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.report.gradients import predicted_change
from expo.report.gradients.predicted_change import draw_predicted_change
from expo.report.gradients.runs import find_gradients
from expo.report.picture import Caption
from expo.stats import Interval

from ..records.gradients import write_gradients


@pytest.mark.parametrize("exact", [True, False])
def test_a_prediction_that_fails_is_told_from_one_that_does_not(
    exact: bool, tmp_path: Path, headings: list[str]
) -> None:
    read = {}
    for sign in (1, -1):
        write_gradients(tmp_path / f"{sign}" / "one", sign=sign, exact=exact)
        made = draw_predicted_change("tiny", find_gradients(tmp_path / f"{sign}"), tmp_path / "out")
        np.testing.assert_allclose(made.numbers["change"], sign * made.numbers["predicted"])
        read[sign] = made.reading
        few = "clear predictions are of only {} questions, too few to judge them"
        assert headings.pop() == f"On the toy: {few.format(7 if exact else 5)}"
    # Rollouts of q3 say nothing of their own change, those of q6 too little; those of q4 too little of the slope.
    n, doubtful, told = (27, 3, 21) if exact else (24, 6, 15)
    assert read[1] == (
        f"- length 0.1: {n} positives, of which {doubtful} are doubtful; {told} of the others have a prediction that "
        f"differs from 0 by more than twice its standard error. The sign is right in {told} of these, and the median "
        "of change over prediction is 1.00 [1.00, 1.00] (1: as predicted)"
    )
    assert (
        "The sign is right in 0 of these, and the median of change over prediction is −1.00 [−1.00, −1.00]" in read[-1]
    )
    # What falls short of its prediction is not left out for that.
    write_gradients(tmp_path / "none" / "one", sign=0.01, exact=exact)
    short = draw_predicted_change("tiny", find_gradients(tmp_path / "none"), tmp_path / "out").reading
    assert f"of which {doubtful} are doubtful; {told} of the others have" in short
    assert "the median of change over prediction is 0.0100 [0.0100, 0.0100]" in short


def test_the_heading_speaks_of_lengths_with_enough_questions() -> None:
    rows = [(0.1, True, -0.5, 12), (0.2, False, np.nan, 0), (0.3, True, 0.9, 9)]
    numbers = pd.DataFrame(rows, columns=["size", "clear", "median", "median_n"])
    achieved = "a step realises −50 % of its predicted change at length 0.1 (medians)"
    assert predicted_change._finding(numbers) == achieved
    assert predicted_change._finding(numbers.assign(median_n=10)).endswith(
        "at length 0.1 and 90 % at length 0.3 (medians)"
    )
    assert "only 9 to 9" not in predicted_change._finding(numbers.iloc[2:])


def test_without_a_clear_prediction_nothing_is_compared(tmp_path: Path, headings: list[str]) -> None:
    run = write_gradients(tmp_path / "runs" / "one")
    run.write("gains", run.read("gains").assign(predicted_error=9.0))
    made = draw_predicted_change("tiny", find_gradients(tmp_path / "runs"), tmp_path / "out")
    assert headings == ["On the toy: no predicted change is clear enough to compare with the realised one"]
    assert made.reading.endswith("no other prediction differs from 0 by more than twice its standard error")


def test_the_caption_says_whether_the_change_is_by_enumeration(tmp_path: Path, captions: list[Caption]) -> None:
    for name, exact in (("exact", True), ("rollouts", False)):
        write_gradients(tmp_path / name / "one", exact=exact)
        draw_predicted_change("tiny", find_gradients(tmp_path / name), tmp_path / "out")
    assert ["by enumeration" in caption.notes for caption in captions] == [True, False]


def test_the_median_is_drawn_once_for_heading_panel_and_reading(
    runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(rows: pd.DataFrame) -> Interval:
        calls.append(len(rows))
        return Interval(0.5, 0.25, 0.75, 9)

    monkeypatch.setattr(predicted_change, "median_ratio", counted)
    made = draw_predicted_change("tiny", runs, tmp_path / "out")
    assert calls == [21]
    assert "is 0.500 [0.250, 0.750]" in made.reading
