"""The process that grades: math-verify behind JSON lines, so that a hang can be killed from outside.

One request per line on stdin, one reply per line on stdout, until stdin closes. sympy can hang inside one C
call (10^10^10 is one big power), which no exception and no thread interrupts; only the end of a process does.
Each request has a limit of CPU time, kept by the kernel: SIGPROF's default action works inside a C call, needs no
parent to watch, and does not count the time that other processes take.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from functools import lru_cache
from typing import Any

import sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.evalf import PrecisionExhausted

from expo.grading.string_rules import clean, compare_strings, is_words, split_list, without_unit

# Room for sympy and big integers; an answer that needs more ends in a MemoryError, not in swapping.
MEMORY_BYTES = 4 * 2**30
_CONFIG = [LatexExtractionConfig(boxed_match_priority=-1)]


class UnparsedError(ValueError):
    """Text that math-verify cannot read as mathematics."""


@lru_cache(maxsize=4096)
def read(text: str) -> sympy.Basic:
    """The sympy expression of a cleaned answer; words come out as symbols.

    Raises:
        UnparsedError: if there is none.
    """
    parsed = parse(f"${text}$", _CONFIG, fallback_mode="no_fallback", parsing_timeout=None)
    if not text or not parsed:
        raise UnparsedError(text)
    return parsed[0]


def same(gold: str, answer: str) -> bool:
    """Whether two cleaned answers mean the same; `gold` first, for the comparison is not symmetric."""
    settled = compare_strings(gold, answer, same)
    if settled is not None:
        return settled
    gold_expr, expr = read(without_unit(gold)), read(without_unit(answer))
    return verify(gold_expr, expr, timeout_seconds=None) and close(gold_expr, expr)


def close(gold: Any, answer: Any) -> bool:
    """Whether two values that math-verify calls equal also agree to one part in a million.

    math-verify subtracts and rounds to 15 decimal places, where 1/2004! and 1/2006! are both zero. Values
    that are no numbers, and numerical zeros of no known digit, are left to its verdict.
    """
    if not (getattr(gold, "is_number", False) and getattr(answer, "is_number", False)):
        return True
    try:
        a, b = gold.evalf(strict=True), answer.evalf(strict=True)
    except (PrecisionExhausted, NotImplementedError):
        return True
    return not (a.is_Float and b.is_Float) or bool(abs(a - b) <= abs(a) / 10**6)


def readable(gold: str) -> bool:
    """Whether each part of a cleaned gold answer can be read."""
    try:
        for part in split_list(gold):
            read(without_unit(part))
    except UnparsedError:
        return is_words(gold)
    return True


def reply(gold: str, answer: str | None) -> str:
    """The verdict: "correct", "wrong", "unparsed", or "gold" where the gold answer itself cannot be read.

    With no answer, "readable" instead of a comparison.
    """
    if not readable(clean(gold)):
        return "gold"
    if answer is None:
        return "readable"
    try:
        return "correct" if same(clean(gold), clean(answer)) else "wrong"
    except UnparsedError:
        return "unparsed"


def main() -> None:
    """Answer requests until stdin closes."""
    _limit_memory()
    # Whatever a library prints goes to stderr; only replies go to the pipe.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # It warns that its own alarm is off, which is the point here.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # A parent may have left it ignored.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        print(reply(request["gold"], request["answer"]), file=replies, flush=True)
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
