from __future__ import annotations

from pathlib import Path

import numpy as np

from expo.records import Run
from expo.report.accuracy import accuracy_by_base
from expo.report.training.changes import what_changed
from expo.report.trainings import find_evaluated
from expo.report.words import share

from ..records.trainings import levels, write


def test_what_changed_is_counted_over_bases(folder: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "levels": [5]}
    for base, end in (("tiny-0", 0.5), ("tiny-1", 0.6)):
        ends = {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2, 5: end}
        write(folder / f"hard-{base}", {**recipe, "policy": base}, {0: levels(0.0), 20: ends})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training and r.levels == "level 5"]
    before, after = np.mean(accuracy_by_base(runs, 0, [5])), np.mean(accuracy_by_base(runs, 20, [5]))
    told = what_changed(runs)
    assert told.startswith("Trained on level 5, first step to last (toy):")
    assert f"accuracy there from {share(before)} to {share(after)} (rose on 2, fell on 0 of 2 bases)" in told
    assert "(rose on 0, fell on 2 of 2 bases)." in told
