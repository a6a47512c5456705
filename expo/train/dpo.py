"""ExP-DPO, offline and iteratively online, by TRL's `DPOTrainer` as it is (Section 5.1).

A training is a sequence of rounds. Each begins from the last checkpoint: pairs are sampled from the policy as it is,
scored once under the reference, which is the initial policy throughout, and learnt for `refresh_steps` steps with the
optimizer and schedule carried on. With `refresh_steps` 0 there is one round, all from the initial policy: offline.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import DPOConfig, DPOTrainer
from trl.trainer import add_fused_lm_head

from expo.policies.policy import Policy


@dataclass
class PairsDPOConfig(DPOConfig):
    """`DPOConfig`, and how pairs and evaluations are sampled."""

    temperature: float = field(default=0.9, metadata={"help": "of sampling winners and losers"})
    max_completion_length: int = field(default=256, metadata={"help": "token limit of a sampled completion"})
    # A pair longer than the context is left out; one cut at a limit would never end.
    max_length: int | None = field(default=None, metadata={"help": "tokens at which TRL cuts a sequence; none"})
    # The reference is needed for new pairs only, and takes no memory while the policy learns.
    precompute_ref_log_probs: bool = field(
        default=True, metadata={"help": "score a round's pairs under the reference before the round; always so here"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.precompute_ref_log_probs:
            raise ValueError("precompute_ref_log_probs: the reference's log-probabilities are always computed first")


def dpo_trainer(policy: Policy, args: PairsDPOConfig) -> DPOTrainer:
    """TRL's trainer, its dataset still to be given: TRL would tokenise texts again, and pairs are tokens."""
    end = policy.tokenizer.eos_token
    stand_in = Dataset.from_list([{"prompt": end, "chosen": end, "rejected": end}])
    with _no_bars():
        return DPOTrainer(policy.model, args=args, train_dataset=stand_in, processing_class=policy.tokenizer)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the progress bars of what TRL does with the one row of the stand-in."""
    shown, held = not are_progress_bars_disabled(), os.environ.get("TQDM_DISABLE")
    disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("TQDM_DISABLE")
        if held is not None:
            os.environ["TQDM_DISABLE"] = held
        if shown:
            enable_progress_bars()


def dataset(prompts: dict[str, list[int]], pairs: pd.DataFrame) -> Dataset:
    """The columns that TRL's loss reads, in the order of `pairs`."""
    return Dataset.from_list(
        [
            {
                "prompt_ids": prompts[p["problem"]],
                "chosen_ids": [int(i) for i in p["winner_ids"]],
                "rejected_ids": [int(i) for i in p["loser_ids"]],
                "ref_chosen_logps": p["ref_winner"],
                "ref_rejected_logps": p["ref_loser"],
            }
            for p in pairs.to_dict("records")
        ]
    )


def score_reference(
    trainer: DPOTrainer, reference: PreTrainedModel | None, prompts: dict[str, list[int]], pairs: pd.DataFrame
) -> pd.DataFrame:
    """The pairs with `ref_winner` and `ref_loser`, nats per sequence, as TRL's loss takes them.

    Without a `reference` the policy to train is it still.
    """
    if not len(pairs):
        return pairs
    if reference is None:
        reference = trainer.model
    else:
        add_fused_lm_head(reference)
    batch = trainer.args.per_device_train_batch_size
    rows = dataset(prompts, pairs.assign(ref_winner=0.0, ref_loser=0.0)).remove_columns(
        ["ref_chosen_logps", "ref_rejected_logps"]
    )
    winners: list[float] = []
    losers: list[float] = []
    for low in range(0, len(rows), batch):
        inputs = trainer.data_collator([rows[i] for i in range(low, min(low + batch, len(rows)))])
        inputs = {k: v.to(reference.device) for k, v in inputs.items()}
        with torch.no_grad():
            chosen, rejected = trainer.compute_ref_log_probs(reference, inputs)
        winners += chosen.tolist()
        losers += rejected.tolist()
    return pairs.assign(ref_winner=winners, ref_loser=losers)


class EndOfRound(TrainerCallback):
    """Stops at a step, with a checkpoint: the next round begins from there."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop where the round ends."""
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True
