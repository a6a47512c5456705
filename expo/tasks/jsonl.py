"""A user's own problems, from a file of JSON lines."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from expo.tasks.definition import Selection, TaskDefinition
from expo.tasks.problem import DataError, Problem, Task
from expo.tasks.source import Row, RowError, collect, digest, kind, read_lines

FORMAT = (
    '{"question": "What is 7 + 5?", "answer": "12", "level": 1, "expert_cot": "We add: 7 + 5 = 12.", '
    '"id": "sum-1", "subject": "sums"}'
)


def load(path: str | Path, can_parse: Callable[[str], bool] | None = None) -> Task:
    """Read problems from a file in UTF-8 with one JSON object in each line.

    `question` and `answer` are needed; `id`, `level`, `expert_cot` and `subject` may be missing or null, and
    other fields are passed over. A number as answer is written out: 18 and 18.0 as "18", 0.5 as "0.5".
    `expert_cot` should end before its final-answer statement, which scoring appends. A level is a whole
    number, as 3, 3.0, "3" or "Level 3". Without an `id`, a row's id is a hash of its question: it stays when
    rows are added elsewhere, and a second row with that question is a duplicate.

    A row that cannot be used is left out and named in `Task.skipped`. An expert CoT or subject that cannot be
    used is named there too, while its problem is kept.

    Args:
        path: the file.
        can_parse: whether an answer can be graded; rows whose answer cannot are skipped.

    Raises:
        DataError: if the file is missing, a folder, unreadable or empty, or if no row is usable.
    """
    path = Path(path)
    try:
        return collect("jsonl", str(path), read_lines(path), lambda row: _problem(row, can_parse))
    except DataError as error:
        raise DataError(f"{error}\n  Each line holds a problem (question and answer are needed): {FORMAT}") from None


def _problem(row: Row, can_parse: Callable[[str], bool] | None) -> Problem:
    question = row.text("question")
    answer = _text_or_number(row, "answer")
    if can_parse is not None and not can_parse(answer):
        raise RowError("answer", f"no number or expression can be read in {_short(answer)}, so nothing can be graded")
    return Problem(
        id=f"q-{digest(question)}" if row.fields.get("id") is None else _text_or_number(row, "id"),
        question=question,
        answer=answer,
        level=_level(row.fields.get("level")),
        expert_cot=row.optional_text("expert_cot"),
        subject=row.optional_text("subject"),
        where=row.where,
    )


def _text_or_number(row: Row, name: str) -> str:
    value = row.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return row.text(name)
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError(name, "too large a number; write it in quotes")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # Decimal, because str() may write an exponent (1e-07), which no reader of the answer expects.
    return format(Decimal(str(value)), "f")


def _level(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(?:level\s*)?(\d{1,9})(?:\.0*)?\s*", value, re.I)):
        return int(found[1])
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1:
        return int(value)
    shown = _short(value) if isinstance(value, str | int | float) else kind(value)
    raise RowError("level", f'{shown} is no whole number; write 3 or "Level 3", or leave the field out')


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _select(selection: Selection) -> Task:
    if selection.data is None:
        raise DataError("task jsonl needs --data FILE.jsonl, one object a line with question and answer")
    task = load(selection.data, can_parse=selection.can_parse)
    return task.choose(selection.problems, selection.seed, selection.levels)


TASK = TaskDefinition(
    name="jsonl", load=_select, has_splits=False, reads_file=True, other_problems="give --eval_data another file"
)
