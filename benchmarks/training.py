"""A step of `ExPGRPOTrainer` against one of TRL's `GRPOTrainer`: same policy, prompts, batch and G, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import GRPOTrainer

from benchmarks.turns import compared, in_turns
from expo.policies.load import load_policy
from expo.positives.kinds import from_expert
from expo.tasks import TASKS, checker_for
from expo.tasks.problem import Problem
from expo.train.config import ExPGRPOConfig, configuration
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.positives import as_prompt

G = 8


def run(name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int) -> str:
    """Seconds a step of both, generation included, and the median ratio of steps on the same prompts."""
    with tempfile.TemporaryDirectory() as folder:
        times = in_turns(
            *(_trainer(cls, folder, name, task, problems, batch, new_tokens) for cls in (GRPOTrainer, ExPGRPOTrainer))
        )
    head = f"training: {name}, {batch} samples a step, G = {G}, up to {new_tokens} new tokens"
    about = f" (the added term is one sequence for each {G}: 1.125 if it cost as much as they do)"
    return f"{head}\n{compared(('GRPOTrainer', 'ExPGRPOTrainer'), times, about)}"


def _trainer(
    cls: Any, folder: str, name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int
) -> Any:
    policy = load_policy(name, TASKS[task].prompts)
    checker = checker_for(task)
    rows = [
        {"prompt": as_prompt(policy, p), "positive": list(from_expert(policy, p, checker).scored.completion)}
        for p in problems
    ]
    checker.close()
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    given = {
        "per_device_train_batch_size": batch,
        "num_generations": G,
        "max_completion_length": new_tokens,
        "max_steps": len(rows) * G // batch,
        "temperature": 0.9,
        "loss_type": "grpo",
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        # The policies stay alike, and so does the length of what they sample.
        "learning_rate": 0.0,
    }
    args: ExPGRPOConfig = configuration("grpo", given, folder)
    return cls(policy.model, [_length], args, Dataset.from_list(rows), processing_class=policy.tokenizer)


def _length(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(str(c)) % 7) for c in completions]
