r"""Final answers: find one in a completion, and grade it against the ground truth.

`extract` is string work in this process. `AnswerGrader` compares in a separate process, which is ended when a
comparison takes too long. `compare` and docs/GRADING.md define which answers count as the same.

    with AnswerGrader() as grader:
        grader.grade("18", r"9 * 2 = 18. The answer is \boxed{18}.").status  # Status.CORRECT
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import wait
from typing import Self

from expo.grading.extraction import MAX_CHARS, extract
from expo.grading.processes import end, start
from expo.grading.rules import USUAL, Rules

# Version of the rules for finding and comparing answers: raised whenever a verdict may change.
VERSION = "3"
# A comparison is limited in CPU time, so that a verdict does not depend on other work on the machine. If it takes this
# many times as long in real time, the machine is at fault, not the answer.
PATIENCE = 24
_DIED = "died"


class Status(StrEnum):
    """The verdict on one completion."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    """No answer was found, or the text in its place cannot be read."""
    TIMEOUT = "timeout"
    """The comparison took too much CPU time, or its process died."""


@dataclass(frozen=True)
class Grade:
    """A verdict with the answer text it is about; None if the completion has no answer.

    `rule` says in words what settled it.
    """

    status: Status
    extracted: str | None
    rule: str = field(default="", compare=False)


class UnparsableGold(ValueError):
    """A ground-truth answer that cannot be read as mathematics, so no completion can be graded against it."""


class AnswerGrader:
    """Grades answers in one worker process, from any thread, one at a time.

    Args:
        seconds: CPU time that one comparison may take. The kernel ends a worker that exceeds it, and the next
            comparison starts a new one (about half a second).
        rules: the rules for finding and comparing answers.
    """

    def __init__(self, seconds: float = 5.0, rules: Rules = USUAL) -> None:
        self.seconds, self.rules = seconds, rules
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[str] | None = None
        self._end: weakref.finalize | None = None
        self._closed = False
        # Samples of one problem have few distinct answers.
        self._known: dict[tuple[str, str], Grade] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, gold: str, text: str, truncated: bool = False) -> Grade:
        """Grade the final answer of the completion `text` against the ground truth `gold`.

        `truncated` says that the text was cut at its token limit; such a text must state its answer.

        Raises:
            UnparsableGold: if `gold` cannot be read.
            TimeoutError: if the worker was given too little CPU time to answer within two minutes.
        """
        found = extract(text, self.rules, truncated)
        if found is None:
            cut = ": the text was cut at its token limit before it stated one" if truncated else ""
            return Grade(Status.UNPARSED, None, f"no answer was found{cut}")
        answer = found[0]
        if len(answer) > MAX_CHARS:
            return Grade(Status.UNPARSED, answer, f"an answer longer than {MAX_CHARS} characters is not read")
        grade = self._known.get((gold, answer))
        if grade is None:
            verdict, rule = self._ask(gold, answer)
            if verdict == "gold":
                raise UnparsableGold(
                    f"the ground-truth answer {gold!r} cannot be read as mathematics; fix it in the data, "
                    "or skip the row (AnswerGrader.can_parse detects it)"
                )
            # The cause is unknown; it may have been the machine, so the result is not cached.
            if verdict == _DIED:
                return Grade(Status.TIMEOUT, answer, "the comparing process ended")
            grade = self._known[gold, answer] = Grade(Status(verdict), answer, rule)
        return grade

    def can_parse(self, gold: str) -> bool:
        """Whether completions can be graded against `gold`."""
        if len(gold) > MAX_CHARS:
            return False
        verdict, _ = self._ask(gold, None)
        # The worker may have been killed because of another request: the row would be lost for nothing.
        return (self._ask(gold, None)[0] if verdict == _DIED else verdict) == "readable"

    def close(self) -> None:
        """End the worker. The grader cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._stop()

    def _ask(self, gold: str, answer: str | None) -> tuple[str, str]:
        request = json.dumps(
            {"gold": gold, "answer": answer, "seconds": self.seconds, "tolerance": self.rules.tolerance}
        )
        with self._lock:
            worker = self._running()
            assert worker.stdin
            assert worker.stdout
            reply = ""
            try:
                with suppress(BrokenPipeError):
                    print(request, file=worker.stdin, flush=True)
                    if not wait([worker.stdout.fileno()], PATIENCE * self.seconds):
                        raise TimeoutError(
                            f"the grading worker got less than {self.seconds:g} s of CPU time in "
                            f"{PATIENCE * self.seconds:g} s; repeat the command on a less busy machine"
                        )
                    reply = worker.stdout.readline().strip()
                    if not reply and worker.wait() == -signal.SIGPROF:
                        reply = json.dumps(
                            (Status.TIMEOUT, f"the comparison took more than {self.seconds:g} s of CPU time")
                        )
                        self._stop()
            finally:
                # Also after Ctrl-C here: a late reply must not answer the next request.
                if not reply:
                    self._stop()
        verdict, rule = json.loads(reply) if reply else (_DIED, "")
        return verdict, rule

    def _running(self) -> subprocess.Popen[str]:
        if self._closed:
            raise RuntimeError("this AnswerGrader is closed; create a new one")
        if self._worker is not None and self._worker.poll() is not None:
            self._stop()
        if self._worker is None:
            self._worker = start("expo.grading.worker")
            self._end = weakref.finalize(self, end, self._worker)
        return self._worker

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._worker = self._end = None
