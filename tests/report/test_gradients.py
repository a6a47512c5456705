"""What is shown of measured gradients, against records of known numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from expo.report.gains import draw_gains, draw_predictors
from expo.report.kinds import draw_kinds
from expo.report.slopes import draw_slopes, with_gradients

from expo.recipe import GradientRecipe
from expo.records import Run
from expo.report.gradients import by_policy, draw_angles, draw_terms, find_gradients
from expo.report.training import find_evaluated
from expo.schema import TABLES
from tests.report.test_curves import levels
from tests.report.test_curves import write as write_evaluation

SOURCES = ("own", "explanation", "expert")


def write(folder: Path, *, sign: float = 1, exact: bool = True, **more: Any) -> Run:
    """A run in which the slope is what a step does (times `sign`), and own CoTs gain most.

    T1 is 1e-20, 1e9 or about T2; of q0 nothing is known, of q4 few rollouts of the slope are right, of q6 few of the
    change; a wrong explanation repeats the expert's text.
    """
    recipe = {"task": "chain", "policy": "tiny-0", "sources": list(SOURCES), "sizes": [0.1], "rollouts": 16, **more}
    run = Run.start(folder, GradientRecipe(**recipe).resolved(), toy=True, seed=0)
    alignment, gains = [], []
    for q in range(10):
        for i, source in enumerate((*SOURCES, "wrong_explanation")):
            i = min(i, 2)
            slope, t1 = 3.0 - i + 0.1 * q, (-20.0, 9.0, 0.0)[i]
            alignment.append(
                {
                    **dict.fromkeys(TABLES["alignment"], 0),
                    **{"problem": f"q{q}", "level": 2, "source": source, "hint": "", "text": "t", "ids": [q, i]},
                    **{"truncated": False, "nll_sum": 10.0 * (i + 1), "norm": 2.0 + i, "log10_t1": t1, "slope": slope},
                    **{"slope_error": 0.6 if q else None, "right": 2 if q == 4 else 8, "rollouts": 16, "repeats": 0.25},
                    # Of q1 the own CoT is wrong.
                    "reward": (q, source) != (1, "own"),
                }
            )
            change = sign * slope * 0.05
            gains.append(
                {
                    **{"problem": f"q{q}", "level": 2, "source": source, "size": 0.1, "predicted": slope * 0.05},
                    **{"predicted_error": 0.005 if q else None, "realised": 9.0 if exact else change},
                    # Of q2 a few rollouts weigh all, and more is lost than changes; of q3 all are right.
                    **{"realised_error": None if q == 3 else 0.01, "effective": 2.0 if q == 2 else 20.0},
                    "realised_right": 1 if q == 6 else 8,
                    **{"exact_before": 0.2 if exact else None, "exact_after": 0.2 + change if exact else None},
                    "lost": (0.9 if q == 2 else 0.001) if exact else None,
                }
            )
    run.write("alignment", pd.DataFrame(alignment))
    run.write("gains", pd.DataFrame(gains))
    rows = alignment[:8]
    pairs: list[dict[str, Any]] = [
        {
            **{"step": 0, "problem": a["problem"], "source": a["source"]},
            **{"other_problem": b["problem"], "other_source": b["source"]},
            **{"product": 3.0 if a["problem"] == b["problem"] else -1.0, "norm": a["norm"], "other_norm": b["norm"]},
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
    held = made.numbers.set_index(["panel", "source", "other_source"])["mean"]
    assert held["of one question", "own", "explanation"] == pytest.approx(3 / 6)
    assert held["of two questions", "own", "own"] == pytest.approx(-1 / 4)
    assert (made.numbers["questions"] == 2).all()
    # A positive with itself, or with another of its text, is no pair.
    assert ("of one question", "own", "own") not in held.index
    assert ("of one question", "expert", "wrong_explanation") not in held.index
    # S2 = 1/4, probabilities about 0: (1/4) / (5/4).
    assert "mean cosine is 0.375 [0.375, 0.375]" in made.reading
    assert "it would be 0.200 [0.200, 0.200]" in made.reading
    # Of each question three texts, of which the fourth positive repeats one; in the cells it counts.
    assert "(6 pairs of different text, 2 questions)" in made.reading
    assert made.numbers.groupby("panel")["pairs"].sum().to_dict() == {"of one question": 20, "of two questions": 28}
    assert (
        "norm of a pair is 1.59 [1.59, 1.59] times the smaller in geometric mean; it would be 1.00 [1.00, 1.00]"
        in made.reading
    )


def test_t2_and_t1_are_told_apart_where_their_error_allows(runs: list[Any], tmp_path: Path) -> None:
    made = draw_terms("tiny", runs, tmp_path)
    # Of nine questions three positives; the wrong own CoT of q1 has no T1.
    assert made.numbers.groupby(["source", "larger"]).size().to_dict() == {
        **{("expert", "undecided"): 9, ("explanation", "T1"): 8, ("own", "T2"): 7},
        **{("explanation", "undecided"): 1, ("own", "undecided"): 1},
    }
    assert "Of 26 right positives (with 9 sets of rollouts, right and wrong ones," in made.reading
    assert "|T2| is larger in 7, T1 in 8, by more than twice T2's standard error; 11 are undecided" in made.reading
    assert "Where |T2| is larger it is below 0 in 0" in made.reading
    own = made.numbers[made.numbers["source"] == "own"]
    np.testing.assert_allclose(own["t2"].iloc[0], 3.2)


@pytest.mark.parametrize("exact", [True, False])
def test_a_prediction_that_fails_is_told_from_one_that_does_not(exact: bool, tmp_path: Path) -> None:
    read = {}
    for sign in (1, -1):
        write(tmp_path / f"{sign}" / "one", sign=sign, exact=exact)
        made = draw_gains("tiny", find_gradients(tmp_path / f"{sign}"), tmp_path / "out")
        np.testing.assert_allclose(made.numbers["change"], sign * made.numbers["predicted"])
        read[sign] = made.reading
    # Rollouts of q3 say nothing of their own change, those of q6 too little; those of q4 too little of the slope.
    n, doubtful, told = (27, 3, 21) if exact else (24, 6, 15)
    assert read[1] == (
        f"- length 0.1: {n} positives, {doubtful} doubtful; of the others, {told} have a prediction told from 0 (twice "
        f"its standard error), and the sign is right in {told} of these, the median of change over prediction "
        "1.00 [1.00, 1.00] (1: as predicted)"
    )
    assert "the sign is right in 0 of these, the median of change over prediction −1.00 [−1.00, −1.00]" in read[-1]
    # What falls short of its prediction is not left out for that.
    write(tmp_path / "none" / "one", sign=0.01, exact=exact)
    short = draw_gains("tiny", find_gradients(tmp_path / "none"), tmp_path / "out").reading
    assert f"{doubtful} doubtful; of the others, {told} have" in short
    assert "the median of change over prediction 0.0100 [0.0100, 0.0100]" in short


def test_predictors_are_ranked(runs: list[Any], tmp_path: Path) -> None:
    made = draw_predictors("tiny", runs, tmp_path)
    assert made.numbers.groupby("change").size().to_dict() == {"enumeration": 6, "rollouts": 6}
    # By rollouts all changes of a question are the same there, which ranks nothing.
    assert made.numbers.set_index(["change", "predictor"])["n"]["rollouts", "predicted"] == 0
    held = made.numbers[made.numbers["change"] == "enumeration"].set_index("predictor")
    assert held.loc["predicted", ["mean", "n"]].tolist() == pytest.approx([1, 9])
    assert held.loc["nll_sum", ["mean", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert held.loc["norm", ["mean", "more"]].tolist() == pytest.approx([-1, -2])
    assert held.loc["learning_signal", "n"] == 0
    assert "norm of the gradient −1.00 [−1.00, −1.00], n = 9 (against log-probability −2.00" in made.reading
    assert "Fewer than 10 questions decide nothing" in made.reading


def test_runs_of_different_settings_are_not_joined(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "one")
    write(tmp_path / "runs" / "two", max_new_tokens=40)
    with pytest.raises(ValueError, match="gradients of tiny: the runs one, two differ in max_new_tokens"):
        by_policy(find_gradients(tmp_path / "runs"))


def test_policies_of_one_name_are_not_joined(tmp_path: Path) -> None:
    def found(**more: Any) -> list[Any]:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        for name in ("a", "b"):
            run = write(tmp_path / "runs" / name)
            for file, held in (
                ("recipe.yaml", {**run.recipe(), "policy": f"runs/{name}/model"}),
                ("environment.json", {**run.environment(), "toy": False, **more}),
            ):
                run.path(file).write_text(yaml.safe_dump(held) if file.endswith("yaml") else json.dumps(held))
        return find_gradients(tmp_path / "runs")

    with pytest.raises(ValueError, match="the runs a, b are of different policies of one name"):
        by_policy(found())
    # A trained policy bears its run's name, and a toy's is none of the bases.
    assert list(by_policy(found(trained_from="tiny-0", toy=True))) == ["a-chain", "b-chain"]


def test_a_run_that_was_cut_short_is_not_shown(tmp_path: Path) -> None:
    run = write(tmp_path / "runs" / "one")
    run.path("gradients.parquet").unlink()
    assert find_gradients(tmp_path / "runs") == []


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


def trained(folder: Path, base: str, positive: str, slope: float) -> None:
    recipe = {
        **{
            "task": "chain",
            "policy": base,
            "positive": positive,
            "levels": None,
            "gradient_rollouts": 8,
            "gradient_problems": 2,
        },
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
                    **{
                        "step": step,
                        "problem": "q",
                        "source": source,
                        "hint": "",
                        "text": "t",
                        "ids": [ord(source[0])],
                    },
                    **{
                        "truncated": False,
                        "reward": True,
                        "norm": 2.0 + step,
                        "log10_t1": -3.0,
                        "slope": slope * (2.0 + step),
                    },
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
    trained(tmp_path / "runs", "tiny-0", "none", 7.0)
    shown = with_gradients(find_evaluated(tmp_path / "runs")[0])
    own = draw_slopes("all", shown, tmp_path / "out").numbers.set_index(["method", "step", "panel"])
    # GRPO has no positive: its own samples, which have no angle with themselves.
    assert own.loc[("none", 0, "norm"), "mean"] > 0
    assert ("none", 0, "cosine") not in own.index
    assert "norm of the gradient 2.00 [of one problem] → 12.0 [of one problem]" in made.reading
    assert "at a step 2 to 2 of 2 positives are of a question with right and wrong rollouts" in made.reading
    assert held.loc[("explanation", 0, "t1"), "mean"] == pytest.approx(-3 - np.log10(2))
    assert held.loc[("expert", 10, "slope"), ["bases", "questions", "positives", "live"]].tolist() == [2, 1, 2, 2]
    # Of the own sample's text: no angle, but a slope.
    table = runs[0].run.read("alignment").assign(ids=[[1]] * 4)
    runs[0].run.write("alignment", table)
    again = draw_slopes("all", runs, tmp_path / "out").numbers.set_index(["method", "step", "panel"])
    where = (runs[0].method, 0)
    assert (again.loc[(*where, "cosine"), "bases"], again.loc[(*where, "slope"), "bases"]) == (1, 2)
    # Trainings without these tables have no line.
    for run in runs[:1]:
        run.run.path("alignment.parquet").unlink()
    assert len(with_gradients(runs)) == 3
