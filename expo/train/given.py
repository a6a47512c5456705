"""Positives that already exist: a dataset of `expo sample`, another run's, or a user's; none is sampled then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from expo.grading.answers import Grade, Status
from expo.measure.choice import Chosen
from expo.policies.policy import Policy, PolicyError
from expo.positives.closing import close
from expo.positives.kinds import Positive, from_ids, from_text
from expo.schema import as_frame
from expo.tasks import Checker
from expo.tasks.files import read_rows
from expo.tasks.problem import DataError, Problem, Skip, in_lines
from expo.tasks.row import Row, RowError
from expo.tasks.row import kind as kind_of
from expo.text import plural
from expo.train.positives import all_of, fits, row_of

# Column names by content; the first non-empty one is used. A problem is identified by its id or its question.
_PROBLEM = ("problem", "question", "prompt")
_TEXT = ("completion", "explanation", "text", "positive", "response", "solution")
# Values of `correct`, for the answer that a text gave before it was closed with a*.
_WORDS = dict.fromkeys(("true", "1", "1.0"), Status.CORRECT) | dict.fromkeys(("false", "0", "0.0"), Status.WRONG)

Texts = dict[str, list[Row]]


def read_texts(where: str, problems: Sequence[Problem]) -> tuple[Texts, list[Skip]]:
    """Read the rows whose text belongs to one of these problems, by id and in source order, and the bad rows.

    Args:
        where: the folder of a run or of a dataset written by `expo sample`, or anything that a `jsonl` task reads.
        problems: the problems that texts may belong to.

    Raises:
        DataError: if the source cannot be read, or has no usable row, no such columns, or no text for any of the
            problems; or if its run learnt texts with weights or only in part.
    """
    folder = Path(where).expanduser()
    inside = (folder / "positives.parquet", folder / "data" / "train-00000-of-00001.parquet")
    source = next((str(file) for file in inside if file.exists()), where)
    try:
        every = list(read_rows(source, flag="--positive_data"))
    except DataError as error:
        raise DataError(f"positive_data: {error}") from error
    rows, skips = [row for row in every if isinstance(row, Row)], []
    if not rows:
        raise DataError(f"{source}: no usable row{_in_lines([row for row in every if isinstance(row, Skip)])}")
    there = list(dict.fromkeys(name for row in rows for name in row.fields))
    _check_columns(source, there)
    _check_whole(source, rows)
    found = {p.question.strip(): p for p in problems} | {p.id: p for p in problems}
    texts: Texts = {}
    for row in every:
        if isinstance(row, Skip):
            skips.append(row)
            continue
        try:
            named, read = _read(row, there)
        except RowError as bad:
            skips.append(Skip(row.where, bad.field, f"{bad.reason}; the row is left out"))
            continue
        problem = found.get(named)
        # Other data may use the same ids.
        asked = str(row.fields.get("question") or (problem and problem.question)).strip()
        if problem and asked == problem.question.strip():
            texts.setdefault(problem.id, []).append(read)
    if not texts:
        left_out = _in_lines(skips)
        raise DataError(
            f"{source}: none of the {len(problems)} problems has a text. Texts are matched by id and by "
            f"question; check that they are of the same task, split and seed{left_out}"
        )
    return texts, skips


def _read(row: Row, there: Sequence[str]) -> tuple[str, Row]:
    """Identify a row's problem, and normalise the row: its text in `text`, what is known about its answer in `status`.

    Raises:
        RowError: if the row cannot be used.
    """
    named, text = _filled(row, _PROBLEM), _filled(row, _TEXT)
    if named is None or text is None:
        lacking = " or ".join(name for name in (_TEXT if named else _PROBLEM) if name in there)
        raise RowError(lacking, "missing or empty")
    written = row.fields[text]
    if not isinstance(written, str):
        raise RowError(text, f"{kind_of(written)}, not text")
    return str(row.fields[named]).strip(), replace(row, fields={**row.fields, "text": written, "status": _status(row)})


def _status(row: Row) -> Status | None:
    """What the source says about a text's own answer, before it was closed with a*; None if nothing.

    Raises:
        RowError: if `correct` is neither true nor false.
    """
    status, right = row.fields.get("status"), row.fields.get("correct")
    if status in list(Status):
        return Status(status)
    if _is_blank(right):
        return None
    if str(right).lower() not in _WORDS:
        raise RowError("correct", f"must be true or false, got {str(right)!r}")
    return _WORDS[str(right).lower()]


def _is_blank(value: Any) -> bool:
    # NaN is how a table represents a missing value.
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _in_lines(skips: Sequence[Skip]) -> str:
    """The number of rows left out, and the first of them with reasons, to append to a message."""
    if not skips:
        return ""
    first = "".join(f"\n                {line}" for line in in_lines(skips, 3))
    return f"\n              {plural(len(skips), 'row')} left out:{first}"


def _check_columns(source: str, there: Sequence[str]) -> None:
    for names in (_PROBLEM, _TEXT):
        if not set(names) & set(there):
            raise DataError(f"{source}: no column {' or '.join(names)}; it has {', '.join(there) or 'none'}")


def _check_whole(source: str, rows: Sequence[Row]) -> None:
    """Check that a run's positives are whole texts of weight 1. A user's own file may have columns of these names."""
    of_run = [row.fields for row in rows if not _is_blank(row.fields.get("ids"))]
    if not all(_is_blank(f.get("mask")) and _is_one(f.get("weight")) for f in of_run):
        raise DataError(
            f"{source}: its positives have weights or masks, which positive_data does not read; leave positive_data "
            "out and set positive_choice and positive_tokens as in that run, or name a run that has neither"
        )


def _is_one(weight: Any) -> bool:
    """Whether a weight, which is text in a CSV, is 1 or missing."""
    try:
        return _is_blank(weight) or float(weight) == 1
    except (TypeError, ValueError):
        return False


def _filled(row: Row, names: Sequence[str]) -> str | None:
    """The first of these columns in which a row has a value."""
    return next((name for name in names if not _is_blank(row.fields.get(name))), None)


def given(
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    texts: Texts,
    kind: str,
    must_be: Sequence[str],
    step: int = 0,
) -> tuple[pd.DataFrame, list[Skip]]:
    """Make one positive per problem from existing texts, in the form in which `make` returns those that it samples.

    Takes the first text of a problem that meets `must_be` and fits the policy's context. Its CoT ends where the text
    states its answer, and is closed with a*. Whether its own answer is right is taken from the source, or else from the
    text itself.
    """
    must = all_of(kind, must_be)
    table, missing = [], []
    for p in problems:
        if p.id not in texts:
            missing.append(Skip(p.where or p.id, kind, "no text for it in positive_data: no positive"))
            continue
        rows, built, unwritten = _built(policy, p, kind, texts[p.id], checker)
        missing += unwritten
        if not built:
            continue
        grades = checker.grade([(p, b.text) for b in built], [False] * len(built))
        known = [_as_known(row, grade) for row, grade in zip(rows, grades, strict=True)]
        short = [
            (b, g)
            for b, g in zip(built, known, strict=True)
            if len(b.scored.prompt) + len(b.scored.completion) <= policy.context
        ]
        if fit := [(b, g) for b, g in short if fits(checker, b, g, must)]:
            table.append(row_of(policy, checker, kind, step, Chosen(*fit[0])))
            continue
        lacks = " and ".join(must) if short else f"short enough for the context of {policy.context}"
        none = "its text is not" if len(built) == 1 else f"none of its {len(built)} texts is"
        missing.append(Skip(p.where or p.id, kind, f"{none} {lacks}: no positive"))
    return as_frame("positives", table), missing


def _built(
    policy: Policy, problem: Problem, kind: str, rows: Sequence[Row], checker: Checker
) -> tuple[list[Row], list[Positive], list[Skip]]:
    """Split rows into those the policy can tokenise, with their positives, and the others as skips."""
    kept, built, skips = [], [], []
    for row in rows:
        try:
            built.append(_positive(policy, problem, kind, row.fields, checker))
            kept.append(row)
        except PolicyError as error:
            skips.append(Skip(row.where, _filled(row, _TEXT) or "text", f"{error}; the row is left out"))
    return kept, built, skips


def _positive(policy: Policy, problem: Problem, kind: str, fields: dict[str, Any], checker: Checker) -> Positive:
    """A text closed with a*; the source's tokens are used unchanged if they end in a* and are this policy's."""
    ids, cot = fields.get("ids"), fields.get("cot_tokens")
    # In a CSV they are text, and a user's own column of this name may hold anything.
    if not (isinstance(cot, int) and isinstance(ids, list) and all(isinstance(i, int) for i in ids)):
        return from_text(policy, problem, kind, fields["text"], checker)
    bare = close(policy, problem, "", ())
    end = bare.completion[len(bare.cue) :]
    is_ours = all(0 <= i < policy.vocabulary for i in ids) and policy.decode(ids) == fields["text"]
    if not is_ours or tuple(ids[-len(end) :]) != end:
        return from_text(policy, problem, kind, fields["text"], checker)
    return from_ids(policy, problem, kind, ids, cot)


def _as_known(row: Row, grade: Grade) -> Grade:
    """The grade that the source gives the text before it was closed with a*, if any."""
    status = row.fields["status"]
    return grade if status is None else Grade(Status(status), grade.extracted)


def texts_in_words(where: str, problems: Sequence[Problem]) -> str:
    """How many of the problems have a text, and which rows are left out, for the plan."""
    texts, skips = read_texts(where, problems)
    return f"{plural(sum(map(len, texts.values())), 'text')} for {len(texts)} of them in {where}{_in_lines(skips)}"
