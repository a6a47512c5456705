"""Reasons for training to stop before its last step: Ctrl-C or SIGTERM, a lost process, weights that are not finite."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from expo.records import Run
from expo.train.checkpoints import whole_checkpoints
from expo.train.session import Session

_STOPPING = (
    b"\nstopping after this step and its evaluation, if one is due, with a checkpoint; Ctrl-C again stops at once\n"
)
# What gloo and NCCL say if another process has exited, and if none has answered in time.
_ENDED = ("closed by peer", "reset by peer", "Broken pipe", "remote process exit")
_SILENT = ("Timed out waiting", "timed out after")


@contextmanager
def naming_lost_processes(run: Run) -> Iterator[None]:
    """Turn connection errors within the context into messages of what happened and how to resume.

    Raises:
        RuntimeError: for such an error.
    """
    try:
        yield
    except RuntimeError as error:
        if not (why := _why_lost(error)):
            raise
        last = max(whole_checkpoints(run), default=0)
        state = PartialState()
        raise RuntimeError(
            f"process {state.process_index} of {state.num_processes} stops: {why}. Repeat the command to resume "
            + (f"from step {last}" if last else "with what was saved")
        ) from error


def _why_lost(error: RuntimeError) -> str:
    """What an error of torch.distributed means; empty for any other error."""
    said = str(error)
    if "/gloo/" not in said and not isinstance(error, torch.distributed.DistError):
        return ""
    if any(words in said for words in _SILENT):
        return "another process has not answered within ddp_timeout: it hangs, or needs more time"
    if any(words in said for words in _ENDED):
        return "another process has exited. If it gave no reason, it was killed, probably out of memory"
    return ""


def train_to_end(session: Session, checkpoint: Path | None) -> None:
    """Run the session's trainer to its last step, from a checkpoint or from the start.

    A launcher kills its processes half a minute after a signal, unless TORCH_ELASTIC_SHUTDOWN_TIMEOUT is longer
    (seconds).

    Raises:
        KeyboardInterrupt: with the signal's number, after Ctrl-C or SIGTERM; the current step is finished and has a
            checkpoint.
        FloatingPointError: see `check_finite`.
    """
    assert session.trainer is not None
    trainer: Trainer = session.trainer
    stop = _StopAtSignal(session)
    trainer.add_callback(stop)
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.is_asked:
        raise KeyboardInterrupt(stop.number)


class _StopAtSignal(TrainerCallback):
    """Stops with a checkpoint after the step in which the first signal came; the second signal stops at once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.is_asked = self.is_in_a_step = False
        self.number: int = signal.SIGINT

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals within the context, except in a thread, which receives none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A signal that was ignored before, as in a script's background job, stays ignored.
        signals = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
        before = [signal.signal(number, self._answer) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def _answer(self, number: int, frame: object) -> None:
        if self.is_asked or not self.is_in_a_step:
            raise KeyboardInterrupt(number)
        self.is_asked, self.number = True, number
        if self.session.progress and PartialState().is_main_process:
            # Not `print`, which may be what was interrupted.
            os.write(sys.stderr.fileno(), _STOPPING)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on there is progress to save."""
        self.is_in_a_step = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop at a step from which a run can resume."""
        # A signal may reach only some of the processes.
        if any(gather_object([self.is_asked])) and _ends_a_generation(args, state.global_step):
            control.should_log = control.should_save = control.should_training_stop = True
            self.is_asked = True


def _ends_a_generation(args: Any, step: int) -> bool:
    """Whether all drawn samples are learnt after this step, and its metrics are logged."""
    generation = getattr(args, "steps_per_generation", None) or 1
    generation *= getattr(args, "num_iterations", 1)
    return bool(step * args.gradient_accumulation_steps % generation == 0 and step % int(args.logging_steps) == 0)


def check_finite(session: Session, args: TrainingArguments, model: torch.nn.Module, step: int) -> None:
    """Check every weight after a step, before any of it is saved.

    Raises:
        FloatingPointError: if one is not finite.
    """
    # Under ZeRO-3 each process holds a part of each weight.
    parts = [getattr(p, "ds_tensor", p).detach() for p in model.parameters()]
    finite = all(bool(torch.isfinite(part.sum())) or bool(torch.isfinite(part).all()) for part in parts)
    if all(gather_object([finite])):
        return
    last = max(whole_checkpoints(session.run), default=0)
    kept = f"the last checkpoint before it is that of step {last}" if last else "there is no earlier checkpoint"
    raise FloatingPointError(
        f"step {step}: the weights are no longer finite; {kept}. A lower learning_rate (now "
        f"{args.learning_rate:g}) or max_grad_norm (now {args.max_grad_norm:g}) may help; this changes the "
        "recipe, so choose another --output"
    )
