"""What is shown of measured gradients, against records of known numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.measure.recipe import GradientRecipe
from expo.records import TABLES, Run
from expo.report.gradients import by_policy, draw_angles, draw_gains, draw_predictors, draw_terms, find_gradients
from expo.report.slopes import draw_slopes, with_gradients
from expo.report.training import find_evaluated
from tests.report.test_curves import levels
from tests.report.test_curves import write as write_evaluation

SOURCES = ("own", "explanation", "expert")


def write(folder: Path, *, sign: int = 1) -> Run:
    """A run in which the slope is what a step does (times `sign`), and own CoTs gain most."""
    recipe = GradientRecipe(task="chain", policy="tiny-0", sources=list(SOURCES), sizes=[0.1], rollouts=8)
    run = Run.start(folder, recipe.resolved(), toy=True, seed=0)
    alignment, gains = [], []
    for q in range(10):
        for i, source in enumerate(SOURCES):
            slope = 3.0 - i + 0.1 * q
            alignment.append(
                {
                    **dict.fromkeys(TABLES["alignment"], 0),
                    **{"problem": f"q{q}", "level": 2, "source": source, "hint": "", "text": "t", "ids": [1]},
                    **{"truncated": False, "nll_sum": 10.0 * (i + 1), "norm": 2.0, "log10_t1": -20.0, "slope": slope},
                    **{"slope_error": 0.1 if q else None, "right": 4, "rollouts": 8},
                }
            )
            gains.append(
                {
                    **{"problem": f"q{q}", "level": 2, "source": source, "size": 0.1, "predicted": slope * 0.05},
                    **{"predicted_error": 0.005 if q else None, "realised": 9.0, "realised_error": 1.0, "effective": 8},
                    **{"exact_before": 0.2, "exact_after": 0.2 + sign * slope * 0.05, "lost": 0.0},
                }
            )
    run.write("alignment", pd.DataFrame(alignment))
    run.write("gains", pd.DataFrame(gains))
    rows = alignment[:6]
    pairs: list[dict[str, Any]] = [
        {
            **{"step": 0, "problem": a["problem"], "source": a["source"]},
            **{"other_problem": b["problem"], "other_source": b["source"]},
            **{"product": 4.0 if a is b else 2.0 if a["problem"] == b["problem"] else -1.0, "norm": 2.0},
            "other_norm": 2.0,
        }
        for i, a in enumerate(rows)
        for b in rows[: i + 1]
    ]
    run.write("gradients", pd.DataFrame(pairs))
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[Any]:
    write(tmp_path / "runs" / "one")
    return by_policy(find_gradients(tmp_path / "runs"))["tiny"]


def test_angles_are_of_one_question_and_of_two(runs: list[Any], tmp_path: Path) -> None:
    made = draw_angles("tiny", runs, tmp_path)
    one = made.numbers[made.numbers["panel"] == "of one question"]
    two = made.numbers[made.numbers["panel"] == "of two questions"]
    # A positive with itself is no pair.
    assert set(one["mean"]) == {0.5}
    assert set(two["mean"]) == {-0.25}
    assert "Mean absolute cosine: 0.500 of one question (6 pairs), 0.250 of two (9 pairs)" in made.reading


def test_terms_are_of_questions_that_tell_something(runs: list[Any], tmp_path: Path) -> None:
    made = draw_terms("tiny", runs, tmp_path)
    assert len(made.numbers) == 27
    assert "27 have a T2 that is told from 0 (twice its standard error); in 27 of these |T2| exceeds T1" in made.reading
    np.testing.assert_allclose(made.numbers["t2"].iloc[0], 3.1)


def test_a_prediction_that_fails_is_told_from_one_that_does_not(runs: list[Any], tmp_path: Path) -> None:
    made = draw_gains("tiny", runs, tmp_path)
    assert made.reading == (
        "- length 0.1: rank correlation 1.00 over 27 positives; the sign is right in 27 of 27 whose prediction is told "
        "from 0"
    )
    np.testing.assert_allclose(made.numbers["change"], made.numbers["predicted"])
    write(tmp_path / "bad" / "one", sign=-1)
    bad = draw_gains("tiny", find_gradients(tmp_path / "bad"), tmp_path / "out")
    assert "rank correlation −1.00 over 27 positives; the sign is right in 0 of 27" in bad.reading


def test_predictors_are_ranked(runs: list[Any], tmp_path: Path) -> None:
    made = draw_predictors("tiny", runs, tmp_path)
    held = made.numbers.set_index("predictor")["mean"]
    assert held["predicted"] == pytest.approx(1)
    assert held["nll_sum"] == pytest.approx(1)
    assert np.isnan(held["norm"])
    assert "toy" in Path(made.shown).name or runs[0].is_toy


def test_a_run_that_was_cut_short_is_not_shown(tmp_path: Path) -> None:
    run = write(tmp_path / "runs" / "one")
    run.path("gradients.parquet").unlink()
    assert find_gradients(tmp_path / "runs") == []


def trained(folder: Path, base: str, positive: str, slope: float) -> None:
    recipe = {
        **{"task": "chain", "policy": base, "positive": positive, "levels": None, "gradient_rollouts": 8},
        **{"eval_split": "test", "eval_temperature": 0.7},
    }
    where = folder / f"{base}-{positive}"
    write_evaluation(where, recipe, {0: levels(0.1), 10: levels(0.2)})
    alignment: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for step in (0, 10):
        for source in ("own", positive):
            alignment.append(
                {
                    **dict.fromkeys(TABLES["alignment"], 0),
                    **{"step": step, "problem": "q", "source": source, "hint": "", "text": "t", "ids": [1]},
                    **{"truncated": False, "norm": 2.0 + step, "log10_t1": -3.0, "slope": slope * (2.0 + step)},
                    **{"slope_error": 0.1, "right": 4, "rollouts": 8},
                }
            )
        for a, b, product in (("own", "own", 4.0), (positive, "own", 1.0), (positive, positive, 4.0)):
            pairs.append(
                {
                    **{"step": step, "problem": "q", "source": a, "other_problem": "q", "other_source": b},
                    **{"product": product, "norm": 2.0, "other_norm": 2.0},
                }
            )
    Run(where).write("alignment", pd.DataFrame(alignment))
    Run(where).write("gradients", pd.DataFrame(pairs))


def test_gradients_over_training_are_of_the_positive(tmp_path: Path) -> None:
    for base, slope in (("tiny-0", 1.0), ("tiny-1", 3.0)):
        trained(tmp_path / "runs", base, "explanation", slope)
        trained(tmp_path / "runs", base, "expert", -slope)
    runs = with_gradients(find_evaluated(tmp_path / "runs")[0])
    assert len(runs) == 4
    made = draw_slopes("all", runs, tmp_path / "out")
    assert made.name == "slopes-all-tiny"
    held = made.numbers.set_index(["method", "step", "panel"])
    assert held.loc[("explanation", 10, "slope"), "mean"] == pytest.approx(2.0)
    assert held.loc[("expert", 10, "slope"), "lowest"] == pytest.approx(-3.0)
    assert held.loc[("explanation", 0, "cosine"), "mean"] == pytest.approx(0.25)
    assert held.loc[("explanation", 10, "norm"), "mean"] == pytest.approx(12.0)
    assert "norm of the positive's gradient 2.00 → 12.0" in made.reading
    # Trainings without these tables have no line.
    for run in runs[:1]:
        run.run.path("alignment.parquet").unlink()
    assert len(with_gradients(runs)) == 3
