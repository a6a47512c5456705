"""Grading processes: each answers requests line by line, and can be killed when a comparison hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TextIO

# A process starts in half a second; on a busy machine it may take much longer.
START_SECONDS = 120.0


def start(module: str) -> subprocess.Popen[str]:
    """Run a module of Python with pipes to its stdin and stdout, and return once it has printed "ready".

    Not by multiprocessing, whose daemonic processes may not start others: runs side by side grade, too.

    Raises:
        RuntimeError: if the module does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # In its own process group: Ctrl-C in the terminal is only for this process.
        process_group=0,
    )
    assert process.stdout
    try:
        ready = bool(wait([process.stdout.fileno()], START_SECONDS)) and process.stdout.readline() == "ready\n"
    except BaseException:
        end(process)
        raise
    if not ready:
        end(process)
        raise RuntimeError(f"the grading process did not start; run `python -m {module}` here to see why")
    return process


def serve() -> TextIO:
    """Print "ready" within such a process; returns the file for its replies, one line each.

    Anything else that it or a library prints goes to stderr.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print("ready", file=replies, flush=True)
    return replies


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
