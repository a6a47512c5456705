"""`train`: a recipe in, a record and a trained policy out; goes on from its last whole checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState
from transformers.integrations import is_deepspeed_zero3_enabled

from expo.policies.policy import Policy
from expo.records import Run, defaults_of
from expo.setup import facts_of, load, load_problems, within_context
from expo.tasks import Checker, Task, checker_for
from expo.tasks.problem import Problem, Skip
from expo.train.callbacks import Recorder, attach
from expo.train.checkpoints import damaged, is_last, keep_model, last_checkpoint, step_of, whole_checkpoints
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig, PositivesSFTConfig, quiet
from expo.train.grpo import grpo_trainer
from expo.train.probes import Probes
from expo.train.recipe import TrainRecipe
from expo.train.rewards import AnswerReward
from expo.train.rounds import train_rounds
from expo.train.session import Session, on_main
from expo.train.settings import settings_of, steps_in_rounds
from expo.train.sft import sft_trainer
from expo.train.supply import Supply
from expo.train.tables import join_tables


@quiet()
def train(
    recipe: TrainRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Sample positives from the initial policy, train with TRL, evaluate as it goes; write the record.

    A finished run is returned as it is; a stopped one goes on from its last whole checkpoint and holds the numbers of
    one that was not stopped: to the last bit on a CPU with as many threads. Under `accelerate launch` every process
    calls this.

    Raises:
        DataError, PolicyError, RecordError: as their modules say.
        ValueError: for a recipe that TRL refuses, or if no problem has a positive, or too few are there for a batch.
    """
    with closing(checker_for(recipe.task)) as checker, ExitStack() as stack:
        tasks, run = load_both(recipe, checker), Run(folder)
        policy = None if run.has("evaluation") else load_initial(recipe)
        args = settings_of(recipe, str(run.path("checkpoints")))
        task, held_out = _start(recipe, run, tasks, policy, args)
        if policy is None:
            on_main(lambda: keep_model(run, int(run.read("evaluation")["step"].max())))
            on_main(lambda: join_tables(run) if run.lacks_a_table() else None)
            return run
        on_main(lambda: stack.enter_context(run.writing()))
        checkpoint = on_main(lambda: last_checkpoint(run))
        session = Session(run, recipe, args, policy, checker, task, held_out, progress, on_step)
        if isinstance(args, PairsDPOConfig):
            args.max_steps = steps_in_rounds(recipe, args, len(task.problems))
            train_rounds(session, lambda: load_initial(recipe))
        elif not is_last(checkpoint):
            _train(session, checkpoint)
        if PartialState().is_main_process:
            keep_model(run, step_of(last_checkpoint(run)))
            join_tables(run)
        PartialState().wait_for_everyone()
        return run


def load_initial(recipe: TrainRecipe) -> Policy:
    """The policy to train, on this process's device.

    Raises:
        PolicyError: if it does not fit the task.
    """
    policy = load(
        recipe,
        device="auto" if PartialState().num_processes == 1 else str(PartialState().device),
        trust_remote_code=recipe.trl.get("trust_remote_code", False),
    )
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    return policy


def load_both(recipe: TrainRecipe, checker: Checker) -> tuple[Task, Task]:
    """The problems trained on, and those evaluated on: the same where the task has no splits."""
    evaluated = {
        "data": recipe.eval_data or recipe.data,
        "split": recipe.eval_split,
        "problems": recipe.eval_problems,
        "levels": recipe.eval_levels,
    }
    return (
        load_problems(recipe, checker, seed=recipe.seed),
        load_problems(recipe, checker, seed=recipe.seed, **evaluated),
    )


def resume_status(run: Run) -> str:
    """What the same command does with a run folder, to be read after its name; nothing for a new one."""
    if run.has("evaluation"):
        return ": finished before; this is its record"
    whole = whole_checkpoints(run)
    last = max(whole, default=0)
    return f": goes on from its checkpoint of step {last}" if last and not damaged(whole[last]) else ""


def _start(
    recipe: TrainRecipe, run: Run, tasks: tuple[Task, Task], policy: Policy | None, args: Configuration
) -> tuple[Task, Task]:
    """Begin the record, or go on with it: the problems trained on and evaluated on that fit the policy's context."""
    task, held_out = tasks
    facts: dict[str, Any] = {
        **facts_of(recipe, tasks, policy, seed=recipe.seed),
        "eval_problems": len(held_out.problems),
        "device": str(policy.device.type) if policy else None,
        "processes": PartialState().num_processes if policy else None,
    }
    if policy:
        limit = args.max_completion_length
        # Before anything is written: what is refused leaves no folder.
        task, held_out = (
            within_context(policy, t, limit, "max_completion_length") for t in (_distinct(task), held_out)
        )
    with PartialState().main_process_first():
        Run.start(run.folder, recipe.resolved(), defaults_of(TrainRecipe), **facts)
    return task, held_out


def _distinct(task: Task) -> Task:
    """The task with each question once: a prompt has one positive."""
    first: dict[str, Problem] = {}
    for p in task.problems:
        first.setdefault(p.question, p)
    skips = [
        Skip(p.where or p.id, "question", f"the same as {first[p.question].where or first[p.question].id}; left out")
        for p in task.problems
        if first[p.question] is not p
    ]
    return replace(task, problems=tuple(first.values()), skipped=(*task.skipped, *skips))


def _train(session: Session, checkpoint: Path | None) -> None:
    supply = Supply(session)
    positives = supply.positives(0)
    learns = session.args.beta_sft > 0 if isinstance(session.args, ExPGRPOConfig) else True
    if positives.empty and learns:
        raise ValueError(f"none of the {len(session.task.problems)} problems has a positive: {supply.left_out(0)}")
    if is_deepspeed_zero3_enabled():
        # Loaded once more, now that each process is to hold its part of the weights alone.
        session.policy = load_initial(session.recipe)
    reward = _make_trainer(session, positives)
    assert session.trainer is not None
    attach(session.trainer, Recorder(session, supply, Probes(session, supply), reward))
    if checkpoint and session.recipe.refresh_steps:
        supply.teach(supply.in_force(step_of(checkpoint)))
    session.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _make_trainer(session: Session, positives: pd.DataFrame) -> AnswerReward | None:
    """Give the session its trainer, and return the reward that it grades samples by, if it samples any."""
    policy, args, problems = session.policy, session.args, session.task.problems
    if isinstance(args, PositivesSFTConfig):
        session.trainer = sft_trainer(policy, problems, positives, args)
        return None
    reward = AnswerReward(policy, session.checker, {p.id: p for p in problems}, args.num_generations)
    session.trainer = grpo_trainer(session, args, reward, positives)
    return reward
