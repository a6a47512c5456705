"""Two trainers side by side, step by step: what slows the machine down for a while meets both alike."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transformers import PrinterCallback, TrainerCallback


def in_turns(*pair: Any) -> list[list[float]]:
    """Seconds of each step of two trainers that train in turns, their first steps left out: they warm up."""
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    clocks = [_Turns(turns[i], turns[1 - i]) for i in range(2)]
    for trainer, clock in zip(pair, clocks, strict=True):
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_train, pair, reversed(turns)))
    return [clock.times[1:] for clock in clocks]


def timed(trainer: Any) -> list[float]:
    """Seconds of each step of a training, its first left out."""
    clock = _Turns(threading.Semaphore(trainer.args.max_steps), threading.Semaphore(0))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    return clock.times[1:]


def compared(names: tuple[str, str], times: list[list[float]], about: str) -> str:
    """Both medians, and the median of the ratios of steps on the same work, second over first."""
    ratios = [b / a for a, b in zip(*times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    width = max(map(len, names))
    lines = [f"  {n:<{width}} {statistics.median(t):8.3f} s a step" for n, t in zip(names, times, strict=True)]
    ratio = (
        f"  ratio {statistics.median(ratios):.3f}, quartiles {low:.3f} to {high:.3f}, {len(ratios)} steps each{about}"
    )
    return "\n".join([*lines, ratio])


def _train(trainer: Any, others: threading.Semaphore) -> None:
    try:
        trainer.train()
    finally:
        # Or the other would wait for ever for one that failed.
        for _ in range(trainer.args.max_steps):
            others.release()


class _Turns(TrainerCallback):
    def __init__(self, mine: threading.Semaphore, others: threading.Semaphore) -> None:
        self.mine, self.others = mine, others
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.mine.acquire()
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter() - self.begun)
        self.others.release()
