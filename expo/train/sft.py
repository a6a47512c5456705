"""Supervised training on positives alone, with TRL's `SFTTrainer`: STaR's step, or the first stage before GRPO."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pandas as pd
from datasets import Dataset
from trl import SFTTrainer

from expo.policies.policy import Policy
from expo.positives.closing import explain_ids, question_ids
from expo.tasks.problem import Problem
from expo.train.config import PositivesSFTConfig
from expo.train.parts import parts_of
from expo.train.sharding import compute_precisely


def sft_trainer(
    policy: Policy,
    problems: Sequence[Problem],
    positives: pd.DataFrame,
    args: PositivesSFTConfig,
    hinted_rows: float = 0.0,
) -> SFTTrainer:
    """TRL's trainer on log pi(c, a*|q), averaged over a batch's tokens, for the problems that have a positive.

    `hinted_rows` is the fraction of problems, chosen by seed, whose prompt gives the answer: log pi(c, a*|q, a*). A
    problem that does not fit the context that way gets the plain question.
    """
    rows = []
    for p, parts in zip(problems, parts_of(positives, problems), strict=True):
        if parts is None:
            continue
        positive, mask = parts[0]["ids"], parts[0]["mask"]
        hinted = random.Random(f"hinted:{args.seed}:{p.id}").random() < hinted_rows
        prompt = question_ids(policy, p)
        if hinted and len(longer := explain_ids(policy, p)) + len(positive) <= policy.context:
            prompt = longer
        counted = positive if mask is None else [i if m else -100 for i, m in zip(positive, mask, strict=True)]
        rows.append({"input_ids": prompt + positive, "labels": [-100] * len(prompt) + counted})
    data = Dataset.from_list(rows)
    trainer = SFTTrainer(policy.model, args, train_dataset=data, processing_class=policy.tokenizer)
    compute_precisely(trainer.accelerator)
    return trainer
