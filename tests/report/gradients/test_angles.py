from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.report.gradients.angles import _cells, _finding, _plot, draw_angles
from expo.report.picture import Caption
from expo.report.style import look
from expo.stats import MIN_PROBLEMS


def test_angles_are_of_one_question_and_of_two(runs: list[Any], tmp_path: Path, headings: list[str]) -> None:
    made = draw_angles("tiny", runs, tmp_path)
    held = made.numbers.set_index(["panel", "source", "other_source"])["mean"]
    assert held["of one question", "explanation", "own"] == pytest.approx(3 / 6)
    assert held["of two questions", "own", "own"] == pytest.approx(-1 / 4)
    assert (made.numbers["questions"] == 2).all()
    assert made.numbers["lemma"].dropna().tolist() == pytest.approx([0.2] * 5, abs=1e-3)
    assert headings == ["On the toy: too few questions to compare gradients with Lemma 1"]
    # A positive with itself, or with another of its text, is no pair.
    assert ("of one question", "own", "own") not in held.index
    assert ("of one question", "expert", "wrong_explanation") not in held.index
    # S2 = 1/4, probabilities about 0: (1/4) / (5/4).
    assert "mean cosine is 0.375 [0.375, 0.375]" in made.reading
    assert "it would be 0.200 [0.200, 0.200]" in made.reading
    # Of each question three texts, of which the fourth positive repeats one; in the cells it counts.
    assert "(6 pairs of different text, 2 questions)" in made.reading
    assert made.numbers.groupby("panel")["pairs"].sum().to_dict() == {"of one question": 10, "of two questions": 16}
    assert (
        "norm of a pair is 1.59 [1.59, 1.59] times the smaller in geometric mean; it would be 1.00 [1.00, 1.00]"
        in made.reading
    )


def test_pairs_of_kinds_whose_cosines_differ_from_the_lemmas_are_counted() -> None:
    # Too few questions, no Lemma 1 for two questions, a difference, and none.
    rows = [(False, False, 0.2), (True, False, None), (True, True, 0.2), (True, False, 0.2)]
    numbers = pd.DataFrame(rows, columns=["enough", "differs", "lemma"])
    said = "within a question, cosines of gradients clearly differ from Lemma 1's in"
    assert _finding(numbers) == f"{said} 1 of 2 pairs of kinds; 1 is undecided"
    assert _finding(numbers.iloc[3:]) == f"{said} 0 of 1 pair of kinds; 1 is undecided"
    assert _finding(numbers.iloc[:2]) == "too few questions to compare gradients with Lemma 1"


def measured(questions: int, cosine: float) -> pd.DataFrame:
    """Pairs of an own CoT and an expert CoT, one per question, with cosines around this one; Lemma 1's is 0."""
    pairs = pd.DataFrame({"problem": [f"q{i}" for i in range(questions)], "source": "own", "other_source": "expert"})
    spread = cosine + 0.01 * np.arange(questions)
    return pairs.assign(other_problem=pairs["problem"], cosine=spread, lemma=0.0, beyond=spread)


@pytest.mark.parametrize(
    ("questions", "cosine", "enough", "differs"),
    [
        (MIN_PROBLEMS, 0.3, True, True),
        (MIN_PROBLEMS, -0.3, True, True),
        (12, -0.055, True, False),
        (9, 0.3, False, False),
    ],
)
def test_a_cosine_differs_where_its_interval_says_so_on_enough_questions(
    questions: int, cosine: float, enough: bool, differs: bool
) -> None:
    pairs = measured(questions, cosine)
    (row,) = _cells("of one question", pairs, pairs)
    assert (row["enough"], row["differs"]) == (enough, differs)


def test_each_panel_has_the_rows_that_it_shows(runs: list[Any], tmp_path: Path) -> None:
    numbers = draw_angles("tiny", runs, tmp_path).numbers
    with look():
        figure = _plot(numbers, Caption("heading", "notes", toy=True))
    shown = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert [len(labels) for labels in shown] == numbers.groupby("panel", sort=False).size().tolist()
    assert "own CoT, twice" in shown[1]
    assert "own CoT, twice" not in shown[0]
