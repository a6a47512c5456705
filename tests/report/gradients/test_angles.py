from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expo.report.gradients.angles import _finding, draw_angles


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
    # Above, below, both sides of 0, too few questions, and of two questions.
    rows = [(0.1, 0.3, 12, 0.2), (-0.3, -0.1, 12, 0.2), (-0.1, 0.1, 12, 0.2), (0.1, 0.3, 9, 0.2), (0.1, 0.3, 12, None)]
    numbers = pd.DataFrame(rows, columns=["beyond_low", "beyond_high", "questions", "lemma"])
    said = "within a question, the cosines of gradients differ from Lemma 1's in"
    assert _finding(numbers) == f"{said} 2 of 3 pairs of kinds"
    assert _finding(numbers.iloc[2:]) == f"{said} 0 of 1 pair of kinds"
