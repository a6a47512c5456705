"""A user's own problems: JSON lines, a JSON array, CSV, parquet, a saved dataset, or one on the hub."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path

from tqdm import tqdm

from expo.tasks.columns import Columns, parse_columns, renamed
from expo.tasks.definition import Selection, TaskDefinition
from expo.tasks.files import read_rows
from expo.tasks.problem import DataError, Problem, Task, counted, in_lines
from expo.tasks.row import Row, RowError, digest, kind, printable
from expo.tasks.source import collect
from expo.text import plural

FORMAT = (
    '{"question": "What is 7 + 5?", "answer": "12", "level": 1, "expert_cot": "We add: 7 + 5 = 12.", '
    '"id": "sum-1", "subject": "sums"}'
)


def load(path: str | Path, can_parse: Callable[[str], bool] | None = None, columns: str | None = None) -> Task:
    """Read problems from a file, a folder of `save_to_disk`, or the hub (see `expo.tasks.files` for the formats).

    `question` and `answer` are required; `id`, `level`, `expert_cot` and `subject` may be missing or null, and other
    fields are ignored. Columns with other names are recognised by their usual names, or given by `columns`
    (`expo.tasks.columns`). A number as answer is written out: 18 and 18.0 as "18", 0.5 as "0.5". `expert_cot` should
    end before its final-answer statement, which scoring appends. A level is a whole number, such as 3, 3.0, "3" or
    "Level 3". Without an `id`, a row's id is a hash of its question: it does not change when rows are added elsewhere,
    and a second row with that question is a duplicate.

    An unusable row is left out and listed in `Task.skipped`. An unusable level, expert CoT or subject is listed there
    too, but its problem is kept.

    Args:
        path: the source.
        can_parse: whether an answer can be graded; other rows are skipped.
        columns: which columns hold what, such as `question=Body+Question,answer=Answer`.

    Raises:
        DataError: if the source is missing, unreadable or empty, or if no row is usable.
    """
    asked = parse_columns(columns) if columns else None
    source = str(path)
    try:
        found, rows = renamed(read_rows(source), asked, source)
        task = collect("jsonl", source, rows, lambda row: _problem(row, can_parse))
    except DataError as error:
        raise DataError(
            f"{error}\n  Each row holds a problem (question and answer are required; in a CSV file these names are "
            f"the first line): {FORMAT}"
        ) from None
    if lines := _read_as(task, found):
        _tell("\n".join(lines))
    return task


def _read_as(task: Task, columns: Columns) -> list[str]:
    """How a source was understood, in lines, before hours of computing start from it; none if it is as in FORMAT."""
    usual = all(names == (field,) for field, names in columns.of.items())
    if usual and not columns.unused and not task.skipped:
        return []
    others = f"; unused columns: {', '.join(map(printable, columns.unused))}" if columns.unused else ""
    lines = [f"{task.source}: {plural(len(task.problems), 'problem')} with {columns}{others}"]
    lines += [f"  the column {printable(name)} is ignored; did you mean {field}?" for name, field in columns.near]
    if task.skipped:
        lines.append(f"  left out: {counted(task.skipped)}")
        lines += [f"    {line}" for line in in_lines(task.skipped, 3)]
    return lines


@cache
def _tell(text: str) -> None:
    """Only once: a training reads its data for the plan and for the run, to train and to evaluate."""
    tqdm.write(text, file=sys.stderr)


def _problem(row: Row, can_parse: Callable[[str], bool] | None) -> Problem:
    question = row.text("question")
    answer = _text_or_number(row, "answer")
    if can_parse is not None and not can_parse(answer):
        reason = (
            f"the grader cannot read {_short(answer)}; it needs a number or an expression (with --grader "
            "exact: any text without prompts.answer_end)"
        )
        raise RowError(row.called("answer"), reason)
    return Problem(
        id=f"q-{digest(question)}" if row.fields.get("id") is None else _text_or_number(row, "id"),
        question=question,
        answer=answer,
        level=row.noting(lambda: _level(row.fields.get("level"), row.called("level"))),
        expert_cot=row.optional_text("expert_cot"),
        subject=row.optional_text("subject"),
        where=row.where,
    )


def _text_or_number(row: Row, name: str) -> str:
    value = row.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return row.text(name, "a text or a number")
    # Decimal, because str() of a float may write an exponent (1e-07), which no reader of the answer expects.
    exact = Decimal(str(value))
    if not exact.is_finite() or abs(exact.adjusted()) > 300:
        raise RowError(row.called(name), "the number is too large; write it in quotes")
    return format(exact.to_integral_value() if exact == exact.to_integral_value() else exact, "f")


def _level(value: object, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, RowError):
        raise value
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(?:level\s*)?(\d{1,9})(?:\.0*)?\s*", value, re.I)):
        return int(found[1])
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and value >= 0 and value == value // 1:
        return int(value)
    shown = str(value) if isinstance(value, Decimal) else kind(value)
    shown = _short(value) if isinstance(value, str | int | float) else shown
    raise RowError(
        name, f'{shown} is not a whole number; write 3 or "Level 3", or order words by --columns level={name}:easy<hard'
    )


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _select(selection: Selection) -> Task:
    if selection.data is None:
        raise DataError("task jsonl needs --data FILE.jsonl, with one object per line that has question and answer")
    task = load(selection.data, selection.can_parse, selection.columns)
    return task.choose(selection.problems, selection.seed, selection.levels)


TASK = TaskDefinition(
    name="jsonl",
    load=_select,
    has_splits=False,
    reads_file=True,
    reads_columns=True,
    other_problems="give --eval_data another file",
)
