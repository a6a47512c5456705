"""The rounds of a DPO training run: sample pairs, learn them, start again from the checkpoint."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from expo.positives.closing import question_ids
from expo.tasks.problem import Problem
from expo.train.callbacks import Recorder, attach
from expo.train.checkpoints import last_checkpoint, step_of
from expo.train.config import PairsDPOConfig
from expo.train.dpo import EndOfRound, dataset, dpo_trainer, restore
from expo.train.pairs import in_order, order
from expo.train.probes import Probes
from expo.train.session import Session, on_main
from expo.train.steps import batch_of, steps_in_rounds
from expo.train.stopping import train_to_end
from expo.train.supply import Supply


def train_rounds(session: Session) -> None:
    """Train to the last step, or to a round for which no pair is found.

    Every round starts like a run that resumes after a kill, so that both give the same numbers.

    Raises:
        ValueError: if no problem of the first round has a pair.
    """
    session.end_engine()
    args, recipe = session.args, session.recipe
    assert isinstance(args, PairsDPOConfig)
    args.max_steps = steps_in_rounds(recipe, args, len(session.task.problems))
    steps, every = args.max_steps, recipe.refresh_steps or args.max_steps
    batch = batch_of(args)
    wanted = order(session.task.problems, steps * batch, args.seed)
    while step_of(checkpoint := on_main(lambda: last_checkpoint(session.run))) < steps:
        start = step_of(checkpoint) - step_of(checkpoint) % every
        if checkpoint:
            restore(session.policy, checkpoint)
        learnt = _round(session, wanted[start * batch : (start + every) * batch], start, start + every, checkpoint)
        # Otherwise the last round's optimizer would stay in memory together with the next one's.
        session.trainer = None
        gc.collect()
        if not learnt:
            return


def _round(
    session: Session,
    wanted: Sequence[Problem],
    start: int,
    end: int,
    checkpoint: Path | None,
) -> bool:
    """Learn the pairs of the problems `wanted`, from `checkpoint` up to step `end`; False if there are none."""
    assert isinstance(session.args, PairsDPOConfig)
    supply = Supply(session)
    probes = Probes(session, supply)
    problems = list({p.id: p for p in wanted}.values())
    prompts = {p.id: question_ids(session.policy, p) for p in problems}
    trainer = session.trainer = dpo_trainer(session.policy, session.args)
    pairs = supply.pairs(start, problems, prompts)
    recorder = Recorder(session, supply, probes)
    attach(trainer, recorder)
    if not len(pairs) and start:
        if not session.has("evaluation", start):
            trainer.state.global_step = start
            recorder.measure(start)
        return False
    if not len(pairs):
        why = supply.left_out(start)
        raise ValueError(f"no problem of the round from step {start} has a pair ({len(problems)} tried): {why}")
    trainer.train_dataset = dataset(prompts, in_order(pairs, wanted))
    trainer.add_callback(EndOfRound(end))
    train_to_end(session, checkpoint)
    PartialState().wait_for_everyone()
    return True
