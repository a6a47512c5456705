"""What training does to a policy beyond accuracy: numbers that are known, from records written by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.records import Run
from expo.report.training.after import QUANTITIES, draw_after, has_after
from expo.report.trainings import find_evaluated
from expo.schema import TABLES, as_frame

from ..records.trainings import write

RECIPE = {"task": "letters", "levels": [5], "eval_split": "test", "eval_temperature": 0.7, "learning_rate": 1e-4}
# At the first step and the last: of own samples the NLL now and under the initial policy, the signal, right or not.
PROBES = {0: (40.0, 40.0, 0.2, False), 20: (30.0, 36.0, 0.9, True)}


def _status(right: bool, i: int) -> str:
    return "unparsed" if i == 11 else "correct" if right else "wrong"


def with_probes(run: Run, *, moved: bool) -> None:
    blank = {**dict.fromkeys(TABLES["probes"], 0), **dict.fromkeys(("question", "reference", "hint", "text"), "")}
    blank |= {**dict.fromkeys(("cot", "answer"), ""), **dict.fromkeys(("truncated", "leak"), False)}
    rows = [
        {
            **blank,
            **{"step": step, "problem": f"w{i}", "source": "own", "nll_sum": nll, "nll_initial": initial},
            **{"learning_signal": math.log(signal), "correct": right, "nll_first": 0.5},
            # Sure of its own answer by .7, but for one text, which has none.
            **{"nll_cot": nll if i == 11 else nll + math.log(0.7), "status": _status(right, i)},
        }
        for step, (nll, initial, signal, right) in PROBES.items()
        for i in range(12)
    ]
    run.write("probes", as_frame("probes", rows))
    evaluation = run.read("evaluation")
    last = (evaluation["step"] > 0) & moved
    # Not alike, so that there is an interval.
    n = evaluation["n"]
    evaluation = evaluation.assign(tokens=n * 40, leaks=np.where(last, n // 2, 0), distinct=np.where(last, n // 4, n))
    run.write("evaluation", evaluation)


def runs_of(folder: Path, **more: Any) -> list:
    for name, rate in (("a", 1e-4), ("b", 3e-4)):
        recipe = {**RECIPE, "positive": "explanation", "policy": "bases/model-seed0", "learning_rate": rate, **more}
        write(folder / name, recipe, {0: {5: 0.0}, 20: {5: 0.9 if name == "b" else 0.3}})
        with_probes(Run(folder / name), moved=name == "b")
    return find_evaluated(folder)[0]


def test_the_best_rate_is_shown_before_and_after(tmp_path: Path) -> None:
    made = draw_after(runs_of(tmp_path / "runs"), tmp_path / "out")
    numbers = made.numbers.set_index(["method", "quantity"])
    assert set(numbers["rate"]) == {0.0, 3e-4}
    wanted = {
        "base": {"tokens": 40, "leaks": 0, "distinct": 1, "entropy": 0.5, "kl": 0, "signal": 0.2, "right": 0},
        "explanation": {
            "tokens": 40,
            "leaks": 0.5,
            "distinct": 0.25,
            "entropy": 0.5,
            "kl": 6,
            "signal": 0.9,
            "right": 1,
        },
    }
    wanted["base"] |= {"confidence": 0.7, "brier": 0.7**2}
    wanted["explanation"] |= {"confidence": 0.7, "brier": 0.3**2}
    for method, values in wanted.items():
        assert values.keys() == QUANTITIES.keys()
        for quantity, value in values.items():
            assert numbers.loc[(method, quantity), "mean"] == pytest.approx(value, abs=1e-9), (method, quantity)
    assert numbers.loc[("explanation", "kl"), "problems"] == 12
    assert numbers.loc[("explanation", "brier"), "problems"] == 11
    # None of 12 or all of them is no proof of 0 or 1.
    assert numbers.loc[("base", "right"), "high"] == pytest.approx(1 - 0.025 ** (1 / 12))
    assert numbers.loc[("explanation", "right"), "low"] == pytest.approx(0.025 ** (1 / 12))
    changes = numbers.xs("explanation")["change"]
    assert changes["leaks"] == pytest.approx(0.5)
    assert math.isnan(changes["kl"])
    text = made.shown.read_text(encoding="utf-8")
    assert "| level 5 | ExP-GRPO | 0.0003 |" in text
    assert "ExP-GRPO: leaks 0 → 0.500, distinct 1.00 → 0.250" in made.reading
    assert "KL" not in made.reading
    assert "tokens 40" not in made.reading


@pytest.mark.parametrize(
    ("more", "temperature"),
    [
        ({}, "1"),
        ({"algorithm": "sft"}, "0.9"),
        ({"algorithm": "dpo"}, "0.9"),
        ({"temperature": 0.7}, "0.7"),
        ({"probe_initial": True, "temperature": 0.7}, "1"),
    ],
)
def test_the_temperature_is_that_of_the_algorithm(more: dict[str, Any], temperature: str, tmp_path: Path) -> None:
    made = draw_after(runs_of(tmp_path / "runs", **more), tmp_path / "out")
    assert f"at temperature {temperature}. *Entropy*" in made.shown.read_text(encoding="utf-8")


def test_records_without_it_are_told_apart(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "runs")
    assert has_after(runs)
    evaluation = runs[0].run.read("evaluation")
    runs[0].run.write("evaluation", evaluation.assign(leaks=pd.NA))
    assert not has_after(find_evaluated(tmp_path / "runs")[0])
    assert not has_after([])


def test_evaluations_in_between_are_in_the_csv_alone(tmp_path: Path) -> None:
    recipe = {**RECIPE, "positive": "explanation", "policy": "bases/model-seed0", "learning_rate": 1e-4}
    write(tmp_path / "runs" / "a", recipe, {0: {5: 0.0}, 10: {5: 0.2}, 20: {5: 0.9}})
    with_probes(Run(tmp_path / "runs" / "a"), moved=True)
    made = draw_after(find_evaluated(tmp_path / "runs")[0], tmp_path / "out")
    assert made.numbers.groupby("method")["step"].unique().map(list).to_dict() == {"base": [0], "explanation": [10, 20]}
    (table,) = (tmp_path / "out").glob("after-training-*.md")
    # The control: the table has a row for the last step alone.
    assert table.read_text().count("| ExP-GRPO |") == 1
