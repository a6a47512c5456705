"""Work spread over processes: every job once, what one raises is raised here, and a dead process is named."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from expo import workers
from expo.workers import spread


def write_it(job: tuple[Path, str], tick: Callable[[], object], processes: int) -> None:
    folder, name = job
    tick()
    (folder / name).write_text(f"{os.getpid()} {torch.get_num_threads()} {gc.get_freeze_count() > 0}")


# Of each job of this process so far, what it left that only a collection takes away.
LEFT: list[weakref.ref[list[object]]] = []


class Ring(list[object]):
    """Can be watched by a weak reference, as a plain list cannot."""


def leave_a_ring(job: object, tick: Callable[[], object], processes: int) -> None:
    if any(ring() is not None for ring in LEFT):
        raise MemoryError("what the job before left is still there")
    ring = Ring()
    ring.append(ring)
    LEFT.append(weakref.ref(ring))


def fail_at_b(job: tuple[Path, str], tick: Callable[[], object], processes: int) -> None:
    if job[1] == "b":
        raise LookupError("b is not to be had")


def die_at_b(job: tuple[Path, str], tick: Callable[[], object], processes: int) -> None:
    if job[1] == "b":
        os.kill(os.getpid(), signal.SIGKILL)


Spread = tuple[int, Path, list[object], list[object]]


# For the module: a process that is started has to import torch.
@pytest.fixture(scope="module", params=[1, 2])
def spread_out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    """Four jobs in one process, or in two that share six threads: the folder they wrote in, ticks, what was done."""
    folder, ticks, done = tmp_path_factory.mktemp("jobs"), [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 6)
        spread(write_it, [(folder, name) for name in "abcd"], request.param, lambda: ticks.append(1), done.append)
    return request.param, folder, ticks, done


def test_each_job_is_done_once(spread_out: Spread) -> None:
    processes, folder, ticks, done = spread_out
    assert sorted(p.name for p in folder.iterdir()) == list("abcd")
    assert (len(ticks), sorted(done)) == (4, [(folder, name) for name in "abcd"])
    pids = {p.read_text().split()[0] for p in folder.iterdir()}
    assert (str(os.getpid()) in pids) == (processes == 1)


def test_processes_share_the_threads(spread_out: Spread) -> None:
    processes, folder, *_ = spread_out
    assert {p.read_text().split()[1] for p in folder.iterdir()} == {str(6 // processes)}


def test_a_process_of_its_own_need_not_look_for_garbage_in_what_it_has_imported(spread_out: Spread) -> None:
    processes, folder, *_ = spread_out
    # The control: nothing is changed in the user's own process.
    assert {p.read_text().split()[2] for p in folder.iterdir()} == {str(processes == 2)}


@pytest.mark.slow
def test_what_a_job_leaves_is_gone_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    spread(leave_a_ring, [1, 2, 3], 2, lambda: None)
    # The control: in this process nobody collects it.
    monkeypatch.setattr(sys.modules[__name__], "LEFT", [])
    gc.disable()
    try:
        with pytest.raises(MemoryError, match="is still there"):
            spread(leave_a_ring, [1, 2], 1, lambda: None)
    finally:
        gc.enable()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_job_raises_is_raised_here(tmp_path: Path, processes: int) -> None:
    with pytest.raises(LookupError, match="b is not to be had"):
        spread(fail_at_b, [(tmp_path, name) for name in "abc"], processes, lambda: None)


@pytest.mark.slow
def test_a_process_that_dies_is_named() -> None:
    with pytest.raises(RuntimeError, match="exited with code -9"):
        spread(die_at_b, [(Path(), name) for name in "abc"], 2, lambda: None)


def hang_at_b(job: tuple[Path, str], tick: Callable[[], object], processes: int) -> None:
    time.sleep(60 if job[1] == "b" else 0.4)
    tick()


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL", 0.05)
    monkeypatch.setattr(workers, "_PATIENCE", 20.0)  # which it takes to start one
    begun, done = time.monotonic(), []
    with pytest.raises(RuntimeError, match="no worker has finished a sample or a step for 0 minutes"):
        spread(hang_at_b, [(Path(), name) for name in "abc"], 2, lambda: None, done.append)
    assert [name for _, name in done] == ["a", "c"]
    assert time.monotonic() - begun < 59
    # The control: as slow, but all report.
    spread(hang_at_b, [(Path(), name) for name in "acd"], 2, lambda: None)


class Odd(ValueError):
    """Cannot be built again from its one argument."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")


def fail_oddly(job: object, tick: Callable[[], object], processes: int) -> None:
    raise Odd(3, "no number")


def leave(job: object, tick: Callable[[], object], processes: int) -> None:
    raise KeyboardInterrupt


def length(job: tuple[Path, str], tick: Callable[[], object], processes: int) -> None:
    if len(job[1]) != 100_000:
        raise ValueError("cut")


@pytest.mark.slow
def test_an_error_that_cannot_be_pickled_is_told_in_words() -> None:
    with pytest.raises(RuntimeError, match="Odd: line 3: no number"):
        spread(fail_oddly, [1, 2], 2, lambda: None)


@pytest.mark.slow
def test_workers_that_all_leave_are_not_waited_for() -> None:
    with pytest.raises(RuntimeError, match="exited with code 0"):
        spread(leave, [1, 2, 3], 2, lambda: None)


@pytest.mark.slow
def test_jobs_may_be_larger_than_a_pipe() -> None:
    done: list[object] = []
    spread(length, [(Path(), "x" * 100_000)] * 8, 2, lambda: None, done.append)
    assert len(done) == 8
    with pytest.raises(LookupError):
        spread(fail_at_b, [(Path(), "b" * 1 if i else "b") for i in range(200)], 2, lambda: None)
