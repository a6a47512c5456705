"""Which columns of a source hold the question, the answer and the rest: by usual names, or as the user says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, islice
from typing import Any

from expo.grading.extraction import extract
from expo.tasks.problem import DataError, Skip
from expo.tasks.row import Row, RowError, printable

# For each field, the column names that are accepted, in order of preference. A plus joins several with a space.
USUAL = {
    "question": ("question", "problem", "prompt", "messages", "Body+Question", "Question", "query", "input"),
    "answer": ("answer", "final_answer", "Answer", "expected_answer", "target"),
    "expert_cot": (
        *("expert_cot", "solution", "rationale", "explanation", "Solution"),
        *("reasoning", "cot", "chain_of_thought", "thought", "steps"),
    ),
    "level": ("level", "difficulty", "Level"),
    "id": ("id", "unique_id", "ID"),
    "subject": ("subject", "type", "Type"),
}
SYNTAX = "write --columns question=Body+Question,answer=Answer,level=difficulty:easy<hard"


@dataclass(frozen=True)
class Columns:
    """Columns by field, each a tuple of columns to join; and the names of levels in order, starting at level 1.

    `unused` are the other columns of the source. `near` are those of them whose name resembles a field that their rows
    lack, each with that field.
    """

    of: dict[str, tuple[str, ...]]
    levels: tuple[str, ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = [
            name if names == (name,) else f"{name} is {' + '.join(map(printable, names))}"
            for name, names in self.of.items()
        ]
        return ", ".join(told)


def parse_columns(text: str) -> Columns:
    """Parse `--columns`.

    Raises:
        DataError: if it cannot be read, or names something other than a field of a problem.
    """
    of: dict[str, tuple[str, ...]] = {}
    levels: tuple[str, ...] = ()
    for part in text.split(","):
        field, equals, names = (piece.strip() for piece in part.partition("="))
        if not equals or not names:
            raise DataError(f"columns: {part.strip()!r} does not name a column; {SYNTAX}")
        if field not in USUAL:
            raise DataError(f"columns: a problem has no field {field!r}; choose from {', '.join(USUAL)}")
        names, _, order = names.partition(":")
        if order and field != "level":
            raise DataError(f"columns: only levels have an order, not {field}; {SYNTAX}")
        of[field] = tuple(name.strip() for name in names.split("+"))
        levels = tuple(word.strip().lower() for word in order.split("<")) if order else levels
    return Columns(of, levels)


def renamed(rows: Iterable[Row | Skip], asked: Columns | None, source: str) -> tuple[Columns, Iterator[Row | Skip]]:
    """The columns of a source, and its rows with the fields of a problem.

    Columns requested by name come first; other fields use the usual names found in the first hundred rows.

    Raises:
        DataError: if a requested column is missing, or two columns could be the answer.
    """
    rows = iter(rows)
    first = list(islice(rows, 100))
    columns = _choose([row.fields for row in first if isinstance(row, Row)], asked, source)
    return columns, (row if isinstance(row, Skip) else _rename(row, columns) for row in chain(first, rows))


def _choose(rows: list[dict[str, Any]], asked: Columns | None, source: str) -> Columns:
    there = list(dict.fromkeys(name for row in rows for name in row))
    of = dict(asked.of) if asked else {}
    for field, names in of.items():
        if missing := [name for name in names if there and name not in there]:
            columns = ", ".join(map(printable, there))
            raise DataError(f"{source}: columns: no column {missing[0]!r} for {field}; the source has {columns}")
    for field, usual in USUAL.items():
        if field in of:
            continue
        found = [name for name in usual if all(part in there for part in name.split("+"))]
        if field == "answer" and len(found) > 1:
            raise DataError(
                f"{source}: each of the columns {' and '.join(found)} could be the answer; choose one, for "
                f"example --columns answer={found[0]}"
            )
        if found:
            of[field] = tuple(found[0].split("+"))
    taken = {part for names in of.values() for part in names}
    unused = [name for name in there if name not in taken]
    return Columns(of, asked.levels if asked else (), tuple(_near(rows, unused, of)), tuple(unused))


def _near(rows: list[dict[str, Any]], unused: list[str], of: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Columns whose names resemble a field that none of their rows has: answer_type next to answer is not a mistake."""
    for name in unused:
        having = [row for row in rows if row.get(name) is not None]
        lacking = [f for f in USUAL if not any(row.get(part) is not None for row in having for part in of.get(f, ()))]
        if like := get_close_matches(name, lacking, 1):
            yield name, like[0]


def _rename(row: Row, columns: Columns) -> Row:
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    spoiled: dict[str, str] = {}
    for field, parts in columns.of.items():
        names[field] = "+".join(parts)
        values = [row.fields.get(part) for part in parts]
        if len(parts) == 1:
            fields[field] = values[0]
        elif all(isinstance(value, str) for value in values):
            fields[field] = " ".join(str(value).strip() for value in values)
        else:
            # The message names the column that is not text.
            fields[field] = next(value for value in values if not isinstance(value, str))
        for part in parts:
            if part in row.spoiled:
                spoiled[field] = row.spoiled[part]
    _from_messages(fields)
    _from_solution(fields, names)
    if columns.levels and isinstance(level := fields.get("level"), str):
        if level.strip().lower() not in columns.levels:
            fields["level"] = RowError(names["level"], f"{level!r} is not one of {' < '.join(columns.levels)}")
        else:
            fields["level"] = columns.levels.index(level.strip().lower()) + 1
    return replace(row, fields=fields, names=names, spoiled=spoiled, columns=tuple(row.fields))


def _from_messages(fields: dict[str, Any]) -> None:
    """The user's last message as the question, and the assistant's reply to it as the expert CoT."""
    messages = fields.get("question")
    if not isinstance(messages, list) or not all(isinstance(m, dict) and "content" in m for m in messages):
        return
    asked = [i for i, m in enumerate(messages) if m.get("role") == "user"]
    if not asked:
        return
    fields["question"] = messages[asked[-1]]["content"]
    said = [m["content"] for m in messages[asked[-1] + 1 :] if m.get("role") == "assistant"]
    if said and fields.get("expert_cot") is None:
        fields["expert_cot"] = said[0]


def _from_solution(fields: dict[str, Any], names: dict[str, str]) -> None:
    """The answer at the end of a worked solution: GSM8K's "#### 18", or else the box of the solution."""
    answer, solution = fields.get("answer"), fields.get("expert_cot")
    if isinstance(answer, str) and "####" in answer:
        before, _, after = answer.rpartition("####")
        fields["answer"] = after.strip()
        if solution is None and before.strip():
            fields["expert_cot"] = before.strip()
            names["expert_cot"] = names["answer"]
    elif answer is None and isinstance(solution, str) and (found := extract(solution)) and found[1] < len(solution):
        fields["answer"] = found[0]
        names.setdefault("answer", names.get("expert_cot", "expert_cot"))
