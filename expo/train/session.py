"""A training session: what its processes share, and the policy between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from tqdm import tqdm
from trl import DPOTrainer, SFTTrainer
from trl.models.utils import unwrap_model_for_generation

from expo.policies.adapters import add_adapter, is_wrapped, refuse_to_train
from expo.policies.policy import Policy
from expo.records import Run, begun_from, run_before
from expo.schema import as_frame
from expo.setup import load
from expo.tasks import Checker, Task
from expo.tasks.problem import Problem
from expo.train.chunks import Chunks
from expo.train.config import Configuration
from expo.train.engine import engine_of
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.recipe import TrainRecipe
from expo.train.sharding import gathered


@dataclass
class Session:
    """A running training session. Each process takes its share of the problems.

    If several processes hold parts of the weights, each gathers all of them while it samples and scores.
    """

    run: Run
    recipe: TrainRecipe
    args: Configuration
    policy: Policy
    checker: Checker
    task: Task
    held_out: Task
    progress: bool
    on_step: Callable[[], object]
    trainer: ExPGRPOTrainer | DPOTrainer | SFTTrainer | None = None

    def load_initial(self) -> Policy:
        """A new copy of the policy as it was before this training."""
        return prepared(load(self.recipe, own_device()), self.recipe)

    def load_untrained(self) -> Policy:
        """The policy that the chain of trainings behind this one started from."""
        first = begun_from(run_before(self.recipe.policy)) or self.recipe.policy
        return load(replace(self.recipe, policy=first), own_device())

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """The full policy in evaluation mode, computing in the dtype of training."""
        computing = torch.autocast(self.policy.device.type, torch.bfloat16, enabled=self.args.bf16)
        if self.trainer is None:
            with computing:
                yield
            return
        wrapped, accelerator = self.trainer.model_wrapped, self.trainer.accelerator
        engine = engine_of(self.policy, self.trainer, self.recipe)
        # Checkpointing is off within the context, and restored afterwards.
        kwargs = self.args.gradient_checkpointing_kwargs
        whole = unwrap_model_for_generation(wrapped, accelerator, gradient_checkpointing_kwargs=kwargs)
        with computing, gathered(wrapped), whole as model:
            was_training = model.training
            self.policy.model = model.eval()
            self.policy.engine = engine
            try:
                yield
            finally:
                if engine:
                    engine.close()
                self.policy.engine = None
            model.train(was_training)

    def end_engine(self) -> None:
        """Close the engine that sampled the initial policy."""
        if self.policy.engine:
            self.policy.engine.close()
        self.policy.engine = None

    def write(self, table: str, frame: pd.DataFrame, step: int, order: Sequence[str] = ()) -> None:
        """Write the step's shard of a table from the rows of all processes, in the problem order given by `order`."""
        rows = gather_object(frame.to_dict("records"))
        if order:
            place = {problem: i for i, problem in enumerate(order)}
            rows = sorted(rows, key=lambda row: place[row["problem"]])
        if PartialState().is_main_process:
            self.run.write(table, as_frame(table, rows), shard_of(step))
        PartialState().wait_for_everyone()

    def has(self, table: str, step: int) -> bool:
        """Whether the step's shard of a table is written; every process gets the same answer."""
        return bool(on_main(lambda: shard_of(step) in self.run.shards(table)))

    def read(self, table: str, step: int) -> pd.DataFrame:
        """The step's shard of a table."""
        return self.run.read(table, shard_of(step))

    def steps_before(self, step: int, table: str) -> list[int]:
        """The steps of the shards that the policy of this step has learnt from, or starts with."""
        return sorted(int(shard) for shard in self.run.shards(table) if int(shard) < max(step, 1))

    def share(self, problems: Sequence[Any]) -> Sequence[Any]:
        """This process's share of problems or rows."""
        state = PartialState()
        return problems[state.process_index :: state.num_processes]

    def chunks(self, table: str, step: int, problems: Sequence[Problem], tries: int) -> Chunks:
        """The chunks of this process's share of the problems, for the step's shard of a table."""
        return Chunks.of(self.run, table, step, PartialState().process_index, problems, tries)

    def bar(self, what: str, total: int, done: int = 0) -> tqdm:
        """A progress bar on the main process, unless there is nothing to do."""
        shown = self.progress and total > 0 and PartialState().is_main_process
        return tqdm(desc=what, total=total, initial=done, unit="sample", disable=not shown, leave=False)

    def sampling(self, step: int) -> dict[str, Any]:
        """How positives are sampled."""
        return {
            "temperature": self.recipe.positive_temperature or self.args.temperature,
            "max_new_tokens": self.args.max_completion_length,
            "seed": self.args.seed,
            "step": step,
            "rows": self.recipe.rows,
        }


def prepared(policy: Policy, recipe: TrainRecipe) -> Policy:
    """The policy to train: with a fresh adapter if requested, and a padding token for TRL's trainers.

    Raises:
        ValueError: see `add_adapter`; or for a policy that is an adapter's folder.
    """
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    if is_wrapped(policy.model):
        refuse_to_train(policy.name)
    if recipe.use_peft:
        policy.model = add_adapter(policy.model, recipe.seed, **recipe.lora)
    return policy


def own_device() -> str:
    """The device of this process's policy."""
    return "auto" if PartialState().num_processes == 1 else str(PartialState().device)


def shard_of(step: int) -> str:
    """The name of a step's shard, for any table."""
    return f"{step:06d}"


def on_main(ask: Callable[[], Any]) -> Any:
    """Broadcast the main process's result, since other processes may read the disk at another moment."""
    answer = [ask() if PartialState().is_main_process else None]
    return broadcast_object_list(answer)[0]
