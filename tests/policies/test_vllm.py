"""vLLM as the engine of a policy. Those tests that need it run in an environment of their own: `make test-vllm`."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expo.policies import vllm as vllm_module
from expo.policies.adapters import add_adapter, whole_weights
from expo.policies.engine import Completion, Draw, Request, Settings, draws_of
from expo.policies.load import load_policy
from expo.policies.policy import Policy, PolicyError
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole
from expo.policies.vllm import INSTALL_VLLM, VLLM, _room, _write, check_engine
from expo.records import Run
from expo.report.runs import ROOT
from expo.tasks.prompts import TEXT
from tests.conftest import build

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not in .venv")
PROMPTS = [(5, 9, 30), (7, 8), tuple(range(80, 95))]


def with_engine(seed: int = 0) -> Policy:
    # Heads of 32: vLLM on a CPU runs none that are smaller.
    policy = build("llama", dtype=torch.float32, head_dim=32, seed=seed)
    policy.engine = VLLM(policy, torch.float32)
    return policy


@pytest.fixture(scope="module")
def served() -> Iterator[Policy]:
    policy = with_engine()
    yield policy
    assert policy.engine
    policy.engine.close()


@needs_vllm
def test_samples_are_the_policys_own(served: Policy) -> None:
    check_engine(served, PROMPTS)
    asked = [Request(f"p{i}", p, 3, 24) for i, p in enumerate(PROMPTS)]
    seen: list[tuple[int, Completion]] = []
    done = sample(served, asked, temperature=1.0, seed=1, on_finished=lambda *which: seen.append(which))
    assert [len(group) for group in done] == [3, 3, 3]
    assert sorted((i, c.ids) for i, c in seen) == sorted((i, c.ids) for i, group in enumerate(done) for c in group)
    for r, group in zip(asked, done, strict=True):
        assert len({c.ids for c in group}) > 1
        for c in group:
            assert c.truncated == (c.ids[-1] not in served.eos_ids)
            assert c.truncated == (len(c.ids) == 24) or not c.truncated
            (mine,) = score(served, [whole(r.prompt_ids, c.ids, r.key)])
            np.testing.assert_allclose(mine.completion, c.log_probs, atol=1e-3)


@needs_vllm
def test_more_tokens_of_prompts_than_a_step_reads(served: Policy) -> None:
    # Of 64 prompts of 160 tokens one would be read in two steps, which vLLM cannot do on a CPU.
    asked = [Request(f"long{i}", tuple(range(40, 200)), 1, 3) for i in range(64)]
    assert [len(group) for group in sample(served, asked, temperature=1.0, seed=1)] == [1] * 64


@needs_vllm
def test_weights_that_changed_since_are_noticed(served: Policy) -> None:
    assert served.engine
    check_engine(served, PROMPTS)
    before = served.model.lm_head.weight.detach().clone()
    with torch.no_grad():
        served.model.lm_head.weight.mul_(1.5)
    try:
        with pytest.raises(PolicyError, match=r"does not compute what the policy does.* nats on average"):
            check_engine(served, PROMPTS)
        served.engine.close()
        check_engine(served, PROMPTS)
    finally:
        with torch.no_grad():
            served.model.lm_head.weight.copy_(before)
        served.engine.close()


@needs_vllm
def test_an_adapter_is_merged_and_its_base_left_as_it_was(tmp_path: Path) -> None:
    policy = with_engine()
    base = {n: p.clone() for n, p in policy.model.named_parameters()}
    policy.model = adapter_on(policy)
    assert policy.engine
    try:
        check_engine(policy, PROMPTS)
    finally:
        policy.engine.close()
    kept = {n: p for n, p in policy.model.get_base_model().named_parameters() if "lora_" not in n}
    assert all(torch.equal(p, base[n.replace(".base_layer", "")]) for n, p in kept.items())


class Started(Exception):
    """That vLLM's process would start."""


def test_heads_that_are_too_small_on_a_cpu_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise Started

    monkeypatch.setattr(vllm_module, "check_installed", lambda: None)
    monkeypatch.setattr(vllm_module, "_room", start)
    small, large = build(dtype=torch.float32), with_engine()
    with pytest.raises(
        PolicyError,
        match="policy 'llama': its attention heads have size 8, but vLLM on a CPU needs at least 32; use --engine hf",
    ):
        VLLM(small, torch.float32).start()
    # The controls: larger ones, and a GPU.
    with pytest.raises(Started):
        VLLM(large, torch.float32).start()
    monkeypatch.setattr(Policy, "device", torch.device("cuda"))
    vllm_module._check_heads(small)


@needs_vllm
def test_a_process_that_dies_is_said_and_the_next_call_starts_another(served: Policy) -> None:
    engine = served.engine
    assert isinstance(engine, VLLM)
    engine.start()
    assert engine._process
    engine._process.kill()
    with pytest.raises(PolicyError, match="its process exited with code -9"):
        sample(served, [Request("a", PROMPTS[0], 1, 4)], temperature=1.0, seed=0)
    check_engine(served, PROMPTS)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(PolicyError, match="not installed; pip install") as error:
        check_engine(with_engine(), PROMPTS)
    assert INSTALL_VLLM in str(error.value)


# In vLLM's place: it may answer at its start, and nothing after that.
SILENT = """
import sys, time
from multiprocessing.connection import Connection
print("loading weights", file=sys.stderr, flush=True)
pipe = Connection(int(sys.argv[1]))
pipe.recv()
if {answers}:
    pipe.send("vllm of a test")
time.sleep(600)
"""


@pytest.mark.parametrize("answers", [True, False])
def test_an_engine_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    policy = with_engine()
    engine = policy.engine
    assert isinstance(engine, VLLM)
    start = subprocess.Popen

    def silent(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        return start([sys.executable, "-c", SILENT.format(answers=answers), command[-1]], **more)

    monkeypatch.setattr(vllm_module, "check_installed", lambda: None)
    monkeypatch.setattr(vllm_module.subprocess, "Popen", silent)
    if answers:
        engine.start()
        assert engine.version == "vllm of a test"
    monkeypatch.setattr(vllm_module, "_PATIENCE", 2.0)
    with pytest.raises(
        PolicyError, match="vLLM failed: it has not answered for 0 minutes: loading weights; to sample without"
    ):
        sample(policy, [Request("a", PROMPTS[0], 1, 4)], temperature=1.0, seed=0)
    assert engine._process is None


@needs_vllm
def test_smollm2_is_sampled_from_its_own_weights() -> None:
    """A model of 30 layers and 49,152 tokens; the control is another one's weights behind the same engine."""
    policy = load_policy("smollm2-135m", TEXT)
    prompts = [policy.prompt_ids(f"What is {n} + {n}?") for n in (3, 17)]
    policy.engine = VLLM(policy, torch.float32)
    try:
        check_engine(policy, prompts)
        with torch.no_grad():
            policy.model.model.norm.weight.mul_(1.5)
        with pytest.raises(PolicyError, match="does not compute what the policy does"):
            check_engine(policy, prompts)
    finally:
        policy.engine.close()


class Another:
    """An engine that samples by our own code from whatever policy it was given."""

    version, dtype = "another", "float32"

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def sample(
        self, draws: Sequence[Draw], settings: Settings, on_finished: Callable[[int, Completion], object]
    ) -> list[Completion]:
        asked = [Request(str(d.seed), d.prompt_ids, 1, d.max_new_tokens) for d in draws]
        done = [c for (c,) in sample(self.policy, asked, temperature=settings.temperature, seed=0)]
        scores = score(self.policy, [whole(d.prompt_ids, c.ids, "") for d, c in zip(draws, done, strict=True)])
        return [replace(c, log_probs=tuple(s.completion)) for c, s in zip(done, scores, strict=True)]

    def close(self) -> None:
        pass


def test_an_engine_of_another_policy_is_refused() -> None:
    policy = build(dtype=torch.float32)
    policy.engine = Another(build(dtype=torch.float32))
    check_engine(policy, PROMPTS)
    policy.engine = Another(build(dtype=torch.float32, seed=1))
    with pytest.raises(PolicyError, match="another does not compute what the policy does"):
        check_engine(policy, PROMPTS)


def test_each_sample_has_a_stream_of_its_own() -> None:
    draws = draws_of([Request("a", (1,), 2, 4), Request("b", (1,), 2, 4)], 0)
    assert [d.request for d in draws] == [0, 0, 1, 1]
    assert len({d.seed for d in draws}) == 4
    assert draws == draws_of([Request("a", (1,), 2, 4), Request("b", (1,), 2, 4)], 0)
    assert {d.seed for d in draws}.isdisjoint(d.seed for d in draws_of([Request("a", (1,), 2, 4)], 1))


def test_merged_weights_are_those_that_the_policy_computes_with() -> None:
    policy = build(dtype=torch.float32)
    plain = {n: p.clone() for n, p in policy.model.named_parameters()}
    policy.model = adapter_on(policy)
    wanted = policy.model(torch.tensor([PROMPTS[0]])).logits
    merged = whole_weights(policy.model)
    assert merged.keys() == plain.keys()
    fresh = build(dtype=torch.float32, seed=1).model
    fresh.load_state_dict(merged)
    torch.testing.assert_close(fresh(torch.tensor([PROMPTS[0]])).logits, wanted, rtol=0, atol=1e-4)
    fresh.load_state_dict(plain)
    assert (fresh(torch.tensor([PROMPTS[0]])).logits - wanted).abs().max() > 0.1
    kept = {n: p for n, p in policy.model.get_base_model().named_parameters() if "lora_" not in n}
    assert all(torch.equal(p, plain[n.replace(".base_layer", "")]) for n, p in kept.items())


@pytest.mark.parametrize("dora", [False, True])
def test_a_policy_can_be_trained_after_its_weights_were_written(dora: bool, tmp_path: Path) -> None:
    policy = build(dtype=torch.float32)
    policy.model = adapter_on(policy, use_dora=dora)
    # As `sample` calls it.
    with torch.inference_mode():
        _write(policy, str(tmp_path), torch.float32)
    policy.model(torch.tensor([PROMPTS[0]])).logits.sum().backward()
    trained = [p.grad for n, p in policy.model.named_parameters() if "lora_A" in n]
    assert trained
    assert all(grad is not None and grad.abs().max() > 0 for grad in trained)


def test_what_a_launcher_tells_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "RANKING"):
        monkeypatch.setenv(name, "1")
    _, environment = _room(torch.device("cpu"))
    assert "RANKING" in environment
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"} & environment.keys()


def adapter_on(policy: Policy, **more: Any) -> Any:
    model = add_adapter(policy.model, 0, r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], **more)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    return model.eval()


# vLLM packs weights for oneDNN where the CPU has AVX-512, and TRL cannot give it new ones then.
WITHOUT_ONEDNN = """
import sys
from vllm import _custom_ops
_custom_ops._supports_onednn = False
from expo.cli import main
sys.exit(main(sys.argv[1:]))
"""
# What TRL samples with vLLM in the process that trains: a run of its own, for vLLM changes the process.
TRAINED = {
    "task": "jsonl",
    "positive": "answer",
    "max_steps": 3,
    "eval_steps": 1,
    "save_steps": 3,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 12,
    "eval_samples": 2,
    "probe_problems": 2,
    "temperature": 1.0,
    "gradient_checkpointing": False,
    "prompts": {"chat": False, "question": "Q: {question}\n\n"},
}


def trained(folder: Path, name: str, **more: Any) -> Run:
    made = build("llama", dtype=torch.float32, head_dim=32)
    with torch.no_grad():  # the less sharp a policy is, the less a sampler in bfloat16 is off
        made.model.lm_head.weight.mul_(0.3)
    made.model.save_pretrained(folder / "policy")
    made.tokenizer.save_pretrained(folder / "policy")
    rows = [{"question": f"how many? {i} * {i}", "answer": str(i * i)} for i in range(2, 6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {**TRAINED, "policy": str(folder / "policy"), "data": str(folder / "rows.jsonl"), **more}
    (folder / f"{name}.yaml").write_text(json.dumps(asked))
    start = ["-c", WITHOUT_ONEDNN] if more.get("use_vllm") else ["-m", "expo.cli"]
    command = [sys.executable, *start, "train", "--config", str(folder / f"{name}.yaml")]
    command += ["--output", str(folder / name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Run(folder / name)


@needs_vllm
def test_a_training_samples_with_vllm_and_its_added_term_is_the_same(tmp_path: Path) -> None:
    own, other = (
        trained(tmp_path, "own"),
        trained(tmp_path, "other", engine="vllm", use_vllm=True, vllm_mode="colocate"),
    )
    assert re.fullmatch(r"vllm [\w.+]+, float32, up to \d+ sequences at a time", other.environment()["engine"])

    def metric(run: Run, name: str) -> np.ndarray:
        frame = run.read("metrics")
        return frame[frame["name"] == name]["value"].to_numpy()

    nll = metric(other, "exp_sft/nll")
    assert len(nll) == 3
    assert nll[0] - nll[-1] > 1
    np.testing.assert_allclose(nll, metric(own, "exp_sft/nll"), rtol=1e-5)
    for name, low, high in (("min", 0.8, 1.0), ("max", 1.0, 1.25)):
        ratio = metric(other, f"sampling/importance_sampling_ratio/{name}")
        assert len(ratio) == 3
        assert (low <= ratio).all(), ratio
        assert (ratio <= high).all(), ratio
