"""Grade texts with several graders side by side, and show the rule behind each verdict."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from expo.grading.answers import AnswerGrader, Grade, Status, UnparsableGold
from expo.grading.last_number import last_number
from expo.grading.math_verify import MathVerify
from expo.grading.rules import Rules
from expo.stats import bootstrap_rate
from expo.tasks.files import read_lines
from expo.tasks.problem import Skip
from expo.text import plural

# The columns of a file that may hold the text, in order of preference.
TEXTS = ("text", "completion", "answer", "response")
SHOWN = 10


@dataclass(frozen=True)
class Row:
    """A text to grade, with its file and line."""

    gold: str
    text: str
    where: str = ""


def graders(stack: ExitStack, usual: Rules) -> dict[str, Callable[[str, str, bool], Grade]]:
    """The graders by name; each takes a ground truth, a text, and whether the text was cut at its token limit.

    Only our own graders use the last argument; the first of them has the `usual` rules. Their processes end with
    `stack`.
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


def read_rows(path: Path) -> tuple[list[Row], list[Skip]]:
    """Read a JSONL file whose rows each have "gold" and a text; returns the rows and the bad lines.

    Raises:
        DataError: if the file cannot be read.
    """
    rows: list[Row] = []
    skips: list[Skip] = []
    for line in read_lines(path.expanduser()):
        row = line if isinstance(line, Skip) else _row(line.where, line.fields)
        if isinstance(row, Skip):
            skips.append(row)
        else:
            rows.append(row)
    return rows, skips


def _row(where: str, fields: dict[str, Any]) -> Row | Skip:
    if fields.get("gold") is None:
        said = "null" if "gold" in fields else "missing"
        return Skip(where, "gold", f"{said}; each line needs the fields gold and text")
    name = next((name for name in TEXTS if isinstance(fields.get(name), str)), None)
    if name is None:
        return Skip(where, "text", f"missing; each line needs a text in one of the fields {', '.join(TEXTS)}")
    return Row(str(fields["gold"]), fields[name], where)


def grade(rows: Sequence[Row], tolerance: float = 0.0) -> tuple[list[tuple[Row, dict[str, Grade]]], list[Skip]]:
    """The rows with their grades by grader, and the rows whose ground truth cannot be read."""
    graded, skips = [], []
    with ExitStack() as stack:
        by_name = graders(stack, Rules(tolerance=tolerance))
        for row in tqdm(rows, desc="grading", disable=len(rows) < 50):
            try:
                graded.append((row, {name: one(row.gold, row.text, False) for name, one in by_name.items()}))
            except UnparsableGold as error:
                skips.append(Skip(row.where, "gold", str(error)))
    return graded, skips


def show(graded: Sequence[tuple[Row, dict[str, Grade]]], *, alone: bool) -> str:
    """Format one row with the reasons for its verdicts if `alone`, else counts and the rows on which graders differ."""
    grades = [by_name for _, by_name in graded]
    return "\n".join(_one(grades[0]) if alone else [*_counts(grades), *_differences(graded)])


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


def _differences(graded: Sequence[tuple[Row, dict[str, Grade]]]) -> Iterator[str]:
    differ = [(r, by) for r, by in graded if len({g.status is Status.CORRECT for g in by.values()}) > 1]
    if differ:
        yield f"\n{plural(len(differ), 'row')} on which the graders differ; the first {min(SHOWN, len(differ))}:"
    for row, by_name in differ[:SHOWN]:
        verdicts = ", ".join(f"{name} {g.status}" for name, g in by_name.items())
        yield f"  {row.where}: gold {row.gold!r}, found {by_name['ours'].extracted!r}: {verdicts}"
        yield f"     ours: {by_name['ours'].rule}"


def write(graded: Iterable[tuple[Row, dict[str, Grade]]], path: Path) -> None:
    """Write all verdicts to a CSV file, with the extracted answer and the rule that our grader applied."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        for i, (row, by_name) in enumerate(graded):
            if i == 0:
                out.writerow(["where", "gold", "found", "rule", *by_name])
            ours = by_name["ours"]
            out.writerow([row.where, row.gold, ours.extracted, ours.rule, *(g.status for g in by_name.values())])
