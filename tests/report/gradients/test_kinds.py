from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expo.records import Run
from expo.report.gradients.kinds import MORE, draw_kinds
from expo.report.gradients.runs import by_policy, find_gradients

from ..records.gradients import write_gradients


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
    assert "(10, 9 right)" in made.shown.read_text()
    # Where its text is the own CoT's, that is said.
    table = runs[0].run.read("alignment")
    own = table["source"].isin(["own", "explanation"])
    same = table.assign(ids=[[0, 0] if alike else ids for alike, ids in zip(own, table["ids"], strict=True)])
    runs[0].run.write("alignment", same)
    again = draw_kinds("tiny", by_policy(find_gradients(tmp_path / "runs"))["tiny"], tmp_path)
    assert "10 self-explanations of 10 have the text" in again.reading


def test_a_choice_is_compared_with_the_first_of_the_same_tries(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"tries": 4, "choices": ["best_joint", "right"], "temperature": 1.0}
    # Of two bases, on the same questions.
    for base in ("tiny-0", "tiny-1"):
        write_choices(write_gradients(tmp_path / "runs" / base, policy=base, **chosen))
    (runs,) = by_policy(find_gradients(tmp_path / "runs")).values()
    made = draw_kinds("tiny", runs, tmp_path)
    more = made.numbers[made.numbers["questions"] == MORE].set_index("source")
    assert more["mean"].to_dict() == pytest.approx({"best_joint": 1.5, "right": 0.0})
    assert more["same_as_first"].to_dict() == {"best_joint": 10, "right": 6}
    assert more["positives"].to_dict() == {"best_joint": 20, "right": 6}
    assert more["n"].to_dict() == {"best_joint": 10, "right": 3}
    assert "More than the self-explanation: likeliest self-explanation 1.5" in made.reading
    assert "4 self-explanations were sampled" in made.shown.read_text()
    # A choice that is the first text itself differs from it by nothing, though its slope was computed once more.
    assert more.loc["right", ["mean", "low", "high"]].tolist() == [0, 0, 0]
    assert "0 [0, 0] (6, 6 the first)" in made.reading
    # The control: without choices nothing is compared.
    write_gradients(tmp_path / "others" / "one")
    (runs,) = by_policy(find_gradients(tmp_path / "others")).values()
    assert MORE not in set(draw_kinds("plain", runs, tmp_path).numbers["questions"])


def write_choices(run: Run) -> None:
    """The likeliest, and of three questions one with a right answer."""
    table = run.read("alignment")
    first = table[table["source"] == "explanation"]
    # Of every other question the likeliest is the first itself, else one that J rises by 3 more along.
    moved = first["problem"].str[1:].astype(int) % 2 == 1
    likeliest = first.assign(
        source="best_joint",
        slope=first["slope"] + 3.0 * first["norm"] * moved,
        ids=[[9] if other else ids for other, ids in zip(moved, first["ids"], strict=True)],
    )
    right = first.head(3)
    rounded = right.assign(source="right", slope=right["slope"] * (1 + 1e-7))
    run.write("alignment", pd.concat([table, likeliest, rounded], ignore_index=True))
