"""What one card of 80 GB or more does, in at most 8 minutes: steps at the paper's size, sampling, the Gram matrix.

    python -m benchmarks.gpu                # prints a table, and writes it to gpu.md
    python -m benchmarks.gpu --rehearse     # tiny shapes in place of the real ones, on a CPU too

Weights are random, so nothing is downloaded. Each part runs in a separate process, so that its memory is measured
alone, and a part that fails or takes too long does not affect the others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from transformers import PretrainedConfig
from trl.trainer import add_fused_lm_head

from benchmarks.gradients import SHAPES, batched, examples
from benchmarks.record import compared
from benchmarks.sampling import generate
from benchmarks.training import TRAINERS, G, by_length
from benchmarks.turns import stepper, timed
from benchmarks.worker import measured
from expo.calibration import device_memory, random_policy
from expo.gradients.gram import per_example_gram
from expo.policies.engine import Request
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.vllm import VLLM
from expo.train.config import quiet, settings_of
from expo.train.dpo import dataset, dpo_trainer
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.memory import GIB, Lengths, memory_of
from expo.train.recipe import read_recipe
from expo.train.session import prepared

SECONDS = 460
_LEAST = 15  # seconds that must be left for a part to start
_LARGE, _SMALL = "qwen2.5-3b", "smollm2-135m"
# The sizes that `--rehearse` uses instead of a shape's own.
_TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 512}
_TINY |= {"num_attention_heads": 2, "num_key_value_heads": 1}
Row = dict[str, Any]


class Bench:
    """The sizes of what is measured, and the card."""

    def __init__(self, rehearse: bool) -> None:
        self.rehearse, self.on_gpu = rehearse, torch.cuda.is_available()
        self.device = "cuda" if self.on_gpu else "cpu"

    def size(self, real: int, rehearsed: int) -> int:
        """A number of tokens or samples."""
        return rehearsed if self.rehearse else real

    def config(self, shape: str) -> PretrainedConfig:
        """A shape with room for 2,048 tokens."""
        given = SHAPES[shape][1].to_dict() | (_TINY | {"layer_types": None} if self.rehearse else {})
        config = type(SHAPES[shape][1])(**given)
        config.max_position_embeddings, config.eos_token_id, config.pad_token_id = 2048, 0, 0
        return config

    def policy(self, shape: str, dtype: torch.dtype) -> Policy:
        """Random weights of a shape."""
        return random_policy(self.config(shape), self.device, dtype)

    @quiet()
    def steps(self, shape: str, values: dict[str, Any], make: Callable[..., Any]) -> Row:
        """Seconds of a step, and the peak beside the plan's."""
        values = {"policy": "random weights", "task": "stories", "dtype": "float32", "max_steps": 3, **values}
        recipe = read_recipe({**values, "learning_rate": 1e-6, "gradient_checkpointing": True, "temperature": 1.0})
        with tempfile.TemporaryDirectory() as folder:
            args = settings_of(recipe.algorithm, recipe.trl, recipe.positive, folder)
            args.save_strategy, args.disable_tqdm = "no", True
            config = self.config(shape)
            lengths = Lengths(args.max_completion_length // 8 + 1, args.max_completion_length)
            plan = memory_of(recipe, args, config, lengths, on_gpu=self.on_gpu, capacity=device_memory())
            policy = prepared(self.policy(shape, getattr(torch, recipe.dtype)), recipe)
            trainer = make(policy, args)
            times, _, peak = measured(lambda: timed(trainer))
        return {"seconds": statistics.median(times), "peak": peak, "plan": plan.peak / GIB}


def prompts(n: int, words: int, of: int) -> list[str]:
    """Prompts of random words."""
    rng = random.Random(0)
    return [" ".join(f"w{rng.randrange(2, of)}" for _ in range(words)) for _ in range(n)]


def _rows(policy: Policy, n: int, limit: int) -> list[dict[str, Any]]:
    words = policy.model.config.vocab_size
    positive = list(range(2, 2 + limit * 3 // 4))
    return [{"prompt": p, "positive": [i % words for i in positive]} for p in prompts(n, limit // 8 + 1, words)]


def grpo(bench: Bench, *, adapter: bool) -> list[Row]:
    """ExP-GRPO at 3B, 24 samples a step, 3 at a time."""
    limit = bench.size(256, 8)
    values = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 8, "num_generations": G}
    values |= {"max_completion_length": limit, "positive": "explanation", "optim": "adamw_torch_fused"}
    values |= {"use_peft": True, "lora_target_modules": ["all-linear"], "dtype": "bfloat16"} if adapter else {}

    def make(policy: Policy, args: Any) -> ExPGRPOTrainer:
        rows = Dataset.from_list(_rows(policy, 9, limit))
        return ExPGRPOTrainer(policy.model, [by_length], args, rows, processing_class=policy.tokenizer)

    what = f"step of ExP-GRPO, {_LARGE}, {'a LoRA adapter' if adapter else 'all weights'}, 24 samples of {limit} tokens"
    return [{"what": what, **bench.steps(_LARGE, values, make)}]


def dpo(bench: Bench) -> list[Row]:
    """DPO at 3B, 16 pairs a step, 2 at a time."""
    limit = bench.size(512, 8)
    values = {"algorithm": "dpo", "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
    values |= {"max_completion_length": limit, "positive": "explanation", "optim": "adamw_torch_fused"}

    def make(policy: Policy, args: Any) -> Any:
        trainer = dpo_trainer(policy, args)
        rng, words = random.Random(0), policy.model.config.vocab_size
        ids = {str(i): rng.choices(range(2, words), k=limit // 8 + 1) for i in range(16 * args.max_steps)}
        sides = {"winner_ids": [rng.choices(range(2, words), k=limit) for _ in ids]}
        sides["loser_ids"] = [rng.choices(range(2, words), k=limit) for _ in ids]
        frame = pd.DataFrame({"problem": list(ids), **sides, "ref_winner": -100.0, "ref_loser": -100.0})
        trainer.train_dataset = dataset(ids, frame)
        return trainer

    return [{"what": f"step of DPO, {_LARGE}, 16 pairs of {limit} tokens", **bench.steps(_LARGE, values, make)}]


@quiet()
def against_trl(bench: Bench) -> list[Row]:
    """A step of `ExPGRPOTrainer` against TRL's `GRPOTrainer`, SmolLM2's shape, in turns."""
    limit, steps = bench.size(64, 8), 8
    given = {"per_device_train_batch_size": 64, "num_generations": G, "max_completion_length": limit}
    given |= {"max_steps": steps, "temperature": 1.0, "learning_rate": 0.0, "gradient_checkpointing": False}

    def make(cls: Any, folder: str) -> Any:
        policy = bench.policy(_SMALL, torch.float32)
        args = settings_of("grpo", given, "explanation", folder)
        args.save_strategy, args.disable_tqdm = "no", True
        rows = Dataset.from_list(_rows(policy, 8 * steps, limit))
        return cls(policy.model, [by_length], args, rows, processing_class=policy.tokenizer)

    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = (stepper(make(cls, folder)) for cls in TRAINERS)
        rounds = [(measured(theirs).seconds, measured(ours).seconds) for _ in range(steps - 1)]
    peer, own = (list(times) for times in zip(*rounds, strict=True))
    found = compared({"ours": own, "peer": peer}, None)
    low, high = found["quartiles"]
    said = f"ratio {found['ratio']:.3f}, quartiles {low:.3f} to {high:.3f}, {len(own)} steps each"
    what = f"step of ExP-GRPO, {_SMALL}, 64 samples of {limit} tokens, against TRL's GRPO"
    return [{"what": what, "seconds": statistics.median(own), "note": said}]


def sampling(bench: Bench, shape: str) -> list[Row]:
    """Tokens a second of this package's sampler, of `generate` as TRL calls it, and of vLLM if it is installed."""
    limit, n = bench.size(128, 8), 8
    policy = bench.policy(shape, torch.bfloat16 if bench.on_gpu else torch.float32)
    asked = [policy.encode(p) for p in prompts(n, 32, policy.model.config.vocab_size)]

    def by_sampler() -> None:
        sample(policy, [Request(str(i), tuple(p), 8, limit) for i, p in enumerate(asked)], temperature=1.0, seed=0)

    ways: dict[str, Callable[[], object]] = {
        "hf": by_sampler,
        "generate": lambda: generate(policy, [p for p in asked for _ in range(8)], limit),
    }
    if find_spec("vllm"):
        ways["vllm"] = by_sampler
    rows = []
    for name, work in ways.items():
        engine = VLLM(policy, policy.model.dtype) if name == "vllm" else None
        policy.engine = engine
        sample(policy, [Request("first", tuple(asked[0]), 1, 2)], temperature=1.0, seed=0)
        _, seconds, peak = measured(work)
        if engine:
            engine.close()
        row = {"what": f"sampling by {name}, {shape}, 64 samples of {limit} tokens", "seconds": seconds, "peak": peak}
        rows.append(row | {"note": f"{64 * limit / seconds:,.0f} tokens a second"})
    if "vllm" not in ways:
        rows.append({"what": f"sampling by vllm, {shape}", "note": "not installed"})
    return rows


def gram(bench: Bench, shape: str) -> list[Row]:
    """The Gram matrix of 64 gradients, and one batched backward pass of the same examples."""
    tokens = bench.size(512 if shape == _LARGE else 150, 16)
    policy = bench.policy(shape, torch.bfloat16 if bench.on_gpu and shape == _LARGE else torch.float32)
    add_fused_lm_head(policy.model)
    given = examples(policy.model, 64, tokens)
    per_example_gram(policy, given[:2])
    what = f"Gram matrix of 64 gradients, {shape}, {tokens} tokens each"
    _, ours, peak = measured(lambda: per_example_gram(policy, given))
    _, theirs, other = measured(lambda: batched(policy.model, given, 8))
    note = f"{ours / theirs:.2f} times a backward pass of 8 at a time, which holds {other:.1f} GiB"
    return [{"what": what, "seconds": ours, "peak": peak, "note": note}]


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "grpo": lambda bench: grpo(bench, adapter=False),
    "dpo": dpo,
    "lora": lambda bench: grpo(bench, adapter=True),
    "trl": against_trl,
    "sampling-large": lambda bench: sampling(bench, _LARGE),
    "gram-large": lambda bench: gram(bench, _LARGE),
    "sampling-small": lambda bench: sampling(bench, _SMALL),
    "gram-small": lambda bench: gram(bench, _SMALL),
}


def _done_by(name: str, rehearse: bool, seconds: float) -> list[Row]:
    """The rows of a part, from a separate process; a failure is a row, too."""
    if seconds < _LEAST:
        return [{"what": name, "note": "not begun: the time was up"}]
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *(["--rehearse"] if rehearse else [])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as part:
        try:
            out, err = part.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # Together with what it started: otherwise vLLM would keep the card's memory.
            os.killpg(part.pid, signal.SIGKILL)
            return [{"what": name, "note": f"stopped: the time was up after {seconds:.0f} s"}]
    if part.returncode:
        return [{"what": name, "note": f"failed: {(err.strip().splitlines() or ['?'])[-1][:200]}"}]
    rows: list[Row] = json.loads(out.splitlines()[-1])
    return rows


def _line(row: Row) -> str:
    numbers = [f"{row[k]:.2f}" if k in row else "" for k in ("seconds", "peak", "plan")]
    return f"| {row['what']} | {' | '.join(numbers)} | {row.get('note', '')} |"


def main() -> None:
    """Measure all parts, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="with tiny shapes")
    parser.add_argument("--part", choices=PARTS, help="this alone, in this process; its rows as JSON")
    parser.add_argument("--output", default="gpu.md", help="the file of the table")
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](Bench(asked.rehearse))))
        return
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    sizes = ", tiny shapes: a rehearsal, which says nothing of real ones" if asked.rehearse else ""
    lines = [f"{card}, {device_memory() / GIB:.0f} GiB, torch {torch.__version__}{sizes}", ""]
    lines += ["| what | seconds | peak GiB | planned GiB | |", "| --- | --: | --: | --: | --- |"]
    print("\n".join(lines), flush=True)
    began = time.perf_counter()
    for name in PARTS:
        rows = _done_by(name, asked.rehearse, SECONDS - (time.perf_counter() - began))
        lines += map(_line, rows)
        print("\n".join(map(_line, rows)), flush=True)
        Path(asked.output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n{time.perf_counter() - began:.0f} s in all; the table is in {asked.output}")


if __name__ == "__main__":
    main()
