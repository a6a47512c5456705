"""A step of a training by DPO against one of TRL's `DPOTrainer` on the same pairs, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import pandas as pd
from datasets import Dataset
from trl import DPOTrainer

from benchmarks.turns import compared, in_turns
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.positives.kinds import from_expert
from expo.tasks import TASKS, checker_for
from expo.tasks.problem import Problem
from expo.train.config import PairsDPOConfig, configuration, quiet
from expo.train.dpo import dataset, dpo_trainer, score_reference
from expo.train.positives import as_prompt


@quiet()
def run(name: str, task: str, problems: Sequence[Problem], pairs: int, steps: int) -> str:
    """Seconds a step, once with TRL asking its reference at each step, as it does by default, and once beforehand."""
    lines = [f"DPO: {name}, {pairs} pairs a step, expert CoTs against those of other problems"]
    for before in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            theirs = _theirs(folder, name, task, problems, pairs, steps, before)
            times = in_turns(theirs, _ours(folder, name, task, theirs, pairs, steps))
        when = "reference scored beforehand" if before else "reference asked at each step"
        lines.append(compared((f"DPOTrainer, {when}", "expo train"), times, ""))
    return "\n".join(lines)


def _settings(pairs: int, steps: int) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": pairs,
        "max_steps": steps,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "disable_tqdm": True,
        "save_strategy": "no",
        "learning_rate": 1e-6,
    }


def _policy(name: str, task: str) -> Policy:
    policy = load_policy(name, TASKS[task].prompts)
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    return policy


def _theirs(
    folder: str, name: str, task: str, problems: Sequence[Problem], pairs: int, steps: int, before: bool
) -> DPOTrainer:
    """TRL's own trainer, given texts."""
    policy, checker = _policy(name, task), checker_for(task)
    texts = [policy.decode(from_expert(policy, p, checker).scored.completion) for p in problems]
    checker.close()
    prompts = [as_prompt(policy, p) for p in problems]
    if policy.uses_chat_template:
        texts = [[{"role": "assistant", "content": t}] for t in texts]
    rows = [
        {"prompt": q, "chosen": t, "rejected": texts[i - 1]}
        for i, (q, t) in enumerate(zip(prompts, texts, strict=True))
    ]
    args: PairsDPOConfig = configuration("dpo", _settings(pairs, steps), folder)
    args.precompute_ref_log_probs = before
    return DPOTrainer(
        policy.model, None, args, train_dataset=Dataset.from_list(rows), processing_class=policy.tokenizer
    )


def _ours(folder: str, name: str, task: str, theirs: DPOTrainer, pairs: int, steps: int) -> DPOTrainer:
    """The trainer of `expo train`, given TRL's tokens."""
    policy = _policy(name, task)
    trainer = dpo_trainer(policy, configuration("dpo", _settings(pairs, steps), folder))
    held = list(theirs.train_dataset)
    prompts = {str(i): list(row["prompt_ids"]) for i, row in enumerate(held)}
    frame = pd.DataFrame(
        [
            {"problem": str(i), "winner_ids": row["chosen_ids"], "loser_ids": row["rejected_ids"]}
            for i, row in enumerate(held)
        ]
    )
    trainer.train_dataset = dataset(prompts, score_reference(trainer, None, prompts, frame))
    return trainer
