"""What a plan says of memory, tokens and time, against what was measured, counted and traced."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig
from trl.trainer import add_fused_lm_head

from expo import calibration
from expo.calibration import Calibration, CalibrationError, Measured
from expo.cli import main
from expo.policies.shapes import known_shape
from expo.train import memory
from expo.train.config import settings_of
from expo.train.cost import disk_of, in_words, seconds_of, tokens_in_words, work_of
from expo.train.memory import GIB, Memory, memory_of
from expo.train.plan import lighter, machine_of
from expo.train.recipe import TrainRecipe, read_recipe

QWEN = {"policy": "Qwen/Qwen2.5-3B-Instruct", "task": "math", "dtype": "float32", "gradient_checkpointing": True}
TOY = {"task": "chain", "policy": "tiny-0", "max_steps": 4, "max_completion_length": 100}
SMALL = LlamaConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, vocab_size=300, pad_token_id=0
)


def held(recipe: TrainRecipe, config: PretrainedConfig | None = None, **more: Any) -> Memory:
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    config = config or known_shape(recipe.policy)
    assert config is not None
    return memory_of(recipe, args, config, **{"on_gpu": True, "capacity": 80 * GIB, **more})


def test_what_3b_took_on_a_card() -> None:
    """57.6 GiB, on an H100: 3 rows at a time, 512 tokens each (docs/LOG.md); a fused optimizer takes a copy less."""
    values = {**QWEN, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 8, "num_generations": 8}
    values |= {"max_completion_length": 512, "positive": "expert", "optim": "adamw_torch"}
    assert held(read_recipe(values)).peak / GIB == pytest.approx(57.6, rel=0.01)
    assert held(read_recipe({**values, "optim": "adamw_torch_fused"})).peak / GIB < 0.9 * 57.6


@pytest.mark.parametrize(
    "changed", [{}, {"gradient_checkpointing": True}, {"use_peft": True}, {"algorithm": "sft", "positive": "expert"}]
)
def test_layers_beyond_the_second_add_what_it_did(changed: dict[str, Any]) -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": False, **changed})
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    one, two, four = (memory._traced(recipe, args, SMALL, n, torch.float32, False) for n in (1, 2, 4))
    assert 0 < one < two
    assert one + 3 * (two - one) == pytest.approx(four, rel=1e-6)


def test_a_trace_without_data_holds_what_a_real_pass_holds() -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": False})
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    traced = memory._traced(recipe, args, SMALL, 4, torch.float32, False)
    model = AutoModelForCausalLM.from_config(SMALL)
    add_fused_lm_head(model)
    tracker = memory._Held()
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: tracker.leave_out(p.grad))
    ids = torch.zeros(memory.rows_held(recipe, args), memory.tokens_of(args), dtype=torch.long)
    with tracker:
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
        out.log_probs.sum().backward()
    assert tracker.peak == pytest.approx(traced, rel=0.02)
    assert tracker.now < 0.1 * tracker.peak  # what is dropped is counted no more


def test_activations_grow_with_what_is_held() -> None:
    def of(**values: Any) -> float:
        return held(read_recipe({**TOY, "gradient_checkpointing": False, **values}), SMALL, on_gpu=False).activations

    plain = of(positive="none")
    assert of(positive="explanation") == pytest.approx(9 / 8 * plain, rel=0.05)  # a positive for each 8 samples
    assert of(positive="none", per_device_train_batch_size=16) == pytest.approx(2 * plain, rel=0.05)


def test_a_layer_that_is_computed_again_holds_its_input_alone() -> None:
    added = {}
    for again in (False, True):
        recipe = read_recipe({**TOY, "gradient_checkpointing": again, "positive": "none"})
        args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
        one, two = (memory._traced(recipe, args, SMALL, n, torch.float32, False) for n in (1, 2))
        added[again] = two - one
    assert added[True] == pytest.approx(8 * memory.tokens_of(args) * SMALL.hidden_size * 4, rel=0.05)
    assert added[False] > 10 * added[True]


def test_processes_share_what_their_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe({**QWEN, "max_completion_length": 512, "optim": "adamw_torch"})
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    monkeypatch.setattr(type(args), "world_size", property(lambda self: 4))
    by = {}
    monkeypatch.setattr(memory, "_traced", lambda *_: 5.0 * GIB)
    alone = held(recipe)
    for how in ("no", "ZeRO-2", "ZeRO-3", "FSDP2"):
        monkeypatch.setattr(memory, "shared_by", lambda args, how=how: how)
        by[how] = held(recipe)
    assert by["no"] == alone
    n = 3.0859e9
    # DeepSpeed holds bfloat16 weights and gradients, and float32 ones with the moments.
    assert (by["ZeRO-2"].weights, by["ZeRO-2"].moments) == pytest.approx((2 * n, 3 * n), rel=1e-3)
    assert (by["ZeRO-3"].weights, by["ZeRO-3"].gradients) == pytest.approx((n / 2, n / 2), rel=1e-3)
    assert (by["FSDP2"].weights, by["FSDP2"].moments) == pytest.approx((n, 2 * n), rel=1e-3)
    assert by["FSDP2"].whole == pytest.approx(4 * n, rel=1e-3)  # gathered to sample
    assert by["ZeRO-2"].whole == 0
    assert by["ZeRO-3"].peak < by["ZeRO-2"].peak < alone.peak


def test_vllm_and_a_reference_take_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_traced", lambda *_: 5.0 * GIB)
    recipe = read_recipe({**QWEN, "max_completion_length": 512})
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    args.use_vllm, args.vllm_mode, args.vllm_gpu_memory_utilization = True, "colocate", 0.3
    shape = known_shape(recipe.policy)
    assert shape is not None
    assert memory_of(recipe, args, shape, on_gpu=True, capacity=80 * GIB).engine == 24 * GIB
    online = read_recipe({**QWEN, "algorithm": "dpo", "refresh_steps": 2, "max_steps": 4})
    assert held(online).reference == held(online).weights
    assert held(replace(online, refresh_steps=0)).reference == 0


RECORDS = Path("figures/records")


def test_the_work_of_a_training_is_what_its_record_counts() -> None:
    folder = RECORDS / "smollm2" / "explanation-base-0"
    recipe = read_recipe(yaml.safe_load((folder / "recipe.yaml").read_text()))
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    work = work_of(recipe, args, 320, 60)
    assert work.samples["rollouts"] == 8 * len(pd.read_parquet(folder / "groups.parquet"))
    assert work.samples["evaluations"] == pd.read_parquet(folder / "evaluation.parquet")["n"].sum()
    metrics = pd.read_parquet(folder / "metrics.parquet")
    # A positive may be missing, where none was found.
    scored = metrics[metrics["name"] == "exp_sft/scored"]["value"].sum()
    assert 0.9 * (work.trained - 2560) <= scored <= work.trained - 2560
    assert work.samples["positives"] == 320
    assert work.scored == 0


def test_the_work_of_other_trainings() -> None:
    def of(problems: int = 100, **values: Any) -> Any:
        recipe = read_recipe({**TOY, **values})
        return work_of(recipe, settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x"), problems, 10)

    assert of(positive="none").samples == {"rollouts": 32, "evaluations": 80}
    assert of(positive="none", beta=0.1).scored == 32
    assert of(positive="expert").trained == 36
    assert "positives" not in of(positive="expert").samples
    assert of(refresh_steps=1).samples["positives"] == 4  # a problem a step
    assert of(eval_steps=2).samples["evaluations"] == 120
    online = of(algorithm="dpo", refresh_steps=2, loser_tries=3)
    assert (online.samples["positives"], online.samples["losers"], online.trained) == (32, 96, 64)
    assert of(algorithm="sft", positive_tries=2, problems=100).samples["positives"] == 200


def made_of(
    call: float, way: float, arithmetic: float, *, memory: float = 80 * GIB, on_gpu: bool = True
) -> Calibration:
    """A machine on which a pass costs so much a layer, a million weights, and a billion weights times tokens."""
    measured = tuple(
        Measured(kind, w, n, t, call * n + way * w / 1e6 + arithmetic * w * t / 1e9)
        for kind in calibration.KINDS
        for w, n in ((10**5, 4), (10**7, 12), (10**8, 30))
        for t in ((4, 128) if kind != "step" else (0,))
    )
    return Calibration("a card", on_gpu, int(memory), 1, "", "", "", "2026-01-01", measured)


def test_costs_are_found_again() -> None:
    made = made_of(1e-3, 2e-3, 3e-3)
    assert made.worst < 1e-6
    assert made.seconds("sample", 10**9, 20, 50) == pytest.approx(20e-3 + 2.0 + 0.15)
    # Without a cost below 0, even where times would ask for one.
    odd = replace(made, measured=tuple(replace(m, seconds=m.seconds / (1 + m.tokens)) for m in made.measured))
    assert odd.seconds("train", 10**9, 20, 10**6) >= 0


def test_seconds_are_those_of_the_passes() -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": False, "positive": "none"})
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    work = work_of(recipe, args, 100, 16)
    made = made_of(1.0, 0.0, 0.0)  # a second a layer, whatever else
    parts = seconds_of(work, recipe, args, made, 10**6, 10**6, 5)
    # Four generations of 100 tokens; twice 64 samples evaluated; four passes and four steps of the optimizer.
    assert parts == pytest.approx({"rollouts": 2000, "evaluations": 1000, "backward": 20, "optimizer": 20})
    args.gradient_checkpointing = True
    assert seconds_of(work, recipe, args, made, 10**6, 10**6, 5)["backward"] == pytest.approx(20 * 4 / 3)


def test_disk_holds_checkpoints_and_the_policy() -> None:
    recipe = read_recipe(TOY)
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    assert disk_of(recipe, args, 100, 100, 4) == 3 * 1200 + 400  # two, and one being written
    assert disk_of(replace(recipe, use_peft=True), args, 100, 10, 4) == 3 * 120 + 40


def test_numbers_read_well() -> None:
    assert [in_words(s) for s in (5, 600, 7200)] == ["5 s", "10 min", "2.0 h"]
    assert [tokens_in_words(n) for n in (1200, 2.5e6, 31e6, 4e9)] == ["1,200", "2.5 million", "31 million", "4 billion"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPO_CACHE", str(tmp_path))
    return tmp_path


def test_a_machine_is_measured_and_read_again(cache: Path) -> None:
    assert machine_of(None).calibration is None
    made = calibration.calibrate(shapes=1, progress=False)
    assert {m.kind for m in made.measured} == set(calibration.KINDS)
    assert all(m.seconds > 0 for m in made.measured)
    assert calibration.read(calibration.default_file()) == made
    assert machine_of(None).calibration == made
    # Of another machine that has the same home.
    values = {"schema": 1, **asdict(replace(made, memory=made.memory + 1))}
    calibration.default_file().write_text(json.dumps(values))
    assert machine_of(None).calibration is None
    assert machine_of(str(calibration.default_file())).memory == made.memory + 1
    assert machine_of(None, 2).memory == machine_of(None).memory / 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no calibration"),
        ("[]", "no calibration"),
        ('{"schema": 2}', "of another version"),
        ('{"schema": 1, "measured": []}', "no calibration"),
        (json.dumps({"schema": 1, **asdict(replace(made_of(1, 1, 1), measured=()))}), "without a time of generate, "),
    ],
)
def test_what_is_no_calibration_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "card.json"
    file.write_text(text)
    with pytest.raises(CalibrationError, match=f"card.json: {message}.*expo doctor --calibrate"):
        calibration.read(file)
    with pytest.raises(CalibrationError, match=r"nowhere\.json: no calibration"):
        calibration.read(tmp_path / "nowhere.json")


def test_a_plan_for_another_machine(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train", *(f"--{k}={v}" for k, v in TOY.items()), "--dry_run"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "time          not known: expo doctor --calibrate measures this machine" in said
    assert re.search(r"tokens +at most [\d,]+ sampled \(evaluations \d+%, .*\), 4,068 trained", said)
    assert re.search(r"disk +[\d.]+ GiB for checkpoints and the policy, of the \d+ GiB that are free", said)
    for name, gib, verdict in (("large", 80, "of 80 GiB: it fits"), ("small", 0.01, "of 0 GiB: IT DOES NOT FIT")):
        file = cache / f"{name}.json"
        file.write_text(json.dumps({"schema": 1, **asdict(made_of(1e-3, 1e-3, 1e-3, memory=gib * GIB))}))
        assert main([*asked, "--calibration", str(file)]) == 0
        said = capsys.readouterr().out
        assert verdict in said
        assert re.search(r"time +at most \d+ (s|min) on a card as measured on 2026-01-01\n +\w+ \d+%", said)
        assert ("with --per_device_train_batch_size 1" in said) == (name == "small")


def test_savings_save_and_leave_the_batch_as_it_is() -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": False, "optim": "adamw_torch", "max_completion_length": 256,
                          "per_device_train_batch_size": 8, "num_generations": 8})  # fmt: skip
    args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")
    before = held(recipe, SMALL).peak
    for flags, other, changed in lighter(recipe, args):
        assert flags.startswith("--gradient_checkpointing true")
        assert changed.per_device_train_batch_size * changed.gradient_accumulation_steps == 8
        peak = held(other, SMALL).peak
        assert peak <= before
        before = peak
    assert other.use_peft
