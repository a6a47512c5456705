"""Trainers taken step by step, so that they can be timed in turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transformers import PrinterCallback, TrainerCallback


def stepper(trainer: Any) -> Callable[[], None]:
    """What takes the trainer's next step; the first is taken here: it warms up."""
    go, done = threading.Semaphore(0), threading.Semaphore(0)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Clock(go, done))
    pool = ThreadPoolExecutor(1)
    training = pool.submit(trainer.train)
    # Otherwise a failed one would be waited for forever.
    training.add_done_callback(lambda _: done.release())
    pool.shutdown(wait=False)

    def step() -> None:
        go.release()
        done.acquire()
        if training.done():
            training.result()

    step()
    return step


def timed(trainer: Any) -> list[float]:
    """Seconds of each step of a training, its first left out: it warms up."""
    clock = _Clock(threading.Semaphore(trainer.args.max_steps), threading.Semaphore(0))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    return clock.times[1:]


class _Clock(TrainerCallback):
    def __init__(self, go: threading.Semaphore, done: threading.Semaphore) -> None:
        self.go, self.done = go, done
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.go.acquire()
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter() - self.begun)
        self.done.release()
