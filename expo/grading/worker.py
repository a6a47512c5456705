"""The grading process: comparisons behind JSON lines, so that a hanging one can be killed from outside.

One request per line on stdin, one reply per line on stdout, until stdin closes. A power or a sum can take forever
inside one C call, which no exception and no thread can interrupt; only ending the process can. Each request has a limit
of CPU time, enforced by the kernel: SIGPROF's default action works inside a C call, needs no parent to watch, and does
not count the time of other processes.
"""

from __future__ import annotations

import json
import signal
import sys

from expo.grading.compare import Ruling, readable, settle
from expo.grading.processes import serve

# Room for big integers; an answer that needs more ends in a MemoryError, not in swapping.
MEMORY_BYTES = 4 * 2**30
_STATUS = {True: "correct", False: "wrong", None: "unparsed"}


def reply(gold: str, answer: str | None, tolerance: float = 0.0) -> tuple[str, str]:
    """The verdict ("correct", "wrong", "unparsed", or "gold" if the gold answer itself cannot be read) and its rule.

    Without an answer, "readable" instead of a comparison.
    """
    if not readable(gold):
        return "gold", "the ground-truth answer cannot be read"
    if answer is None:
        return "readable", ""
    try:
        ruling = settle(gold, answer, tolerance)
    except (RecursionError, MemoryError) as error:
        ruling = Ruling(None, f"too large to compare: {type(error).__name__}")
    return _STATUS[ruling.right], ruling.rule


def main() -> None:
    """Answer requests until stdin closes."""
    _limit_memory()
    # A parent process may have set it to be ignored.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    replies = serve()
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        print(
            json.dumps(reply(request["gold"], request["answer"], request.get("tolerance", 0.0))),
            file=replies,
            flush=True,
        )
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [x for x in (soft, hard, MEMORY_BYTES) if x != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))


if __name__ == "__main__":
    main()
