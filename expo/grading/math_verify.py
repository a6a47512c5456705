"""Plain math-verify, for comparison, in a process that is killed if it hangs."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Self

from expo.grading.processes import end, serve, start

_MODULE = "expo.grading.math_verify"


def main() -> None:
    """Answer requests with math-verify, used as in its README, until stdin closes: one JSON line for each."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    replies = serve()
    for line in sys.stdin:
        gold, text = json.loads(line)
        found = parse(text, parsing_timeout=None)
        right = bool(found) and verify(parse(f"${gold}$", parsing_timeout=None), found, timeout_seconds=None)
        print("correct" if right else "wrong" if found else "unparsed", file=replies, flush=True)


class MathVerify:
    """Grades completions with math-verify only.

    Args:
        seconds: real time after which a comparison counts as "timeout".
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._process = start(_MODULE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, gold: str, text: str) -> str:
        """ "correct", "wrong", "unparsed", or "timeout"."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests
        assert replies
        with suppress(BrokenPipeError):
            print(json.dumps((gold, text)), file=requests, flush=True)
            if wait([replies.fileno()], self.seconds) and (reply := replies.readline()):
                return reply.strip()
        self.close()
        self._process = start(_MODULE)
        return "timeout"

    def close(self) -> None:
        """End the process."""
        end(self._process)


if __name__ == "__main__":
    main()
