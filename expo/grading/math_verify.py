"""Plain math-verify, for comparison, in a process that is killed if it hangs."""

from __future__ import annotations

import logging
import multiprocessing
from multiprocessing.connection import Connection
from typing import Self


def _serve(connection: Connection) -> None:
    """Answer requests with math-verify, used as in its README, until the other end closes."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    connection.send("ready")
    while True:
        try:
            gold, text = connection.recv()
        except EOFError:
            return
        found = parse(text, parsing_timeout=None)
        right = bool(found) and verify(parse(f"${gold}$", parsing_timeout=None), found, timeout_seconds=None)
        connection.send("correct" if right else "wrong" if found else "unparsed")


class MathVerify:
    """Grades completions with math-verify only.

    Args:
        seconds: real time after which a comparison counts as "timeout".
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def grade(self, gold: str, text: str) -> str:
        """ "correct", "wrong", "unparsed", or "timeout"."""
        self._connection.send((gold, text))
        try:
            if self._connection.poll(self.seconds):
                return str(self._connection.recv())
        except EOFError:
            pass
        self.close()
        self._start()
        return "timeout"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()
