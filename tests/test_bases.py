"""Bases of a study: warmed up seed by seed, accepted by a rule, and runs that begin from them or from each other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from expo.bases import CRITERIA
from expo.records import Run
from expo.reproduce import reproduce
from expo.study import Study, StudyError, load_study

BASES = """
bases:
  name: toy
  train: {algorithm: sft, positive: expert, task: chain, policy: tiny-0, levels: [1], problems: 4, max_steps: 1,
          per_device_train_batch_size: 4, eval_problems: 1, eval_samples: 1, probe_problems: 0,
          gradient_checkpointing: false, max_completion_length: 40}
  measure: {task: chain, split: rate, levels: [1], problems: 6, sources: [own, explanation], max_new_tokens: 40}
  accept: {ACCEPT}
  seeds: [3, 5, 8]
  take: 2
"""
RUNS = """
runs:
  second: &run {job: train, task: chain, levels: [1], problems: 4, max_steps: 1, per_device_train_batch_size: 4,
          num_generations: 4, eval_problems: 1, eval_samples: 1, probe_problems: 0, gradient_checkpointing: false,
          max_completion_length: 40, policy: first-base-0}
  first: {<<: *run, each: {policy: [base-0, base-1]}}
  after: {job: evaluate, task: chain, levels: [1], problems: 2, samples: 1, policy: second}
"""
ANY = "{own_right: [0, 1], explanation_steps_true: [0, 1]}"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def replaced(study: Study, name: str, value: object) -> Study:
    assert study.bases
    return replace(study, bases=replace(study.bases, train={**study.bases.train, name: value}))


def test_runs_begin_from_accepted_bases_and_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load_study(written(tmp_path, BASES.replace("{ACCEPT}", ANY) + RUNS))
    reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False)
    folder = tmp_path / "runs" / "mine"
    ledger = pd.read_csv(folder / "bases.csv")
    # Enough are accepted before the third seed is tried.
    assert ledger["seed"].tolist() == [3, 5]
    assert ledger["accepted"].all()
    samples = Run(folder / "warm-ups" / "check-3").read("samples")
    own = samples[samples["source"] == "own"]
    assert ledger["own_right"][0] == own["status"].eq("correct").sum() / len(own)
    runs = {name: Run(folder / name) for name in ("first-base-0", "first-base-1", "second", "warm-ups/check-3")}
    assert {name: run.recipe()["policy"] for name, run in runs.items()} == {
        "first-base-0": str(folder / "toy-seed3"),
        "first-base-1": str(folder / "toy-seed5"),
        "second": str(folder / "first-base-0" / "model"),
        "warm-ups/check-3": str(folder / "toy-seed3"),
    }
    warmed = folder / "warm-ups" / "warm-5" / "model" / "model.safetensors"
    assert (folder / "toy-seed5" / "model.safetensors").samefile(warmed)
    # A base is where trainings begin, though it was trained itself.
    begun = {name: run.environment()["trained_from"] for name, run in runs.items()}
    assert begun.pop("second") == str(folder / "toy-seed3")
    assert set(begun.values()) == {None}
    assert runs["second"].environment()["trained_by"] == ["explanation"]
    assert Run(folder / "after").recipe()["policy"] == str(folder / "second" / "model")
    # Seeds differ in what they learn.
    positives = [Run(folder / f"warm-ups/warm-{seed}").read("positives")["problem"].tolist() for seed in (3, 5)]
    assert positives[0] != positives[1]
    # Given again it does nothing, from another folder and by another path too; nothing is drawn of warm-ups.
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    monkeypatch.chdir(tmp_path)
    reproduce(study, Path("runs"), tmp_path / "figures", progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
    assert "not of this study" not in capsys.readouterr().out
    # A base that is made anew is another policy: what was done with the old one is named.
    for seed in (3, 5):
        shutil.rmtree(folder / "warm-ups" / f"warm-{seed}")
    with pytest.raises(StudyError, match=r"check-3 was made with other weights of .*toy-seed3 than those there now"):
        reproduce(replaced(study, "learning_rate", 1e-3), tmp_path / "runs", tmp_path / "figures", progress=False)


def test_a_later_stage_is_checked_before_the_first_is_done(tmp_path: Path) -> None:
    text = BASES.replace("{ACCEPT}", ANY) + RUNS.replace(
        "policy: first-base-0}", "policy: first-base-0, learning_rat: 1}"
    )
    assert "learning_rat:" in text
    with pytest.raises(StudyError, match="run second: no field 'learning_rat'; did you mean learning_rate"):
        reproduce(load_study(written(tmp_path, text)), tmp_path / "runs", tmp_path / "figures", progress=False)
    text = BASES.replace("{ACCEPT}", ANY).replace("max_steps: 1", "max_steps: 1, learning_rat: 1") + RUNS
    with pytest.raises(StudyError, match="run bases: train: no field 'learning_rat'"):
        reproduce(load_study(written(tmp_path, text)), tmp_path / "runs", tmp_path / "figures", progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_study_whose_bases_all_miss_the_rule_stops_with_what_was_tried(tmp_path: Path) -> None:
    never = "{own_right: [0, 1], explanation_steps_true: [2, 3]}"
    study = load_study(written(tmp_path, BASES.replace("{ACCEPT}", never) + RUNS))
    with pytest.raises(StudyError) as caught:
        reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False)
    message = str(caught.value)
    assert (
        "no seed of [3, 5, 8] gave a base with own_right between 0 and 1, explanation_steps_true between 2 and 3"
        in message
    )
    table = pd.read_csv(tmp_path / "runs" / "mine" / "bases.csv")
    assert table["seed"].tolist() == [3, 5, 8]
    assert not table["accepted"].any()
    assert all(str(round(value, 3)) in message for value in table["explanation_steps_true"])
    assert not (tmp_path / "runs" / "mine" / "first-base-0").exists()


def test_runs_of_a_base_that_is_lacking_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first seed is accepted, the others are not.
    values = iter([0.5, 9.0, 9.0])
    monkeypatch.setitem(CRITERIA, "own_right", ("own", lambda _: next(values)))
    runs = RUNS.replace("policy: first-base-0", "policy: first-base-1")
    study = load_study(written(tmp_path, BASES.replace("{ACCEPT}", "{own_right: [0, 1]}") + runs))
    reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False)
    done = {path.parent.name for path in (tmp_path / "runs" / "mine").rglob("recipe.yaml")}
    assert done == {"warm-3", "warm-5", "warm-8", "check-3", "check-5", "check-8", "first-base-0"}
    said = capsys.readouterr().out
    assert "skipped because a base is missing: first-base-1" in said
    assert "skipped because a base is missing: second" in said
    assert "skipped because a base is missing: after" in said


def test_bases_can_be_those_of_another_study(tmp_path: Path) -> None:
    written(tmp_path, BASES.replace("{ACCEPT}", ANY), "theirs.yaml")
    study = load_study(written(tmp_path, "bases: theirs.yaml" + RUNS))
    theirs = load_study(str(tmp_path / "theirs.yaml"))
    assert (study.bases, study.bases_of) == (theirs.bases, "theirs")
    with pytest.raises(StudyError, match="bases: no study says how to make theirs -> theirs;"):
        load_study(written(tmp_path, "bases: theirs.yaml", "theirs.yaml"))
    written(tmp_path, "bases: b.yaml", "a.yaml")
    with pytest.raises(StudyError, match=r"a\.yaml: bases: no study says how to make b -> a -> b;"):
        load_study(written(tmp_path, "bases: a.yaml", "b.yaml"))
    written(tmp_path, "runs: {a: {}}", "none.yaml")
    with pytest.raises(StudyError, match=r"bases: the study none\.yaml does not make bases"):
        load_study(written(tmp_path, "bases: none.yaml" + RUNS, "other.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("take: 2", "take: 4"), "take is 4, but there are 3 seeds; take must be between 1 and"),
        (("take: 2", ""), "bases: give each of the fields name, train, measure, accept, seeds, take"),
        (("name: toy", "name: a/b"), "name: it is used in folder names, so it may have only letters, digits"),
        (
            ("own_right", "owm_right"),
            "accept: unknown criterion 'owm_right'; choose from own_right, explanation_steps_true",
        ),
        (
            ("[0, 1]", "[1, 0]"),
            r"accept: own_right must be a pair of smallest and largest value, such as \[0, 0\.02\], got \[1, 0\]",
        ),
        (("seeds: [3, 5, 8]", "seeds: 3"), "seeds must be a list"),
        (("seeds: [3, 5, 8]", "seeds: [3, 5, 3]"), r"seeds: give each seed once, got \[3, 5, 3\]"),
        (
            ("[0, 1]", "[0, 1e-2]"),
            r"own_right must be a pair of smallest and largest value, such as \[0, 0\.02\], got \[0, '1e-2'\]",
        ),
        (("[own, explanation]", "[explanation]"), "accept: own_right needs own in the sources of measure"),
        (
            ("[base-0, base-1]", "[base-0, base-7]"),
            "policy: no policy base-7; the study makes base-0, base-1",
        ),
        (("  second:", "  tiny-1:"), "tiny-1 is the name of a policy, which this run would shadow; rename it"),
        (("  after:", "  toy-seed9:"), "toy-seed9 is the name of a base; rename the run"),
        (("algorithm: sft", "algorithm: sff"), "run bases-train: algorithm: unknown algorithm 'sff'"),
        (("policy: first-base-0", "policy: second"), "second is the name of a policy, which this run would shadow"),
        (("  after:", "  base-1:"), "base-1 is the name of a base; rename the run"),
    ],
)
def test_what_cannot_be_made_is_named_before_anything_runs(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    text = BASES.replace("{ACCEPT}", ANY) + RUNS
    assert change[0] in text
    with pytest.raises(StudyError, match=message):
        load_study(written(tmp_path, text.replace(*change, 1)))


def test_runs_that_wait_for_each_other_are_named(tmp_path: Path) -> None:
    runs = RUNS.replace("policy: first-base-0", "policy: first-second").replace("[base-0, base-1]", "[base-0, second]")
    with pytest.raises(StudyError, match="runs second, first-second, after wait for each other's policy"):
        load_study(written(tmp_path, BASES.replace("{ACCEPT}", ANY) + runs))
