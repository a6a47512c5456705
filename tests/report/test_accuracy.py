from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.report.accuracy import accuracy_by_base, mean_accuracy, summary
from expo.report.trainings import by_method, find_evaluated, is_grid
from expo.stats import pass_at_k

from .records.trainings import N, levels, write


def test_means_are_over_bases_and_problems(folder: Path) -> None:
    runs = by_method(find_evaluated(folder)[0])["explanation"]
    ends = [run.evaluation[(run.evaluation["step"] == 20) & (run.evaluation["level"] == 5)] for run in runs]
    by_hand = [np.mean([pass_at_k(N, int(c), 1) for c in e["correct"]]) for e in ends]
    assert accuracy_by_base(runs, levels=[5], k=1) == pytest.approx(by_hand)
    row = summary(runs, levels=[5], k=1)
    assert row["mean"] == pytest.approx(np.mean(by_hand))
    assert row["low"] < row["mean"] < row["high"]
    assert (row["problems"], row["bases"], row["n"]) == (12, 3, N)


def test_runs_from_one_base_count_as_one(folder: Path) -> None:
    runs = by_method(find_evaluated(folder)[0])["explanation"]
    recipe = {**runs[0].recipe, "seed": 1}
    write(folder / "all-tiny-0-explanation-seed1", recipe, {0: levels(0.0), 20: levels(0.2)})
    more = by_method(find_evaluated(folder)[0])["explanation"]
    assert len(more) == 4
    one, two, *others = (r.accuracies(20, [5]).mean() for r in sorted(more, key=lambda r: r.base))
    assert accuracy_by_base(more, levels=[5]) == pytest.approx([(one + two) / 2, *others])
    assert mean_accuracy(more, levels=[5]) == pytest.approx(np.mean([(one + two) / 2, *others]))
    assert not is_grid(more)
