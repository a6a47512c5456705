"""The process of one route, `python -m benchmarks.worker FD`: it does the work once per request."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import psutil


class Turn(NamedTuple):
    """One repeat: the result of the work, its seconds, and its peak memory in GiB."""

    value: Any
    seconds: float
    peak: float


def measured(work: Callable[[], Any]) -> Turn:
    """Do the work once. Memory is what is allocated on a GPU, else what is resident here and in child processes."""
    # Not imported for work that does not need it: the import would take longer than much of the work.
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_available()
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    # Listed only once: listing children takes milliseconds of the work's own process.
    processes, done = [psutil.Process(), *psutil.Process().children(recursive=True)], threading.Event()
    peak = [_resident(processes)]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], _resident(processes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        value = work()
        if cuda:
            torch.cuda.synchronize()
    finally:
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    return Turn(value, seconds, (torch.cuda.max_memory_allocated() if cuda else peak[0]) / 2**30)


def _resident(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def main() -> None:
    """Serve until the other end closes the pipe."""
    pipe = Connection(int(sys.argv[1]))
    try:
        work = pipe.recv()()
        pipe.send(None)
        while True:
            pipe.recv()
            pipe.send(tuple(measured(work)))
    except (EOFError, ConnectionError):
        # At once: a trainer that waits for its next step would keep the process alive.
        os._exit(0)


if __name__ == "__main__":
    main()
