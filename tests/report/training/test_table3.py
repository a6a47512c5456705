from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from expo.records import Run
from expo.report import paper
from expo.report.training.table3 import draw_table3
from expo.report.trainings import EvaluatedRun, find_evaluated

from ..records.trainings import BASE, levels, write


def test_bases_evaluated_in_another_way_are_not_beside_the_trained(folder: Path, tmp_path: Path) -> None:
    found = find_evaluated(folder)[0]
    trained, bases = [r for r in found if r.is_training], [r for r in found if not r.is_training]
    for more in ({"temperature": 1.0}, {"split": "train"}, {"policy": "other/model"}, {"max_new_tokens": 16}):
        write(folder / "odd", {**BASE, "policy": "tiny-3", **more}, {0: levels(0.5)})
        odd = EvaluatedRun(Run(folder / "odd"))
        assert draw_table3(trained, [*bases, odd], tmp_path / "out").numbers["bases"].max() == 3
        shutil.rmtree(folder / "odd")


def test_table3_has_the_paper_s_numbers_apart(folder: Path, tmp_path: Path) -> None:
    found = find_evaluated(folder)[0]
    trained, bases = [r for r in found if r.is_training], [r for r in found if not r.is_training]
    drawn = draw_table3(trained, bases, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "table3-tiny.csv")
    assert set(zip(csv["method"], csv["k"], strict=True)) == set(paper.TABLE3)
    base = csv[csv["method"] == "base"].pivot(index="level", columns="k", values="mean")
    assert (base[128] >= base[64]).all()
    text = drawn.shown.read_text(encoding="utf-8")
    measured, printed = text.split("## The paper's Table 3")
    assert "A toy" in measured
    assert "base pass@128 (n = 128, 12 problems a level, 3 bases)" in measured
    assert "| 437 | 894 | 1131 | 1214 | 1324 |" in printed
    assert "76 %" in printed
    assert "never to be compared" in printed
    # Ours never hold the paper's numbers.
    assert "1131" not in measured
    assert "other problems" not in measured
    for base in bases:
        base.recipe["seed"] = 7
    again = draw_table3(trained, bases, tmp_path / "out").shown.read_text(encoding="utf-8")
    assert "Bases alone had other problems: seed 7." in again
