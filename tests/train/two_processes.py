"""Run by `accelerate launch`, with 1 or 2 processes: one step of SGD with both terms; writes its loss and weights.

usage: two_processes.py OUT, in the folder of the repository
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import save_file

from expo.policies.engine import Request
from expo.policies.load import load_policy
from expo.policies.sampling import sample
from expo.tasks.chain_task import CHAIN
from expo.train.exp_grpo import ExPGRPOTrainer
from tests.forked import thread_names
from tests.train.test_exp_grpo import PROBLEMS, G, config, rows_of

out = Path(sys.argv[1])
state = PartialState(cpu=True)
torch.set_num_threads(1)
policy = load_policy("tiny-0", CHAIN)
rows = rows_of(policy, kept=5)
worth = {name: i for i, name in enumerate(rows["problem"])}


def by_place(completions: list[str], problem: list[str], **_: Any) -> list[float]:
    """Rewards that differ within a group: by the place in it."""
    return [float((worth[p] + i % G) % 3) for i, p in enumerate(problem)]


def rollout(prompts: list[str], _: Any) -> dict[str, Any]:
    """Samples that depend on their prompt alone: TRL's own differ with the number of processes."""
    asked = [Request(p, policy.encode(p), G, 24) for p in prompts[::G]]
    done = [list(c.ids) for group in sample(policy, asked, temperature=1.5, seed=0) for c in group]
    return {"prompt_ids": [policy.encode(p) for p in prompts], "completion_ids": done, "logprobs": None}


args = config(
    out / "checkpoints",
    per_device_train_batch_size=PROBLEMS * G // state.num_processes // 2,
    gradient_accumulation_steps=2,
    max_completion_length=24,
    learning_rate=1e-3,
    sft_grad_norm_steps=1,
)
trainer = ExPGRPOTrainer(policy.model, [by_place], args, rows, processing_class=policy.tokenizer, rollout_func=rollout)
trainer.train()
if state.is_main_process:
    save_file({k: v.contiguous() for k, v in policy.model.state_dict().items()}, out / "weights.safetensors")
    kept = next(e for e in trainer.state.log_history if "loss" in e)
    kept["processes"] = state.num_processes
    (out / "log.json").write_text(json.dumps({k: v for k, v in kept.items() if "time" not in k}))
# As `expo train` does.
del trainer
gc.collect()
state.destroy_process_group()
assert not [name for name in thread_names() if "gloo" in name], thread_names()
