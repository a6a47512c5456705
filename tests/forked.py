"""The command in a process of its own that pays for no import: forked from one that has imported it all.

It is as real as one that a shell starts: it has its own signals, environment and exit code, and can be killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from expo.cli import main

ROOT = Path(__file__).parent.parent
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


class Forked:
    """`expo` with these arguments, in this environment and more; what it says goes to the end of the file `said`.

    It is asked and stopped as a `subprocess.Popen` is.
    """

    def __init__(self, arguments: Sequence[str], said: Path, **environment: str) -> None:
        self._process = _forks.Process(target=_expo, args=(list(arguments), {**os.environ, **environment}, said))
        # The first call starts the server, which finds this module by the path.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def thread_names() -> list[str]:
    """Names of this process's threads, as Linux has them."""
    names = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            names.append(task.joinpath("comm").read_text().strip())
    return names


def _expo(arguments: list[str], environment: Mapping[str, str], said: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    # Which torch has read already.
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    with said.open("a") as out:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(out.fileno(), stream.fileno())
    code = main(arguments)
    # A thread of a closed process group may abort the process at its exit.
    assert not [name for name in thread_names() if "gloo" in name], thread_names()
    sys.exit(code)
