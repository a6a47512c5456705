"""A training end to end: its record, and that a run which was stopped anywhere ends as if it had not been."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import shutil
import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from accelerate import PartialState
from torch.distributed import DistBackendError
from trl import DPOTrainer, GRPOTrainer, SFTTrainer

from expo import setup as set_up_module
from expo.gradients.alignment import align, sample_rollouts
from expo.gradients.dense import dense
from expo.gradients.examples import Example
from expo.policies.load import load_policy
from expo.policies.policy import PolicyError
from expo.policies.scoring import score
from expo.policies.scoring import whole as whole_sample
from expo.positives.closing import explain_ids, question_ids
from expo.recipe import GRADIENT_CHOICES
from expo.records import RecordError, Run, defaults_of, write_atomic
from expo.report import words
from expo.schema import as_frame
from expo.setup import load_problems
from expo.study import STUDIES
from expo.tasks import Task
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.tasks.checker import TextChecker
from expo.tasks.problem import Problem
from expo.tasks.prompts import TEXT
from expo.terminal import NAMES
from expo.train import config as config_module
from expo.train import grpo as grpo_module
from expo.train import probes as probes_module
from expo.train import run as run_module
from expo.train.callbacks import _drop_after
from expo.train.checkpoints import BY_STEP, MARK, _sizes, last_checkpoint
from expo.train.completions import completions
from expo.train.config import LOSSES, ExPGRPOConfig, configuration, settings_of
from expo.train.plan import describe
from expo.train.probes import Probes
from expo.train.recipe import POSITIVES, TrainRecipe, read_recipe
from expo.train.rewards import AnswerReward
from expo.train.run import refuse_another, resume_status, train
from expo.train.session import prepared
from expo.train.sft import sft_trainer
from expo.train.show import show, without_signal
from expo.train.stopping import _StopAtSignal, naming_lost_processes
from expo.train.supply import Supply
from expo.train.tables import check_parts
from tests.train.kills import command, kill_and_go_on, same

VALUES = {
    "task": "chain",
    "policy": "tiny-0",
    "levels": [2, 3],
    "problems": 24,
    "eval_problems": 10,
    "eval_samples": 2,
    "probe_problems": 3,
    "gradient_problems": 2,
    "gradient_rollouts": 4,
    "refresh_steps": 4,
    "max_steps": 6,
    "save_steps": 2,
    "eval_steps": 3,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 45,
    "learning_rate": 3e-4,
    "gradient_checkpointing": False,
    "seed": 1,
}
RECIPES = STUDIES.parent
slow = pytest.mark.slow


@pytest.fixture
def recipe() -> TrainRecipe:
    return read_recipe(dict(VALUES))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(read_recipe(dict(VALUES)), tmp_path_factory.mktemp("whole") / "run", progress=False)


def test_the_record_holds_what_was_done(whole: Run) -> None:
    groups, positives = whole.read("groups"), whole.read("positives")
    assert groups.groupby("step").size().to_dict() == dict.fromkeys(range(6), 8)
    assert set(groups["n"]) == {4}
    assert set(groups["level"]) == {2, 3}
    assert sorted(positives["step"].unique()) == [0, 4]
    assert positives[positives["step"] == 0]["text"].str.contains("<ans>").all()
    # Sampled anew are those of the steps that are left, and no others.
    asked = set(groups.query("step >= 4")["problem"])
    renewed = set(positives.query("step == 4")["problem"]) | {w for w in whole.read("skips")["where"] if w in asked}
    assert renewed <= asked
    assert 10 < len(renewed) <= len(asked) < groups["problem"].nunique()
    evaluation = whole.read("evaluation")
    assert evaluation.groupby("step")["problem"].nunique().to_dict() == {0: 10, 3: 10, 6: 10}
    assert (evaluation["correct"] <= evaluation["n"]).all()
    probes = whole.read("probes")
    assert set(probes["source"]) == {"own", "explanation"}
    assert probes.groupby("step")["problem"].nunique().to_dict() == {0: 3, 3: 3, 6: 3}
    alignment, products = whole.read("alignment"), whole.read("gradients")
    assert alignment.groupby("step")["problem"].nunique().to_dict() == {0: 2, 3: 2, 6: 2}
    assert set(alignment["source"]) == {"own", "explanation"}
    assert (alignment["norm"] > 0).all()
    # Of one question: own with itself, explanation with itself, and the two.
    assert products.groupby("step").size().to_dict() == {0: 6, 3: 6, 6: 6}
    metrics = whole.read("metrics")
    assert metrics[metrics["name"] == "exp_sft/loss"]["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert {"reward", "frac_reward_zero_std", "exp_sft/nll_per_token", "loss", "grad_norm"} <= set(metrics["name"])
    assert not metrics["name"].str.contains("time|runtime").any()
    assert whole.read("timing")["name"].eq("step_time").sum() == 6
    said = show(whole)
    assert "accuracy" in said
    groups = whole.read("groups")
    dead = int((groups["correct"] == 0).mean() * 100 + 0.5)
    assert f"all levels  {len(groups):>5} groups     {dead}% with no right sample" in said
    assert "completions.md" in said
    assert re.search(r"self-explanation c~ +\S+ \[.*n = 2", said)
    assert {p.name for p in whole.path("model").iterdir()} >= {"model.safetensors", "tokenizer.json", "config.json"}
    assert not list(whole.path("model").glob("*.bin"))
    # TRL's card, which would say "fine-tuned version of None".
    assert not list(whole.folder.rglob("README.md"))


def test_gradients_are_those_of_the_policy_of_their_step(whole: Run) -> None:
    recipe, alignment = read_recipe(dict(VALUES)), whole.read("alignment")
    checker = ChainChecker()
    problems = {p.id: p for p in load_problems(recipe, checker).problems}
    first, last = load_policy("tiny-0", CHAIN), load_policy(str(whole.path("model")), CHAIN)
    for step, policy, other in ((0, first, last), (6, last, first)):
        held = alignment[alignment["step"] == step]
        for name, rows in held.groupby("problem"):
            problem = problems[name]
            prompt = tuple(question_ids(policy, problem))
            spans = [Example(r["source"], prompt, tuple(r["ids"])) for r in rows.to_dict("records")]
            np.testing.assert_allclose(dense(policy, spans).norms, rows["norm"].astype(float), rtol=1e-3)
            # Those of the other step's policy are not these.
            assert np.abs(dense(other, spans).norms / rows["norm"].astype(float) - 1).max() > 0.01
            limit, n = recipe.trl["max_completion_length"], recipe.gradient_rollouts
            rollouts, right = sample_rollouts(
                policy, checker, problem, n, limit, recipe.trl["seed"] + step, recipe.rows
            )
            assert rows["right"].tolist() == [sum(right)] * len(rows)
            every = dense(policy, [Example(str(i), prompt, c.ids) for i, c in enumerate(rollouts)] + spans)
            places = range(n, n + len(spans))
            found = align(every, range(n), right, places, rows["reward"].tolist())
            np.testing.assert_allclose([a.slope for a in found], rows["slope"].astype(float), rtol=1e-3, atol=1e-4)
            # What is learnt ends in a*.
            assert rows.set_index("source").loc["explanation", "reward"]


def test_a_finished_run_is_not_run_again(recipe: TrainRecipe, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up_module, "load", lambda *_: pytest.fail("loaded again"))
    assert train(recipe, whole.folder, progress=False).has("evaluation")
    assert resume_status(whole, recipe) == " holds a finished run; this is its record"
    # Of another recipe, the run is refused.
    assert resume_status(whole, replace(recipe, eval_samples=recipe.eval_samples + 1)) == ""


def test_a_finished_run_is_not_lengthened_but_told_how_to_go_on(whole: Run) -> None:
    for name in ("max_steps", "num_train_epochs"):
        longer = read_recipe({**VALUES, name: 9})
        with pytest.raises(
            RecordError, match=rf"training of 6 steps\. .*--policy {whole.folder}/model and another --out"
        ):
            refuse_another(whole.folder, longer)
    # The controls: what is another training, and the same.
    with pytest.raises(RecordError, match=r"a different recipe \(max_steps: 6 -> 9; seed: 1 -> 2\)"):
        refuse_another(whole.folder, read_recipe({**VALUES, "max_steps": 9, "seed": 2}))
    refuse_another(whole.folder, read_recipe(dict(VALUES)))


def test_the_change_between_the_first_step_and_the_last_is_told(whole: Run) -> None:
    said = show(whole)
    evaluation = whole.read("evaluation").set_index(["step", "problem"])
    rates = evaluation["correct"] / evaluation["n"]
    mean = float((rates[6] - rates[0]).mean())
    (told,) = re.findall(r"\nchange from step 0 to step 6, .*:\n  all levels +10 problems   accuracy (\S+) \[", said)
    assert float(told) == pytest.approx(mean, abs=5e-3)


def test_a_model_that_was_deleted_is_made_again(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    shutil.rmtree(folder / "model")
    train(recipe, folder, progress=False)
    for file in whole.path("model").iterdir():
        assert (folder / "model" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("is_cut", [False, True])
def test_weights_that_were_lost_are_named_with_the_fix(
    recipe: TrainRecipe, whole: Run, tmp_path: Path, is_cut: bool
) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    weights, model = run.path("model", "model.safetensors"), run.path("model")
    content = weights.read_bytes()
    weights.unlink()
    if is_cut:
        weights.write_bytes(content[:-1])
    said = f"{re.escape(str(weights))} is {'damaged' if is_cut else 'missing'}; "
    with pytest.raises(PolicyError, match=f"{said}repeat the command of the training {run.folder}"):
        load_policy(str(model), CHAIN)
    with pytest.raises(RecordError, match=f"{said}delete {model}/ and repeat the command, which copies it from"):
        train(recipe, run.folder, progress=False)
    shutil.rmtree(run.path("checkpoints"))
    with pytest.raises(RecordError, match=f"{said}no complete checkpoint of step 6 is left to copy it from;"):
        train(recipe, run.folder, progress=False)
    # The control: what is put back is enough.
    weights.write_bytes(content)
    train(recipe, run.folder, progress=False)


def test_a_table_that_was_deleted_is_made_again(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    for table in ("metrics", "groups", "skips"):
        run.path(f"{table}.parquet").unlink()
    same(whole, train(recipe, run.folder, progress=False))


@pytest.mark.parametrize(("table", "part"), [("groups", "000002"), pytest.param("evaluation", "000003", marks=slow)])
def test_a_part_that_was_deleted_is_missed(
    recipe: TrainRecipe, whole: Run, tmp_path: Path, table: str, part: str
) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    for each in BY_STEP:
        run.path(f"{each}.parquet").unlink(missing_ok=True)
    run.path("parts", table, f"{part}.parquet").unlink()
    fix = f"must be made again; delete the checkpoints of step {int(part)} and after in"
    with pytest.raises(RecordError, match=rf"{table}/{part}.parquet is missing and {fix}"):
        train(recipe, run.folder, progress=False)
    for checkpoint in run.path("checkpoints").glob("checkpoint-*"):
        if int(checkpoint.name.rpartition("-")[2]) >= int(part):
            shutil.rmtree(checkpoint)
    same(whole, train(recipe, run.folder, progress=False))


@pytest.mark.parametrize(
    ("table", "part", "fix"),
    [
        ("groups", "000002", "the checkpoints of step 2 and after in"),
        ("positives", "000000", r"\S+/positives/000000.parquet and \S+/skips/000000.parquet and repeat"),
        ("evaluation", "000000", ""),
    ],
)
def test_a_damaged_part_is_named_with_the_fix_before_a_step_is_taken(
    recipe: TrainRecipe,
    whole: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    table: str,
    part: str,
    fix: str,
) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    run.path("evaluation.parquet").unlink()
    shutil.rmtree(run.path("checkpoints", "checkpoint-6"))
    as_it_was = run.file(table, part).read_bytes()
    run.file(table, part).write_bytes(b"PAR1")
    monkeypatch.setattr(run_module, "_train", lambda _: pytest.fail("trained"))
    said = f"{table}/{part}.parquet is damaged and must be made again; delete {fix or f'{run.folder}/'}"
    with pytest.raises(RecordError, match=said):
        train(recipe, run.folder)
    assert "resumes" not in capsys.readouterr().err
    # The control: once the part is whole again, that is said.
    run.file(table, part).write_bytes(as_it_was)
    with pytest.raises(pytest.fail.Exception, match="trained"):
        train(recipe, run.folder)
    assert "training resumes from the checkpoint of step 4" in capsys.readouterr().err


def test_what_was_sampled_first_is_sampled_again(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    for each in BY_STEP:
        run.path(f"{each}.parquet").unlink(missing_ok=True)
    shutil.rmtree(run.path("checkpoints", "checkpoint-6"))
    for table in ("positives", "skips"):
        run.file(table, "000000").unlink()
    same(whole, train(recipe, run.folder, progress=False))


def test_only_what_is_learnt_next_may_be_missing_at_the_step_of_a_checkpoint(whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    run.file("skips", "000004").unlink()
    check_parts(run, 4)
    for before in (None, 6):
        with pytest.raises(RecordError, match=r"skips/000004.parquet is missing"):
            check_parts(run, before)
    # The control: metrics are written before the checkpoint.
    run.file("groups", "000004").unlink()
    with pytest.raises(RecordError, match=r"groups/000004.parquet is missing and must be made again"):
        check_parts(run, 4)
    # Without a checkpoint the first evaluation may be under way.
    run = Run(shutil.copytree(whole.folder, tmp_path / "other"))
    run.file("evaluation", "000000").unlink()
    check_parts(run, 0)


def test_a_done_run_that_lacks_a_part_stays_done(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    for path in ("metrics.parquet", "parts/metrics/000002.parquet", "groups.parquet"):
        run.path(path).unlink()
    train(recipe, run.folder, progress=False)
    # A table without all its parts would hold some of the steps only.
    assert run.has("groups")
    assert not run.has("metrics")
    assert run.path("checkpoints", "checkpoint-6").exists()


def test_two_do_not_train_in_one_folder(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    run.path("evaluation.parquet").unlink()
    with run.writing(), pytest.raises(RecordError, match="is being written by another process"):
        train(recipe, run.folder, progress=False)
    same(whole, train(recipe, run.folder, progress=False))


def test_a_checkpoint_that_is_marked_twice_is_whole(whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    last = last_checkpoint(run)
    assert last
    write_atomic(last / MARK, json.dumps(_sizes(last)))
    assert last_checkpoint(run) == last


def test_a_finished_run_never_has_an_earlier_step_s_model(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    shutil.rmtree(run.path("model"))
    last = run.path("checkpoints", "checkpoint-6")
    (last / "model.safetensors").write_bytes(b"")
    train(recipe, run.folder, progress=False)
    assert not run.path("model").exists()
    shutil.rmtree(last)
    train(recipe, run.folder, progress=False)
    assert not run.path("model").exists()
    assert run.shards("evaluation") == whole.shards("evaluation")


def test_a_mark_that_was_damaged_is_named_and_one_without_sizes_counts(whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    mark = run.path("checkpoints", "checkpoint-6", MARK)
    mark.write_text("")
    assert last_checkpoint(run) == mark.parent
    mark.write_text("{")
    with pytest.raises(RecordError, match=rf"{MARK} has changed since it was saved"):
        last_checkpoint(run)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_damaged_checkpoint_is_named_with_what_is_left(
    recipe: TrainRecipe, whole: Run, tmp_path: Path, name: str
) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    run.path("evaluation.parquet").unlink()
    assert resume_status(run, recipe) == " has a checkpoint of step 6; repeat the command to resume from it"
    last = run.path("checkpoints", "checkpoint-6")
    (last / name).write_bytes((last / name).read_bytes()[:-1])
    with pytest.raises(
        RecordError, match=rf"checkpoint-6/{name} has changed since it was saved. Delete .* from step 4"
    ):
        train(recipe, run.folder, progress=False)


def test_without_its_damaged_checkpoint_a_run_goes_on(recipe: TrainRecipe, whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    run.path("evaluation.parquet").unlink()
    last = run.path("checkpoints", "checkpoint-6")
    (last / "optimizer.pt").unlink()
    with pytest.raises(RecordError, match="has changed since it was saved"):
        train(recipe, run.folder, progress=False)
    shutil.rmtree(last)
    same(whole, train(recipe, run.folder, progress=False))


def test_settings_of_trl_are_in_the_record(whole: Run) -> None:
    held = yaml.safe_load(whole.path("trl.yaml").read_text())
    assert held["learning_rate"] == 3e-4
    assert held["max_grad_norm"] == 1.0
    assert held["save_steps"] == 2
    assert held["beta_sft"] == 1.0


def test_losses_are_those_that_trl_knows() -> None:
    for algorithm, trainer in (("grpo", GRPOTrainer), ("dpo", DPOTrainer), ("sft", SFTTrainer)):
        source = inspect.getsource(inspect.getmodule(trainer))
        asked = re.findall(r"loss_type(?: ==| in| not in) (\"\w+\"|[\[(][^\])]*)", source)
        known = {name for names in asked for name in re.findall(r'"(\w+)"', names)}
        assert known == set(LOSSES[algorithm]), algorithm


def test_another_recipe_is_refused_with_the_differences(recipe: TrainRecipe, whole: Run) -> None:
    other = replace(recipe, positive="expert", refresh_steps=0, trl={**recipe.trl, "learning_rate": 1e-4})
    with pytest.raises(RecordError, match=r"learning_rate: 0.0003 -> 0.0001; positive: 'explanation' -> 'expert'"):
        train(other, whole.folder, progress=False)


STOPS = ["step 3", "refresh", "end"]
STOPS += [pytest.param(at, marks=slow) for at in ("first positives", "step 1", "evaluation 3", "save 4")]


@pytest.mark.parametrize("stopped_at", STOPS)
def test_a_run_stopped_anywhere_ends_the_same(
    recipe: TrainRecipe, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        _stop(patch, stopped_at)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, folder, progress=False)
    assert not Run(folder).has("evaluation")
    same(whole, train(recipe, folder, progress=False))


def _stop(patch: pytest.MonkeyPatch, where: str) -> None:

    from expo.train.callbacks import Recorder

    kind, _, number = where.partition(" ")
    step = int(number) if number.isdigit() else None
    owner, name = {
        "first": (Supply, "positives"),
        "step": (Recorder, "on_step_begin"),
        "evaluation": (Probes, "measure"),
        "refresh": (Supply, "refresh"),
        "save": (Recorder, "on_save"),
        "end": (run_module, "join_tables"),
    }[kind]
    usual = getattr(owner, name)

    def stopping(*args: object, **kwargs: object) -> object:
        at = getattr(args[2], "global_step", None) if len(args) > 2 else args[-1]
        if step is None or at == step:
            raise KeyboardInterrupt
        return usual(*args, **kwargs)

    patch.setattr(owner, name, stopping)


@slow
def test_a_full_disk_leaves_the_last_checkpoint_whole(
    recipe: TrainRecipe, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    saving = Trainer.save_model

    def full(self: Trainer, output_dir: str, **kwargs: object) -> None:
        if output_dir.endswith("-4"):
            Path(output_dir).mkdir(parents=True)
            raise OSError(28, "No space left on device")
        saving(self, output_dir, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_model", full)
        with pytest.raises(OSError, match="No space left"):
            train(recipe, tmp_path / "run", progress=False)
    assert last_checkpoint(Run(tmp_path / "run")).name == "checkpoint-2"  # type: ignore[union-attr]
    same(whole, train(recipe, tmp_path / "run", progress=False))


@slow
def test_a_killed_run_goes_on(whole: Run, tmp_path: Path) -> None:
    kill_and_go_on(command, VALUES, whole, tmp_path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"learning_rat": 1}, "no field 'learning_rat'; did you mean learning_rate?"),
        ({"positve": "expert"}, "no field 'positve'; did you mean positive?"),
        ({"output_dir": "x"}, "output_dir: the run folder is given by --output"),
        (
            {"model_init_kwargs": {"attn_implementation": "eager"}},
            "model_init_kwargs: attn_implementation, dtype and revision are fields of the recipe",
        ),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"max_steps": 0}, "max_steps must be at least 1, or -1"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"learning_rate": -1}, "learning_rate must be at least 0, got -1"),
        ({"learning_rate": math.nan}, "learning_rate must be at least 0 and finite, got nan"),
        *[
            ({name: value}, f"{name} must be at least 1, got {value}")
            for name in (
                *("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "num_iterations"),
                *("steps_per_generation", "max_completion_length"),
            )
            for value in (0, -1)
        ],
        *[
            ({name: -1}, f"{name} must be at least 0, got -1")
            for name in ("beta", "epsilon", "max_grad_norm", "eval_steps")
        ],
        ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
        ({"num_train_epochs": 0}, "num_train_epochs must be above 0 and finite, got 0"),
        ({"loser_tries": 2}, "right_losers, loser_tries: only dpo has losers, not grpo"),
        ({"max_steps": "ten"}, "max_steps must be a whole number, got 'ten'"),
        ({"per_device_train_batch_size": 2.5}, "per_device_train_batch_size must be a whole number, got 2.5"),
        ({"beta_sft": None}, "beta_sft must be a number, got None"),
        ({"positive": "expret"}, "positive: unknown kind 'expret'; choose from explanation, expert"),
        ({"positive": "expert"}, "refresh_steps: positives of kind expert are not sampled"),
        (
            {"positive": "expert", "refresh_steps": 0, "positive_temperature": 0.5},
            "positive_temperature: positives of kind expert are not sampled; leave it out",
        ),
        ({"positive_temperature": 0}, "positive_temperature must be at least 0.001"),
        ({"hinted_rows": 0.5}, "hinted_rows: applies only to sft, not to grpo; leave it out"),
        ({"eval_samples": 0}, "eval_samples must be at least 1, got 0"),
        ({"task": "chian"}, "task: unknown task 'chian'"),
        ({"num_generations": 5}, r"generation_batch_size is per_device_train_batch_size x steps_per_generation"),
        ({"loss_type": "gpro"}, "loss_type: unknown value 'gpro' for grpo; choose from grpo, dapo, "),
        ({"algorithm": "dpo", "right_losers": False}, "applies only to algorithm grpo"),
        (
            {"positive": "none", "refresh_steps": 0, "beta_sft": 2.0},
            "beta_sft: positive none leaves nothing to add",
        ),
        ({"report_to": "wandb"}, "report_to: wandb is not installed; install it with pip"),
        ({"report_to": "wanbd"}, "report_to: unknown tracker 'wanbd'; choose from none, all, azure_ml, clearml, "),
        ({"use_vllm": True}, 'use_vllm: vllm is not installed; pip install "vllm'),
        ({"save_steps": 3, "steps_per_generation": 4}, "save_steps"),
        ({"save_steps": 0.5}, "save_steps must be a number of steps, not a fraction, got 0.5"),
        ({"save_total_limit": 1}, "save_total_limit must be at least 2"),
        ({"save_strategy": "epoch"}, "save_strategy: a run saves all that it needs to resume"),
        ({"shuffle_dataset": True}, "shuffle_dataset: problems are shuffled by seed"),
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy: problems are shuffled by seed"),
        ({"logging_strategy": "epoch"}, "logging_strategy: logging_steps sets the interval"),
        ({"enable_jit_checkpoint": True}, "enable_jit_checkpoint: at SIGTERM a run saves a checkpoint anyway"),
        (
            {"use_transformers_continuous_batching": True},
            "continuous_batching: TRL would round the trained weights",
        ),
        ({"push_to_hub": True}, "push_to_hub: the command pushes a finished run, whatever its recipe"),
        ({"hub_token": "secret"}, "hub_token: a finished run is pushed once, .* with the login of hf auth login"),
    ],
)
def test_a_wrong_recipe_is_named(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe({**VALUES, **more})


def test_deepspeed_that_is_not_installed_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "is_deepspeed_available", lambda: False)
    with pytest.raises(ValueError, match=r"deepspeed: .* pip install -e '\.\[gpu\]'"):
        read_recipe({**VALUES, "deepspeed": "ds.json"})
    assert read_recipe({**VALUES, "deepspeed": None})


def test_the_least_values_are_recipes() -> None:
    least = {"beta": 0, "epsilon": 0, "max_grad_norm": 0, "learning_rate": 0, "top_p": 0.1, "num_train_epochs": 0.5}
    least |= {"gradient_accumulation_steps": 1, "num_iterations": 1, "max_completion_length": 1, "eval_steps": 0}
    assert read_recipe({**VALUES, **least}).trl.items() >= least.items()


def test_an_optimizer_whose_package_is_missing_is_named_before_anything_is_written(tmp_path: Path) -> None:
    recipe = read_recipe({**VALUES, "optim": "paged_adamw_8bit"})
    for ask in (lambda: train(recipe, tmp_path / "run", progress=False), lambda: describe(recipe)):
        with pytest.raises(ValueError, match=r"optim: paged_adamw_8bit needs a package that is not .*bitsandbytes"):
            ask()
    assert not (tmp_path / "run").exists()


def test_yaml_numbers_that_are_text_are_numbers() -> None:
    assert read_recipe({**VALUES, "learning_rate": "3e-6"}).trl["learning_rate"] == 3e-6


def test_missing_positives_are_counted_and_their_term_is_zero(tmp_path: Path) -> None:
    values = {
        **VALUES,
        "positive": "own_correct",
        "refresh_steps": 0,
        "max_steps": 1,
        "positive_tries": 2,
    }
    with pytest.raises(
        ValueError, match=r"no problem has a positive \(24 tried\): all were.*was right: no posit.*000000"
    ):
        train(read_recipe({**values, "levels": [5], "policy": "tiny-2"}), tmp_path / "none", progress=False)
    run = train(read_recipe({**values, "levels": [3, 4]}), tmp_path / "some", progress=False)
    have, skipped = set(run.read("positives")["problem"]), run.read("skips")
    assert 0 < len(have) < 24
    assert len(skipped) == 24 - len(have)
    # Where both samples were cut, the limit is named first.
    why = "none of its 2 samples was right: no positive; (raise max_completion_length; or )?more positive_tries may"
    assert skipped["reason"].str.fullmatch(f"{why} find one").all()
    metrics = run.read("metrics").set_index("name")["value"]
    asked = set(run.read("groups")["problem"])
    assert metrics["exp_sft/scored"] == len(asked & have)


def test_samples_that_were_all_cut_ask_for_a_higher_limit_first(tmp_path: Path) -> None:
    values = {**VALUES, "max_completion_length": 3, "refresh_steps": 0, "max_steps": 1}
    fix = "never ended before the token limit: no positive; raise max_completion_length; or more positive_tries may"
    with pytest.raises(ValueError, match=fix):
        train(read_recipe(values), tmp_path / "run", progress=False)


def test_problems_too_few_or_too_long_are_said(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="3 problems and num_train_epochs 1 make less than one generation of 8 problems"
    ):
        train(
            read_recipe({**VALUES, "problems": 3, "max_steps": -1, "num_train_epochs": 1}),
            tmp_path / "few",
            progress=False,
        )
    # A context of 256 tokens, and prompts of 18 tokens at level 1 and 48 at level 5.
    values = {**VALUES, "levels": [1, 5], "max_completion_length": 220, "max_steps": 1, "refresh_steps": 0}
    run = train(read_recipe({**values, "positive": "none", "eval_problems": 3}), tmp_path / "long", progress=False)
    assert yaml.safe_load(run.path("trl.yaml").read_text())["beta_sft"] == 0
    skipped = run.read("skips")
    assert len(skipped) > 3
    assert skipped["reason"].str.contains("more than the context of 256; left out").all()
    assert set(run.read("groups")["level"]) == {1}


def test_a_prompt_for_positives_that_is_too_long_leaves_a_problem_without(tmp_path: Path) -> None:
    explain = "<bos> {question}" + " key {answer}" * 2 + " <think>"
    values = {**VALUES, "levels": [1, 5], "prompts": {"explain": explain}, "refresh_steps": 0, "max_steps": 1}
    run = train(read_recipe({**values, "max_completion_length": 190}), tmp_path / "run", progress=False)
    reasons = run.read("skips")["reason"]
    long = reasons.str.contains(r"^up to 2\d\d tokens with its prompt, more than the context of 256: no positive")
    assert 0 < long.sum() < 24
    assert set(run.read("positives")["level"]) == {1}
    assert len(reasons) == 24 - len(run.read("positives"))


def supervised(**more: object) -> TrainRecipe:
    own = ("task", "policy", "levels", "eval_problems", "eval_samples", "eval_steps", "save_steps", "seed")
    values = {**{name: VALUES[name] for name in own}, "algorithm": "sft", "positive": "expert", "learning_rate": 1e-3}
    return read_recipe({**values, "max_completion_length": 100, "max_steps": 8, **more})


def test_supervised_training_learns_positives_alone(tmp_path: Path) -> None:
    """SFT, and GRPO that goes on from it: the other reading of GRPO SFT-GT-CoT."""
    recipe = supervised(problems=24, probe_problems=24, per_device_train_batch_size=24)
    run = train(recipe, tmp_path / "sft", progress=False)
    probes = run.read("probes").query("source == 'expert'")
    sums = probes.groupby("step")[["nll_sum", "tokens"]].sum()
    nll = sums["nll_sum"] / sums["tokens"]
    # TRL's loss of the first step, before its weights moved, is our score of the same positives.
    assert run.read("metrics").query("name == 'loss'")["value"].iloc[0] == pytest.approx(nll[0], rel=1e-5)
    assert nll[8] < nll[0] / 2
    assert not run.has("groups")
    after = {**VALUES, "policy": str(run.path("model")), "positive": "none", "refresh_steps": 0, "max_steps": 1}
    second = train(read_recipe(after), tmp_path / "grpo", progress=False)
    assert second.environment()["toy"]
    assert second.environment()["trained_from"] == "tiny-0"
    assert run.environment()["trained_from"] is None
    assert second.read("metrics").query("name == 'reward'")["value"].notna().all()


def test_a_share_of_the_rows_of_sft_has_the_answer_in_its_prompt(tmp_path: Path) -> None:
    recipe = supervised(problems=24, per_device_train_batch_size=24, max_steps=1, hinted_rows=1.0, probe_problems=24)
    run = train(recipe, tmp_path / "all", progress=False)
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problems = load_problems(recipe, checker).problems
    positives = run.read("positives").set_index("problem")["ids"]
    first = run.read("metrics").query("name == 'loss'")["value"].iloc[0]

    def nll(prompt_ids: Any) -> float:
        asked = [whole_sample(prompt_ids(policy, p), [int(i) for i in positives[p.id]], p.id) for p in problems]
        scores = score(policy, asked)
        return sum(s.nll_sum for s in scores) / sum(len(positives[p.id]) for p in problems)

    assert first == pytest.approx(nll(explain_ids), rel=1e-5)
    # The control: without the answer it is another number.
    assert abs(first - nll(question_ids)) > 0.01
    args = settings_of("sft", recipe.trl, "expert", "x")
    half = sft_trainer(policy, problems, run.read("positives"), args, 0.5)
    (key,) = policy.encode("key")
    assert 5 < sum(key in row["input_ids"] for row in half.train_dataset) < 19
    # One that does not fit the context with the answer has the plain question.
    most = max(len(question_ids(policy, p)) + len(positives[p.id]) for p in problems)
    policy.model.config.max_position_embeddings = most
    all_hinted = sft_trainer(
        policy, problems, run.read("positives"), settings_of("sft", recipe.trl, "expert", "x"), 1.0
    )
    lengths = [len(row["input_ids"]) for row in all_hinted.train_dataset]
    assert max(lengths) <= most
    assert 0 < sum(key in row["input_ids"] for row in all_hinted.train_dataset) < 24


def test_positives_have_a_temperature_of_their_own(tmp_path: Path) -> None:
    """Nearly greedy positives are alike at nearly the same temperature; the policy's own samples stay as they are."""
    values = {**VALUES, "max_steps": 1, "refresh_steps": 0, "eval_problems": 1, "gradient_problems": 0, "save_steps": 1}
    cold = [
        train(read_recipe({**values, "positive_temperature": 0.01}), tmp_path / "cold", progress=False),
        train(read_recipe({**values, "positive_temperature": 0.011}), tmp_path / "cool", progress=False),
    ]
    usual = train(read_recipe(values), tmp_path / "usual", progress=False)
    texts = [run.read("positives")["text"].tolist() for run in (*cold, usual)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    pd.testing.assert_frame_equal(cold[0].read("groups"), usual.read("groups"))
    assert "positive_temperature" not in usual.recipe()
    assert settings_of("grpo", read_recipe(values).trl, "explanation", "x").temperature == 1.0


def test_metrics_can_be_read_while_a_training_runs(tmp_path: Path) -> None:
    path, seen = tmp_path / "run" / "metrics.jsonl", []
    recipe = read_recipe({**VALUES, "max_steps": 3, "save_steps": 3, "gradient_problems": 0, "refresh_steps": 0})

    def lines(name: str) -> list[dict[str, float]]:
        every = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [line for line in every if name in line]

    def steps() -> list[float]:
        return [line["step"] for line in lines("loss")]

    run = train(recipe, tmp_path / "run", progress=False, on_step=lambda: seen.append(steps() if path.exists() else []))
    # A step is logged after it was counted; no checkpoint is made before the last.
    assert seen == [[], [1], [1, 2]]
    # What TRL says of the whole training at its end is no step's.
    assert steps() == [1, 2, 3]
    metrics = run.read("metrics").query("name == 'exp_sft/loss'")["value"].tolist()
    assert [line["exp_sft/loss"] for line in lines("exp_sft/loss")] == metrics
    # The accuracy of each evaluation, of all problems and of each level; problems have as many samples each.
    evaluation = run.read("evaluation")
    said = {line["step"]: line for line in lines("eval_accuracy")}
    assert said.keys() == {0, 3}
    for step, of_step in evaluation.groupby("step"):
        for name, rows in {"": of_step, "_level_2": of_step[of_step["level"] == 2]}.items():
            expected = rows["correct"].sum() / rows["n"].sum()
            assert said[int(step)][f"eval_accuracy{name}"] == pytest.approx(expected)
    assert not run.read("metrics")["name"].str.contains("accuracy").any()
    # A kill leaves a part of a line, or what a file system makes of it. Whoever watches goes on watching.
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "reward": 0}\n\0\0\n[4]\n{"step": 5, "re')
    watched = path.stat().st_ino
    _drop_after(path, 2)
    assert steps() == [1, 2]
    assert path.stat().st_ino == watched


def test_metrics_of_a_run_that_was_stopped_have_each_step_once(tmp_path: Path) -> None:
    recipe = read_recipe({**VALUES, "max_steps": 4, "gradient_problems": 0, "refresh_steps": 0})
    count = iter(range(9))

    def stop() -> None:
        if next(count) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", progress=False, on_step=stop)
    path = tmp_path / "run" / "metrics.jsonl"
    # Two steps are in the checkpoint; the third was logged by hand here, as a kill after it would have left it.
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "reward": 0}\n')
    train(recipe, tmp_path / "run", progress=False)
    steps = [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()]
    # Before its own log a step that was evaluated has that of the accuracy.
    assert steps == [0, 1, 2, 3, 3, 4, 4]


def test_a_step_says_how_long_it_took_by_the_clock_and_of_the_processor(whole: Run) -> None:
    timing = whole.read("timing").pivot_table(index="step", columns="name", values="value")
    assert timing.index.tolist() == [1, 2, 3, 4, 5, 6]
    assert whole.read("timing")["name"].value_counts()[["wall_seconds", "cpu_seconds"]].tolist() == [6, 6]
    assert (timing["wall_seconds"] >= timing["step_time"]).all()
    assert (timing["cpu_seconds"] > 0).all()


def test_the_time_of_a_step_is_without_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Probes.measure

    def slow(self: Probes, step: int) -> None:
        time.sleep(2 if step else 0)
        measure(self, step)

    monkeypatch.setattr(Probes, "measure", slow)
    given = {**VALUES, "max_steps": 2, "eval_steps": 1, "gradient_problems": 0, "refresh_steps": 0}
    run = train(read_recipe(given), tmp_path / "run", progress=False)
    timing = run.read("timing").pivot(index="step", columns="name", values="value")
    assert (timing["wall_seconds"] - timing["step_time"] < 1.5).all()


def test_the_bar_says_whether_a_step_samples_or_learns(recipe: TrainRecipe, tmp_path: Path) -> None:
    said: list[str] = []

    class Bar:
        def set_description(self, text: str) -> None:
            said.append(text)

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **more: None

    patch = pytest.MonkeyPatch()
    patch.setattr("expo.train.callbacks.tqdm", lambda *args, **more: Bar())
    try:
        train(replace(recipe, trl={**recipe.trl, "max_steps": 2}), tmp_path / "run", progress=False)
    finally:
        patch.undo()
    steps, evaluation = ["training: sampling", "training: backward"] * 2, ["training: evaluating", "training"]
    assert said == [*evaluation, *steps, *evaluation]


@pytest.fixture(scope="module")
def whole_sft(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainRecipe, Run]:
    # An epoch is two steps of 8 and one of 4; the last step is in the middle of one.
    recipe = supervised(problems=20, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    return recipe, train(recipe, tmp_path_factory.mktemp("sft") / "whole", progress=False)


@pytest.mark.parametrize("stopped_at", ["step 5", "end"])
def test_a_stopped_supervised_training_ends_the_same(
    whole_sft: tuple[TrainRecipe, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    recipe, whole = whole_sft
    with monkeypatch.context() as patch:
        _stop(patch, stopped_at)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "stopped", progress=False)
    same(whole, train(recipe, tmp_path / "stopped", progress=False))


@slow
def test_a_run_stopped_after_its_last_step_takes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The last step is in the middle of a generation.
    recipe = read_recipe({**VALUES, "steps_per_generation": 4, "max_steps": 3, "refresh_steps": 0})
    whole = train(recipe, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        _stop(patch, "end")
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "stopped", progress=False)
    same(whole, train(recipe, tmp_path / "stopped", progress=False))
    assert whole.read("metrics")["step"].max() == 3


def test_positives_may_be_of_the_policy_of_each_step(tmp_path: Path) -> None:
    """As the objective is printed: a step samples explanations of its own 8 problems alone."""
    values = {**VALUES, "refresh_steps": 1, "max_steps": 3, "gradient_problems": 0, "eval_problems": 1}
    run = train(read_recipe(values), tmp_path / "run", progress=False)
    positives, groups = run.read("positives"), run.read("groups")
    for step in (1, 2):
        asked = set(groups.loc[groups["step"] == step, "problem"])
        assert len(asked) == 8
        assert set(positives.loc[positives["step"] == step, "problem"]) <= asked
    assert positives["step"].value_counts()[[1, 2]].min() > 4


def test_a_run_goes_on_without_positives_if_a_refresh_found_none(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _stop(patch, "step 5")
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", progress=False)
    run = Run(tmp_path / "run")
    run.write("positives", run.read("positives", "000004").iloc[:0], "000004")
    metrics = train(recipe, run.folder, progress=False).read("metrics")
    scored = metrics[metrics["name"] == "exp_sft/scored"].set_index("step")["value"]
    assert (scored.loc[:4] > 0).all()
    assert (scored.loc[5:] == 0).all()


def test_no_more_rows_are_decoded_at_a_time_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    sample = probes_module.sample

    def watched(*args: Any, rows: int = 64, **more: Any) -> Any:
        asked.append(rows)
        return sample(*args, rows=rows, **more)

    monkeypatch.setattr(probes_module, "sample", watched)
    more = {"rows": 4, "max_steps": 1, "save_steps": 1, "eval_steps": 1, "refresh_steps": 0, "gradient_problems": 1}
    run = train(read_recipe({**VALUES, **more, "positive": "answer"}), tmp_path / "run", progress=False)
    # Probes and gradients, before the step and after it.
    assert asked == [4] * 4
    assert "bare answer" in show(run)


def test_every_positive_has_a_name() -> None:
    assert {*POSITIVES, "own", *GRADIENT_CHOICES} - {"none"} == set(NAMES) == set(words.NAMES)


def test_what_was_logged_last_is_kept(tmp_path: Path) -> None:
    recipe = read_recipe({**VALUES, "logging_steps": 3, "save_steps": 3, "max_steps": 4, "refresh_steps": 0})
    metrics = train(recipe, tmp_path / "run", progress=False).read("metrics")
    assert metrics[metrics["name"] == "reward"]["step"].tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"logging_steps \(3\) must divide save_steps \(2\)"):
        read_recipe({**VALUES, "logging_steps": 3})


def test_other_prompts_than_the_positives_are_refused(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo_module, "as_prompt", lambda policy, problem: f"{problem.question} <think> <think>")
    with pytest.raises(PolicyError, match="TRL's prompts differ from those of positives"):
        train(recipe, tmp_path / "run", progress=False)


def test_a_question_is_trained_on_once() -> None:
    once, again = (Problem(name, "1 + 1?", "2", where=f"mine.jsonl:{name}") for name in ("1", "3"))
    other = Problem("2", "1 + 2?", "3")
    task = set_up_module._distinct(Task("mine", (once, other, again)))
    assert task.problems == (once, other)
    assert [str(s) for s in task.skipped] == ["mine.jsonl:3: question: the same as mine.jsonl:1; left out"]


def test_a_mapping_may_be_given_as_json() -> None:
    given = {**VALUES, "chat_template_kwargs": '{"enable_thinking": true}'}
    assert read_recipe(given).trl["chat_template_kwargs"] == {"enable_thinking": True}


def test_supervised_training_needs_positives(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive: sft learns from positives; choose a kind"):
        read_recipe({"algorithm": "sft", "positive": "none"})
    with pytest.raises(ValueError, match="refresh_steps: sft learns"):
        supervised(positive="explanation", refresh_steps=2)
    with pytest.raises(ValueError, match=r"no problem has a positive \(24 tried\): all were left out, for .*000000"):
        train(
            supervised(policy="tiny-2", positive="own_correct", levels=[5], problems=24),
            tmp_path / "run",
            progress=False,
        )
    with pytest.raises(ValueError, match="unknown algorithm 'ppo'; choose from grpo, dpo, sft"):
        read_recipe({"algorithm": "ppo"})
    with pytest.raises(ValueError, match="num_generations applies only to algorithm grpo"):
        read_recipe({"algorithm": "sft", "num_generations": 8})


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*-3b/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_shipped_recipes_are_read_whole(file: Path) -> None:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    held = {**defaults_of(TrainRecipe), **read_recipe(values).resolved()}
    assert {name: held[name] for name in values} == values
    # As Appendix C.1 says, but for an adapter's learning rate.
    held["learning_rate"] /= 10 if held["use_peft"] else 1
    if held["algorithm"] == "dpo":
        assert (held["learning_rate"], held["warmup_steps"]) == (pytest.approx(5e-7), 0.05)
        assert held["per_device_train_batch_size"] * held["gradient_accumulation_steps"] == 16
        assert held["max_steps"] % held["refresh_steps"] == 0
    else:
        assert (held["learning_rate"], held["warmup_steps"], held["num_train_epochs"]) == (pytest.approx(3e-6), 0.1, 3)
    # A comment names the file that it stands in.
    assert f"{file.parent.name}/{file.name}" in file.read_text(encoding="utf-8")


def test_completions_are_shown_and_never_rendered(whole: Run, tmp_path: Path) -> None:
    text = whole.path("completions.md").read_text(encoding="utf-8")
    assert text == completions(whole)
    probes = whole.read("probes")
    shown = list(dict.fromkeys(probes["problem"]))[:3]
    assert text.count("**step ") == len(probes[probes["problem"].isin(shown) & (probes["source"] == "own")])
    assert "its positive (explanation): " in text
    hostile = Run.start(tmp_path / "run", whole.recipe(), toy=False)
    bad = "\n```\n# <b>\n![](http://x) \u202e"
    hostile.write("probes", probes.assign(text=bad, question=bad, reference=bad, problem=probes["problem"] + bad))
    told = completions(hostile)
    assert "\u202e" not in told
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", told)
    assert "## Problem 3" in outside
    for markup in ("# <b>", "![]", "```"):
        assert markup in told
        assert markup not in outside


def test_groups_without_signal_are_counted_by_level() -> None:
    groups = pd.DataFrame({"level": [1, 1, 5, 5], "n": 4, "correct": [4, 2, 0, 0]})
    assert without_signal(groups) == {None: (4, 0.5, 0.25), 1: (2, 0.0, 0.5), 5: (2, 1.0, 0.0)}


def test_ctrl_c_keeps_the_step_under_way(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that saves seldom loses nothing to Ctrl-C, and ends as one that was not stopped."""
    seldom = read_recipe({**VALUES, "save_steps": 100})
    steps: list[int] = []

    def press() -> None:
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(seldom, tmp_path / "run", progress=False, on_step=press)
    assert stopped.value.args == (signal.SIGINT,)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    run = Run(tmp_path / "run")
    assert len(steps) == 3
    assert not run.has("evaluation")
    assert resume_status(run, seldom) == " has a checkpoint of step 3; repeat the command to resume from it"
    # The control: with another number of processes it is refused, so nothing is promised.
    with monkeypatch.context() as patch:
        patch.setattr(PartialState(), "num_processes", 2)
        assert resume_status(run, seldom) == ""
    train(seldom, tmp_path / "run", progress=False)
    same(run, whole)


def test_a_second_signal_stops_at_once_and_one_before_the_first_step_too() -> None:
    session = SimpleNamespace(progress=False)
    stop = _StopAtSignal(session)  # type: ignore[arg-type]
    with stop.listening():
        with pytest.raises(KeyboardInterrupt, match="15"):
            os.kill(os.getpid(), signal.SIGTERM)
        stop.is_in_a_step = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_step_that_ruins_the_weights_is_named_and_has_no_checkpoint(tmp_path: Path) -> None:
    few = {**VALUES, "refresh_steps": 0, "gradient_problems": 0, "save_steps": 1, "learning_rate": 1e38}
    with pytest.raises(FloatingPointError, match=r"step 1: the weights are no longer finite; .* lower learning_rate"):
        train(read_recipe(few), tmp_path / "run", progress=False)
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] "


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(GLOO + "Connection closed by peer [127.0.0.1]:45470. GLHF!"), "exited. If .* resume from step 6"),
        (RuntimeError(GLOO + "Timed out waiting 2000ms for recv operation to complete"), "ddp_timeout.* from step 6"),
        (
            DistBackendError("ncclRemoteError: a network error or a remote process exiting"),
            "another process has exited",
        ),
        # Controls: they are not of the connection between processes.
        (RuntimeError("reward function f raised ConnectionError: Connection reset by peer"), "^reward function f"),
        (RuntimeError(GLOO + "op.preamble.length <= op.nbytes. 8 vs 4"), "8 vs 4$"),
        (DistBackendError("Duplicate GPU detected"), "^Duplicate GPU"),
    ],
)
def test_a_lost_process_is_named_with_what_the_run_goes_on_from(whole: Run, error: Exception, said: str) -> None:
    with pytest.raises(RuntimeError, match=said), naming_lost_processes(whole):
        raise error


@pytest.mark.parametrize(
    ("given", "every"),
    [({"max_steps": 200}, 20), ({"max_steps": 6}, 1), ({"max_steps": 100, "logging_steps": 4}, 8), ({}, 500)],
)
def test_a_tenth_of_the_steps_is_saved_unless_it_is_said(given: dict[str, Any], every: int) -> None:
    assert configuration("sft", given, "unused").save_steps == every
    assert configuration("sft", {**given, "save_steps": 100}, "unused").save_steps == 100


def test_a_save_ends_with_a_generation() -> None:
    given = {"max_steps": 100, "gradient_accumulation_steps": 2, "steps_per_generation": 8, "num_iterations": 3}
    args = configuration("grpo", {**given, "per_device_train_batch_size": 8, "num_generations": 8}, "unused")
    # A generation is 12 steps.
    assert args.save_steps == 12


def test_a_completion_cut_at_its_limit_has_no_reward_for_its_last_number(policy_folder: Path) -> None:
    policy = load_policy(str(policy_folder), TEXT)
    problem = Problem("p", "What is 9 * 2?", "18")
    with closing(TextChecker()) as checker:
        reward = AnswerReward(policy, checker, {"p": problem}, 4)
        end = policy.tokenizer.eos_token_id
        texts = ["9 * 2 makes 18", "The answer is 18. So", "The answer is 18"]
        ids = [policy.encode(text) for text in texts]
        asked = {"problem": ["p"] * 4, "trainer_state": SimpleNamespace(global_step=0)}
        assert reward(completion_ids=[*ids, [*ids[0], end]], **asked) == [0.0, 1.0, 0.0, 1.0]
    assert reward.groups[0]["truncated"] == 3


def test_ids_that_are_no_tokens_are_not_sampled_by_trl(recipe: TrainRecipe, tmp_path: Path) -> None:
    policy = load_policy("tiny-0", CHAIN)
    policy.model.resize_token_embeddings(policy.vocabulary + 7, mean_resizing=False)
    task = load_problems(recipe, ChainChecker())
    args = settings_of("grpo", {**recipe.trl, "generation_kwargs": {"suppress_tokens": [1]}}, "none", str(tmp_path))
    assert isinstance(args, ExPGRPOConfig)
    recipe = read_recipe(dict(VALUES))
    session = SimpleNamespace(policy=prepared(policy, recipe), task=task, recipe=recipe)
    reward = AnswerReward(policy, ChainChecker(), {p.id: p for p in task.problems}, 4)
    trainer = grpo_module.grpo_trainer(session, args, reward, as_frame("positives"))  # type: ignore[arg-type]
    suppressed = trainer.generation_config.suppress_tokens
    assert sorted(suppressed) == [1, *range(policy.vocabulary, policy.vocabulary + 7)]
