from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.report.gradients.predicted_change import draw_predicted_change
from expo.report.gradients.runs import find_gradients

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
        achieved = f"a step realises {100 * sign:.0f} % of its predicted gain at length 0.1 (medians)"
        assert headings.pop() == f"On the toy: {achieved}"
    # Rollouts of q3 say nothing of their own change, those of q6 too little; those of q4 too little of the slope.
    n, doubtful, told = (27, 3, 21) if exact else (24, 6, 15)
    assert read[1] == (
        f"- length 0.1: {n} positives, {doubtful} doubtful; of the others, {told} have a prediction that differs from "
        f"0 (by twice its standard error), and the sign is right in {told} of these, the median of change over "
        "prediction 1.00 [1.00, 1.00] (1: as predicted)"
    )
    assert "the sign is right in 0 of these, the median of change over prediction −1.00 [−1.00, −1.00]" in read[-1]
    # What falls short of its prediction is not left out for that.
    write_gradients(tmp_path / "none" / "one", sign=0.01, exact=exact)
    short = draw_predicted_change("tiny", find_gradients(tmp_path / "none"), tmp_path / "out").reading
    assert f"{doubtful} doubtful; of the others, {told} have" in short
    assert "the median of change over prediction 0.0100 [0.0100, 0.0100]" in short
