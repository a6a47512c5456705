"""A training by DPO as its rounds: sample pairs, learn them, begin again from the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState
from transformers import PrinterCallback, ProgressCallback

from expo.policies.policy import Policy
from expo.positives import question_ids
from expo.tasks.problem import Problem
from expo.train.callbacks import Recorder, last_checkpoint, step_of
from expo.train.dpo import EndOfRound, PairsDPOConfig, dataset, dpo_trainer
from expo.train.pairs import in_order, order
from expo.train.watch import Watch, on_main


def train_rounds(watch: Watch, load: Callable[[Path | None], Policy]) -> None:
    """Train to `max_steps`. `load` gives the policy of a checkpoint, or the initial one.

    Every round begins as a run does that goes on after a kill, so that both hold the same numbers.

    Raises:
        ValueError: if no problem of a round has a pair.
    """
    args, recipe = watch.args, watch.recipe
    assert isinstance(args, PairsDPOConfig)
    steps, every = args.max_steps, recipe.refresh_steps or args.max_steps
    batch = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    wanted = order(watch.task.problems, steps * batch, args.seed)
    prompts = {p.id: question_ids(watch.policy, p) for p in watch.task.problems}
    while (begun := step_of(checkpoint := on_main(lambda: last_checkpoint(watch.run)))) < steps:
        start = begun - begun % every
        own = wanted[start * batch : (start + every) * batch]
        if checkpoint:
            watch.policy = load(checkpoint)
        trainer = watch.trainer = dpo_trainer(watch.policy, args)
        pairs = watch.pairs(start, _distinct(own), prompts, lambda: load(None))
        if not len(pairs):
            raise ValueError(
                f"none of the {len(_distinct(own))} problems of the round from step {start} on has a pair: all were "
                f"left out. Look at why: {watch.run.path('parts', 'skips')}"
            )
        trainer.train_dataset = dataset(prompts, in_order(pairs, own))
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(Recorder(watch.run, None, watch))
        trainer.add_callback(EndOfRound(start + every))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        PartialState().wait_for_everyone()


def _distinct(problems: Sequence[Problem]) -> list[Problem]:
    return list({p.id: p for p in problems}.values())
