from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expo.report.accuracy import MEAN
from expo.report.gradients.slopes import PANELS, _finding, _plot, draw_slopes, with_gradients
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.trainings import find_evaluated

from ..records.gradients import write_trained

# A method with enough questions for an interval, and one without.
METHODS = (("explanation", 12), ("expert", 9))


def means(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers[numbers["base"] == MEAN].set_index(["method", "step", "panel"])


def test_gradients_over_training_are_of_the_positive(tmp_path: Path, headings: list[str]) -> None:
    for base, slope in (("tiny-0", 1.0), ("tiny-1", 3.0)):
        write_trained(tmp_path / "runs", base, "explanation", slope)
        write_trained(tmp_path / "runs", base, "expert", -slope)
    runs = with_gradients(find_evaluated(tmp_path / "runs")[0])
    assert len(runs) == 4
    made = draw_slopes("all", runs, tmp_path / "out")
    assert made.name == "slopes-all-tiny"
    assert headings.pop() == "On the toy: too few questions to distinguish the slope of J from 0"
    bases = made.numbers.set_index(["base", "method", "step", "panel"])["mean"]
    assert bases["tiny-0", "expert", 10, "slope"] == pytest.approx(-1.0)
    held = means(made.numbers)
    assert held.loc[("explanation", 10, "slope"), "mean"] == pytest.approx(2.0)
    assert held.loc[("expert", 10, "slope"), "lowest"] == pytest.approx(-3.0)
    assert held.loc[("explanation", 0, "cosine"), "mean"] == pytest.approx(0.25)
    assert held.loc[("explanation", 10, "norm"), "mean"] == pytest.approx(12.0)
    write_trained(tmp_path / "runs", "tiny-0", "none", 7.0)
    shown = with_gradients(find_evaluated(tmp_path / "runs")[0])
    own = means(draw_slopes("all", shown, tmp_path / "out").numbers)
    # GRPO has no positive: its own samples, which have no angle with themselves.
    assert own.loc[("none", 0, "norm"), "mean"] > 0
    assert ("none", 0, "cosine") not in own.index
    assert "norm of the gradient 2.00 (of 1 question) → 12.0 (of 1 question)" in made.reading
    assert "At a step, 2 of 2 positives are of a question with right and wrong rollouts" in made.reading
    assert held.loc[("explanation", 0, "t1"), "mean"] == pytest.approx(-3 - np.log10(2))
    assert held.loc[("expert", 10, "slope"), ["bases", "questions", "positives", "live"]].tolist() == [2, 1, 2, 2]
    # Of the own sample's text: no angle, but a slope.
    table = runs[0].run.read("alignment").assign(ids=[[1]] * 4)
    runs[0].run.write("alignment", table)
    again = means(draw_slopes("all", runs, tmp_path / "out").numbers)
    where = (runs[0].method, 0)
    assert (again.loc[(*where, "cosine"), "bases"], again.loc[(*where, "slope"), "bases"]) == (1, 2)
    # Trainings without these tables have no line.
    for run in runs[:1]:
        run.run.path("alignment.parquet").unlink()
    assert len(with_gradients(runs)) == 3


def test_methods_along_whose_positives_j_rises_are_named() -> None:
    def found(*lows: float, questions: tuple[int, ...] = (12, 12, 12, 12)) -> str:
        """The heading for ExP-GRPO and GRPO SFT-GT-CoT at the first step, then at the last."""
        where = [(method, step) for step in (0, 40) for method in ("explanation", "expert")]
        rows = [(m, step, low, "slope", MEAN, n) for (m, step), low, n in zip(where, lows, questions, strict=True)]
        return _finding(pd.DataFrame(rows, columns=["method", "step", "low", "panel", "base", "questions"]))

    assert found(1, -1, 1, -1) == "the positives of ExP-GRPO clearly raise J, at first and at the end"
    begins = "J is clearly raised at first by the positives of ExP-GRPO, at the end by those of"
    assert found(1, -1, 1, 1) == f"{begins} ExP-GRPO and GRPO SFT-GT-CoT"
    one = "the positives of GRPO SFT-GT-CoT clearly raise J at {}; no method's clearly raise it at {}"
    assert found(-1, -1, -1, 1) == one.format("the end", "first")
    assert found(-1, 1, -1, -1) == one.format("first", "the end")
    # An interval that includes 0 does not show that J does not rise.
    assert found(-1, -1, -1, -1) == "no method's positives clearly raise J, at first or at the end"
    # Each row has its own number of questions.
    assert found(1, 1, 1, 1, questions=(12, 9, 12, 12)) == f"{begins} ExP-GRPO and GRPO SFT-GT-CoT"
    assert found(1, 1, 1, 1, questions=(9, 9, 9, 9)) == "too few questions to distinguish the slope of J from 0"


def test_the_slopes_come_first_with_their_intervals() -> None:
    rows = [(panel, m, step, MEAN, 1.0, 0.5, 2.0, n) for panel in PANELS for m, n in METHODS for step in (0, 10)]
    columns = ["panel", "method", "step", "base", "mean", "low", "high", "questions"]
    with look():
        first, *others = _plot(pd.DataFrame(rows, columns=columns), Caption("heading", "notes", toy=True)).axes
    assert first.get_title(loc="left") == PANELS["slope"]
    (bars,) = [drawn for drawn in first.collections if len(drawn.get_segments())]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[0.5, 2.0]] * 2
    assert not [drawn for axes in others for drawn in axes.collections]
