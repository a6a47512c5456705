"""One step along a positive's gradient, predicted and realised: the record, and that it goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from expo import setup as set_up_module
from expo.gradients import run as gain
from expo.gradients.direction import gradient
from expo.gradients.examples import Example
from expo.gradients.predictors import joined
from expo.gradients.run import measure_gradients, moved
from expo.gradients.show import show
from expo.grading.answers import Status
from expo.policies.engine import Completion
from expo.policies.load import load_policy
from expo.policies.sampling import sample
from expo.policies.scoring import score
from expo.positives import kinds as kinds_module
from expo.positives.kinds import from_sample, requests
from expo.recipe import GRADIENT_CHOICES, GradientRecipe
from expo.records import Run
from expo.setup import load_problems
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.tasks.problem import DataError

SIZES = [0.003, 0.03]
ROLLOUTS = 256


def recipe(**more: object) -> GradientRecipe:
    values = {
        "task": "chain",
        "policy": "tiny-0",
        "levels": [2, 3],
        "problems": 2,
        "rollouts": ROLLOUTS,
        "sizes": SIZES,
    }
    return GradientRecipe(**{**values, "max_new_tokens": 60, "rows": 2 * ROLLOUTS, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return measure_gradients(recipe(), tmp_path_factory.mktemp("gradients") / "run", progress=False)


def test_a_record_holds_each_positive_and_step(whole: Run) -> None:
    alignment, gains, products = (whole.read(t) for t in ("alignment", "gains", "gradients"))
    kinds = {"own", "explanation", "expert", "wrong_explanation", "nonsense"}
    assert [set(held["source"]) for _, held in alignment.groupby("problem")] == [kinds, kinds]
    assert len(gains) == len(alignment) * len(SIZES)
    assert len(products) == 10 * 11 // 2
    itself = (products["problem"] == products["other_problem"]) & (products["source"] == products["other_source"])
    alone = products[itself]
    np.testing.assert_allclose(alone["product"], alone["norm"] ** 2, rtol=1e-5)
    norms = alignment.set_index(["problem", "source"])["norm"]
    for row in alone.to_dict("records"):
        assert norms[row["problem"], row["source"]] == pytest.approx(row["norm"], rel=1e-4)
    text = show(whole)
    assert "a step of length 0.003: rank correlation with the change of J, within questions" in text
    assert "a toy" in text


def test_a_small_step_does_what_is_predicted(whole: Run) -> None:
    # Positives of one text are one; from two lengths the curvature is had, and left out.
    short, long = (joined(whole.read("alignment"), whole.read("gains"), size) for size in SIZES[:2])
    told = short["predicted_error"].notna() & short["realised_error"].notna()
    assert told.sum() >= 6
    one, two = SIZES[:2]
    change = short["change"]
    line = (change * two**2 - long["change"] * one**2) / (two**2 - two * one)
    predicted = per_unit(short["predicted"], line, short["predicted_error"], told)
    # The rollouts that are weighted see what enumeration finds.
    realised = per_unit(short["realised"], change, short["realised_error"], told)
    for factor, holds in ((1, True), (0.5, False), (2, False), (-1, False)):
        assert (0.75 < factor * predicted < 1.3) is holds, predicted
        assert (0.75 < factor * realised < 1.3) is holds, realised
    assert (short["effective"] <= ROLLOUTS).all()
    assert (short["lost"] < 0.02).all()


def per_unit(values: pd.Series, of: pd.Series, error: pd.Series, told: pd.Series) -> float:
    """Least squares, weighted by the errors."""
    values, of, error = (column[told].astype(float) for column in (values, of, error))
    return float((values * of / error**2).sum() / (of**2 / error**2).sum())


def test_a_stopped_run_goes_on_to_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = recipe(levels=[2], rollouts=8, rows=16, sizes=[0.01], sources=["own", "explanation"])
    whole = measure_gradients(short, tmp_path / "whole", progress=False)
    usual, calls = gain._question, []

    def stopping(*args: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return usual(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(gain, "_question", stopping)
        with pytest.raises(KeyboardInterrupt):
            measure_gradients(short, tmp_path / "run", progress=False)
    run = measure_gradients(short, tmp_path / "run", progress=False)
    for table in ("alignment", "gains", "gradients"):
        pd.testing.assert_frame_equal(run.read(table), whole.read(table))
    monkeypatch.setattr(set_up_module, "load", lambda *_: pytest.fail("loaded again"))
    assert measure_gradients(short, tmp_path / "run", progress=False).has("gains")


def test_what_does_not_fit_the_context_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, problems = load_policy("tiny-0", CHAIN), load_problems(recipe(), ChainChecker()).problems
    with monkeypatch.context() as patch:
        # As where the prompt with the answer is longer than all that the toy has.
        patch.setattr(kinds_module, "longest", lambda *_: 300)
        with pytest.raises(
            DataError, match=r"no problem could be measured: .*\n.* 300 tokens, more than the context of 256"
        ):
            measure_gradients(recipe(), tmp_path / "run", progress=False)
    # Without an expert CoT there is no positive, which is no end of the run.
    bare = replace(problems[0], expert_cot=None)
    found = gain._question(recipe(sources=["expert"]), toy, ChainChecker(), [bare], problems, lambda: None)
    assert [len(found[table]) for table in ("alignment", "gains")] == [0, 0]
    assert found["skips"]["field"].tolist() == ["expert_cot"]


def test_a_choice_is_one_of_the_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a step does to J is not looked at here, and takes long.
    monkeypatch.setattr(gain, "FLOOR", 0.5)
    asked = recipe(
        levels=[3],
        problems=10,
        rollouts=8,
        sizes=[0.003],
        sources=["own", "explanation"],
        temperature=1.0,
        tries=6,
        choices=list(GRADIENT_CHOICES),
    )
    run = measure_gradients(asked, tmp_path / "run", progress=False)
    rows = run.read("alignment").set_index(["problem", "source"])
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    moved_on = 0
    for p in load_problems(asked, checker).problems:
        (_, hint, request), *_ = requests(policy, p, [], {"explanation": 6}, 60, 0, checker)
        (completions,) = sample(policy, [request], temperature=1.0, seed=0)
        tried = [from_sample(policy, p, "explanation", k, hint, c, checker) for k, c in enumerate(completions)]
        ended = [t for t in tried if t.sampled and not t.sampled.truncated]
        scores = score(policy, [t.scored for t in ended])
        graded = checker.grade([(p, t.text) for t in ended], [False] * len(ended))
        right = [t for t, g in zip(ended, graded, strict=True) if g.status is Status.CORRECT]
        by_hand = {
            "explanation": tried[0],
            "best_signal": ended[int(np.argmax([s.learning_signal for s in scores]))],
            "best_joint": ended[int(np.argmin([s.nll_sum for s in scores]))],
            **({"right": right[0]} if right else {}),
        }
        found = {source: tuple(rows.loc[(p.id, source), "ids"]) for source in by_hand}
        assert found == {source: t.scored.completion for source, t in by_hand.items()}
        assert tuple(rows.loc[(p.id, "posterior"), "ids"]) in {t.scored.completion for t in ended}
        assert ((p.id, "right") in rows.index) == bool(right)
        moved_on += len(set(found.values())) > 1
    # The control: they are not all the first.
    assert moved_on
    skips = run.read("skips")
    assert (skips["field"] == "right").sum() + (rows.index.get_level_values(1) == "right").sum() == 10
    assert "c~ with best learning signal" in show(run)


def test_choices_are_compared_with_the_first_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a training learns it, whose first self-explanation is never one that was cut."""
    asked = recipe(sources=["own", "explanation"], temperature=1.0, tries=3, choices=["best_joint"])
    toy, problems = load_policy("tiny-0", CHAIN), load_problems(asked, ChainChecker()).problems

    def cut(places: set[int]) -> list[str]:
        def sampled(*args: Any, **kwargs: Any) -> list[list[Completion]]:
            done = sample(*args, **kwargs)
            return [[replace(c, truncated=k in places) for k, c in enumerate(g)] if len(g) > 1 else g for g in done]

        monkeypatch.setattr(gain, "sample", sampled)
        positives, _ = gain._positives(asked, toy, ChainChecker(), problems[0], problems)
        return [p.scored.key for p in positives if p.source == "explanation"]

    key = f"{problems[0].id}/explanation/"
    assert cut({0, 2}) == [f"{key}1"]
    # The controls: none was cut, and all were.
    assert cut(set()) == [f"{key}0"]
    assert cut({0, 1, 2}) == [f"{key}0"]


def test_weights_are_put_back_bit_for_bit() -> None:
    toy = load_policy("tiny-0", CHAIN)
    before = {k: v.clone() for k, v in toy.model.state_dict().items()}
    direction = gradient(toy, [Example("a", (3, 4, 5), (6, 7))], [1.0])

    def stopped() -> None:
        with moved(toy, direction, 0.1):
            after = toy.model.state_dict()
            assert any(not torch.equal(after[k], v) for k, v in before.items())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert all(torch.equal(v, before[k]) for k, v in toy.model.state_dict().items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rollouts": 2}, "rollouts must be at least 3, got 2"),
        ({"sizes": []}, "sizes: give finite lengths above 0"),
        ({"sizes": [0.0]}, "sizes: give finite lengths above 0"),
        ({"sizes": 0.01}, "sizes must be a list, each"),
        ({"sizes": [0.1, 0.1]}, "sizes: give each length once"),
        ({"temperature": "hot"}, "temperature must be"),
        ({"dtype": "bfloat16"}, "rounding would swallow a step in bfloat16 weights"),
        ({"sources": ["own", "own_correct"]}, "own_correct is chosen from several own CoTs"),
        ({"task": "chian"}, "unknown task 'chian'"),
        ({"choices": ["best"], "tries": 2}, "choices: unknown choice 'best'; choose from posterior, "),
        ({"choices": ["best_signal", "best_signal"], "tries": 2}, "choices: give each choice once"),
        ({"choices": ["best_signal"]}, "tries: choosing among self-explanations takes at least 2, got 1"),
        ({"tries": 4}, "choices: give at least one way to choose among the 4 tries, or leave tries out"),
        ({"choices": ["best_signal"], "tries": 2, "sources": ["own"]}, "add explanation to sources"),
        (
            {"choices": ["posterior"], "tries": 2},
            "temperature: posterior weights are defined only for samples at temperature 1",
        ),
    ],
)
def test_a_wrong_recipe_is_named(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**more)
