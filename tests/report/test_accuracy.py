from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.records import Run
from expo.report.accuracy import accuracy_by_base, accuracy_text, mean_accuracy, summary, with_interval
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


def test_bases_that_differ_where_no_problem_does_have_an_interval(tmp_path: Path) -> None:
    for base, share in (("tiny-0", 1.0), ("tiny-1", 1.0), ("tiny-2", 0.0)):
        recipe = {"task": "chain", "policy": base, "positive": "none", "levels": [5]}
        write(tmp_path / base, recipe, {0: {5: share}})
        run = Run(tmp_path / base)
        run.write("evaluation", run.read("evaluation").assign(correct=int(share * N)))
    row = summary(find_evaluated(tmp_path)[0])
    exact = 1 - 0.025 ** (1 / 12)
    assert row["mean"] == pytest.approx(2 / 3)
    assert (row["low"], row["high"]) == (pytest.approx(2 / 3 * (1 - exact)), pytest.approx(2 / 3 + exact / 3))


def test_too_few_problems_have_no_interval_and_one_base_no_range() -> None:
    row = {"mean": 0.5, "low": 0.25, "high": 0.75, "problems": 10, "lowest": 0.4, "highest": 0.6, "bases": 2}
    assert accuracy_text(row) == "50 % [25 %, 75 %] (bases 40 % to 60 %)"
    assert accuracy_text({**row, "lowest": 0.5, "highest": 0.5}) == "50 % [25 %, 75 %] (every base 50 %)"
    assert accuracy_text({**row, "bases": 1}) == with_interval(row) == "50 % [25 %, 75 %]"
    assert with_interval({**row, "problems": 9}) == "50 %"
