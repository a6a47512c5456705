"""A training by DPO as its rounds: sample pairs, learn them, begin again from the checkpoint."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState
from transformers.integrations import is_deepspeed_zero3_enabled

from expo.policies.policy import Policy
from expo.positives import question_ids
from expo.tasks.problem import Problem
from expo.train.callbacks import Recorder, attach, last_checkpoint, step_of
from expo.train.config import PairsDPOConfig
from expo.train.dpo import EndOfRound, dataset, dpo_trainer, restore
from expo.train.pairs import in_order, order
from expo.train.recipe import batch_of
from expo.train.watch import Watch, on_main


def train_rounds(watch: Watch, initial: Callable[[], Policy]) -> None:
    """Train to `max_steps`, or to a round for which no pair is found. `initial` loads the initial policy again.

    Every round begins as a run does that goes on after a kill, so that both hold the same numbers.

    Raises:
        ValueError: if no problem of the first round has a pair, or under ZeRO-3.
    """
    if is_deepspeed_zero3_enabled():
        raise ValueError("dpo does not run under ZeRO-3; one 80 GB card holds a 3B policy with what it needs")
    args, recipe = watch.args, watch.recipe
    assert isinstance(args, PairsDPOConfig)
    steps, every = args.max_steps, recipe.refresh_steps or args.max_steps
    batch = batch_of(args)
    wanted = order(watch.task.problems, steps * batch, args.seed)
    while step_of(checkpoint := on_main(lambda: last_checkpoint(watch.run))) < steps:
        start = step_of(checkpoint) - step_of(checkpoint) % every
        if checkpoint:
            restore(watch.policy, checkpoint)
        learnt = _round(
            watch, initial, wanted[start * batch : (start + every) * batch], start, start + every, checkpoint
        )
        # Or the last round's optimizer would stay in memory beside the next one's.
        watch.trainer = None
        gc.collect()
        if not learnt:
            return


def _round(
    watch: Watch,
    initial: Callable[[], Policy],
    wanted: Sequence[Problem],
    start: int,
    end: int,
    checkpoint: Path | None,
) -> bool:
    """Learn the pairs of the problems `wanted`, from `checkpoint` on to step `end`; False if there is none."""
    assert isinstance(watch.args, PairsDPOConfig)
    problems = list({p.id: p for p in wanted}.values())
    prompts = {p.id: question_ids(watch.policy, p) for p in problems}
    trainer = watch.trainer = dpo_trainer(watch.policy, watch.args)
    pairs = watch.pairs(start, problems, prompts, initial)
    if not len(pairs) and start:
        watch.measure(start)
        return False
    if not len(pairs):
        why = watch.left_out(start)
        raise ValueError(f"none of the {len(problems)} problems of the round from step {start} on has a pair: {why}")
    trainer.train_dataset = dataset(prompts, in_order(pairs, wanted))
    attach(trainer, Recorder(watch.run, None, watch))
    trainer.add_callback(EndOfRound(end))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    PartialState().wait_for_everyone()
    return True
