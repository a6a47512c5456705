"""Work by several processes: each with a GPU of its own, or on a CPU with few threads each.

On a CPU a small model leaves the second thread of a process waiting: SmolLM2-135M is sampled and scored 1.2 times as
fast by two processes of one thread as by one of two, at the same number of rows in all.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any

import torch
from torch import multiprocessing

from expo.signals import handling

# A job, what to call each time that a part of it is done, and the number of processes.
Work = Callable[[Any, Callable[[], object], int], object]
_AT_ONCE = 2  # seconds in which whatever has nothing to finish has ended
_POLL = 1.0  # seconds
_PATIENCE = 3600.0  # seconds without a report of any process
_STOPPING = "stopping: each training finishes its step and saves a checkpoint; Ctrl-C again stops at once"


def spread(
    work: Work,
    jobs: Sequence[Any],
    processes: int,
    on_tick: Callable[[], object],
    on_done: Callable[[Any], object] = lambda _: None,
) -> None:
    """Do all jobs in `processes` processes that share this one's threads; with one, here.

    `work` and the jobs are pickled. What they give back is theirs to write. At Ctrl-C or SIGTERM each process is sent
    SIGTERM and waited for, so that a training can end with a checkpoint; a second signal kills them.

    Raises:
        Exception: what a job raised, with its traceback as a note; the other jobs are killed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM.
        RuntimeError: if a process died, as where memory ran out, or none has reported anything for an hour.
    """
    if processes == 1:
        for job in jobs:
            work(job, on_tick, 1)
            on_done(job)
        return
    context = multiprocessing.get_context("spawn")
    todo, reports = context.SimpleQueue(), context.Queue()
    threads = max(1, torch.get_num_threads() // processes)
    # The queue holds places alone: a pipe that is full would keep this process from reading what is reported.
    about = (work, jobs, todo, reports, threads, processes, os.getpid())
    places = range(min(processes, len(jobs)))
    workers = [context.Process(target=_worker, args=(*about, place), daemon=True) for place in places]
    started: list[Any] = []
    try:
        for worker in workers:
            with handling(signal.SIGINT, signal.SIG_IGN):  # it inherits that
                worker.start()
            started.append(worker)
        for place in [*range(len(jobs)), *[None] * len(workers)]:
            todo.put(place)
        left = len(jobs)
        with handling(signal.SIGTERM, signal.default_int_handler):
            while left:
                report = _next(reports, workers)
                if isinstance(report, Exception):
                    raise report
                if report == "tick":
                    on_tick()
                else:
                    left -= 1
                    on_done(jobs[report])
    except KeyboardInterrupt:
        _end(started)
        raise
    except BaseException:
        for worker in started:
            worker.kill()
        raise
    finally:
        for worker in started:
            worker.join()


def launched() -> tuple[int, int]:
    """The number of this process among those that a launcher has started, and their number; 0, 1 without one."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is a launcher's first process, or has no launcher."""
    return launched()[0] == 0


@contextmanager
def threads(n: int) -> Iterator[None]:
    """torch with so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _end(workers: Sequence[Any]) -> None:
    """Ask the processes to end, and wait for them; at another Ctrl-C kill them."""
    try:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(_AT_ONCE / len(workers))
        if any(worker.is_alive() for worker in workers):
            print(f"\n{_STOPPING}", file=sys.stderr, flush=True)
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()


def _next(reports: Any, workers: list[Any]) -> Any:
    silent = 0.0  # counted, not by a clock: it runs on while Ctrl-Z holds all of them
    while True:
        # Asked before the queue: what a worker reported before it ended is in there.
        failed = [w.exitcode for w in workers if w.exitcode not in (None, 0)]
        ended = not any(w.is_alive() for w in workers)
        with suppress(Empty):
            return reports.get(timeout=_POLL)
        silent += _POLL
        if silent > _PATIENCE:
            raise RuntimeError(
                f"no worker has finished a sample or a step for {_PATIENCE / 60:.0f} minutes, so one hangs; all are "
                "stopped, and the same command resumes the run"
            )
        if failed or ended:
            one = (
                "--device cuda:0 for a single GPU" if torch.cuda.is_available() else "OMP_NUM_THREADS=1 for one process"
            )
            raise RuntimeError(
                f"a worker ended with {(failed or [0])[0]}, perhaps for lack of memory; the same command resumes it, "
                f"perhaps with a lower --rows or {one}"
            )


def _worker(
    work: Work, jobs: Sequence[Any], todo: Any, reports: Any, threads: int, processes: int, parent: int, place: int
) -> None:
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # What is loaded to "cuda" goes there.
        torch.cuda.set_device(place % torch.cuda.device_count())

    def still_wanted() -> None:
        if os.getppid() != parent:  # killed: another run of the same command may write in the same place
            sys.exit(1)

    def tick() -> None:
        still_wanted()
        reports.put("tick")

    try:
        while (place := todo.get()) is not None:
            still_wanted()
            # Trainers collect garbage often, a quarter of a second each: what is imported by now is none of it.
            gc.collect()
            gc.freeze()
            work(jobs[place], tick, processes)
            reports.put(place)
    except KeyboardInterrupt:
        return
    except Exception as error:
        error.add_note(traceback.format_exc())
        reports.put(_portable(error))


def _portable(error: Exception) -> Exception:
    """The error, or its words where it cannot go from one process to another."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
