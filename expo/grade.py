"""Grade texts by several graders side by side, with what settled each verdict."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from expo.grading.answers import AnswerGrader, Grade, Status
from expo.grading.last_number import last_number
from expo.grading.math_verify import MathVerify
from expo.grading.rules import Rules
from expo.stats import bootstrap_rate
from expo.tasks.files import read_lines
from expo.tasks.problem import DataError, Skip
from expo.text import plural

# The columns of a file that hold a text, in the order in which they are looked for.
TEXTS = ("text", "completion", "answer", "response")
SHOWN = 10


@dataclass(frozen=True)
class Row:
    """A text to be graded."""

    gold: str
    text: str


def graders(stack: ExitStack, usual: Rules) -> dict[str, Callable[[str, str, bool], Grade]]:
    """The graders by name, each of a ground truth, a text, and whether that was cut at its token limit.

    Only ours ask for the last; the first of them has the `usual` rules. Their processes end with `stack`.
    """
    rules = {
        "ours": usual,
        "boxed only": replace(usual, boxed_only=True),
        "no last number": replace(usual, last_number=False),
        "within 1 %": replace(usual, tolerance=max(0.01, usual.tolerance)),
    }
    found = {name: stack.enter_context(AnswerGrader(rules=r)).grade for name, r in rules.items()}
    ours, plain = found["ours"], stack.enter_context(MathVerify())

    def by_last_number(gold: str, text: str, _: bool) -> Grade:
        number = last_number(text)
        return Grade(Status.UNPARSED, None) if number is None else ours(gold, rf"\boxed{{{number}}}", False)

    def by_math_verify(gold: str, text: str, _: bool) -> Grade:
        return Grade(Status(plain.grade(gold, text)), None)

    return found | {"last number": by_last_number, "math-verify": by_math_verify}


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file, each with "gold" and a text.

    Raises:
        DataError: for a line that is none, by file, line and field.
    """
    rows = []
    for line in read_lines(path.expanduser()):
        if isinstance(line, Skip):
            raise DataError(str(line))
        fields = line.fields
        if fields.get("gold") is None:
            said = "null" if "gold" in fields else "missing"
            raise DataError(f"{line.where}: gold: {said}; a line needs the fields gold and text")
        name = next((name for name in TEXTS if isinstance(fields.get(name), str)), None)
        if name is None:
            raise DataError(f"{line.where}: text: missing; a line needs a text in one of {', '.join(TEXTS)}")
        rows.append(Row(str(fields["gold"]), fields[name]))
    if not rows:
        raise DataError(f"{path}: no line holds a text to be graded")
    return rows


def grade(rows: Sequence[Row], tolerance: float = 0.0) -> list[dict[str, Grade]]:
    """The grades of each row, by grader.

    Raises:
        UnparsableGold: for a ground truth that cannot be read.
    """
    with ExitStack() as stack:
        by_name = graders(stack, Rules(tolerance=tolerance))
        return [
            {name: one(row.gold, row.text, False) for name, one in by_name.items()}
            for row in tqdm(rows, desc="grading", disable=len(rows) < 50)
        ]


def show(rows: Sequence[Row], grades: Sequence[dict[str, Grade]]) -> str:
    """One row with the reason of each verdict; several as a table of counts, with those on which graders differ."""
    return "\n".join(_one(grades[0]) if len(rows) == 1 else [*_counts(grades), *_differences(rows, grades)])


def _one(grades: dict[str, Grade]) -> Iterator[str]:
    for name, g in grades.items():
        answer = "" if g.extracted is None else f"  {g.extracted!r}"
        reason = f"  ({g.rule})" if g.rule else ""
        yield f"{name:<16}{g.status:<10}{answer}{reason}"


def _counts(grades: Sequence[dict[str, Grade]]) -> Iterator[str]:
    yield f"{'grader':<16}  correct   wrong  unparsed  timeout   accuracy [95 % interval], n = {len(grades)}"
    for name in grades[0]:
        statuses = [row[name].status for row in grades]
        rate = bootstrap_rate(np.array([s is Status.CORRECT for s in statuses], dtype=float))
        counts = [sum(s is status for s in statuses) for status in Status]
        widths = "".join(f"{n:>{w}}" for n, w in zip(counts, (9, 8, 10, 9), strict=True))
        yield f"{name:<16}{widths}   {rate.mean:.3f} [{rate.low:.3f}, {rate.high:.3f}]"


def _differences(rows: Sequence[Row], grades: Sequence[dict[str, Grade]]) -> Iterator[str]:
    differ = [i for i, row in enumerate(grades) if len({g.status is Status.CORRECT for g in row.values()}) > 1]
    if differ:
        yield f"\n{plural(len(differ), 'row')} on which the graders differ; the first {min(SHOWN, len(differ))}:"
    for i in differ[:SHOWN]:
        verdicts = ", ".join(f"{name} {g.status}" for name, g in grades[i].items())
        yield f"  {i + 1}: gold {rows[i].gold!r}, found {grades[i]['ours'].extracted!r}: {verdicts}"
        yield f"     ours: {grades[i]['ours'].rule}"


def write(rows: Sequence[Row], grades: Iterable[dict[str, Grade]], path: Path) -> None:
    """All verdicts as a CSV file, with what was found and the rule of ours."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        for i, (row, by_name) in enumerate(zip(rows, grades, strict=True)):
            if i == 0:
                out.writerow(["row", "gold", "found", "rule", *by_name])
            ours = by_name["ours"]
            out.writerow([i + 1, row.gold, ours.extracted, ours.rule, *(g.status for g in by_name.values())])
