"""Work in several processes, each with its own GPU, or each with a few threads on a CPU.

On a CPU a small model leaves the second thread of a process idle: two processes with one thread each sample and score
SmolLM2-135M 1.2 times as fast as one process with two, at the same total number of rows.
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

# Takes a job, a callback for each finished part of it, and the number of processes.
Work = Callable[[Any, Callable[[], object], int], object]
_AT_ONCE = 2  # seconds after which a process with nothing to finish has ended
_POLL = 1.0  # seconds
_PATIENCE = 3600.0  # seconds without a report from any process
_STOPPING = "stopping: each training finishes its step and saves a checkpoint; Ctrl-C again stops at once"


def spread(
    work: Work,
    jobs: Sequence[Any],
    processes: int,
    on_tick: Callable[[], object],
    on_done: Callable[[Any], object] = lambda _: None,
) -> None:
    """Run all jobs in `processes` processes that share this one's threads; with one, run them here.

    `work` and the jobs are pickled. Results are not returned: the jobs write them. On Ctrl-C or SIGTERM each process
    gets SIGTERM and is waited for, so that a training can end with a checkpoint; a second signal kills them.

    Raises:
        Exception: what a job raised, with its traceback as a note; the other jobs are killed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM.
        RuntimeError: if a process died, for example out of memory, or none has reported anything for an hour.
    """
    if processes == 1:
        for job in jobs:
            work(job, on_tick, 1)
            on_done(job)
        return
    context = multiprocessing.get_context("spawn")
    todo, reports = context.SimpleQueue(), context.Queue()
    threads = max(1, torch.get_num_threads() // processes)
    # The queue holds only indices: a full pipe would keep this process from reading reports.
    about = (work, jobs, todo, reports, threads, processes, os.getpid())
    places = range(min(processes, len(jobs)))
    workers = [context.Process(target=_worker, args=(*about, place), daemon=True) for place in places]
    started: list[Any] = []
    try:
        for worker in workers:
            with handling(signal.SIGINT, signal.SIG_IGN):  # children inherit that
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
    """The rank and number of the processes that a launcher started; 0, 1 without a launcher."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is a launcher's first process, or there is no launcher."""
    return launched()[0] == 0


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Limit torch to this many threads within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _end(workers: Sequence[Any]) -> None:
    """Ask the processes to end and wait for them; kill them on a second Ctrl-C."""
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
    silent = 0.0  # Counted in polls, not by a clock, which keeps running while Ctrl-Z stops all processes.
    while True:
        # Checked before reading the queue, which then holds everything that a worker reported before it ended.
        failed = [w.exitcode for w in workers if w.exitcode not in (None, 0)]
        ended = not any(w.is_alive() for w in workers)
        with suppress(Empty):
            return reports.get(timeout=_POLL)
        silent += _POLL
        if silent > _PATIENCE:
            raise RuntimeError(
                f"no worker has finished a sample or a step for {_PATIENCE / 60:.0f} minutes, so one of "
                "them hangs; all were stopped. Repeat the command to resume the run"
            )
        if failed or ended:
            one = (
                "--device cuda:0 for a single GPU" if torch.cuda.is_available() else "OMP_NUM_THREADS=1 for one process"
            )
            raise RuntimeError(
                f"a worker exited with code {(failed or [0])[0]}, probably out of memory; repeat the "
                f"command to resume the run, if necessary with a lower --rows or {one}"
            )


def _worker(
    work: Work, jobs: Sequence[Any], todo: Any, reports: Any, threads: int, processes: int, parent: int, place: int
) -> None:
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # Loading to "cuda" then goes there.
        torch.cuda.set_device(place % torch.cuda.device_count())

    def still_wanted() -> None:
        if os.getppid() != parent:  # killed: another run of the same command may be writing to the same place
            sys.exit(1)

    def tick() -> None:
        still_wanted()
        reports.put("tick")

    try:
        while (place := todo.get()) is not None:
            still_wanted()
            # Trainers often run the garbage collector, which takes a quarter of a second each time; freezing exempts
            # everything imported so far.
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
    """The error, or one with the same text if it cannot be sent between processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
