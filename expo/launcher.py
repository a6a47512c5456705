"""Heartbeats and errors of a launcher's processes, as files in the run folder; the first process waits for the others.

A launcher stops all its processes on a machine when one fails, but may not notice a failure on another machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from expo.records import Run

FAILED = ".failed"
_ALIVE = ".alive-"  # followed by the number of the process
_EVERY = 5.0  # seconds between heartbeats
_LIMIT = 600.0  # seconds without a heartbeat
_PATIENCE = 3600.0  # seconds without a finished sample


def forget(run: Run) -> None:
    """Delete the files that earlier processes left behind."""
    for path in (*run.folder.glob(f"{_ALIVE}*"), run.path(FAILED)):
        with suppress(OSError):
            path.unlink()


@contextmanager
def reporting(run: Run, process: int, processes: int) -> Iterator[None]:
    """Write heartbeats and any error within the context, once the first process has started the record."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(run, process, ended), daemon=True)
    thread.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if _is_begun(run):
            reason = f"process {process} of {processes}: {type(error).__name__}: {error}"
            run.path(FAILED).write_text(reason, encoding="utf-8")
        raise
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            _alive(run, process).unlink()


def counted(run: Run, process: int, on_step: Callable[[], object]) -> Callable[[], object]:
    """Wrap `on_step` so that it also counts steps in the process's heartbeat."""
    steps, written = 0, -_EVERY

    def step() -> None:
        nonlocal steps, written
        steps += 1
        if time.monotonic() - written >= _EVERY:
            written = time.monotonic()
            with suppress(OSError):
                _alive(run, process).write_text(str(steps), encoding="utf-8")
        on_step()

    return step


def _beat(run: Run, process: int, ended: threading.Event) -> None:
    while True:
        with suppress(OSError):  # the next one may succeed
            if _is_begun(run):
                _alive(run, process).touch()
        if ended.wait(_EVERY):
            return


class Peers:
    """A launcher's other processes as seen by the first, by its own clock only, since clocks of machines may differ."""

    def __init__(self, run: Run, processes: int) -> None:
        self._run, self._processes = run, processes
        # The last heartbeat and step count of each process, and when each was first seen.
        self._seen: dict[tuple[int, str], tuple[object, float]] = {}

    def check(self, processes: Collection[int]) -> None:
        """Check that no process has failed, and that each of these has a recent heartbeat and makes progress.

        Raises:
            RuntimeError: with the error of the process that failed, or the number of the process that is lost or hangs.
        """
        if self._run.path(FAILED).exists():
            raise RuntimeError(self._run.path(FAILED).read_text(encoding="utf-8"))
        for process in sorted(processes):
            beat, steps = _last_beat(self._run, process)
            if self._unchanged_for(process, "beat", beat) > _LIMIT:
                why = (
                    f"has had no heartbeat for {_LIMIT / 60:.0f} minutes: it was killed, probably out of "
                    "memory, or its machine is down"
                )
            elif self._unchanged_for(process, "steps", steps) > _PATIENCE:
                why = f"has not finished a sample for {_PATIENCE / 60:.0f} minutes, so it probably hangs"
            else:
                continue
            raise RuntimeError(
                f"process {process} of {self._processes} {why}; finished chunks are kept; repeat the "
                "command to resume the run"
            )

    def _unchanged_for(self, process: int, what: str, value: object) -> float:
        """Seconds since this value was first seen."""
        now = time.monotonic()
        before, since = self._seen.get((process, what), (value, now))
        self._seen[process, what] = value, since if value == before else now
        return now - self._seen[process, what][1]


def _last_beat(run: Run, process: int) -> tuple[int | None, str | None]:
    """When a process last showed a sign of life, and the steps it had done by then."""
    with suppress(OSError):
        return _alive(run, process).stat().st_mtime_ns, _alive(run, process).read_text(encoding="utf-8")
    return None, None


def _alive(run: Run, process: int) -> Path:
    return run.path(f"{_ALIVE}{process}")


def _is_begun(run: Run) -> bool:
    return run.path("recipe.yaml").exists()
