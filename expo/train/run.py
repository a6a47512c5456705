"""`train`: takes a recipe, writes a record and a trained policy; resumes from its last complete checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState
from tqdm import tqdm
from transformers.integrations import is_deepspeed_zero3_enabled

from expo.policies.adapters import quiet
from expo.policies.policy import Policy
from expo.policies.products import fast_linear_layers
from expo.records import RecordError, Run, defaults_of
from expo.setup import set_up
from expo.train.callbacks import Recorder, attach
from expo.train.checkpoints import damaged, is_last, keep_model, last_checkpoint, step_of, whole_checkpoints
from expo.train.config import (
    Configuration,
    ExPGRPOConfig,
    PairsDPOConfig,
    PositivesSFTConfig,
    check_optimizer,
    settings_of,
)
from expo.train.grpo import grpo_trainer
from expo.train.own_reward import own_reward, source_of
from expo.train.probes import Probes
from expo.train.recipe import TrainRecipe
from expo.train.rewards import AnswerReward
from expo.train.rounds import train_rounds
from expo.train.session import Session, on_main, own_device, prepared
from expo.train.sft import sft_trainer
from expo.train.sharding import check_devices, check_processes, shared_by
from expo.train.stopping import naming_lost_processes, train_to_end
from expo.train.supply import Supply
from expo.train.tables import check_parts, join_tables


@quiet()
def train(
    recipe: TrainRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Sample positives from the initial policy, train with TRL, evaluate during training, and write the record.

    A finished run is returned as it is. A stopped run resumes from its last complete checkpoint, and gives the numbers
    of a run that was not stopped: to the last bit on a CPU with the same number of threads. Under `accelerate launch`
    every process calls this.

    Raises:
        DataError, PolicyError, RecordError: as documented in their modules.
        FloatingPointError, KeyboardInterrupt: see `train_to_end`.
        RuntimeError: see `naming_lost_processes`.
        ValueError: for a recipe that TRL rejects, or if no problem has a positive, or too few do for a batch; see also
            `check_processes`, `check_devices` and `check_optimizer`.
    """

    def settings() -> Configuration:
        return settings_of(recipe.algorithm, recipe.trl, recipe.positive, str(Path(folder, "checkpoints")))

    # Freed at once: under ZeRO-3 a policy loaded while settings exist holds only a part of its weights.
    check_processes(recipe, settings())
    check_devices(settings())
    check_optimizer(settings())
    reward = source_of(own_reward(recipe.reward)) if recipe.reward else None
    limit, sharding = settings().max_completion_length, shared_by(settings())
    with ExitStack() as stack:
        stack.enter_context(naming_lost_processes(Run(folder)))
        setup = stack.enter_context(
            set_up(
                recipe,
                folder,
                ["evaluation"],
                lambda policy: {**_facts(policy), "sharding": sharding, **({"reward": reward} if reward else {})},
                device=own_device(),
                room=("max_completion_length", limit),
                held_out=recipe.evaluated,
                starting=PartialState().main_process_first,
            )
        )
        run, policy, held_out = setup.run, setup.policy, setup.held_out
        if policy is None or held_out is None:
            on_main(lambda: keep_model(run, int(run.read("evaluation")["step"].max())))
            on_main(lambda: join_tables(run) if run.lacks_a_table() else None)
            return run
        on_main(lambda: stack.enter_context(run.writing()))
        last = on_main(lambda: _begins_after(run))
        if last and progress and PartialState().is_main_process:
            tqdm.write(f"training resumes from the checkpoint of step {last}", file=sys.stderr)
        args = settings()
        stack.enter_context(fast_linear_layers(policy.model))
        session = Session(
            run, recipe, args, prepared(policy, recipe), setup.checker, setup.task, held_out, progress, on_step
        )
        # Only the session holds the policy: under ZeRO-3 it is dropped before it is loaded in parts.
        policy = setup.policy = None
        if isinstance(args, PairsDPOConfig):
            train_rounds(session)
        else:
            _train(session)
        if PartialState().is_main_process:
            keep_model(run, step_of(last_checkpoint(run)))
            join_tables(run)
        PartialState().wait_for_everyone()
        return run


def _begins_after(run: Run) -> int:
    """The step of the checkpoint from which training resumes, 0 without one; the files it needs are complete.

    Raises:
        RecordError: see `last_checkpoint` and `check_parts`.
    """
    step = step_of(last_checkpoint(run))
    check_parts(run, step)
    return step


def refuse_another(folder: Path, recipe: TrainRecipe) -> None:
    """Check that the folder holds no run with another recipe.

    Raises:
        RecordError: if it does; the message names what differs.
    """
    run, defaults = Run(folder), defaults_of(TrainRecipe)
    if not run.path("recipe.yaml").exists():
        return
    differing = {change.partition(":")[0] for change in run.changes(recipe.resolved(), defaults)}
    if run.has("evaluation") and differing and differing <= {"max_steps", "num_train_epochs"}:
        raise RecordError(
            f"{folder} holds a finished training of {int(run.read('evaluation')['step'].max())} steps. It cannot be "
            f"lengthened, because its learning rate was planned for them. To train its policy further, give the same "
            f"command with --policy {run.path('model')} and another --output."
        )
    run.refuse_another_recipe(recipe.resolved(), defaults)


def resume_status(run: Run, recipe: TrainRecipe) -> str:
    """What the same command does with a run folder, as a text to append to its name.

    Empty for a new folder, and for one of another recipe or number of processes, which `train` rejects.
    """
    if not run.path("recipe.yaml").exists() or run.changes(recipe.resolved(), defaults_of(TrainRecipe)):
        return ""
    if run.environment().get("processes") not in (None, PartialState().num_processes):
        return ""
    if run.has("evaluation"):
        return " holds a finished run; this is its record"
    whole = whole_checkpoints(run)
    last = max(whole, default=0)
    return (
        f" has a checkpoint of step {last}; repeat the command to resume from it"
        if last and not damaged(whole[last])
        else ""
    )


def _facts(policy: Policy | None) -> dict[str, Any]:
    return {
        "device": str(policy.device.type) if policy else None,
        "processes": PartialState().num_processes if policy else None,
    }


def _train(session: Session) -> None:
    """Train by GRPO or on positives alone to the last step, from the last complete checkpoint."""
    checkpoint = on_main(lambda: last_checkpoint(session.run))
    if is_last(checkpoint):
        return
    supply = Supply(session)
    positives = supply.positives(0)
    learns = session.args.beta_sft > 0 if isinstance(session.args, ExPGRPOConfig) else True
    if positives.empty and learns:
        raise ValueError(f"no problem has a positive ({len(session.task.problems)} tried): {supply.left_out(0)}")
    # The trainer needs the memory.
    session.end_engine()
    if is_deepspeed_zero3_enabled():
        # Loaded again, now that each process holds only its part of the weights.
        del session.policy
        session.policy = session.load_initial()
    reward = _make_trainer(session, positives)
    assert session.trainer is not None
    attach(session.trainer, Recorder(session, supply, Probes(session, supply), reward))
    if checkpoint and session.recipe.refresh_steps:
        supply.teach(supply.in_force(step_of(checkpoint)))
    train_to_end(session, checkpoint)


def _make_trainer(session: Session, positives: pd.DataFrame) -> AnswerReward | None:
    """Give the session its trainer; returns the reward that grades its samples, if it samples any."""
    policy, args, problems = session.policy, session.args, session.task.problems
    if isinstance(args, PositivesSFTConfig):
        session.trainer = sft_trainer(policy, problems, positives, args, session.recipe.hinted_rows)
        return None
    reward = AnswerReward(policy, session.checker, {p.id: p for p in problems}, args.num_generations)
    session.trainer = grpo_trainer(session, args, reward, positives)
    return reward
