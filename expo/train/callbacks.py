"""What is written while a training runs: metrics and groups by step, evaluations and probes every so often.

Metrics and groups are kept in memory and written when a checkpoint is made, before the mark that says it is whole: a
run that goes on from that checkpoint then has each row once.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from expo.records import RecordError, Run, to_yaml, write_atomic
from expo.tables import as_frame
from expo.train.rewards import AnswerReward
from expo.train.watch import Watch

BUFFERED = ("metrics", "timing", "groups")
# A file in a checkpoint.
MARK = "expo-checkpoint-is-whole"
# Tables with a part for each step at which they were written, those of the same steps together; the last says that the
# run is done.
TOGETHER = (BUFFERED, ("skips", "positives", "pairs"), ("probes", "margins", "alignment", "gradients", "evaluation"))
BY_STEP = tuple(table for tables in TOGETHER for table in tables)
# What the machine took, and what begins anew where a run goes on. The epoch says twice what the recipe does.
_TIMING = ("step_time", "epoch", "num_tokens")


class Recorder(TrainerCallback):
    """Writes the run's tables; has the policy measured before, every `eval_steps`, and after, and positives renewed."""

    def __init__(self, run: Run, reward: AnswerReward | None, watch: Watch) -> None:
        self.run, self.reward, self.watch = run, reward, watch
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in BUFFERED}
        self.bar = tqdm(disable=True)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the policy before its first step."""
        if state.global_step == 0:
            self.watch.measure(0)
        shown = self.watch.progress and state.is_world_process_zero
        self.bar = tqdm(
            desc="training", total=state.max_steps, initial=state.global_step, unit="step", disable=not shown
        )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sample positives anew every so many steps."""
        recipe = self.watch.recipe
        # DPO has new pairs between its rounds.
        every = recipe.refresh_steps if recipe.algorithm == "grpo" else 0
        if every and state.global_step and state.global_step % every == 0:
            self.watch.refresh(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure it every so many steps, and after the last one."""
        self.watch.on_step()
        self.bar.update()
        # Else what was gathered since the last log would be lost.
        control.should_log |= state.global_step == state.max_steps
        if state.global_step == state.max_steps or (args.eval_steps and state.global_step % args.eval_steps == 0):
            self.watch.measure(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The bar has nothing more to show."""
        self.bar.close()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep what is logged, and the groups that were sampled since."""
        logs = logs or {}
        self.bar.set_postfix(
            {name: f"{logs[name]:.3g}" for name in ("reward", "exp_sft/nll_per_token") if name in logs}
        )
        for name, value in logs.items():
            table = "timing" if name in _TIMING else "metrics"
            self.rows[table].append({"step": state.global_step, "name": name, "value": value})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what was kept, then mark the checkpoint as whole, when every process has written its part of it."""
        PartialState().wait_for_everyone()
        if self.reward:
            self.rows["groups"] += sorted(gather_object(self.reward.groups), key=lambda group: group["step"])
            self.reward.groups = []
        if state.is_world_process_zero:
            # Only GRPO samples groups.
            for name, rows in ((n, r) for n, r in self.rows.items() if n != "groups" or self.reward):
                self.run.write(name, as_frame(name, rows), f"{state.global_step:06d}")
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            write_atomic(folder / MARK, json.dumps(_sizes(folder)))
        self.rows = {name: [] for name in BUFFERED}


def attach(trainer: Trainer, recorder: Recorder) -> None:
    """Have the recorder follow a training, in place of what transformers prints; `trl.yaml` keeps the settings."""
    if PartialState().is_main_process and not recorder.run.path("trl.yaml").exists():
        write_atomic(recorder.run.path("trl.yaml"), to_yaml(trainer.args.to_dict()))
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(recorder)


def step_of(checkpoint: Path | None) -> int:
    """The steps that were done when it was made; 0 without one."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def whole_checkpoints(run: Run) -> dict[int, Path]:
    """Those that were written to their end, by step, the oldest first."""
    found = {step_of(p.parent): p.parent for p in run.path("checkpoints").glob(f"checkpoint-*/{MARK}")}
    return dict(sorted(found.items()))


def last_checkpoint(run: Run) -> Path | None:
    """The last whole checkpoint, if any. What a stopped run wrote after it is deleted.

    Raises:
        RecordError: if it is not as it was written.
    """
    whole = whole_checkpoints(run)
    last = max(whole, default=0)
    if last and (bad := damaged(whole[last])):
        before = [step for step in whole if step < last]
        raise RecordError(
            f"{bad} is not as it was written. Delete {whole[last]}/ and give the command again: it goes on from "
            + (f"step {before[-1]}" if before else "the start")
        )
    for folder in run.path("checkpoints").glob("checkpoint-*"):
        if folder not in whole.values():
            shutil.rmtree(folder)
    for table in BY_STEP:
        for part in run.parts(table):
            if int(part) > last:
                run.path("parts", table, f"{part}.parquet").unlink()
    return whole.get(last)


def _sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file of a checkpoint."""
    return {
        str(p.relative_to(folder)): p.stat().st_size
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != MARK
    }


def damaged(checkpoint: Path) -> Path | None:
    """A file of it that has gone or has another size than when the checkpoint was marked as whole."""
    held, mark = _sizes(checkpoint), checkpoint / MARK
    try:
        # An empty mark is of a version that did not note sizes.
        written: dict[str, int] = json.loads(mark.read_text(encoding="utf-8") or "{}")
    except ValueError:
        return mark
    return next((checkpoint / name for name, size in written.items() if held.get(name) != size), None)
