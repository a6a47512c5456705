from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expo.report.gradients.runs import find_gradients
from expo.report.gradients.t1_t2 import draw_t1_t2

from ..records.gradients import write_gradients


def test_t2_and_t1_are_told_apart_where_their_error_allows(
    runs: list[Any], tmp_path: Path, headings: list[str]
) -> None:
    made = draw_t1_t2("tiny", runs, tmp_path)
    # Of nine questions three positives; the wrong own CoT of q1 has no T1.
    assert made.numbers.groupby(["source", "larger"]).size().to_dict() == {
        **{("expert", "undecided"): 9, ("explanation", "T1"): 8, ("own", "T2"): 7},
        **{("explanation", "undecided"): 1, ("own", "undecided"): 1},
    }
    assert "Of 26 right positives (with 9 sets of rollouts, right and wrong ones," in made.reading
    assert "|T2| is larger in 7, T1 in 8, by more than twice T2's standard error; 11 are undecided" in made.reading
    assert "Where |T2| is larger it is below 0 in 0" in made.reading
    own = made.numbers[made.numbers["source"] == "own"]
    np.testing.assert_allclose(own["t2"].iloc[0], 3.2)
    np.testing.assert_allclose(own["log10_ratio"].iloc[0], np.log10(3.2) + 20)
    assert headings == ["On the toy: of 26 right positives, |T2| is clearly larger in 7, T1 in 8, and 11 are undecided"]


@pytest.mark.parametrize(("right", "found"), [(0, "no positive is right"), (1, "and 1 is undecided")])
def test_few_or_no_right_positives_have_a_picture(right: int, found: str, tmp_path: Path, headings: list[str]) -> None:
    run = write_gradients(tmp_path / "runs" / "one")
    table = run.read("alignment")
    is_kept = (table["source"] == "expert") & (table["problem"] == "q2") & bool(right)
    run.write("alignment", table.assign(reward=is_kept))
    made = draw_t1_t2("tiny", find_gradients(tmp_path / "runs"), tmp_path / "out")
    assert found in headings[0]
    assert len(made.numbers) == right
    assert made.reading.startswith("Of 1 right positive" if right else "No positive is right in a question with")
