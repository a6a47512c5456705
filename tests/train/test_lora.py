"""LoRA: the adapter alone is trained, by each algorithm, and is evaluated, resumed and loaded as a policy is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from expo.evaluate import evaluate_run
from expo.gradients.dense import dense
from expo.gradients.examples import Example
from expo.gradients.gram import per_example_gram
from expo.gradients.run import measure_gradients
from expo.measure.run import measure
from expo.policies.adapters import WEIGHTS, add_adapter
from expo.policies.load import load_policy
from expo.policies.policy import PolicyError
from expo.policies.scoring import score, whole
from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe
from expo.records import RecordError, Run
from expo.tasks.chain_task import CHAIN
from expo.train.engine import keep_base
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.plan import describe
from expo.train.recipe import read_recipe
from expo.train.run import train
from expo.train.session import prepared
from tests.conftest import build
from tests.gradients.test_gram import apart
from tests.train import kills
from tests.train.test_exp_grpo import config, rows_of
from tests.train.test_run import VALUES

LORA = {
    **VALUES,
    "use_peft": True,
    "lora_r": 4,
    "learning_rate": 3e-3,
    "max_steps": 4,
    "eval_steps": 2,
}
PAIRS = {k: v for k, v in LORA.items() if k != "num_generations"} | {
    "positive": "expert",
    "per_device_train_batch_size": 4,
    "refresh_steps": 2,
}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(read_recipe(dict(LORA)), tmp_path_factory.mktemp("lora") / "run", progress=False)


def adapter_of(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path("model", "adapter_model.safetensors"))


def test_the_adapter_alone_is_trained_and_is_a_policy(whole_run: Run, tmp_path: Path) -> None:
    weights = adapter_of(whole_run)
    assert all("lora_" in name for name in weights)
    assert any(weights[name].abs().max() > 0 for name in weights if "lora_B" in name)
    assert json.loads(whole_run.path("model", "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-0"
    # peft's card is a form that nobody has filled in.
    assert not list(whole_run.folder.rglob("README.md"))
    policy = load_policy(str(whole_run.path("model")), CHAIN)
    assert isinstance(policy.model, PeftModel)
    assert policy.source.startswith("adapter model, sha256 ")
    assert policy.source.endswith("tiny base, recipe tiny-0")
    # The base's own weights are as they were.
    base = load_policy("tiny-0", CHAIN).model.state_dict()
    held = policy.model.get_base_model().state_dict()
    for name, weight in base.items():
        assert held[re.sub(r"(q|v)_proj\.weight", r"\1_proj.base_layer.weight", name)].equal(weight)
    # Evaluated as the training evaluated it at its last step.
    last = whole_run.read("evaluation").query("step == 4").drop(columns="step").reset_index(drop=True)
    values = {"problems": 10, "samples": 2, "temperature": 0.7, "max_new_tokens": 45, "seed": 1, "split": "test"}
    recipe = EvaluateRecipe(task="chain", policy=str(whole_run.path("model")), **values)
    again = evaluate_run(recipe, tmp_path / "evaluated", progress=False)
    pd.testing.assert_frame_equal(again.read("evaluation").drop(columns="step"), last)
    assert "on tiny base" in again.environment()["weights"]
    # The control: the base scores otherwise.
    untrained = evaluate_run(EvaluateRecipe(task="chain", policy="tiny-0", **values), tmp_path / "base", progress=False)
    assert not untrained.read("evaluation").drop(columns="step").equals(last)


def test_gradients_are_those_of_the_adapter_alone(whole_run: Run, tmp_path: Path) -> None:
    policy = load_policy(str(whole_run.path("model")), CHAIN)
    spans = [Example("a", (3, 4, 5), (6, 7)), Example("b", (3, 4), (8, 9, 10))]
    found, truth = per_example_gram(policy, spans), dense(policy, spans)
    trained = sum(w.numel() for w in adapter_of(whole_run).values())
    assert found.parameters == truth.parameters == trained
    assert apart(found, truth) < 1e-5
    recipe = GradientRecipe(task="chain", policy=policy.name, problems=2, levels=[2], split="test", rollouts=4)
    run = measure_gradients(recipe, tmp_path / "run", progress=False)
    assert run.environment()["weights_measured"] == trained
    assert (whole_run.read("alignment").query("step == 4")["norm"] > 0).all()


def test_an_adapter_can_be_measured(whole_run: Run, tmp_path: Path) -> None:
    recipe = MeasureRecipe(task="chain", policy=str(whole_run.path("model")), problems=3, levels=[2], split="test")
    assert len(measure(recipe, tmp_path / "run", progress=False).read("samples")) > 3


def test_the_second_head_is_that_of_the_adapted_policy(tmp_path: Path) -> None:
    policy = prepared(load_policy("tiny-0", CHAIN), read_recipe({**LORA, "lora_dropout": 0.0}))
    rows = rows_of(policy, kept=3)
    trainer = ExPGRPOTrainer(
        policy.model,
        [lambda completions, **_: [0.0] * len(completions)],
        config(tmp_path),
        rows,
        processing_class=policy.tokenizer,
    )
    pairs = [(prompt, part) for prompt, (part,) in trainer.positives.items()]

    def heads() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            fused, _ = trainer._score(policy.model, pairs)
        scored = score(policy, [whole(list(prompt), list(part.ids), "p") for prompt, part in pairs])
        return fused, torch.tensor([-s.nll_sum for s in scored])

    fused, plain = heads()
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight += 0.05
    moved, also = heads()
    torch.testing.assert_close(moved, also, rtol=1e-5, atol=1e-5)
    assert (moved - fused).abs().min() > 1e-3


def test_twenty_merges_for_vllm_leave_a_float32_base_as_it_was() -> None:
    """As TRL gives its vLLM the weights at each synchronisation."""
    model: Any = prepared(load_policy("tiny-0", CHAIN), read_recipe(dict(LORA))).model
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    base = {n: p for n, p in model.named_parameters() if "base_layer" in n}
    before = {n: p.clone() for n, p in base.items()}
    assert {p.dtype for p in base.values()} == {torch.float32}
    merged: list[bool] = []

    def sync_weights() -> None:
        model.merge_adapter()
        merged.append(not any(p.equal(before[n]) for n, p in base.items() if "q_proj" in n))
        model.unmerge_adapter()

    generation = SimpleNamespace(model=model, sync_weights=sync_weights)
    keep_base(SimpleNamespace(vllm_generation=generation))
    for _ in range(20):
        generation.sync_weights()
    assert merged == [True] * 20
    assert all(p.equal(before[n]) for n, p in base.items())
    # The control: each rounds the base anew.
    for _ in range(20):
        sync_weights()
    moved = max(float((p - before[n]).abs().max()) for n, p in base.items())
    assert 1e-8 < moved < 1e-4


def test_two_runs_of_a_seed_are_the_same_and_of_two_seeds_are_not(whole_run: Run, tmp_path: Path) -> None:
    again = train(read_recipe(dict(LORA)), tmp_path / "again", progress=False)
    assert all(w.equal(adapter_of(again)[n]) for n, w in adapter_of(whole_run).items())
    one, two, other = (
        prepared(load_policy("tiny-0", CHAIN), read_recipe({**LORA, "seed": seed})).model.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(one[n].equal(two[n]) for n in one)
    assert any(not one[n].equal(other[n]) for n in one)


def test_a_stopped_run_goes_on_to_the_same_adapter(whole_run: Run, tmp_path: Path) -> None:
    count = iter(range(9))

    def stop() -> None:
        if next(count) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(read_recipe(dict(LORA)), tmp_path / "run", progress=False, on_step=stop)
    same(whole_run, train(read_recipe(dict(LORA)), tmp_path / "run", progress=False))


def test_a_checkpoint_of_another_adapter_is_refused(whole_run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole_run.folder, tmp_path / "run")
    for other in ({"lora_r": 8}, {"lora_alpha": 8}, {"use_peft": False}):
        (name,) = other
        left = {k: v for k, v in LORA.items() if other.get("use_peft", True) or "lora" not in k}
        with pytest.raises(RecordError, match=rf"{name}: .* -> {other[name]}"):
            train(read_recipe({**left, **other}), folder, progress=False)
    # The files of another one in the place of its own.
    (folder / "evaluation.parquet").unlink()
    last = max(folder.glob("checkpoints/checkpoint-*"), key=lambda p: int(p.name.partition("-")[2]))
    weights = load_file(last / WEIGHTS)
    save_file({name: torch.cat([w, w]) for name, w in weights.items()}, last / WEIGHTS)
    with pytest.raises(RecordError, match=f"{WEIGHTS} has changed since it was saved"):
        train(read_recipe(dict(LORA)), folder, progress=False)


def same(a: Run, b: Run) -> None:
    assert all(w.equal(adapter_of(b)[n]) for n, w in adapter_of(a).items())
    for table in kills.EXACT:
        if a.has(table):
            pd.testing.assert_frame_equal(a.read(table), b.read(table), check_exact=True)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_adapter(
    whole_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "same", same)
    kills.kill_and_go_on(kills.fork, LORA, whole_run, tmp_path)


@pytest.mark.parametrize("algorithm", ["dpo", "sft"])
def test_the_other_algorithms_train_an_adapter(algorithm: str, tmp_path: Path) -> None:
    values = {**PAIRS, "algorithm": algorithm, **({"refresh_steps": 0} if algorithm == "sft" else {})}
    run = train(read_recipe(values), tmp_path / "run", progress=False)
    probes = run.read("probes").query("source == 'expert'").groupby("step")["nll_per_token"].mean()
    assert probes[4] < probes[0] - 0.01
    assert any(w.abs().max() > 0 for n, w in adapter_of(run).items() if "lora_B" in n)


def test_one_layer_may_be_named() -> None:
    model = prepared(load_policy("tiny-0", CHAIN), read_recipe({**LORA, "lora_target_modules": ["q_proj"]})).model
    names = {n.split(".")[-4] for n, p in model.named_parameters() if p.requires_grad}
    assert names == {"q_proj"}
    every = prepared(load_policy("tiny-0", CHAIN), read_recipe({**LORA, "lora_target_modules": ["all-linear"]})).model
    assert "down_proj" in {n.split(".")[-4] for n, p in every.named_parameters() if p.requires_grad}


def test_the_plan_says_how_many_weights_are_trained() -> None:
    said = describe(read_recipe(dict(LORA)))
    model = prepared(load_policy("tiny-0", CHAIN), read_recipe(dict(LORA))).model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0 < trained < 20_000
    assert f"{trained:,} of them trained" in said


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora_target_modules": ["lm_head"]}, "leave lm_head out"),
        ({"lora_target_modules": ["nothing"]}, "use_peft: Target modules.*not found"),
        ({"lora_r": 0}, "use_peft: .*r"),
        ({"use_peft": False}, "lora_r: applies only to LoRA adapters; also set use_peft"),
    ],
)
def test_what_is_no_adapter_is_refused(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(read_recipe({**LORA, **values}), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "positives.parquet").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
)
def test_an_adapter_on_a_matrix_that_is_embedding_and_output_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"this policy's embedding is also its output matrix.*leave embed_tokens"):
        add_adapter(build("llama-tied").model, 0, r=2, **fields)
    # The controls: apart from these matrices, and where they are two.
    add_adapter(build("llama-tied").model, 0, r=2, target_modules=["q_proj"], modules_to_save=["norm"])
    add_adapter(build("llama").model, 0, r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])


def test_an_adapter_that_cannot_be_loaded_is_named(whole_run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole_run.path("model"), tmp_path / "adapter")
    with pytest.raises(ValueError, match="an adapter, but training starts from full weights; merge it"):
        train(read_recipe({**LORA, "policy": str(folder)}), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="an adapter, but training starts from full weights; merge it"):
        describe(read_recipe({**LORA, "policy": str(folder)}))
    settings = json.loads((folder / "adapter_config.json").read_text())
    for changed, message in [
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path"),
        ({"base_model_name_or_path": "no/such folder"}, "neither a folder here"),
        ({"r": 8}, "does not fit its base"),
        ({"base_model_name_or_path": str(folder)}, "is itself an adapter"),
    ]:
        (folder / "adapter_config.json").write_text(json.dumps({**settings, **changed}))
        with pytest.raises(PolicyError, match=message):
            load_policy(str(folder), CHAIN)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(PolicyError, match="pickled weights are not read"):
        load_policy(str(folder), CHAIN)
