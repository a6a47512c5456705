"""Trainings as reports see them: found, named, and kept apart where they cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expo.records import RecordError, Run
from expo.report.accuracy import accuracy_by_base
from expo.report.training.fig1 import draw_fig1
from expo.report.training.grid import draw_grid
from expo.report.trainings import (
    EvaluatedRun,
    before_training,
    by_method,
    check_averageable,
    check_comparable,
    find_evaluated,
    is_grid,
    label,
    training_steps,
    without_stages,
)
from expo.report.words import METHODS

from .records.trainings import levels, write


def test_runs_are_found_and_sorted_by_method(folder: Path) -> None:
    Run.start(folder / "cut-short", {"policy": "tiny-0", "task": "chain", "positive": "none"})
    found, unfinished = find_evaluated(folder)
    assert (len(found), unfinished) == (12, ["cut-short"])
    assert list(by_method(found)) == ["explanation", "expert", "none"]
    assert {run.method for run in found if not run.is_training} == {"base"}
    with pytest.raises(RecordError, match="is not a run folder"):
        find_evaluated(folder / "nothing")


def test_trainings_on_positives_alone_and_from_a_trained_policy_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    sft = {"task": "chain", "policy": "tiny-0", "levels": None, "positive": "expert", "algorithm": "sft"}
    sft |= {"eval_split": "test", "eval_temperature": 0.7, "max_completion_length": 512}
    write(folder / "sft", sft, {0: levels(0.0), 20: levels(0.2)})
    after = {**sft, "policy": str(folder / "sft" / "model"), "algorithm": "grpo", "positive": "none"}
    write(folder / "after", after, {0: levels(0.0), 20: levels(0.2)}, trained_from="tiny-0", processes=2)
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    one, two = (next(r for r in runs if r.name == name) for name in ("sft", "after"))
    assert (one.method, one.base, one.rate, one.beta, one.batch) == ("sft_expert", "tiny-0", 2e-5, 0.0, 8)
    assert (two.method, two.base, two.batch) == ("again", "tiny-0", 16)
    stages = {"trained_from": "tiny-0", "trained_by": ["sft_explanation"], "processes": 2}
    write(folder / "second", after, {0: levels(0.0), 20: levels(0.2)}, **stages)
    second = next(r for r in find_evaluated(folder)[0] if r.name == "second")
    # GRPO adds nothing, whatever came before.
    assert (second.beta, second.adds_nothing) == (0.0, True)
    assert METHODS[second.method] == "GRPO after SFT on explanations"
    assert before_training([one, second]) == [one]
    # Batches that differ are told, with whose they are; the control is two that do not.
    unlike = "20 steps of 16 samples to 2 questions and 20 steps of 8 positives (SFT-GT-CoT)"
    assert training_steps([one, second]) == unlike
    assert training_steps([second, second]) == "20 steps of 16 samples"
    # What another run goes on from is a stage of it.
    assert without_stages([one, second]) == [second]
    assert without_stages([one]) == [one]
    # A run of that name in another study is none of its stages.
    elsewhere = {**after, "policy": "runs/another/sft/model"}
    write(folder / "third", elsewhere, {0: levels(0.0), 20: levels(0.2)}, **stages)
    third = next(r for r in find_evaluated(folder)[0] if r.name == "third")
    assert without_stages([one, third]) == [one, third]
    checkpoint = {**after, "policy": f"somewhere/{folder.name}/sft/checkpoints/checkpoint-20"}
    write(folder / "fourth", checkpoint, {0: levels(0.0), 20: levels(0.2)}, **stages)
    fourth = next(r for r in find_evaluated(folder)[0] if r.name == "fourth")
    assert without_stages([one, fourth]) == [fourth]
    assert is_grid(runs)
    assert len(by_method(runs)["none"]) == 3
    text = draw_grid("rates", runs, tmp_path / "out").shown.read_text(encoding="utf-8")
    assert "| all levels | SFT-GT-CoT | 2e-05 | 0 |" in text


def test_policies_of_one_name_are_two_bases_and_a_trained_one_is_none(folder: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "task": "gsm8k"}
    for seed, end in ((0, 0.2), (1, 0.8)):
        more = {**recipe, "policy": f"somewhere/seed{seed}/checkpoint-500", "positive": "own_correct"}
        write(folder / f"other-{seed}", more, {0: levels(0.0), 20: levels(end)})
    evaluated = {"task": "chain", "policy": "runs/sft/model", "samples": 128}
    write(folder / "trained", evaluated, {0: levels(0.5)}, trained_from="tiny-0")
    runs = find_evaluated(folder)[0]
    own = [r for r in runs if r.method == "own_correct"]
    assert {r.policy_name for r in own} == {"checkpoint-500"}
    assert len(accuracy_by_base(own, levels=[5])) == 2
    assert label(own) == "checkpoint-gsm8k"
    assert label(own[:1]) == "checkpoint-500-gsm8k"
    assert [r.method for r in runs if r.name == "trained"] == ["trained"]
    assert "trained" not in by_method(r for r in runs if label([r]) == "tiny")
    with pytest.raises(ValueError, match="are of checkpoint and tiny, and cannot be compared"):
        by_method(runs)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"eval_split": "train"}, "differ in eval_split, and cannot be compared"),
        ({"eval_temperature": 1.0, "problems": 4}, "differ in eval_temperature, problems, and cannot be compared"),
        ({"sampling_dtype": "bfloat16"}, "differ in sampling_dtype, and cannot be compared"),
        ({"policy": "tiny"}, None),
        ({"policy": "tiny-seed7"}, None),
        ({"policy": "other"}, "are of other and tiny, and cannot be compared"),
        ({"max_completion_length": 512}, None),
        ({"max_completion_length": 100}, "differ in max_completion_length, and cannot be compared"),
    ],
)
def test_only_what_was_evaluated_alike_is_compared(
    folder: Path, tmp_path: Path, other: dict[str, object], message: str | None
) -> None:
    write(folder / "other", {**Run(folder / "all-tiny-0-none").recipe(), **other}, {0: levels(0.0), 20: levels(0.3)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    if message is None:
        check_comparable(runs)
        assert len({run.base for run in runs}) == (4 if other.get("policy") == "tiny-seed7" else 3)
        return
    for draw in (draw_fig1, lambda runs, out: draw_grid("rates", runs, out)):
        with pytest.raises(ValueError, match=message):
            draw(runs, tmp_path / "out")


@pytest.mark.parametrize(
    ("facts", "message"),
    [({"data_sha256": "b"}, "had other problems at the same seed"), ({"processes": 8}, "other numbers of processes")],
)
def test_runs_of_other_data_or_batches_are_not_averaged(folder: Path, facts: dict[str, object], message: str) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.method == "none"]
    check_averageable(runs)
    file = runs[0].run.path("environment.json")
    file.write_text(json.dumps(runs[0].run.environment() | facts))
    with pytest.raises(ValueError, match=message):
        check_averageable([EvaluatedRun(Run(r.run.folder)) for r in runs])


def test_trainings_that_ended_at_different_steps_are_not_joined(folder: Path) -> None:
    recipe = Run(folder / "all-tiny-0-none").recipe()
    write(folder / "short", {**recipe, "policy": "tiny-3"}, {0: levels(0.0), 10: levels(0.1)})
    with pytest.raises(ValueError, match=r"GRPO ended at different steps.*-0-none after step 20.*short after step 10"):
        by_method(find_evaluated(folder)[0])


def test_bases_of_a_study_have_one_label_however_many_there_are(tmp_path: Path) -> None:
    recipe = {"task": "letters", "levels": [3], "positive": "none", "eval_split": "test", "eval_temperature": 0.7}
    for seed in (0, 1):
        write(tmp_path / f"run-{seed}", {**recipe, "policy": f"bases/model-letters-seed{seed}"}, {0: levels(0.0)})
    runs = find_evaluated(tmp_path)[0]
    assert label(runs) == label(runs[:1]) == "model-letters"
    write(tmp_path / "other", {**recipe, "policy": "models/model-letters"}, {0: levels(0.0)})
    assert label([find_evaluated(tmp_path / "other")[0][0]]) == "model-letters-letters"
