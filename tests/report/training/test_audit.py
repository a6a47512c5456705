"""The picture of an audit: what it says of graders that differ or agree, and which evaluations it averages."""

from __future__ import annotations

from pathlib import Path

import pytest

from expo.records import Run
from expo.report.picture import Caption
from expo.report.training.audit import draw_audit
from expo.report.trainings import EvaluatedRun
from expo.schema import TABLES, as_frame

from ..records.trainings import BASE, write


def graded(folder: Path, right: dict[str, int], limits: tuple[int, ...] = (30, 60), **fields: object) -> EvaluatedRun:
    """An evaluation of 12 problems with 4 samples each, so many of them right by each grader."""
    write(folder, {**BASE, "policy": folder.name, "seed": 0, **fields}, {0: {5: 0.5}})
    rows = [
        {
            **dict.fromkeys(TABLES["grades"], 0),
            "grader": grader,
            "limit": limit,
            "problem": f"p5-{i}",
            "n": 4,
            "correct": n,
        }
        for grader, n in right.items()
        for limit in limits
        for i in range(12)
    ]
    run = Run(folder)
    run.write("grades", as_frame("grades", rows))
    return EvaluatedRun(run)


def test_the_heading_names_the_limit_and_the_caption_the_graders(tmp_path: Path, captions: list[Caption]) -> None:
    picture, _ = draw_audit([graded(tmp_path / "tiny-0", {"exact": 0, "last number": 4})], tmp_path / "out")
    (caption,) = captions
    assert caption.heading == (
        "On the toy: the same samples give a pass@4 from 0 % to 100 % at a limit of 60 tokens, depending on the grader"
    )
    assert (
        "What each grader accepts: exact – all values of the toy's answer, after its cue; last number – "
        in caption.notes
    )
    assert ">100 %</text>" in picture.shown.with_suffix(".svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"exact": 0, "last number": 0}, "the same samples give a pass@4 of 0 % with every grader"),
        ({"exact": 0}, "the samples give a pass@4 of 0 %"),
    ],
)
def test_graders_that_agree_do_not_differ(
    right: dict[str, int], said: str, tmp_path: Path, captions: list[Caption]
) -> None:
    draw_audit([graded(tmp_path / "tiny-0", right, (60,))], tmp_path / "out")
    assert captions[0].heading == f"On the toy: {said}"


def test_evaluations_at_different_temperatures_are_not_averaged(tmp_path: Path) -> None:
    runs = [graded(tmp_path / "tiny-0", {"exact": 1}), graded(tmp_path / "tiny-1", {"exact": 1}, temperature=0.9)]
    with pytest.raises(ValueError, match="evaluations by several graders differ in temperature"):
        draw_audit(runs, tmp_path / "out")
