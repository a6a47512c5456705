"""What is written during training: metrics and groups for each step, and evaluations and probes at intervals.

Metrics and groups are kept in memory and written with each checkpoint, before the mark that declares it complete: a run
that resumes from that checkpoint then has each row once. For live monitoring, metrics are also appended to
`metrics.jsonl` at once, one line per log.
"""

from __future__ import annotations

import json
import sys
import time
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

from expo.evaluate import by_level
from expo.records import to_yaml, write_atomic
from expo.schema import as_frame
from expo.train.checkpoints import BUFFERED, mark_whole
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.probes import Probes
from expo.train.rewards import AnswerReward
from expo.train.session import Session, shard_of
from expo.train.stopping import check_finite
from expo.train.supply import Supply

# Metrics of the machine, and those that start again when a run resumes. The epoch repeats what the recipe determines.
_TIMING = ("step_time", "epoch", "num_tokens")
LIVE = "metrics.jsonl"
# Under the names that trackers show as `eval/accuracy`; the table `evaluation` has each problem.
_ACCURACY = "eval_accuracy"


class Recorder(TrainerCallback):
    """Write the run's tables; measure the policy before, every `eval_steps` and after; and resample positives."""

    def __init__(self, session: Session, supply: Supply, probes: Probes, reward: AnswerReward | None = None) -> None:
        self.session, self.supply, self.probes, self.reward = session, supply, probes, reward
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in BUFFERED}
        self.bar = tqdm(disable=True)
        self._began = (0.0, 0.0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the policy before its first step."""
        if state.is_world_process_zero:
            # Repeat the accuracy from before the first step.
            _drop_after(self.session.run.path(LIVE), state.global_step or -1)
        if state.global_step == 0:
            self.measure(0)
        shown = self.session.progress and state.is_world_process_zero
        self.bar = tqdm(
            desc="training", total=state.max_steps, initial=state.global_step, unit="step", disable=not shown
        )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Resample positives at the given interval of steps."""
        recipe = self.session.recipe
        # DPO gets new pairs between its rounds.
        every = recipe.refresh_steps if recipe.algorithm == "grpo" else 0
        if every and state.global_step and state.global_step % every == 0:
            self.supply.refresh(state.global_step)
        self._began = (time.perf_counter(), time.process_time())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure the policy at the given interval of steps, and after the last step."""
        for name, now, began in zip(
            ("wall_seconds", "cpu_seconds"), (time.perf_counter(), time.process_time()), self._began, strict=True
        ):
            self.rows["timing"].append({"step": state.global_step, "name": name, "value": now - began})
        check_finite(self.session, args, kwargs["model"], state.global_step)
        self.session.on_step()
        self.bar.update()
        is_last = state.global_step == state.max_steps
        # Otherwise what was gathered since the last log would be lost.
        should_log = control.should_log or is_last
        if is_last or (args.eval_steps and state.global_step % args.eval_steps == 0):
            self.measure(state.global_step)
        # Logging an accuracy resets it.
        control.should_log = should_log

    def measure(self, step: int) -> None:
        """Measure the policy, and report its accuracy on screen and to TRL's `report_to`."""
        self.bar.set_description("training: evaluating")
        self.probes.measure(step)
        self.bar.set_description("training")
        evaluation = self.session.read("evaluation", step)
        accuracies = by_level(evaluation)
        if self.session.progress and PartialState().is_main_process:
            levels = [f"level {level}: {a}" for level, a in accuracies.items() if level is not None]
            of_all = f"step {step}: accuracy {accuracies[None]}, n = {accuracies[None].n}"
            tqdm.write("\n  ".join([of_all, *([", ".join(levels)] if levels else [])]), file=sys.stderr)
        assert self.session.trainer is not None
        # TRL's own `log` would also flush what it has gathered in the current step.
        said = {_ACCURACY + ("" if level is None else f"_level_{level}"): a.mean for level, a in accuracies.items()}
        Trainer.log(self.session.trainer, said)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar, which has nothing more to show."""
        self.bar.close()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep what is logged, and the groups sampled since the last log."""
        logs = logs or {}
        # The last log of a training run, or of a round, has only times.
        if state.is_world_process_zero and "train_runtime" not in logs:
            with self.session.run.path(LIVE).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        if _ACCURACY in logs:
            return
        shown = {name: logs.get(name) for name in ("reward", "exp_sft/nll_per_token")}
        # None: a mean over nothing, if a user's reward applies to none of the samples.
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items() if value is not None})
        for name, value in logs.items():
            table = "timing" if name in _TIMING else "metrics"
            self.rows[table].append({"step": state.global_step, "name": name, "value": value})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what was kept, then mark the checkpoint as complete once every process has written its part."""
        PartialState().wait_for_everyone()
        if self.reward:
            self.rows["groups"] += sorted(gather_object(self.reward.groups), key=lambda group: group["step"])
            self.reward.groups = []
        if state.is_world_process_zero:
            # Only GRPO samples groups.
            for name, rows in ((n, r) for n, r in self.rows.items() if n != "groups" or self.reward):
                self.session.run.write(name, as_frame(name, rows), shard_of(state.global_step))
            checkpoint = Path(args.output_dir, f"checkpoint-{state.global_step}")
            # peft's model card, an unfilled template.
            (checkpoint / "README.md").unlink(missing_ok=True)
            mark_whole(checkpoint)
        self.rows = {name: [] for name in BUFFERED}

    def on_sampling(self, begins: bool) -> None:
        """Show the current activity."""
        self.bar.set_description("training: sampling" if begins else "training: backward")


def _drop_after(path: Path, step: int) -> None:
    """Keep the lines of a metrics file up to this step, in the same file, since someone may be following it."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = "".join(line for line in lines if _is_of_steps_to(step, line))
        if kept != "".join(lines):
            path.write_text(kept, encoding="utf-8")


def _is_of_steps_to(step: int, line: str) -> bool:
    """Whether a line is complete and belongs to such a step; a kill may have cut it."""
    try:
        return line.endswith("\n") and int(json.loads(line)["step"]) <= step
    except (ValueError, TypeError, KeyError):
        return False


def attach(trainer: Trainer, recorder: Recorder) -> None:
    """Attach the recorder to a trainer, in place of the printing by transformers; `trl.yaml` keeps the settings."""
    if PartialState().is_main_process and not recorder.session.run.path("trl.yaml").exists():
        write_atomic(recorder.session.run.path("trl.yaml"), to_yaml(trainer.args.to_dict()))
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    # TRL's card for a policy given in memory names no base, no data and no link.
    trainer.create_model_card = lambda *_, **__: None
    trainer.add_callback(recorder)
    if isinstance(trainer, ExPGRPOTrainer):
        trainer.on_sampling = recorder.on_sampling
