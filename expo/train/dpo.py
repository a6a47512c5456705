"""ExP-DPO, offline and iteratively online, by TRL's `DPOTrainer` as it is (Section 5.1).

A training is a sequence of rounds. Each begins from the last checkpoint: pairs are sampled from the policy as it is,
scored once under the reference, which is the initial policy throughout, and learnt for `refresh_steps` steps with the
optimizer and schedule carried on. With `refresh_steps` 0 there is one round, all from the initial policy: offline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from safetensors.torch import load_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import DPOTrainer
from trl.trainer import add_fused_lm_head

from expo.policies.adapters import WEIGHTS, is_wrapped, without_wrapper
from expo.policies.policy import Policy
from expo.train.config import PairsDPOConfig
from expo.train.sharding import compute_precisely


def dpo_trainer(policy: Policy, args: PairsDPOConfig) -> DPOTrainer:
    """TRL's trainer, its dataset still to be given: TRL would tokenise texts again, and pairs are tokens.

    It reads the reference's log-probabilities from that dataset. The reference is needed for new pairs only, and takes
    no memory while the policy learns.
    """
    end = policy.tokenizer.eos_token
    # Of a list datasets would make a name from all that tokenises it, for seconds at each round.
    row = Dataset.from_list([{"prompt": end, "chosen": end, "rejected": end}]).to_iterable_dataset()
    # What an earlier trainer put in place of the policy's own.
    without_wrapper(policy.model).__dict__.pop("forward", None)
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        trainer = DPOTrainer(policy.model, _stand_in(), args, train_dataset=row, processing_class=policy.tokenizer)
    finally:
        if shown:
            enable_progress_bars()
    compute_precisely(trainer.accelerator)
    trainer.ref_model, trainer.precompute_ref_logps = None, True
    return trainer


def _stand_in() -> PreTrainedModel:
    """A reference to begin with: without one TRL would load the policy a second time."""
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    return LlamaForCausalLM(LlamaConfig(**size))


def restore(policy: Policy, checkpoint: Path) -> None:
    """Give the policy the weights of a checkpoint. It stays the model that it is, settings and all.

    Raises:
        RuntimeError: if the checkpoint lacks weights of it, or has others.
    """
    if is_wrapped(policy.model):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        adapter = load_file(checkpoint / WEIGHTS)
        if apart := sorted(adapter.keys() ^ get_peft_model_state_dict(policy.model).keys()):
            raise RuntimeError(f"{checkpoint}: lacks or has beyond the adapter's weights {apart[:3]}")
        set_peft_model_state_dict(policy.model, adapter)
        return
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        weights |= load_file(file)
    missing, unknown = policy.model.load_state_dict(weights, strict=False)
    tied = set(getattr(policy.model, "all_tied_weights_keys", None) or ())
    if unknown or set(missing) - tied:
        raise RuntimeError(f"{checkpoint}: lacks {sorted(set(missing) - tied)[:3]}, has unknown {list(unknown)[:3]}")


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
        add_fused_lm_head(without_wrapper(reference))
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
        """Save and stop where the round ends; what was gathered since the last log would be lost."""
        if state.global_step == self.step:
            control.should_log = control.should_save = control.should_training_stop = True
