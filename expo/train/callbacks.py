"""What is written while a training runs: metrics and groups by step, evaluations and probes every so often.

Metrics and groups are kept in memory and written when a checkpoint is made, before the mark that says it is whole: a
run that goes on from that checkpoint then has each row once.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from expo.records import TABLES, Run, write_atomic
from expo.train.rewards import AnswerReward
from expo.train.watch import Watch

BUFFERED = ("metrics", "timing", "groups")
_WHOLE = "expo-checkpoint-is-whole"
# What the machine took, or says twice what the recipe does.
_TIMING = ("step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "epoch")


class Recorder(TrainerCallback):
    """Writes the run's tables; has the policy measured before, every `eval_steps`, and after, and positives renewed."""

    def __init__(self, run: Run, reward: AnswerReward, watch: Watch) -> None:
        self.run, self.reward, self.watch = run, reward, watch
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in BUFFERED}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the policy before its first step."""
        if state.global_step == 0:
            self.watch.measure(0)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sample positives anew every so many steps."""
        every = self.watch.recipe.refresh_steps
        if every and state.global_step and state.global_step % every == 0:
            self.watch.refresh(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure it every so many steps, and after the last one."""
        self.watch.on_step()
        if state.global_step == state.max_steps or (args.eval_steps and state.global_step % args.eval_steps == 0):
            self.watch.measure(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep what is logged, and the groups that were sampled since."""
        for name, value in (logs or {}).items():
            table = "timing" if name in _TIMING else "metrics"
            self.rows[table].append({"step": state.global_step, "name": name, "value": value})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what was kept, then mark the checkpoint as whole, when every process has written its part of it."""
        PartialState().wait_for_everyone()
        self.rows["groups"] += self.reward.groups
        self.reward.groups = []
        if state.is_world_process_zero:
            for name, rows in self.rows.items():
                self.run.write(name, pd.DataFrame(rows, columns=list(TABLES[name])), f"{state.global_step:06d}")
            write_atomic(Path(args.output_dir, f"checkpoint-{state.global_step}", _WHOLE), "")
        self.rows = {name: [] for name in BUFFERED}


def last_checkpoint(run: Run) -> Path | None:
    """The last whole checkpoint, if any. What a stopped run wrote after it is deleted."""
    folders = {int(p.name.rpartition("-")[2]): p for p in run.path("checkpoints").glob("checkpoint-*")}
    whole = [step for step, folder in folders.items() if (folder / _WHOLE).exists()]
    last = max(whole, default=0)
    for step, folder in folders.items():
        if step not in whole:
            shutil.rmtree(folder)
    for table in BUFFERED:
        for part in run.parts(table):
            if int(part) > last:
                run.path("parts", table, f"{part}.parquet").unlink()
    return folders[last] if last else None
