"""Positives that are there already: `expo sample`'s dataset, another run's, or a user's; none is sampled then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.grading.answers import Grade, Status
from expo.policies.policy import Policy
from expo.positives.kinds import Positive, from_ids, from_text
from expo.schema import as_frame
from expo.tasks import Checker
from expo.tasks.files import read_rows
from expo.tasks.problem import DataError, Problem, Skip
from expo.tasks.row import Row
from expo.text import plural
from expo.train.positives import fits, row_of

# Columns by what they hold, of which the first that is there is taken. A problem is named by its id or its question.
_PROBLEM = ("problem", "question", "prompt")
_TEXT = ("completion", "explanation", "text", "positive", "response", "solution")
# What a record and a dataset of ours keep beside a text: whether its own answer was right, before it was closed.
_RIGHT = {"status": Status.CORRECT.value, "correct": True}

Texts = dict[str, list[Row]]


def read_texts(where: str, problems: Sequence[Problem]) -> Texts:
    """Rows with a text for each of these problems that has one, by id, in the order of the source.

    Args:
        where: the folder of a run or of a dataset that `expo sample` wrote, or anything that a `jsonl` task reads.
        problems: those that a text may be for.

    Raises:
        DataError: if it cannot be read, has no such columns, or no text for any of the problems.
    """
    folder = Path(where).expanduser()
    inside = (folder / "positives.parquet", folder / "data" / "train-00000-of-00001.parquet")
    source = next((str(file) for file in inside if file.exists()), where)
    rows = [row for row in read_rows(source) if isinstance(row, Row)]
    there = list(dict.fromkeys(name for row in rows for name in row.fields))
    named, text = _column(source, there, _PROBLEM), _column(source, there, _TEXT)
    ids = {p.question.strip(): p.id for p in problems} | {p.id: p.id for p in problems}
    texts: Texts = {}
    for row in rows:
        problem = ids.get(str(row.fields.get(named)).strip())
        if problem and isinstance(row.fields.get(text), str) and row.fields[text].strip():
            texts.setdefault(problem, []).append(Row(row.where, row.number, {**row.fields, "text": row.fields[text]}))
    if not texts:
        raise DataError(
            f"{source}: no text for any of the {plural(len(problems), 'problem')}, which are looked for in the column "
            f"{named!r} by id and by question; are they of the same task, split and seed?"
        )
    return texts


def _column(source: str, there: Iterable[str], names: Sequence[str]) -> str:
    if found := [name for name in names if name in there]:
        return found[0]
    raise DataError(f"{source}: no column {' or '.join(names)}; there are {', '.join(there) or 'none'}")


def given(
    policy: Policy, checker: Checker, problems: Sequence[Problem], where: str, kind: str, must_be: Sequence[str]
) -> tuple[pd.DataFrame, list[Skip]]:
    """One positive a problem from texts that are there, as `make` gives those that it samples.

    Of a problem's texts the first is taken that is all it `must_be` and fits the policy's context. Its CoT ends
    where it states its answer, and is closed with a*. Whether its own answer is right is what the source says of it,
    or else what the text itself says.

    Raises:
        DataError: as `read_texts` says.
    """
    texts = read_texts(where, problems)
    table, missing = [], []
    for p in problems:
        if p.id not in texts:
            missing.append(Skip(p.where or p.id, kind, f"{where} has no text for it: no positive"))
            continue
        built = [_positive(policy, p, kind, row.fields, checker) for row in texts[p.id]]
        grades = checker.grade([(p, b.text) for b in built], [False] * len(built))
        known = [_as_known(row.fields, grade) for row, grade in zip(texts[p.id], grades, strict=True)]
        fit = [
            (b, g)
            for b, g in zip(built, known, strict=True)
            if fits(checker, b, g, must_be) and len(b.scored.prompt) + len(b.scored.completion) <= policy.context
        ]
        if fit:
            table.append(row_of(policy, checker, kind, 0, *fit[0]))
        else:
            asked = f" and is {' and '.join(must_be)}" if must_be else ""
            reason = (
                f"none of its {plural(len(built), 'text')} fits the context of {policy.context}{asked}: no positive"
            )
            missing.append(Skip(p.where or p.id, kind, reason))
    return as_frame("positives", table), missing


def _positive(policy: Policy, problem: Problem, kind: str, fields: dict[str, Any], checker: Checker) -> Positive:
    """A text closed with a*; where the source has its tokens, and they are this policy's, as it was."""
    ids, cot = fields.get("ids"), fields.get("cot_tokens")
    if ids is None or cot is None or not all(0 <= i < policy.vocabulary for i in ids):
        return from_text(policy, problem, kind, fields["text"], checker)
    if policy.decode(ids) != fields["text"]:
        return from_text(policy, problem, kind, fields["text"], checker)
    return from_ids(policy, problem, kind, [int(i) for i in ids], int(cot))


def _as_known(fields: dict[str, Any], grade: Grade) -> Grade:
    """A grade as the source has it of the text before it was closed with a*, if it says so."""
    for name, right in _RIGHT.items():
        if fields.get(name) not in (None, ""):
            status = Status.CORRECT if fields[name] == right else Status.WRONG
            return Grade(status, grade.extracted)
    return grade


def texts_in_words(where: str, problems: Sequence[Problem]) -> str:
    """How many of the problems have a text there, for the plan."""
    texts = read_texts(where, problems)
    return f"{plural(sum(map(len, texts.values())), 'text')} for {len(texts)} of them in {where}"
