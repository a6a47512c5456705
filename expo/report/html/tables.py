"""Tables as JSON: columns of numbers, words as indices into a list, and fewer problems if a page would be too large."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from expo.text import visible

# The most that all tables of a page may take, in bytes; the texts get the rest.
ROWS_BYTES = 2_000_000
# Of a run: the page draws resamples of all its problems, which takes some seconds for this many, and minutes for 5,000.
MOST_PROBLEMS = 1_000
# The most that all curves of a page may take, in bytes.
_CURVES_BYTES = 400_000
_STEPS = 200  # of a curve
COLUMNS = {
    "samples": (
        *("problem", "level", "source", "index", "hint", "tokens", "nll_sum", "nll_per_token", "nll_cot"),
        *("learning_signal", "nll_prompted", "status", "correct", "truncated", "leak", "steps", "steps_true"),
    ),
    "acts": (
        *("problem", "source", "index", "answer/difference", "number/difference", "rest/difference"),
        *("answer/tokens", "number/tokens", "rest/tokens"),
    ),
    "evaluation": ("step", "problem", "level", "n", "correct", "unparsed", "truncated"),
    "alignment": (
        *("step", "problem", "level", "source", "tokens", "nll_sum", "nll_per_token", "learning_signal", "norm"),
        *("reward", "log10_t1", "slope", "slope_error", "repeated"),
    ),
    "gains": (
        *("problem", "level", "source", "size", "predicted", "predicted_error", "realised", "realised_error"),
        *("exact_before", "exact_after", "repeated"),
    ),
}


def fit(tables: Sequence[dict[str, pd.DataFrame]], most: int = ROWS_BYTES) -> list[dict[str, pd.DataFrame]]:
    """The tables of each run, with as many whole problems of each run as fit into `most` bytes together.

    The problems that are left out are spread evenly over the run's order, and are the same in all of its tables.
    """
    sizes = [sum(len(dumps(encode(name, frame))) for name, frame in of_run.items()) for of_run in tables]
    share = min(1.0, most / max(1, sum(sizes)))
    return [_keep(of_run, share) for of_run in tables]


def _keep(tables: dict[str, pd.DataFrame], share: float) -> dict[str, pd.DataFrame]:
    problems = list(dict.fromkeys(p for frame in tables.values() for p in frame["problem"]))
    count = min(len(problems), MOST_PROBLEMS, max(1, int(share * len(problems))))
    kept = {problems[i] for i in np.linspace(0, len(problems) - 1, count).round().astype(int)}
    if count == len(problems):
        return tables
    return {name: frame[frame["problem"].isin(kept)] for name, frame in tables.items()}


def curves(trainings: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """The metrics of trainings as curves, by name: `{"step": [...], name: [...]}`.

    Each has as many steps, spread evenly, as there is room for in all of them together; values have six digits.
    """
    size = sum(9 * len(metrics) for metrics in trainings)
    share = min(1.0, _CURVES_BYTES / max(1, size))
    return [_curves(metrics, share) for metrics in trainings]


def _curves(metrics: pd.DataFrame, share: float) -> dict[str, Any]:
    wide = metrics.drop_duplicates(["step", "name"], keep="last").pivot(index="step", columns="name", values="value")
    count = min(len(wide), _STEPS, max(2, int(share * len(wide))))
    wide = wide.sort_index().iloc[np.linspace(0, len(wide) - 1, count).round().astype(int)]
    shown = {str(name): [number(float(f"{v:.6g}")) if pd.notna(v) else None for v in wide[name]] for name in wide}
    return {"step": [int(step) for step in wide.index], **shown}


def encode(table: str, frame: pd.DataFrame) -> dict[str, Any]:
    """A table's columns as lists; a column of words is `{"of": its sorted words, "at": their indices}`.

    Missing values are null. Infinite ones are the strings Infinity and -Infinity, since JSON has no such numbers.
    """
    return {column: _column(frame[column]) for column in COLUMNS[table] if column in frame}


def _column(values: pd.Series) -> list[Any] | dict[str, Any]:
    if values.dtype == "string" or values.dtype == object:
        # Sorted as pandas sorts the groups of a table by code points: the bootstrap draws problems by their places.
        words = sorted(values.dropna().unique())
        places = {word: i for i, word in enumerate(words)}
        return {
            "of": [visible(str(word)) for word in words],
            "at": [None if pd.isna(v) else places[v] for v in values],
        }
    if values.dtype == "boolean":
        return [None if pd.isna(v) else int(v) for v in values]
    return [number(v) for v in values]


def number(value: Any) -> float | int | str | None:
    """A number as JSON can hold it; see `encode`."""
    if pd.isna(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def dumps(value: Any) -> str:
    """JSON that is safe to embed in a page: it starts no tag and contains only ASCII."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def left_out(before: Mapping[str, pd.DataFrame], after: Mapping[str, pd.DataFrame]) -> tuple[int, int] | None:
    """How many problems are kept, and out of how many; None if all are."""
    for name, frame in before.items():
        kept, of = after[name]["problem"].nunique(), frame["problem"].nunique()
        if kept < of:
            return int(kept), int(of)
    return None
