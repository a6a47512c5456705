from __future__ import annotations

from pathlib import Path

from expo.report.runs import relative_folder


def test_a_run_inside_the_repository_is_named_from_its_root():
    root = Path(__file__).parents[2]
    assert relative_folder(root / "runs" / "tiny" / "tiny-0") == "runs/tiny/tiny-0"
    assert relative_folder(Path("/elsewhere/far/study/run")) == "study/run"
