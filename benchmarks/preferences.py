"""A step of DPO training against a step of TRL's `DPOTrainer` on the same pairs."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import pandas as pd
from datasets import Dataset
from trl import DPOTrainer

from benchmarks.routes import MOST_ROUNDS, Comparison, Route, Work
from benchmarks.turns import stepper
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.positives.kinds import from_expert
from expo.tasks import TASKS, chain, checker_for, load_task
from expo.train.config import PairsDPOConfig, configuration
from expo.train.dpo import dataset, dpo_trainer, score_reference
from expo.train.positives import as_prompt


def comparisons() -> list[Comparison]:
    """The toy and SmolLM2-135M; TRL's reference is scored beforehand, as ours is, or at each step, its default."""
    return [_comparison("tiny-0", "chain", 16), _comparison("smollm2-135m", "stories", 1)]


def _comparison(name: str, task: str, pairs: int) -> Comparison:
    work = f"a step of {pairs} pairs of `{task}`, expert CoTs against those of other questions; {name}, float32"
    given = {"name": name, "task": task, "pairs": pairs}
    routes = (
        Route("expo train", partial(by_ours, **given)),
        Route("DPOTrainer, reference scored beforehand", partial(by_theirs, **given, before=True), "trl"),
        Route("DPOTrainer", partial(by_theirs, **given, before=False), "trl"),
    )
    return Comparison(f"preferences/{name}", work.replace(" 1 pairs", " one pair"), routes)


def by_theirs(name: str, task: str, pairs: int, *, before: bool) -> Work:
    """A step of TRL's trainer."""
    with tempfile.TemporaryDirectory() as folder:
        return stepper(_theirs(folder, name, task, pairs, before))


def by_ours(name: str, task: str, pairs: int) -> Work:
    """A step of the trainer of `expo train`, given TRL's tokens."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = list(_theirs(folder, name, task, pairs, before=False).train_dataset)
        policy = _policy(name, task)
        trainer = dpo_trainer(policy, configuration("dpo", _settings(pairs), folder))
        prompts = {str(i): list(row["prompt_ids"]) for i, row in enumerate(tokens)}
        rows = [
            {"problem": str(i), "winner_ids": row["chosen_ids"], "loser_ids": row["rejected_ids"]}
            for i, row in enumerate(tokens)
        ]
        trainer.train_dataset = dataset(prompts, score_reference(trainer, None, prompts, pd.DataFrame(rows)))
        return stepper(trainer)


def _settings(pairs: int) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": pairs,
        "max_steps": MOST_ROUNDS + 1,
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


def _theirs(folder: str, name: str, task: str, pairs: int, before: bool) -> DPOTrainer:
    """TRL's own trainer, given texts."""
    policy, checker, n = _policy(name, task), checker_for(task), pairs * (MOST_ROUNDS + 1)
    problems = (chain.load("train", n) if task == "chain" else load_task(task, problems=n)).problems[:n]
    texts = [policy.decode(from_expert(policy, p, checker).scored.completion) for p in problems]
    checker.close()
    prompts = [as_prompt(policy, p) for p in problems]
    if policy.uses_chat_template:
        texts = [[{"role": "assistant", "content": t}] for t in texts]
    rows = [
        {"prompt": q, "chosen": t, "rejected": texts[i - 1]}
        for i, (q, t) in enumerate(zip(prompts, texts, strict=True))
    ]
    args: PairsDPOConfig = configuration("dpo", _settings(pairs), folder)
    args.precompute_ref_log_probs = before
    return DPOTrainer(
        policy.model, None, args, train_dataset=Dataset.from_list(rows), processing_class=policy.tokenizer
    )
