"""A step of `ExPGRPOTrainer` against one of TRL's `GRPOTrainer`: same policy, prompts, batch and G, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOTrainer

from expo.grading import checker_for
from expo.policies.policy import load_policy
from expo.policies.prompts import prompts_for
from expo.positives import from_expert
from expo.tasks.problem import Problem
from expo.train.exp_grpo import ExPGRPOConfig, ExPGRPOTrainer
from expo.train.positives import as_prompt
from expo.train.recipe import configuration

G = 8


def run(name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int, rounds: int = 3) -> str:
    """Seconds a step of both, generation included, and their ratio: of medians over the steps of all rounds."""
    times: dict[str, list[float]] = {"GRPOTrainer": [], "ExPGRPOTrainer": []}
    for _ in range(rounds):
        for cls in (GRPOTrainer, ExPGRPOTrainer):
            times[cls.__name__] += _steps(cls, name, task, problems, batch, new_tokens)
    plain, ours = (sorted(held)[len(held) // 2] for held in times.values())
    return (
        f"training: {name}, {batch} samples a step, G = {G}, up to {new_tokens} new tokens, "
        f"{len(times['GRPOTrainer'])} steps each\n"
        f"  GRPOTrainer     {plain:7.2f} s a step\n"
        f"  ExPGRPOTrainer  {ours:7.2f} s a step\n"
        f"  ratio {ours / plain:.3f} (the added term is one sequence for each {G}: 1.125 if it cost as much as they do)"
    )


def _steps(cls: Any, name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int) -> list[float]:
    policy = load_policy(name, prompts_for(task))
    checker = checker_for(task)
    rows = [
        {"prompt": as_prompt(policy, p), "positive": list(from_expert(policy, p, checker).scored.completion)}
        for p in problems
    ]
    checker.close()
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    steps = len(rows) * G // batch
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "per_device_train_batch_size": batch,
            "num_generations": G,
            "max_completion_length": new_tokens,
            "max_steps": steps,
            "temperature": 0.9,
            "loss_type": "grpo",
            "gradient_checkpointing": False,
            "shuffle_dataset": False,
            "disable_tqdm": True,
            "save_strategy": "no",
            # So that both sample the same at every step.
            "learning_rate": 0.0,
        }
        args: ExPGRPOConfig = configuration("grpo", given, folder)
        trainer = cls(policy.model, [_length], args, Dataset.from_list(rows), processing_class=policy.tokenizer)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    # The first step warms up.
    return [e["step_time"] for e in trainer.state.log_history if "step_time" in e][1:]


def _length(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(str(c)) % 7) for c in completions]
