"""A step of `ExPGRPOTrainer` against one of TRL's `GRPOTrainer`: same policy, prompts, batch and G, in turns."""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
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


def run(name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int) -> str:
    """Seconds a step of both, generation included, and the median ratio of steps on the same prompts."""
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        trainers = [
            _trainer(cls, folder, name, task, problems, batch, new_tokens) for cls in (GRPOTrainer, ExPGRPOTrainer)
        ]
        for i, trainer in enumerate(trainers):
            trainer.add_callback(_Turns(turns[i], turns[1 - i]))
        list(pool.map(_train, trainers, reversed(turns)))
    # The first step warms up.
    times = [[e["step_time"] for e in t.state.log_history if "step_time" in e][1:] for t in trainers]
    ratios = [ours / plain for plain, ours in zip(*times, strict=True)]
    return (
        f"training: {name}, {batch} samples a step, G = {G}, up to {new_tokens} new tokens, "
        f"{len(ratios)} steps each\n"
        f"  GRPOTrainer     {statistics.median(times[0]):7.2f} s a step\n"
        f"  ExPGRPOTrainer  {statistics.median(times[1]):7.2f} s a step\n"
        f"  ratio {statistics.median(ratios):.3f}, quartiles {' to '.join(_quartiles(ratios))} "
        f"(the added term is one sequence for each {G}: 1.125 if it cost as much as they do)"
    )


def _train(trainer: Any, others: threading.Semaphore) -> None:
    try:
        trainer.train()
    finally:
        # Or the other would wait for ever for one that failed.
        for _ in range(trainer.args.max_steps):
            others.release()


def _quartiles(values: list[float]) -> list[str]:
    low, _, high = statistics.quantiles(values, n=4)
    return [f"{low:.3f}", f"{high:.3f}"]


class _Turns(TrainerCallback):
    """Step by step: what slows the machine down for a while meets both trainers alike."""

    def __init__(self, mine: threading.Semaphore, others: threading.Semaphore) -> None:
        self.mine, self.others = mine, others

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.mine.acquire()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.others.release()


def _trainer(
    cls: Any, folder: str, name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int
) -> Any:
    policy = load_policy(name, prompts_for(task))
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
    trainer = cls(policy.model, [_length], args, Dataset.from_list(rows), processing_class=policy.tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _length(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(str(c)) % 7) for c in completions]
