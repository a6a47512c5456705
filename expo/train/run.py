"""`train`: a recipe in, a record and a trained policy out; goes on from its last whole checkpoint."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState
from datasets import Dataset
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import SFTTrainer

from expo.evaluate import within_context
from expo.grading import Checker, TextChecker, checker_for
from expo.measure.run import digest
from expo.policies.policy import TEMPLATE_VARIABLES, Policy, PolicyError, load_policy
from expo.positives import question_ids
from expo.records import DRAFT, RecordError, Run, begun_from, usual, write_atomic
from expo.tasks import Task, load_task
from expo.tasks.problem import Problem, Skip
from expo.train.callbacks import (
    BY_STEP,
    MARK,
    TOGETHER,
    Recorder,
    attach,
    damaged,
    last_checkpoint,
    step_of,
    whole_checkpoints,
)
from expo.train.config import ExPGRPOConfig, PairsDPOConfig, PositivesSFTConfig, configuration, quiet
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.positives import as_prompt
from expo.train.recipe import TrainRecipe, batch_of
from expo.train.rewards import AnswerReward
from expo.train.rounds import train_rounds
from expo.train.sft import sft_trainer
from expo.train.show import completions
from expo.train.watch import Watch, on_main


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
        task, held_out = tasks(recipe, checker)
        run = Run(folder)
        policy = None if run.has("evaluation") else load(recipe)
        facts = _facts(recipe, task, held_out, policy)
        args = configuration(recipe.algorithm, recipe.trl, str(run.path("checkpoints")), **fixed(recipe))
        if policy:
            limit = args.max_completion_length
            # Before anything is written: what is refused leaves no folder.
            task, held_out = (
                within_context(policy, t, limit, "max_completion_length") for t in (_distinct(task), held_out)
            )
        with PartialState().main_process_first():
            run = Run.start(folder, recipe.resolved(), usual(TrainRecipe), **facts)
        if policy is None:
            on_main(lambda: _keep_model(run, int(run.read("evaluation")["step"].max())))
            on_main(lambda: _merge(run) if run.lacks_a_table() else None)
            return run
        on_main(lambda: stack.enter_context(run.held()))
        checkpoint = on_main(lambda: last_checkpoint(run))
        watch = Watch(run, recipe, args, policy, checker, task, held_out, progress, on_step)
        if isinstance(args, PairsDPOConfig):
            args.max_steps = steps_in_rounds(recipe, args, len(task.problems))
            train_rounds(watch, lambda: load(recipe))
        elif not _is_last(checkpoint):
            _train(watch, checkpoint)
        if PartialState().is_main_process:
            _keep_model(run, step_of(last_checkpoint(run)))
            _merge(run)
        PartialState().wait_for_everyone()
        return run


def standing(run: Run) -> str:
    """What the same command does with a run folder, to be read after its name; nothing for a new one."""
    if run.has("evaluation"):
        return ": finished before; this is its record"
    whole = whole_checkpoints(run)
    last = max(whole, default=0)
    return f": goes on from its checkpoint of step {last}" if last and not damaged(whole[last]) else ""


def _train(watch: Watch, checkpoint: Path | None) -> None:
    positives = watch.positives(0)
    learns = watch.args.beta_sft > 0 if isinstance(watch.args, ExPGRPOConfig) else True
    if positives.empty and learns:
        raise ValueError(f"none of the {len(watch.task.problems)} problems has a positive: {watch.left_out(0)}")
    if is_deepspeed_zero3_enabled():
        # Loaded once more, now that each process is to hold its part of the weights alone.
        watch.policy = load(watch.recipe)
    trainer = _trainer(watch, positives)
    if checkpoint and watch.recipe.refresh_steps:
        watch.hold(watch.positives_in_force(step_of(checkpoint)))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def steps_in_rounds(recipe: TrainRecipe, args: PairsDPOConfig, problems: int) -> int:
    """The steps of a training by DPO, whose pairs are as many as its batches take.

    Raises:
        ValueError: if rounds of `refresh_steps` do not make it up.
    """
    steps = args.max_steps if args.max_steps > 0 else math.ceil(problems * args.num_train_epochs / batch_of(args))
    if steps < 1:
        raise ValueError(f"{problems} problems in {args.num_train_epochs:g} epochs make no step; give max_steps")
    if recipe.refresh_steps and steps % recipe.refresh_steps:
        raise ValueError(f"refresh_steps ({recipe.refresh_steps}) must divide the number of steps ({steps})")
    return steps


def _is_last(checkpoint: Path | None) -> bool:
    """Whether all steps are done; the trainer, asked to go on from there, would take one more."""
    if checkpoint is None:
        return False
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return bool(state["global_step"] >= state["max_steps"])


def _keep_model(run: Run, step: int) -> None:
    """The policy after `step`, without what only a training needs, as the run's `model`, unless it is there.

    A finished run whose model was deleted has it again, if its last checkpoint is still as it was written.
    """
    checkpoint, model = whole_checkpoints(run).get(step), run.path("model")
    if model.exists() or checkpoint is None or damaged(checkpoint):
        return
    draft = run.path(f"model{DRAFT}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(checkpoint, draft, ignore=_for_training_alone)
    draft.rename(model)


def _for_training_alone(_: str, names: list[str]) -> list[str]:
    # Optimizer, schedule, random states and settings are pickles; ZeRO keeps its parts in folders of a step.
    return [
        n for n in names if n.endswith((".pt", ".bin", ".pth")) or n.startswith(("global_step", "trainer_state", MARK))
    ]


def _distinct(task: Task) -> Task:
    """The task with each question once: a prompt has one positive."""
    first: dict[str, Problem] = {}
    for p in task.problems:
        first.setdefault(p.question, p)
    again = [p for p in task.problems if first[p.question] is not p]
    skips = [
        Skip(p.where or p.id, "question", f"the same as {first[p.question].where or first[p.question].id}; left out")
        for p in again
    ]
    return replace(task, problems=tuple(first.values()), skipped=(*task.skipped, *skips))


def tasks(recipe: TrainRecipe, checker: Checker) -> tuple[Task, Task]:
    """The problems trained on, and those evaluated on: the same where the task has no splits."""
    can_parse = checker.can_parse if isinstance(checker, TextChecker) else None

    def some(data: str | None, split: str, problems: int | None, levels: list[int] | None) -> Task:
        return load_task(
            recipe.task,
            data=data,
            split=split,
            problems=problems,
            levels=levels,
            seed=recipe.seed,
            can_parse=can_parse,
        )

    return (
        some(recipe.data, recipe.split, recipe.problems, recipe.levels),
        some(recipe.eval_data or recipe.data, recipe.eval_split, recipe.eval_problems, recipe.eval_levels),
    )


def load(recipe: TrainRecipe) -> Policy:
    """The policy to train, on this process's device.

    Raises:
        PolicyError: if it does not fit the task.
    """
    policy = load_policy(
        recipe.policy,
        recipe.resolved_prompts(),
        device="auto" if PartialState().num_processes == 1 else str(PartialState().device),
        dtype=recipe.dtype,
        trust_remote_code=recipe.trl.get("trust_remote_code", False),
    )
    if policy.is_toy != (recipe.task == "chain"):
        raise PolicyError(
            f"policy {recipe.policy!r} and task {recipe.task!r} do not fit: tiny knows the words of chain only"
        )
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    return policy


def _facts(recipe: TrainRecipe, task: Task, held_out: Task, policy: Policy | None) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "task": task.source or task.name,
        "toy": task.is_toy,
        "problems": len(task.problems),
        "eval_problems": len(held_out.problems),
        "data_sha256": digest(task) + digest(held_out),
        "weights": policy.source if policy else None,
        "device": str(policy.device.type) if policy else None,
        "processes": PartialState().num_processes if policy else None,
        "trained_from": begun_from(recipe.policy),
    }


def fixed(recipe: TrainRecipe) -> dict[str, Any]:
    """What this run decides of TRL's configuration, whatever the recipe says."""
    if recipe.algorithm == "dpo":
        return {"train_sampling_strategy": "sequential"}
    if recipe.algorithm == "sft":
        return {}
    return {
        **({"beta_sft": 0.0} if recipe.positive == "none" else {}),
        "shuffle_dataset": False,
        "chat_template_kwargs": {**TEMPLATE_VARIABLES, **(recipe.trl.get("chat_template_kwargs") or {})},
    }


def _trainer(watch: Watch, positives: pd.DataFrame) -> ExPGRPOTrainer | SFTTrainer:
    policy, args, task = watch.policy, watch.args, watch.task
    trainer: ExPGRPOTrainer | SFTTrainer
    if isinstance(args, PositivesSFTConfig):
        reward, trainer = None, sft_trainer(policy, task.problems, positives, args)
    else:
        reward = AnswerReward(policy, watch.checker, {p.id: p for p in task.problems}, args.num_generations)
        trainer = _grpo_trainer(watch, args, reward, positives)
    watch.trainer = trainer
    attach(trainer, Recorder(watch.run, reward, watch))
    return trainer


def _grpo_trainer(watch: Watch, args: ExPGRPOConfig, reward: AnswerReward, positives: pd.DataFrame) -> ExPGRPOTrainer:
    policy, task = watch.policy, watch.task
    prompts = dataset(policy, task, positives, args)
    # All epochs are in the dataset: TRL's own shuffling begins anew when a run goes on, and would give another order.
    args.num_train_epochs = 1
    trainer = ExPGRPOTrainer(policy.model, [reward], args, prompts, processing_class=policy.tokenizer)
    first = task.problems[0]
    if trainer.prompt_ids(as_prompt(policy, first)) != tuple(question_ids(policy, first)):
        raise PolicyError(
            "TRL's prompts are not those that positives and evaluations are sampled with: take away what "
            "chat_template_kwargs or chat_template_path of the recipe change, or today's date from the template"
        )
    return trainer


def dataset(policy: Policy, task: Task, positives: pd.DataFrame, args: ExPGRPOConfig) -> Dataset:
    """Prompts with their positives in the order of training, each epoch shuffled by seed."""
    ids = dict(zip(positives["problem"], positives["ids"], strict=True))
    rows = []
    for p in task.problems:
        positive = [int(i) for i in ids[p.id]] if p.id in ids else None
        rows.append({"prompt": as_prompt(policy, p), "problem": p.id, "positive": positive})
    wanted = generations_in(len(rows), args) * (args.generation_batch_size // args.num_generations)
    order: list[int] = []
    for epoch in range(-(-wanted // len(rows))):
        indices = list(range(len(rows)))
        random.Random(f"{args.seed}:{epoch}").shuffle(indices)
        order += indices
    return Dataset.from_list([rows[i] for i in order[:wanted]])


def generations_in(problems: int, args: ExPGRPOConfig) -> int:
    """How often the policy is sampled: for the whole batches of the epochs, or for `max_steps`.

    Raises:
        ValueError: if the problems do not fill one batch.
    """
    batch = args.generation_batch_size // args.num_generations
    if args.max_steps > 0:
        steps = args.steps_per_generation * args.num_iterations / args.gradient_accumulation_steps
        return math.ceil(args.max_steps / steps)
    if generations := int(problems * args.num_train_epochs) // batch:
        return generations
    raise ValueError(
        f"{problems} problems in {args.num_train_epochs:g} epochs are fewer than the {batch} that one generation "
        "takes; give more problems or epochs, or lower steps_per_generation or the batch"
    )


def _merge(run: Run) -> None:
    """The parts of each table as one; the one that says the run is done comes last. A done run has what it lacks.

    Raises:
        RecordError: if a part is missing that others of its step have.
    """
    done, whole = run.has(BY_STEP[-1]), set()
    for together in TOGETHER:
        names = {table: run.parts(table) for table in together if run.parts(table)}
        for table, held in names.items():
            lost = sorted(set().union(*names.values()) - held)
            if not lost:
                whole.add(table)
            elif not done:
                step, folder = int(lost[0]), run.path("checkpoints")
                mend = (
                    f"the checkpoints of step {step} and after in {folder}" if step else f"the run folder {run.folder}"
                )
                raise RecordError(
                    f"{run.path('parts', table)} lacks {lost[0]}.parquet, which must be made again: delete {mend}, and "
                    "give the command again"
                )
    for table in BY_STEP:
        if table in whole and not (done and run.has(table)):
            run.write(table, _all_parts(run, table))
        if table == "probes" and run.has("probes") and len(run.read("probes")):
            write_atomic(run.path("completions.md"), completions(run))


def _all_parts(run: Run, table: str) -> pd.DataFrame:
    return pd.concat([run.read(table, name) for name in sorted(run.parts(table))], ignore_index=True)
