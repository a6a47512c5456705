r"""Final answers: find one in a completion, and grade it against the ground truth.

`extract` is string work in this process. `AnswerGrader` compares with math-verify in a process of its own,
which ends when a comparison takes too long. What counts as the same answer is told in `string_rules`.

    with AnswerGrader() as grader:
        grader.grade("18", r"9 * 2 = 18. The answer is \boxed{18}.").status  # Status.CORRECT
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import wait
from typing import Self

from tqdm import tqdm

# Importing sympy takes about a second; a crowded machine needs many.
START_SECONDS = 120.0
# A comparison is limited in CPU time, so that a verdict does not depend on what else the machine does. This many
# times as long on the clock is the machine's failure, not the answer's.
PATIENCE = 24
_DIED = "died"
# No answer is this long; the time to parse one grows faster than its length.
MAX_CHARS = 2_000

# Repetitions that could be retried are bounded, so that each search is linear in the text.
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_CUE = re.compile(r"####([^\n]*)|answers?\b(?:[^.:=\n]{0,60}?\b(?:is|are)\b\s?:?|\**\s?[:=])[\s*]*", re.IGNORECASE)
_LEAD_IN = re.compile(r"answers?\b(?:[^.\n]{0,60}(?:\bis|\bare|[:=]))?\**$", re.IGNORECASE)
_OPENING = re.compile(r"(?:(?<!\S)(?:\$\$?|\\[\[(]|\*\*)|\s)*$")
_CLAUSE_END = re.compile(r"\n|[.!?](?=\s|$)|[,;](?=\s+[a-zA-Z]{2})")
# A dollar sign opens maths unless an amount and then words follow: "$18 a day, not $20".
_MATHS = re.compile(
    r"\$\$?(?!\d[\d,.]*\s+[a-zA-Z])((?:\\.|[^$\\]){1,1000})\$|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]", re.DOTALL
)
_CHOICE = re.compile(r"\(([A-Z])\)|([A-Z])(?=[.):]|$)")
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?\\?\$?(?:\\[dt]?frac\{\d+\}\{\d+\}|\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?|\.\d+)(?:\s?\\?%)?"
)


class Status(StrEnum):
    """The verdict on one completion."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    """No answer was found, or what stands in its place cannot be read."""
    TIMEOUT = "timeout"
    """The comparison took too much CPU time, or ended its process."""


@dataclass(frozen=True)
class Grade:
    """A verdict with the answer text that it is about; None where the completion has no answer."""

    status: Status
    extracted: str | None


class UnparsableGold(ValueError):
    """A ground-truth answer that cannot be read as mathematics: no completion can be graded against it."""


def extract(text: str) -> tuple[str, int] | None:
    r"""The final answer of a completion, and the index at which the statement of it begins.

    1. The last `\boxed{...}`; if its brace never closes, the text broke off in its answer and has none.
    2. Else the last "#### X" or "answer is X", "answer: X", "answer = X". After the hashes X is the rest of the
       line. After "answer" it is the first maths in `$` or `\(`, if any; the letter of a choice; in prose that
       does not begin with its number, the last number; else the clause.
    3. Else the last number of the text. Nothing states it, so the index is `len(text)`: all is CoT.

    The index is that of the sentence or line that holds the statement, with the "the answer is:" that may
    stand on a line of its own before it. `text[:index]` is the CoT.
    """
    boxes = list(_BOX.finditer(text))
    if boxes:
        answer = _boxed(text, boxes[-1].end())
        return None if answer is None else (answer, _box_statement(text, boxes[-1].start()))
    for cue in reversed(list(_CUE.finditer(text))):
        line = cue[1]
        if answer := line.strip() if line is not None else _stated(text[cue.end() : cue.end() + MAX_CHARS]):
            return answer, _sentence(text, cue.start())
    numbers = _NUMBER.findall(text)
    return (numbers[-1], len(text)) if numbers else None


def _boxed(text: str, at: int) -> str | None:
    r"""What the box opened at `at` holds; None if it never closes. `\boxed 7` holds its next word."""
    if not text.startswith("{", at):
        word = re.compile(r"[^\s$.,]+").match(text, at)
        return word[0] if word else None
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            return text[at + 1 : brace.start()].strip()
    return None


def _stated(rest: str) -> str:
    end = _CLAUSE_END.search(rest)
    clause = rest[: end.start()] if end else rest
    maths = _MATHS.match(rest) or _MATHS.search(clause)
    if maths:
        return next(filter(None, maths.groups())).strip()
    clause = clause.strip(" \t*`")
    if choice := _CHOICE.match(clause):
        return choice[0]
    numbers = _NUMBER.findall(clause)
    is_prose = re.search(r"(?<![\\a-zA-Z{])[a-zA-Z]{3}", clause) and not _NUMBER.match(clause)
    return numbers[-1] if is_prose and numbers else clause


def _box_statement(text: str, box: int) -> int:
    """Start of the statement that ends in a box: before `$$` or `\\[` and before "The answer is:" on its own line."""
    opening = _OPENING.search(text, max(0, box - 40), box)
    start = opening.start() if opening else box
    lead_in = _LEAD_IN.search(text, max(0, start - 80), start)
    return _sentence(text, lead_in.start() if lead_in else box - len(text[start:box].lstrip()))


def _sentence(text: str, at: int) -> int:
    ends = [(text.rfind(mark, 0, at), mark) for mark in ("\n", ". ", "! ", "? ")]
    start = max((i + len(mark) for i, mark in ends if i >= 0), default=0)
    return at - len(text[start:at].lstrip())


class AnswerGrader:
    """Grades answers in one worker process, from any thread, one at a time.

    Args:
        seconds: CPU time that one comparison may take. The kernel ends a worker that exceeds it, and the next
            comparison starts a new one (about a second).
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[str] | None = None
        self._end: weakref.finalize | None = None
        self._closed = False
        # Samples of one problem share few answers.
        self._known: dict[tuple[str, str], Status] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, gold: str, text: str) -> Grade:
        """Grade the final answer of the completion `text` against the ground truth `gold`.

        Raises:
            UnparsableGold: if `gold` cannot be read.
            TimeoutError: if the worker was given too little CPU time to answer within two minutes.
        """
        found = extract(text)
        if found is None or len(found[0]) > MAX_CHARS:
            return Grade(Status.UNPARSED, found and found[0])
        answer = found[0]
        status = self._known.get((gold, answer))
        if status is None:
            verdict = self._ask(gold, answer)
            if verdict == "gold":
                raise UnparsableGold(
                    f"the ground-truth answer {gold!r} cannot be read as mathematics; fix it in the data, "
                    "or skip the row (AnswerGrader.can_parse tells)"
                )
            # Of what, is not known; it may have been the machine's failure, and is not remembered.
            if verdict == _DIED:
                return Grade(Status.TIMEOUT, answer)
            status = self._known[gold, answer] = Status(verdict)
        return Grade(status, answer)

    def grade_many(self, pairs: Iterable[tuple[str, str]], progress: bool = False) -> list[Grade]:
        """`grade` for each (gold, text), in order; `progress` shows a bar."""
        return [self.grade(gold, text) for gold, text in tqdm(pairs, desc="grading", disable=not progress)]

    def can_parse(self, gold: str) -> bool:
        """Whether `gold` can be graded against."""
        if len(gold) > MAX_CHARS:
            return False
        verdict = self._ask(gold, None)
        # The worker may have been killed for another's sake: the row would be lost for nothing.
        return (self._ask(gold, None) if verdict == _DIED else verdict) == "readable"

    def close(self) -> None:
        """End the worker. The grader cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._stop()

    def _ask(self, gold: str, answer: str | None) -> str:
        request = json.dumps({"gold": gold, "answer": answer, "seconds": self.seconds})
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
                            f"the grading worker had less than {self.seconds:g} s of CPU time in "
                            f"{PATIENCE * self.seconds:g} s; give the same command again on a less crowded machine"
                        )
                    reply = worker.stdout.readline().strip()
                    reply = reply or (Status.TIMEOUT if worker.wait() == -signal.SIGPROF else _DIED)
            finally:
                # Also after Ctrl-C here: a late reply must not answer the next request.
                if not reply:
                    self._stop()
        return reply or _DIED

    def _running(self) -> subprocess.Popen[str]:
        if self._closed:
            raise RuntimeError("this AnswerGrader is closed; make a new one")
        if self._worker is not None and self._worker.poll() is not None:
            self._stop()
        if self._worker is None:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "expo.grading.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                # A group of its own: Ctrl-C at the terminal is for us alone.
                process_group=0,
            )
            self._end = weakref.finalize(self, _end, self._worker)
            stdout = self._worker.stdout
            assert stdout
            if not wait([stdout.fileno()], START_SECONDS) or stdout.readline() != "ready\n":
                self._stop()
                raise RuntimeError("the grading worker did not start; `python -m expo.grading.worker` here shows why")
        return self._worker

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._worker = self._end = None


def _end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
