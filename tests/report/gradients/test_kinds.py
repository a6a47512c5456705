from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expo.report.gradients.kinds import draw_kinds
from expo.report.gradients.runs import by_policy, find_gradients


def test_kinds_are_told_apart_by_whether_the_own_cot_is_right(runs: list[Any], tmp_path: Path) -> None:
    made = draw_kinds("tiny", runs, tmp_path)
    held = made.numbers.set_index(["questions", "source"])
    every = held.loc[("all questions", "own")]
    assert every[["positives", "right", "same_as_own", "n"]].tolist() == [10, 9, 0, 10]
    assert every["mean"] == pytest.approx((3 + 0.45) / 2)
    assert held.loc[("own CoT wrong", "explanation"), ["positives", "right"]].tolist() == [1, 1]
    assert held.loc[("own CoT wrong", "own"), "mean"] == pytest.approx(3.1 / 2)
    assert held.loc[("own CoT right", "expert"), "positives"] == 9
    assert "0 self-explanations of 10 have the text of the own CoT" in made.reading
    assert "| own CoT | 1.73 [" in made.shown.read_text()
    # Where its text is the own CoT's, that is said.
    table = runs[0].run.read("alignment")
    own = table["source"].isin(["own", "explanation"])
    same = table.assign(ids=[[0, 0] if alike else ids for alike, ids in zip(own, table["ids"], strict=True)])
    runs[0].run.write("alignment", same)
    again = draw_kinds("tiny", by_policy(find_gradients(tmp_path / "runs"))["tiny"], tmp_path)
    assert "10 self-explanations of 10 have the text" in again.reading
