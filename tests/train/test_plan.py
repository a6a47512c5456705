"""What a plan says of memory, tokens and time, against what was measured, counted and traced."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from expo import calibration
from expo.calibration import Calibration, CalibrationError, Measured
from expo.cli import main
from expo.policies.policy import PolicyError
from expo.policies.shapes import known_shape
from expo.tasks.problem import Problem
from expo.train import activations, memory, needs, sharding
from expo.train.config import Configuration, settings_of
from expo.train.cost import disk_of, in_words, seconds_of, tokens_in_words, work_of
from expo.train.memory import GIB, Lengths, Memory, memory_of
from expo.train.needs import lengths_of, lighter, machine_of
from expo.train.plan import describe
from expo.train.recipe import TrainRecipe, read_recipe

QWEN = {"policy": "Qwen/Qwen2.5-3B-Instruct", "task": "math", "dtype": "float32", "gradient_checkpointing": True}
TOY = {"task": "chain", "policy": "tiny-0", "max_steps": 4, "max_completion_length": 100}
SMALL = LlamaConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, vocab_size=300, pad_token_id=0
)


LENGTHS = Lengths(13, 100)


def settings(recipe: TrainRecipe) -> Configuration:
    return settings_of(recipe.algorithm, recipe.trl, recipe.positive, "x")


def held(recipe: TrainRecipe, config: PretrainedConfig | None = None, **more: Any) -> Memory:
    config = config or known_shape(recipe.policy)
    assert config is not None
    usual = {"lengths": LENGTHS, "on_gpu": True, "capacity": 80 * GIB}
    return memory_of(recipe, settings(recipe), config, **{**usual, **more})


def test_what_3b_took_on_a_card() -> None:
    """57.6 GiB, on an H100: 3 rows at a time, 512 tokens each (docs/LOG.md); a fused optimizer takes a copy less.

    It is the copy that decides there: activations stay below it, as they did.
    """
    values = {**QWEN, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 8, "num_generations": 8}
    values |= {"max_completion_length": 512, "positive": "expert", "optim": "adamw_torch"}
    found = held(read_recipe(values), lengths=Lengths(64, 512))
    assert found.peak / GIB == pytest.approx(57.6, rel=0.01)
    # Every weight cast to bfloat16 is held till the pass forward is done.
    assert 2 * 3.0859e9 / GIB < found.activations / GIB < 11
    fused = held(read_recipe({**values, "optim": "adamw_torch_fused"}), lengths=Lengths(64, 512))
    assert fused.peak == found.weights + found.gradients + found.optimizer + found.activations


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_trace_without_data_holds_what_a_real_pass_holds(again: bool, half: bool) -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": again})
    args = settings(recipe)
    model = AutoModelForCausalLM.from_config(SMALL)
    real = max(activations.traced(model, args, 9, 113, half))
    without_data, why = activations.activations(recipe, args, SMALL, LENGTHS.whole, torch.float32, half)
    assert why == ""
    assert without_data == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": False}, {"use_peft": True}])
def test_a_few_of_many_layers_tell_what_all_hold(
    more: dict[str, Any], half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe({**TOY, **more})
    # Many weights beside few tokens: in half precision the most is held forward, by many layers alone.
    args, many = settings(recipe), LlamaConfig(**{**SMALL.to_dict(), "intermediate_size": 2048})
    many.num_hidden_layers = 20

    def of(*layers: int) -> tuple[float, str]:
        monkeypatch.setattr(activations, "_FEW", layers)
        return activations.activations(recipe, args, many, 20, torch.float32, half)

    of_all = of(20)
    assert of(5, 6) == (pytest.approx(of_all[0], rel=1e-6), "")
    # The control: a few layers alone hold less.
    assert of(5)[0] < 0.99 * of_all[0]


def test_layers_that_are_not_alike_are_all_traced() -> None:
    def traced(kind: str, **more: Any) -> tuple[int, ...]:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 64, "head_dim": 8}
        config = AutoConfig.for_model(kind, num_hidden_layers=8, num_key_value_heads=2, **sizes, **more)
        with torch.device("meta"):
            return activations._layers_to_trace(AutoModelForCausalLM.from_config(config))

    assert traced("gemma2") == (8,)
    assert traced("qwen3_moe", num_experts=4, mlp_only_layers=[0]) == (8,)
    assert traced("qwen3_moe", num_experts=4) == (5, 6)
    assert traced("llama") == (5, 6)


def test_what_is_dropped_is_counted_no_more() -> None:
    with activations.Held() as tracker:
        one = torch.zeros(1000)
        two = one + 1
        del one
        view = two[10:]
    assert tracker.peak == 8000
    assert tracker.now == 4000
    tracker.leave_out(view)
    assert tracker.now == 0


@pytest.mark.parametrize(
    ("kind", "more", "is_known"),
    [
        ("gemma2", {}, True),
        ("mistral", {"sliding_window": 8}, True),
        ("mixtral", {"num_local_experts": 4}, False),
        ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}, False),
    ],
)
def test_a_policy_that_cannot_be_traced_is_planned_without(kind: str, more: dict[str, Any], is_known: bool) -> None:
    sizes = {k: getattr(SMALL, k) for k in ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")}
    config = AutoConfig.for_model(kind, **sizes, num_hidden_layers=2, num_key_value_heads=2, head_dim=8, **more)
    recipe = read_recipe({**TOY, "policy": "other/policy", "task": "math"})
    found = held(recipe, config, on_gpu=False)
    assert (found.activations > 0, found.untraced == "") == (is_known, is_known)
    lines = needs._memory(recipe, settings(recipe), config, LENGTHS, needs.Machine(False, 80 * GIB, None))
    assert ("not including activations, which are unknown: RuntimeError: " in "\n".join(lines)) != is_known
    assert ("it fits, without activations" in lines[0]) != is_known


def test_activations_grow_with_what_is_held() -> None:
    def of(**values: Any) -> float:
        return held(read_recipe({**TOY, "gradient_checkpointing": False, **values}), SMALL, on_gpu=False).activations

    plain = of(positive="none")
    assert of(positive="explanation") == pytest.approx(9 / 8 * plain, rel=0.05)  # a positive for each 8 samples
    # All texts of a problem, at the same time.
    weighted = {"positive": "explanation", "positive_choice": "weighted", "positive_tries": 8}
    assert of(**weighted) == pytest.approx(2 * plain, rel=0.05)
    assert of(**{**weighted, "positive_choice": "first"}) == of(positive="explanation")
    assert of(positive="none", per_device_train_batch_size=16) == pytest.approx(2 * plain, rel=0.05)
    assert of(positive="none", gradient_checkpointing=True) < plain
    assert of(positive="none", attn_implementation="eager") > plain


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of 5 GiB, for what is reckoned beside them."""
    monkeypatch.setattr(memory, "activations", lambda *_: (5.0 * GIB, ""))


def test_processes_share_what_their_settings_say(untraced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe({**QWEN, "max_completion_length": 512, "optim": "adamw_torch", "num_generations": 8})
    alone = held(recipe)
    monkeypatch.setattr(type(settings(recipe)), "world_size", property(lambda self: 4))
    by, n = {}, 3.0859e9
    for how in ("no", "ZeRO-2", "ZeRO-3", "FSDP2"):
        monkeypatch.setattr(memory, "shared_by", lambda args, how=how: how)
        by[how] = held(recipe)
    # Buckets hold a second copy of the gradients, also while the policy is sampled.
    assert (by["no"].weights, by["no"].gradients, by["no"].buckets) == (alone.weights, alone.gradients, alone.gradients)
    assert alone.buckets == by["FSDP2"].buckets == 0
    assert by["no"].in_sampling - alone.in_sampling == alone.gradients
    assert by["ZeRO-2"].buckets == by["ZeRO-3"].buckets == 2 * 2 * 500_000_000
    assert by["ZeRO-3"].temporary == pytest.approx(n, rel=1e-3)
    # DeepSpeed holds bfloat16 weights and gradients, and float32 ones with the moments.
    assert (by["ZeRO-2"].weights, by["ZeRO-2"].optimizer) == pytest.approx((2 * n, 3 * n), rel=1e-3)
    assert (by["ZeRO-3"].weights, by["ZeRO-3"].gradients) == pytest.approx((n / 2, n / 2), rel=1e-3)
    assert (by["FSDP2"].weights, by["FSDP2"].optimizer) == pytest.approx((n, 2 * n), rel=1e-3)
    # Gathered to sample, in the dtype that it computes in.
    assert by["FSDP2"].gathered == by["ZeRO-3"].gathered == pytest.approx(2 * n, rel=1e-3)
    assert by["ZeRO-2"].gathered == 0
    accumulating = read_recipe({**recipe.resolved(), "gradient_accumulation_steps": 2})
    once = read_recipe({**recipe.resolved(), "gradient_accumulation_steps": 1})
    # Until the last micro-batch each process has whole gradients.
    assert held(accumulating).gradients - held(once).gradients == pytest.approx(4 * n, rel=1e-3)


def test_vllm_and_a_reference_take_their_share(untraced: None) -> None:
    recipe = read_recipe({**QWEN, "max_completion_length": 512})
    args = settings(recipe)
    args.use_vllm, args.vllm_mode, args.vllm_gpu_memory_utilization = True, "colocate", 0.3
    shape = known_shape(recipe.policy)
    assert shape is not None
    awake = memory_of(recipe, args, shape, LENGTHS, on_gpu=True, capacity=80 * GIB)
    assert awake.engine == 24 * GIB
    args.vllm_enable_sleep_mode = True
    asleep = memory_of(recipe, args, shape, LENGTHS, on_gpu=True, capacity=80 * GIB)
    assert (awake.in_steps - asleep.in_steps, awake.in_sampling - asleep.in_sampling) == (24 * GIB, 0)
    # Positives and evaluations are sampled by our own code, or by vLLM too.
    ours = memory_of(replace(recipe, engine="vllm"), args, shape, LENGTHS, on_gpu=True, capacity=80 * GIB)
    assert (ours.sampling, asleep.sampling > 0) == (0, True)
    gradients = replace(recipe, engine="vllm", gradient_problems=1)
    assert memory_of(gradients, args, shape, LENGTHS, on_gpu=True, capacity=80 * GIB).sampling == asleep.sampling
    online = read_recipe({**QWEN, "algorithm": "dpo", "refresh_steps": 2, "max_steps": 4})
    between = held(online)
    assert between.reference == between.weights
    assert not between.reference_in_steps
    # Where the reference is, the optimizer is not.
    assert between.in_sampling - held(replace(online, refresh_steps=0)).in_sampling == max(
        between.reference - between.optimizer, 0
    )
    assert held(replace(online, refresh_steps=0)).reference == 0
    kl, without = held(read_recipe({**QWEN, "beta": 0.1})), held(recipe)
    assert kl.in_steps - without.in_steps == kl.in_sampling - without.in_sampling == kl.weights
    assert held(read_recipe({**QWEN, "beta": 0.1, "use_peft": True})).reference == 0


def test_other_optimizers_and_generations_within_a_step(untraced: None) -> None:
    by = {o: held(read_recipe({**QWEN, "optim": o})) for o in ("adamw_torch_fused", "sgd", "adamw_bnb_8bit")}
    n = 3.0859e9
    assert [m.optimizer / n for m in by.values()] == pytest.approx([8, 0, 2], rel=1e-3)
    assert not by["sgd"].gradients_in_sampling
    values = {"steps_per_generation": 1, "gradient_accumulation_steps": 8, "per_device_train_batch_size": 8}
    assert held(read_recipe({**QWEN, **values})).gradients_in_sampling


def test_lengths_are_those_of_the_data() -> None:
    problem = Problem("p", "q" * 300, "1", expert_cot="c" * 900)
    recipe = read_recipe({**TOY, "task": "stories", "policy": "other/policy", "positive": "expert"})
    assert lengths_of(recipe, settings(recipe), [problem]) == Lengths(132, 300)
    bare = read_recipe({**recipe.resolved(), "positive": "explanation", "prompts": {"chat": False}})
    assert lengths_of(bare, settings(bare), [problem]) == Lengths(100, 100)


RECORDS = Path("figures/records")


def test_the_work_of_a_training_is_what_its_record_counts() -> None:
    folder = RECORDS / "smollm2" / "explanation-base-0"
    recipe = read_recipe(yaml.safe_load((folder / "recipe.yaml").read_text()))
    args = settings(recipe)
    work = work_of(recipe, args, 320, 60)
    assert work.samples["rollouts"] == 8 * len(pd.read_parquet(folder / "groups.parquet"))
    assert work.samples["evaluations"] == pd.read_parquet(folder / "evaluation.parquet")["n"].sum()
    metrics = pd.read_parquet(folder / "metrics.parquet")
    # A positive may be missing, where none was found.
    scored = metrics[metrics["name"] == "exp_sft/scored"]["value"].sum()
    assert 0.9 * 320 <= scored <= 320 == work.trained - 2560 - work.samples["gradients"]
    assert work.samples["positives"] == 320
    assert work.scored == 0


def test_the_work_of_other_trainings() -> None:
    def of(problems: int = 100, **values: Any) -> Any:
        recipe = read_recipe({**TOY, **values})
        return work_of(recipe, settings(recipe), problems, 10)

    assert of(positive="none").samples == {"rollouts": 32, "evaluations": 80, "probes": 32}
    assert of(positive="none").scored == 0
    assert of(positive="none", beta=0.1, num_iterations=4).scored == 16  # two generations, once each
    # Samples that an earlier step has moved away from are scored before.
    within = {"steps_per_generation": 4, "gradient_accumulation_steps": 1}
    assert of(positive="none", **within).scored == of(positive="none", **within).samples["rollouts"]
    assert of(positive="expert").trained == 36
    assert "positives" not in of(positive="expert").samples
    # All before the first step, then those of the problem that a step asks.
    assert of(refresh_steps=1).samples["positives"] == 103
    assert of(eval_steps=2).samples["evaluations"] == 120
    # Each of three texts of a problem is a sequence, and is scored with the hint and without it.
    three = of(positive_tries=3, positive_choice="weighted", refresh_steps=1)
    assert (three.trained, three.scored) == (32 + 4 * 3, 103 * 3 * 2)
    assert three.samples["positives"] == 103 * 3
    for choice, passes in (("first", 0), ("posterior", 6), ("best_signal", 3), ("best_joint", 3)):
        chosen = of(positive_tries=3, positive_choice=choice)
        assert (chosen.trained, chosen.scored) == (36, 100 * passes)
    assert of(positive_tokens="least_moved").scored == 200
    assert of(positive_tokens="random_half").scored == 0
    both = {"positive_tries": 3, "positive_choice": "weighted", "positive_tokens": "least_moved"}
    assert of(**both).scored == 100 * (6 + 6)
    more = {"algorithm": "dpo", "positive_tries": 3, "positive_choice": "best_signal"}
    assert of(**more).scored - of(algorithm="dpo").scored == 3 * 32
    measured = of(gradient_problems=2, gradient_rollouts=8)
    assert measured.samples["gradients"] == 36
    assert measured.trained == of().trained + 36
    online = of(algorithm="dpo", refresh_steps=2, loser_tries=3)
    assert (online.samples["positives"], online.samples["losers"], online.trained) == (32, 96, 64)
    assert of(algorithm="sft", positive_tries=2, problems=100).samples["positives"] == 200


def made_of(
    call: float, way: float, arithmetic: float, *, memory: float = 80 * GIB, on_gpu: bool = True
) -> Calibration:
    """A machine on which a pass costs so much a layer, a million weights, and a billion weights times tokens."""
    measured = tuple(
        Measured(kind, dtype, w, n, t, twice * (call * n + way * w / 1e6 + arithmetic * w * t / 1e9))
        for kind in calibration.KINDS
        for dtype, twice in (("bfloat16", 1.0), ("float32", 2.0))
        for w, n in ((10**5, 4), (10**7, 12), (10**8, 30))
        for t in ((4, 128) if kind != "optimizer" else (0,))
    )
    return Calibration("a card", on_gpu, int(memory), 1, "", "", "", "2026-01-01", measured)


def test_costs_are_found_again() -> None:
    made = made_of(1e-3, 2e-3, 3e-3)
    assert made.seconds("sample", "bfloat16", 10**9, 20, 50) == pytest.approx(20e-3 + 2.0 + 0.15)
    assert made.seconds("sample", "float32", 10**9, 20, 50) == pytest.approx(2 * (20e-3 + 2.0 + 0.15))
    one = replace(made, measured=tuple(m for m in made.measured if m.dtype == "float32"))
    assert one.seconds("train", "bfloat16", 10**9, 20, 50) == one.seconds("train", "float32", 10**9, 20, 50)
    # Without a cost below 0, even where times would ask for one.
    odd = replace(made, measured=tuple(replace(m, seconds=m.seconds / (1 + m.tokens)) for m in made.measured))
    assert odd.seconds("train", "float32", 10**9, 20, 10**6) >= 0


def test_seconds_are_those_of_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": False, "positive": "none"})
    args = settings(recipe)
    work = work_of(recipe, args, 100, 16)
    made = made_of(1.0, 0.0, 0.0)  # a second a layer, whatever else

    def parts(**changed: Any) -> dict[str, float]:
        machine = replace(made, **changed)
        return seconds_of(work, recipe, args, LENGTHS, machine, (10**6, 10**6, 5), "bfloat16")

    # Four generations of 100 tokens; twice 64 samples evaluated, twice 16 probes; four passes, four steps of AdamW.
    expected = {"rollouts": 2000, "evaluations": 1000, "probes": 500, "forward and backward": 20, "optimizer": 20}
    assert parts() == pytest.approx(expected)
    args.gradient_checkpointing = True
    assert parts()["forward and backward"] == pytest.approx(20 * 4 / 3)
    # Four GPUs share the samples, four processes on a CPU its cores.
    monkeypatch.setattr(type(args), "world_size", property(lambda self: 4))
    assert parts()["rollouts"] == pytest.approx(500)
    assert parts(on_gpu=False)["rollouts"] == pytest.approx(2000)


def test_disk_holds_checkpoints_and_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe({**TOY, "save_steps": 1})
    args = settings(recipe)
    work = work_of(recipe, args, 100, 10)
    assert disk_of(recipe, args, work, (100, 100, 1), 4) == 3 * 1200 + 400  # two, and one being written
    # An adapter is float32, whatever its base.
    assert disk_of(replace(recipe, use_peft=True), args, work, (100, 10, 1), 2) == 3 * 120 + 40
    args.save_total_limit = None
    assert disk_of(recipe, args, work, (100, 100, 1), 4) == 5 * 1200 + 400
    args.save_total_limit = 2
    monkeypatch.setattr("expo.train.cost.shared_by", lambda args: "ZeRO-3")
    assert disk_of(recipe, args, work, (100, 100, 1), 2) == 3 * 1400 + 200
    # FSDP2 trains in float32, and writes the weights twice.
    monkeypatch.setattr("expo.train.cost.shared_by", lambda args: "FSDP2")
    assert disk_of(recipe, args, work, (100, 100, 1), 2) == 3 * (2 * 400 + 800) + 400


def test_numbers_read_well() -> None:
    times = (0.1, 5, 600, 7200, 5 * 86400, 206e6)
    assert [in_words(s) for s in times] == ["1 s", "5 s", "10 min", "2.0 h", "5 days", "7 years"]
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
    values = {"schema": 1, **asdict(replace(made, memory=2 * made.memory))}
    calibration.default_file().write_text(json.dumps(values))
    assert "calibration.json is of another machine (CPU, " in machine_of(None).why
    assert machine_of(None).calibration is None
    assert machine_of(str(calibration.default_file()), 2).memory == made.memory
    assert machine_of(None, 2).memory == machine_of(None).memory / 2
    # A damaged one stops no training.
    calibration.default_file().write_text("{")
    assert "calibration.json: not a calibration" in machine_of(None).why


def test_memory_is_that_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    of_machine = calibration.device_memory()
    read_text = Path.read_text
    for said, expected in (("1000\n", 1000), ("max\n", of_machine)):
        monkeypatch.setattr(Path, "is_file", lambda p: True)
        monkeypatch.setattr(
            Path, "read_text", lambda p, said=said, **k: said if p.name == "memory.max" else read_text(p, **k)
        )
        assert calibration.device_memory() == expected


def broken(**changed: Any) -> str:
    values = {"schema": 1, **asdict(made_of(1, 1, 1))}
    first = changed.pop("first", {})
    values["measured"] = [{**m, **first} if i == 0 else m for i, m in enumerate(values["measured"])]
    return json.dumps({**values, **changed})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a calibration"),
        ("[]", "not a calibration"),
        ('{"schema": 2}', "written by another version of expo"),
        ('{"schema": 1, "measured": []}', "not a calibration"),
        (broken(measured=[]), r"not a calibration \(no times for generate, "),
        (broken(first={"seconds": "1"}), r"not a calibration \(seconds must be a number"),
        (broken(first={"seconds": None}), r"not a calibration \(seconds must be a number"),
        (broken(first={"seconds": 0.0}), r"not a calibration \(seconds must be above 0 and finite, got "),
        (broken(first={"seconds": float("nan")}), r"not a calibration \(seconds must be above 0 and finite, got "),
        (broken(memory="80GB"), r"not a calibration \(memory must be"),
    ],
)
def test_what_is_no_calibration_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "card.json"
    file.write_text(text)
    with pytest.raises(CalibrationError, match=f"card.json: {message}.*expo doctor --calibrate"):
        calibration.read(file)
    with pytest.raises(CalibrationError, match=r"nowhere\.json: no such file"):
        calibration.read(tmp_path / "nowhere.json")


def test_a_plan_for_another_machine(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train", *(f"--{k}={v}" for k, v in TOY.items()), "--dry_run"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "time          not known: expo doctor --calibrate measures this machine" in said
    assert re.search(r"tokens +up to [\d,]+ sampled \(evaluations \d+%, .*\)\n +and [\d,]+ trained, in sequences", said)
    assert re.search(r"disk +[\d.]+ GiB for checkpoints and the policy, of the \d+ GiB that are free", said)
    for name, gib, verdict in (
        ("large", 80, "of 75.6 GiB that can be used: it fits"),
        ("small", 2.08, "of 18.0 MiB that can be used: IT DOES NOT FIT"),
    ):
        file = cache / f"{name}.json"
        file.write_text(json.dumps({"schema": 1, **asdict(made_of(1e-3, 1e-3, 1e-3, memory=gib * GIB))}))
        assert main([*asked, "--calibration", str(file)]) == 0
        said = capsys.readouterr().out
        assert verdict in said
        assert re.search(r"time +about \d+ (s|min), if .*\n +measured on a card, 2026-01-01\n +\w+ \d+%", said)
        assert ("with --per_device_train_batch_size 1" in said) == (name == "small")
    assert main([*asked, "--calibration", "nowhere.json"]) == 1
    assert "nowhere.json: no such file" in capsys.readouterr().err


def test_savings_save_and_leave_the_batch_as_it_is() -> None:
    values = {**TOY, "gradient_checkpointing": False, "optim": "adamw_torch", "per_device_train_batch_size": 8}
    recipe = read_recipe({**values, "num_generations": 8, "steps_per_generation": 1})
    tried: list[tuple[TrainRecipe, Configuration]] = []

    def peak_of(other: TrainRecipe, args: Configuration) -> float:
        tried.append((other, args))
        return held(other, SMALL, lengths=Lengths(30, 256)).peak

    before = held(recipe, SMALL, lengths=Lengths(30, 256)).peak
    offered = list(lighter(recipe, settings(recipe), before, peak_of))
    peaks = [before, *(peak for _, peak in offered)]
    assert all(b < a for a, b in itertools.pairwise(peaks))
    assert offered[0][0] == "--gradient_checkpointing true"
    assert offered[-1][0].startswith("--gradient_checkpointing true --per_device_train_batch_size 1")
    assert all(a.per_device_train_batch_size * a.gradient_accumulation_steps == 8 for _, a in tried)


def test_no_saving_is_offered_that_is_refused_or_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe({**TOY, "gradient_checkpointing": False, "optim": "sgd"})
    asked: list[TrainRecipe] = []

    def refuse(other: TrainRecipe, args: Configuration, *, elsewhere: bool) -> None:
        if args.gradient_checkpointing or other.use_peft:
            raise ValueError("not here")

    def peak_of(other: TrainRecipe, args: Configuration) -> float:
        asked.append(other)
        return 50.0 if other.rows == 8 else 100.0

    monkeypatch.setattr(needs, "check_processes", refuse)
    assert list(lighter(recipe, settings(recipe), 100.0, peak_of)) == [("--rows 8", 50.0)]
    assert len(asked) > 1
    assert not any(other.use_peft or other.trl.get("optim") != "sgd" for other in asked)


def test_what_does_not_fit_is_said_with_what_would(untraced: None) -> None:
    def lines(**values: Any) -> str:
        recipe = read_recipe({**QWEN, "max_completion_length": 1024, **values})
        shape, card = known_shape(recipe.policy), needs.Machine(True, 24 * GIB, None)
        assert shape is not None
        return "\n".join(needs._memory(recipe, settings(recipe), shape, Lengths(100, 1024), card))

    whole = lines()
    assert "of 21.3 GiB that can be used: IT DOES NOT FIT" in whole
    # Weights of 46 GiB: fewer rows of 5 GiB do not help, and are not listed.
    assert re.findall(r"with (--.*): ([\d.]+) GiB(.*)", whole) == [("--use_peft true", "16.7", ", which fits")]
    assert "on several GPUs with sharded weights" in whole
    # Keys and values of 512 samples: smaller generations do.
    many = lines(use_peft=True, dtype="bfloat16", gradient_accumulation_steps=64)
    assert "--steps_per_generation 1" in many
    assert "several GPUs" not in many
    assert "vllm" not in many


def test_an_adapter_on_a_base_of_half_the_size_is_offered_where_no_other_way_fits(untraced: None) -> None:
    recipe = read_recipe({**QWEN, "max_completion_length": 1024})
    shape = known_shape(recipe.policy)
    assert shape is not None
    lines = needs._memory(recipe, settings(recipe), shape, Lengths(100, 1024), needs.Machine(False, 11 * GIB, None))
    assert [line.strip() for line in lines if "which fits" in line] == [lines[-1].strip()]
    assert lines[-1].strip().startswith("with --use_peft true --dtype bfloat16")
    # The control: weights that are trained keep their digits.
    assert needs._bfloat16(recipe, settings(recipe)) == {}


def test_memory_that_others_use_now_is_said(untraced: None) -> None:
    recipe = read_recipe({**QWEN, "max_completion_length": 1024})
    shape = known_shape(recipe.policy)
    assert shape is not None

    def verdict(free: float | None) -> str:
        card = needs.Machine(False, 80 * GIB, None, free)
        return needs._memory(recipe, settings(recipe), shape, Lengths(100, 1024), card)[0]

    assert verdict(13 * GIB).endswith("of 80.0 GiB that can be used: it fits, BUT ONLY 13.0 GiB ARE FREE NOW")
    assert verdict(79 * GIB) == verdict(None)
    assert verdict(None).endswith("it fits")


def test_the_parts_of_a_plan_add_up(untraced: None) -> None:
    """Between rounds of DPO the reference takes the optimizer's place."""
    for values in ({}, {"algorithm": "dpo", "refresh_steps": 10, "optim": "adafactor"}, {"algorithm": "dpo"}):
        recipe = read_recipe({**QWEN, "max_completion_length": 1024, **values})
        shape = known_shape(recipe.policy)
        assert shape is not None
        lines = needs._memory(recipe, settings(recipe), shape, Lengths(100, 1024), needs.Machine(True, 80 * GIB, None))
        for line in lines[1:3]:
            whole, *parts = (float(size) for size in re.findall(r"([\d.]+) GiB", line))
            assert sum(parts) == pytest.approx(whole, abs=0.3)
        assert ("the reference between rounds" in lines[2]) == ("refresh_steps" in values)


def test_an_engine_beside_the_policy_can_sleep(untraced: None) -> None:
    recipe = read_recipe({**QWEN, "max_completion_length": 1024, "use_peft": True, "dtype": "bfloat16"})
    args, shape = settings(recipe), known_shape(recipe.policy)
    assert shape is not None
    args.use_vllm, args.vllm_mode, args.vllm_gpu_memory_utilization = True, "colocate", 0.6
    card = needs.Machine(True, 24 * GIB, None)
    ways = [needs._sleep(recipe, args), needs._small_engine(recipe, args)]
    assert ways == [{"vllm_enable_sleep_mode": True}, {"vllm_gpu_memory_utilization": 0.2}]
    assert "vLLM 14.4 GiB" in "\n".join(needs._memory(recipe, args, shape, Lengths(100, 1024), card))
    args.vllm_enable_sleep_mode, args.vllm_gpu_memory_utilization = True, 0.2
    assert [needs._sleep(recipe, args), needs._small_engine(recipe, args)] == [{}, {}]


def test_a_plan_is_refused_where_the_training_is(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe({**TOY, "algorithm": "dpo", "max_steps": 1})
    assert "steps  " in describe(recipe, traced=False)
    monkeypatch.setattr(sharding, "shared_by", lambda _: "ZeRO-3")
    with pytest.raises(ValueError, match="dpo does not work under ZeRO-3"):
        describe(recipe, traced=False)


def test_a_node_of_several_gpus_is_no_place_to_plan_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = read_recipe(TOY)
    monkeypatch.setattr(type(settings(recipe)), "n_gpu", property(lambda self: 4))
    with pytest.raises(ValueError, match=r"this machine has 4 GPUs.*accelerate launch --num_processes 4"):
        describe(recipe, traced=False)
    # By a calibration it is planned for another machine.
    file = tmp_path / "card.json"
    file.write_text(json.dumps({"schema": 1, **asdict(made_of(1e-3, 1e-3, 1e-3))}))
    assert "steps  " in describe(recipe, str(file), traced=False)
    # What would lower the peak is offered, too.
    assert ("--rows 8", 50.0) in lighter(
        recipe, settings(recipe), 100.0, lambda other, _: 50.0 * (1 + (other.rows > 8))
    )


@pytest.mark.parametrize(
    ("version", "computed_in", "changed"),
    [(2, torch.bfloat16, True), (2, torch.float32, False), (1, torch.bfloat16, False)],
)
def test_fsdp2_sums_gradients_and_gives_log_probabilities_in_float32(
    version: int, computed_in: torch.dtype, changed: bool
) -> None:
    rounded = MixedPrecisionPolicy(computed_in, reduce_dtype=computed_in, output_dtype=computed_in)
    plugin = SimpleNamespace(fsdp_version=version, mixed_precision_policy=rounded)
    accelerator: Any = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))
    sharding.compute_precisely(accelerator)
    precise = MixedPrecisionPolicy(computed_in, reduce_dtype=torch.float32, output_dtype=None)
    assert plugin.mixed_precision_policy == (precise if changed else rounded)


@pytest.mark.parametrize(
    ("policy", "near"),
    [("tinny-0", "tiny-0"), ("smolm2-135m", "smollm2-135m"), ("Qwen/Qwen2.5-3B-Instuct", "Instruct")],
)
def test_a_misspelt_policy_is_no_plan(policy: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = read_recipe({**TOY, "policy": policy, "max_completion_length": 32})
    with pytest.raises(PolicyError, match=f"neither here nor on the hub; did you mean .*{near}?"):
        describe(recipe, traced=False)
    # The control: a name unlike those that are known may be on a hub that is not there now.
    assert "steps  " in describe(replace(recipe, policy="someone/else"), traced=False)
