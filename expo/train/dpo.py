"""ExP-DPO, offline and iteratively online, with TRL's unmodified `DPOTrainer` (Section 5.1).

Training is a sequence of rounds. Each round starts from the last checkpoint: pairs are sampled from the current policy,
scored once under the reference (the initial policy throughout), and learnt for `refresh_steps` steps; optimizer and
schedule carry on. With `refresh_steps` 0 there is a single round with pairs from the initial policy: offline DPO.
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
    """TRL's trainer, without its dataset yet: TRL would tokenise texts again, but pairs are tokens.

    It reads the reference's log-probabilities from that dataset. The reference is needed only for new pairs, and takes
    no memory while the policy learns.
    """
    end = policy.tokenizer.eos_token
    # From a list, datasets would derive a name by hashing the tokeniser and all else, which takes seconds in each
    # round.
    row = Dataset.from_list([{"prompt": end, "chosen": end, "rejected": end}]).to_iterable_dataset()
    # What an earlier trainer put in place of the policy's own method.
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
    """A reference to start with: without one, TRL would load the policy a second time."""
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    return LlamaForCausalLM(LlamaConfig(**size))


def restore(policy: Policy, checkpoint: Path) -> None:
    """Load a checkpoint's weights into the policy, which otherwise stays the same model with the same settings.

    Raises:
        RuntimeError: if the checkpoint lacks weights of the policy, or has additional ones.
    """
    if is_wrapped(policy.model):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        adapter = load_file(checkpoint / WEIGHTS)
        if apart := sorted(adapter.keys() ^ get_peft_model_state_dict(policy.model).keys()):
            raise RuntimeError(
                f"{checkpoint}: its weights do not match the adapter's; the differing ones include {apart[:3]}"
            )
        set_peft_model_state_dict(policy.model, adapter)
        return
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        weights |= load_file(file)
    missing, unknown = policy.model.load_state_dict(weights, strict=False)
    tied = set(getattr(policy.model, "all_tied_weights_keys", None) or ())
    if unknown or set(missing) - tied:
        raise RuntimeError(
            f"{checkpoint}: lacks the weights {sorted(set(missing) - tied)[:3]} and has the unknown weights "
            f"{list(unknown)[:3]}"
        )


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
    """Add `ref_winner` and `ref_loser` to the pairs, in nats per sequence, computed as TRL's loss does.

    Without a `reference`, the policy to train is still the reference.
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
    """Stops at a step, with a checkpoint from which the next round starts."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop at the end of the round; log first, so that nothing gathered since the last log is lost."""
        if state.global_step == self.step:
            control.should_log = control.should_save = control.should_training_stop = True
