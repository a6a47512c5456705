"""The texts of samples: their steps, each with its truth, and their tokens; those that the page shows first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from expo.measure.acts import KINDS, differences, kinds_of, mentions_by_problem
from expo.report.html.tables import dumps, number
from expo.report.positives.example1 import Part, parts
from expo.tasks import TASKS, Checker, checker_of
from expo.tasks.problem import DataError
from expo.text import visible

_LONGEST = 6_000  # characters of a text
_SLOW = 200  # texts


def acts(tokens: pd.DataFrame, samples: pd.DataFrame, task: str) -> pd.DataFrame:
    """For each hinted sample and kind of token, the sum of |log mu(t|q, a*) - log pi(t|q)| and the number of tokens."""
    mentions = mentions_by_problem(task, samples)
    rows = []
    for row in tokens.to_dict("records"):
        size = np.abs(differences(row))
        kinds = np.array(kinds_of(list(row["texts"]), mentions[row["problem"]]))
        sums = {f"{kind}/difference": float(size[kinds == kind].sum()) for kind in KINDS}
        counts = {f"{kind}/tokens": int((kinds == kind).sum()) for kind in KINDS}
        rows.append({"problem": row["problem"], "source": row["source"], "index": row["index"], **sums, **counts})
    return pd.DataFrame(rows).astype({"problem": "string", "source": "string"})


def texts_of(
    samples: pd.DataFrame, tokens: pd.DataFrame | None, recipe: dict[str, Any], most: int
) -> tuple[dict[str, Any], int]:
    """The texts of as many rows of `samples` as fit into `most` bytes, and the bytes that they take.

    Those that the page shows first come first: for each kind of positive, the rows with the lowest, median and highest
    learning signal, and the other texts of their problems. Keys are row indices.

    Returns:
        `rows`: by index, the parts of the CoT, each with its truth (null: not a step), what follows it, the answer,
            and, if measured, the tokens with their differences; `problems`: by id, the question and its answer.
    """
    places = list(_in_order(samples.reset_index(drop=True)))
    of_tokens = {} if tokens is None else {_key(row): row for row in tokens.to_dict("records")}
    rows: dict[str, Any] = {}
    problems: dict[str, Any] = {}
    used = 0
    with _checker(recipe) as checker:
        for place in tqdm(places, desc="texts", unit="text", disable=len(places) < _SLOW, leave=False):
            row: dict[Any, Any] = samples.iloc[place].to_dict()
            problem = visible(str(row["problem"]))
            told = _text(checker, row, of_tokens.get(_key(row)))
            asked = [visible(str(row[name]))[:_LONGEST] for name in ("question", "reference")]
            size = len(dumps(told)) + 10 + (0 if problem in problems else len(dumps([problem, *asked])) + 10)
            if used + size > most:
                break
            rows[str(place)], used = told, used + size
            problems.setdefault(problem, asked)
        judged = checker.judged if checker else None
    return {"rows": rows, "problems": problems, "judged": judged}, used


def _checker(recipe: dict[str, Any]) -> AbstractContextManager[Checker | None]:
    """The checker of a record's task; None for a task that is not installed."""
    return closing(checker_of(recipe)) if recipe["task"] in TASKS else nullcontext()


def _key(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return row["problem"], row["source"], row["index"]


def _in_order(samples: pd.DataFrame) -> Iterator[int]:
    """The indices of rows, in the order in which the page shows them."""
    seen: set[int] = set()

    def new(places: Iterable[int]) -> Iterator[int]:
        for place in places:
            if place not in seen:
                seen.add(place)
                yield place

    ends = []
    for _, rows in samples[samples["learning_signal"].notna()].groupby("source", sort=False):
        ordered = rows.sort_values("learning_signal", kind="stable").index
        ends += [ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]]
    yield from new(ends)
    beside = set(samples.loc[ends, "problem"])
    yield from new(samples.index[samples["problem"].isin(beside) & (samples["index"] == 0)])
    yield from new(samples.index)


def _text(checker: Checker | None, row: dict[Any, Any], tokens: Mapping[Any, Any] | None) -> dict[str, Any]:
    cot, text = str(row["cot"]), str(row["text"])
    # A long text may repeat one word endlessly, and such texts would fill the whole page.
    cut = {**row, "cot": cot[:_LONGEST]}
    told: dict[str, Any] = {
        "parts": [[visible(part), true] for part, true in _parts(checker, cut)],
        "rest": visible(text[len(cot) :])[:_LONGEST] if text.startswith(cot) else "",
        "answer": "" if pd.isna(row["answer"]) else visible(str(row["answer"]))[:200],
    }
    if len(cot) > _LONGEST:
        told["left_out"] = len(cot) - _LONGEST
    if tokens is not None:
        pairs = zip(tokens["texts"], differences(tokens), strict=True)
        told["tokens"] = [[visible(token), number(round(float(difference), 2))] for token, difference in pairs]
    return told


def _parts(checker: Checker | None, row: dict[str, Any]) -> list[Part]:
    """The steps of a CoT; without a checker, or for a problem that it cannot read, the CoT as one part."""
    try:
        return parts(checker, row) if checker else [(str(row["cot"]), None)]
    except DataError:
        return [(str(row["cot"]), None)]
