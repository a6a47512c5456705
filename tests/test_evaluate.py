"""Accuracy and pass@k by level: the estimator against its definition, counts against the samples, and going on."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expo import chunks as chunks_module
from expo import evaluate as evaluate_module
from expo.evaluate import by_level, change_by_level, count, evaluate, evaluate_run
from expo.policies.load import load_policy
from expo.recipe import EvaluateRecipe
from expo.records import RecordError, Run
from expo.schema import as_frame
from expo.shards import check_shards
from expo.stats import pass_at_k
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.train.show import show
from theory import passk

RECIPE = EvaluateRecipe(task="chain", policy="tiny-0", problems=15, samples=3, max_new_tokens=100, chunk=6, seed=3)


@given(st.data())
def test_the_estimator_is_the_theory_s(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 300))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = passk.pass_at_k(n, c, k)
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), abs=1e-12)
    # The plug-in estimate is another number, unless k is 1 or all samples are alike.
    if k > 1 and 0 < c < n:
        assert 1 - (1 - Fraction(c, n)) ** k != exact


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (4, 1, 5, "pass@5: k must be between 1 and"),
        (4, 1, 0, "pass@0: k must be between 1 and"),
        (4, 5, 1, "between 0 and 4"),
    ],
)
def test_an_impossible_estimate_is_refused(n: int, c: int, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k(n, c, k)


def test_a_change_is_of_the_problems_that_both_have() -> None:
    before = pd.DataFrame({"problem": list("abc"), "level": [1, 1, 5], "n": 4, "correct": [0, 4, 2]})
    after = pd.DataFrame({"problem": list("cad"), "level": [5, 1, 1], "n": 2, "correct": [2, 1, 0]})
    found = change_by_level(before, after)
    assert {level: (mean.mean, mean.n) for level, (mean, _) in found.items()} == {
        None: (0.5, 2),
        1: (0.5, 1),
        5: (0.5, 1),
    }
    mean, bounded = found[None]
    assert bounded.low < mean.low <= mean.high < bounded.high
    # The control: unpaired, c and a against the means of all would give another number.
    assert (after["correct"] / after["n"]).mean() - (before["correct"] / before["n"]).mean() == 0
    assert change_by_level(before, after[after["problem"] == "d"]) == {}


def test_large_counts_do_not_overflow() -> None:
    assert 0 < pass_at_k(100_000, 3, 50_000) < 1
    assert math.isclose(pass_at_k(100_000, 3, 50_000), 0.875, rel_tol=1e-4)


def test_levels_are_means_over_their_problems() -> None:
    frame = pd.DataFrame({"level": [1, 1, 5], "n": [4, 4, 4], "correct": [4, 2, 0]})
    found = by_level(frame)
    assert {level: i.mean for level, i in found.items()} == {None: 0.5, 1: 0.75, 5: 0.0}
    assert found[1].n == 2
    assert by_level(frame, 2)[1].mean == pytest.approx((1 + 1 - 1 / 6) / 2)


def test_counts_are_those_of_the_samples() -> None:
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problems = chain.load("test", 10).problems
    completions = evaluate(policy, checker, problems, samples=4, temperature=0.7, max_new_tokens=100, seed=0)
    for row in completions.to_dict("records"):
        assert len(row["ends"]) == row["tokens"]
        assert row["ends"][-1] == len(row["text"])
        # Each cut is a text that its tokens spell.
        words = row["text"].split(" ")
        assert [row["text"][:end] for end in row["ends"][:5]] == [" ".join(words[: n + 1]) for n in range(5)]
    frame = count(completions)
    assert (frame["n"] == 4).all()
    assert frame.loc[frame["level"] == 1, "correct"].mean() > 3
    assert frame.loc[frame["level"] == 5, "correct"].mean() < 1
    assert (frame["steps_true"] <= frame["steps"]).all()
    # Cut short, nothing is right, and it is said why.
    cut = count(evaluate(policy, checker, problems, samples=4, temperature=0.7, max_new_tokens=5, seed=0))
    assert cut[["correct", "truncated", "unparsed"]].sum().tolist() == [0, 40, 40]
    # A problem's samples do not depend on its company.
    alone = evaluate(policy, checker, problems[3:4], samples=4, temperature=0.7, max_new_tokens=100, seed=0)
    pd.testing.assert_frame_equal(count(alone), frame.iloc[3:4].reset_index(drop=True))


def test_each_problem_is_counted_alone() -> None:
    rows = [
        {"problem": problem, "level": None, "text": text, "status": status, "truncated": cut, "leak": leak}
        for problem, text, status, cut, leak in [
            ("b", "x", "correct", False, True),
            ("a", "x", "wrong", False, None),
            ("b", "y", "unparsed", True, False),
            ("a", "x", "correct", False, True),
        ]
    ]
    completions = as_frame("completions", [{**row, "tokens": 3, "steps": 2, "steps_true": 1} for row in rows])
    found = count(completions, 7)
    # In the order in which they come; where it is not known of one sample whether it leaks, it is not of the problem.
    assert found["problem"].tolist() == ["b", "a"]
    assert (found["leaks"][0], found["leaks"].isna().tolist()) == (1, [False, True])
    assert found["level"].isna().all()
    assert found[["n", "correct", "unparsed", "timeout", "truncated", "distinct"]].to_numpy().tolist() == [
        [2, 1, 1, 0, 1, 2],
        [2, 1, 0, 0, 0, 1],
    ]
    assert found[["step", "tokens", "steps", "steps_true"]].to_numpy().tolist() == [[7, 6, 4, 2]] * 2
    assert count(completions.head(0)).empty


def test_another_dtype_to_sample_in_is_shown(tmp_path: Path) -> None:
    few = replace(RECIPE, problems=2, samples=1)
    plain, other = (
        evaluate_run(replace(few, sampling_dtype=dtype), tmp_path / str(dtype), progress=False)
        for dtype in (None, "bfloat16")
    )
    assert "(sampled in bfloat16 from a policy in float32; log-probabilities in the two differ by " in show(other)
    assert "sampled in" not in show(plain)


def test_a_stopped_evaluation_goes_on_to_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate_run(RECIPE, tmp_path / "whole", progress=False)
    usual, calls = evaluate_module.evaluate, []

    def stopping(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return usual(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate", stopping)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(RECIPE, tmp_path / "stopped", progress=False)
    again = evaluate_run(RECIPE, tmp_path / "stopped", progress=False)
    for table in ("evaluation", "completions"):
        pd.testing.assert_frame_equal(whole.read(table), again.read(table))
    other = evaluate_run(replace(RECIPE, seed=4), tmp_path / "other", progress=False)
    assert not np.array_equal(whole.read("evaluation")["problem"], other.read("evaluation")["problem"])
    text = show(whole)
    assert "toy" in text
    assert "pass@3" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"samples": 0}, "samples must be at least 1"),
        ({"temperature": -1.0}, "temperature"),
        ({"task": "chian"}, "unknown task 'chian'"),
    ],
)
def test_a_wrong_recipe_is_named(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateRecipe(**more)  # type: ignore[arg-type]


def test_a_run_goes_on_with_its_own_chunks_and_may_be_audited_later(tmp_path: Path) -> None:
    run = evaluate_run(RECIPE, tmp_path / "run", progress=False)
    before = run.read("completions")
    # What was begun with other chunks is the same run, and so is one without limits.
    again = evaluate_run(replace(RECIPE, chunk=3, limits=[20, 50]), tmp_path / "run", progress=False)
    assert again.recipe()["chunk"] == 6
    assert set(again.read("grades")["limit"]) == {20, 50, 100}
    # A table that was damaged and deleted is joined from its shards.
    run.file("completions").unlink()
    evaluate_run(RECIPE, tmp_path / "run", progress=False)
    pd.testing.assert_frame_equal(run.read("completions"), before)


@pytest.mark.parametrize(
    ("table", "shard", "fix"),
    [("completions", "0001", "delete it and repeat the command"), ("completions", None, "delete it and repeat")],
)
def test_what_is_damaged_is_named_before_anything_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, shard: str | None, fix: str
) -> None:
    run = evaluate_run(RECIPE, tmp_path / "run", progress=False)
    before = run.read("evaluation")
    run.file("evaluation").unlink()
    run.file(table, "0000").unlink()
    if shard:
        run.file("completions").unlink()
    run.file(table, shard).write_bytes(b"PAR1")
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate", lambda *_, **__: pytest.fail("sampled"))
        with pytest.raises(RecordError, match=rf"{run.file(table, shard)} is damaged.*; {fix}"):
            evaluate_run(RECIPE, tmp_path / "run", progress=False)
    run.file(table, shard).unlink()
    evaluate_run(RECIPE, tmp_path / "run", progress=False)
    pd.testing.assert_frame_equal(run.read("evaluation"), before)


def test_a_finished_record_that_was_damaged_is_named(tmp_path: Path) -> None:
    run = evaluate_run(RECIPE, tmp_path / "run", progress=False)
    whole = run.file("completions").read_bytes()
    run.file("completions").write_bytes(whole[:1000])
    with pytest.raises(RecordError, match=r"completions.parquet is damaged .*repeat the command that wrote it"):
        evaluate_run(RECIPE, tmp_path / "run", progress=False)
    run.file("completions").unlink()
    evaluate_run(RECIPE, tmp_path / "run", progress=False)
    assert run.file("completions").read_bytes() == whole


def test_a_part_is_done_anew_by_its_last_table(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for table in ("skips", "completions"):
        for name in ("0000", "0001"):
            run.write(table, as_frame(table), name)
    check_shards(run, "completions")
    last = run.file("completions", "0001")
    for damage, state in ((lambda p: p.write_bytes(b"x"), "damaged"), (Path.unlink, "missing")):
        damage(run.file("skips", "0001"))
        with pytest.raises(RecordError, match=f"skips/0001.parquet is {state}; delete {last} and repeat the command"):
            check_shards(run, "completions")
    # The control: without its last table a part is not done.
    last.unlink()
    check_shards(run, "completions")


def test_greedy_samples_are_one_by_default() -> None:
    assert EvaluateRecipe(task="chain", policy="tiny-0").samples == 4
    assert EvaluateRecipe(task="chain", policy="tiny-0", temperature=0).samples == 1


@pytest.mark.slow
def test_two_processes_evaluate_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = evaluate_run(replace(RECIPE, rows=8), tmp_path / "one", progress=False)
    monkeypatch.setattr(chunks_module, "processes_for", lambda *_: 2)
    ticks: list[int] = []
    two = evaluate_run(replace(RECIPE, rows=16), tmp_path / "two", progress=False, on_step=lambda: ticks.append(1))
    assert len(ticks) == 15 * 3
    for table in ("completions", "evaluation"):
        pd.testing.assert_frame_equal(one.read(table), two.read(table))
