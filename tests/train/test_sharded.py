"""Two processes that share weights against two that do not: the same record to rounding, and the same after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from accelerate.utils import is_deepspeed_available
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from expo.policies.load import load_policy
from expo.records import Run
from expo.report.runs import ROOT
from expo.tasks.chain_task import CHAIN
from expo.train.plan import describe
from expo.train.recipe import TrainRecipe, read_recipe
from expo.train.run import settings_of, train
from expo.train.sharding import check_devices, check_processes, shared_by
from tests.train import test_processes
from tests.train.kills import same
from tests.train.test_processes import kill_at_its_checkpoint
from tests.train.test_run import RECIPES, VALUES

KINDS = {"zero2": "ZeRO-2", "zero3": "ZeRO-3", "everything": "ZeRO-3", "fsdp2": "FSDP2"}
# Processes have unlike numbers of problems to evaluate on, and decode few at a time.
GRPO = {
    **VALUES,
    "rows": 4,
    "eval_problems": 9,
    "per_device_train_batch_size": 8,
    "gradient_checkpointing": True,
    "gradient_problems": 0,
    "refresh_steps": 2,
    "max_steps": 4,
}


def kinds(*names: str) -> list[Any]:
    # DeepSpeed is brought by make test-sharded alone.
    lacking = pytest.mark.skipif(not is_deepspeed_available(), reason="make test-sharded runs it")
    return [pytest.param(name, marks=lacking if KINDS[name] != "FSDP2" else ()) for name in names]


def settings_file(kind: str, folder: Path) -> Path:
    """The settings in recipes/accelerate; of `everything`, ones that share the toy's small weights, too.

    By default DeepSpeed leaves every weight below 100,000 numbers whole, and all of the toy's are.
    """
    if kind != "everything":
        return RECIPES / "accelerate" / f"{kind}.yaml"
    zero = {"stage": 3, "stage3_param_persistence_threshold": 0, "stage3_gather_16bit_weights_on_model_save": True}
    names = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    deepspeed = folder / "deepspeed.json"
    deepspeed.write_text(json.dumps({**dict.fromkeys(names, "auto"), "zero_optimization": zero}), encoding="utf-8")
    given = {"deepspeed_config_file": str(deepspeed), "zero3_init_flag": True}
    path = folder / "everything.yaml"
    path.write_text(json.dumps({"distributed_type": "DEEPSPEED", "deepspeed_config": given}), encoding="utf-8")
    return path


class Launched(test_processes.Launched):
    """`expo` in two processes of `accelerate launch`, by the settings in recipes/accelerate, or by none of them."""

    def __init__(self, kind: str, arguments: list[str], said: Path) -> None:
        flags = {"num_processes": "2", "num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no"}
        flags |= {"num_cpu_threads_per_process": "1", "main_process_port": "0"}
        flags |= {"config_file": str(settings_file(kind, said.parent))} if kind in KINDS else {}
        more = ["--multi_gpu"] if kind not in KINDS else []
        module = "tests.train.fsdp_on_cpu" if kind == "fsdp2" else "expo.cli"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "DS_ACCELERATOR": "cpu"}
        # DeepSpeed begins on a CPU by itself, and does not if accelerate is told to.
        environment |= {} if KINDS.get(kind, "").startswith("ZeRO") else {"ACCELERATE_USE_CPU": "true"}
        given = [part for name, value in flags.items() for part in (f"--{name}", value)]
        command = [sys.executable, "-m", "accelerate.commands.launch", *more, *given, "-m", module, *arguments]
        with said.open("a") as out:
            self._launcher = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        self.poll, self.wait = self._launcher.poll, self._launcher.wait


def trained(kind: str, values: dict[str, Any], folder: Path) -> Run:
    recipe, said = folder / "recipe.yaml", folder / "said.txt"
    folder.mkdir(exist_ok=True)
    recipe.write_text(json.dumps(values), encoding="utf-8")
    run = folder / "run"
    code = Launched(kind, ["train", "--config", str(recipe), "--output", str(run)], said).wait(timeout=900)
    assert code == 0, said.read_text()[-3000:]
    assert "activations, which are unknown" not in said.read_text()
    assert Run(run).environment()["processes"] == 2
    assert Run(run).environment()["sharding"] == KINDS.get(kind, "no")
    return Run(run)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("none", GRPO, tmp_path_factory.mktemp("plain"))


def alike(a: Run, b: Run) -> None:
    """The same record to rounding."""
    for table in ("positives", "groups", "evaluation", "probes", "metrics"):
        pd.testing.assert_frame_equal(a.read(table), b.read(table), rtol=1e-4, atol=1e-5)
    one, two = (load_file(run.path("model", "model.safetensors")) for run in (a, b))
    # FSDP2 writes a matrix that is embedding and output twice.
    assert one.keys() | {"lm_head.weight"} == two.keys() | {"lm_head.weight"}
    assert max((one[name] - two[name]).abs().max().item() for name in one if name in two) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds(*KINDS))
def test_sharing_weights_changes_no_number_and_a_killed_run_goes_on(kind: str, plain: Run, tmp_path: Path) -> None:
    shared = trained(kind, GRPO, tmp_path / "whole")
    alike(plain, shared)
    # The control: the policy has moved by more than that.
    first, last = (load_file(p / "model.safetensors") for p in sorted(shared.path("checkpoints").glob("checkpoint-*")))
    assert max((first[name] - last[name]).abs().max().item() for name in first) > 1e-4
    assert shared.read("positives")["step"].unique().tolist() == [0, 2]
    command = ["train", "--config", str(tmp_path / "whole" / "recipe.yaml")]

    def start(arguments: list[str], said: Path) -> Launched:
        return Launched(kind, arguments, said)

    folders = (tmp_path / f"killed{n}" for n in range(5))
    folder = next(folder for folder in folders if kill_at_its_checkpoint(start, command, folder))
    said = tmp_path / "said.txt"
    # Its checkpoint is of two processes that share weights.
    assert Launched("none", [*command, "--output", str(folder)], said).wait(timeout=300) == 1
    assert f"sharding: '{KINDS[kind]}' -> 'no'" in said.read_text()
    assert start([*command, "--output", str(folder)], said).wait(timeout=900) == 0, said.read_text()[-3000:]
    same(shared, Run(folder))


def tied(folder: Path) -> str:
    """The toy with one matrix for its embedding and its output, as both of the paper's families have it."""
    policy = load_policy("tiny-0", CHAIN)
    config = LlamaConfig.from_dict({**policy.model.config.to_dict(), "tie_word_embeddings": True})
    model = LlamaForCausalLM(config)
    weights = policy.model.state_dict()
    model.load_state_dict({n: w for n, w in weights.items() if n != "lm_head.weight"}, strict=False)
    model.tie_weights()
    model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.sharded
@pytest.mark.parametrize("kind", kinds(*KINDS))
def test_a_matrix_that_is_embedding_and_output_is_sharded_once(kind: str, tmp_path: Path) -> None:
    values = {**GRPO, "policy": tied(tmp_path / "policy"), "max_steps": 2, "refresh_steps": 0}
    shared, whole = (trained(how, values, tmp_path / how) for how in (kind, "none"))
    alike(whole, shared)
    held = load_file(shared.path("model", "model.safetensors"))
    matrix = held["model.embed_tokens.weight"]
    assert held.get("lm_head.weight", matrix).equal(matrix)
    assert load_policy(str(shared.path("model")), CHAIN).model.get_output_embeddings().weight.equal(matrix)
    # The control: it is not as it was.
    before = load_policy(values["policy"], CHAIN).model.get_input_embeddings().weight
    assert (before - matrix).abs().max() > 1e-4


DPO = {k: v for k, v in GRPO.items() if k not in ("num_generations", "refresh_steps")} | {
    "algorithm": "dpo",
    "positive": "expert",
    "per_device_train_batch_size": 4,
}


# Without dropout: how far the stream of random numbers has come differs with what is shared.
LORA = {**GRPO, "use_peft": True, "lora_dropout": 0.0, "learning_rate": 3e-3, "gradient_checkpointing": False}
OTHERS = {"sft": {**DPO, "algorithm": "sft"}, "dpo": DPO, "lora": LORA}


@pytest.mark.slow
@pytest.mark.sharded
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param(*kind.values, values, marks=kind.marks, id=f"{kind.values[0]}-{name}")
        for kind in kinds(*KINDS)
        for name, values in OTHERS.items()
        # Which is refused, as below.
        if (KINDS[kind.values[0]], name) != ("ZeRO-3", "dpo")
    ],
)
def test_the_other_algorithms_and_adapters_share_weights_too(kind: str, values: dict[str, Any], tmp_path: Path) -> None:
    alone, shared = trained("none", values, tmp_path / "none"), trained(kind, values, tmp_path / kind)
    for table in ("evaluation", "probes", "metrics"):
        pd.testing.assert_frame_equal(alone.read(table), shared.read(table), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "sharing", "message"),
    [
        ({"sft_grad_norm_steps": 2}, {"zero_stage": 3}, "under ZeRO-3 no process holds the whole gradient"),
        ({"gradient_problems": 2}, {"fsdp_version": 2}, "not supported under FSDP2"),
        ({}, {"fsdp_version": 1}, "fsdp_version: 2"),
        ({"use_peft": True}, {"zero_stage": 3}, "gradient_checkpointing: .* with an adapter under ZeRO-3"),
        ({**DPO}, {"zero_stage": 3}, "dpo does not work under ZeRO-3"),
        ({**DPO, "refresh_steps": 2}, {"zero_stage": 2}, "refresh_steps: under ZeRO-2 dpo cannot start a second round"),
        (
            {**DPO, "refresh_steps": 2},
            {"fsdp_version": 2},
            "refresh_steps: under FSDP2 dpo cannot start a second round",
        ),
        ({}, {"gpus": 4}, "this machine has 4 GPUs.*--num_processes 4"),
    ],
)
def test_what_does_not_run_is_refused_before_anything_is_sampled(
    values: dict[str, Any], sharing: dict[str, int], message: str
) -> None:
    base = {} if values.get("algorithm") else {**GRPO}
    recipe = read_recipe({**base, **values})
    with pytest.raises(ValueError, match=message):
        check_processes(recipe, settings(recipe, sharing))
    check_processes(recipe, settings(recipe, {}))


def test_fsdp2_on_a_cpu_is_refused_before_the_policy_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate would train without sharing weights, and say nothing."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    recipe = read_recipe({**GRPO, "gradient_problems": 0})
    for ask in (lambda: train(recipe, tmp_path / "run", progress=False), lambda: describe(recipe, traced=False)):
        with pytest.raises(ValueError, match=r"FSDP2 needs GPUs.* --config_file .* --fsdp "):
            ask()
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    check_devices(settings(recipe, {}))
    assert "steps  " in describe(recipe, traced=False)


def settings(recipe: TrainRecipe, sharing: dict[str, int]) -> Any:
    """A recipe's settings as this launch would make them."""
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "unused")
    if "zero_stage" in sharing:
        args.deepspeed_plugin = type("Plugin", (), sharing)
        assert shared_by(args) == f"ZeRO-{sharing['zero_stage']}"
    if "fsdp_version" in sharing:
        args.fsdp_plugin_args = sharing
    args._n_gpu = sharing.get("gpus", 1)
    return args
