"""What the added term learns for a prompt: one text, or several with weights, and which of their tokens count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from expo.tasks.problem import Problem

Tokens = tuple[int, ...]


class Part(NamedTuple):
    """A text of (c~, a*): its tokens, whether each counts, and its weight in the term of its prompt."""

    ids: Tokens
    mask: tuple[bool, ...]
    weight: float = 1.0


def whole(ids: Sequence[int]) -> tuple[Part, ...]:
    """One text, of which all tokens count."""
    return (Part(tuple(ids), (True,) * len(ids)),)


def several(name: str, parts: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Read texts given as mappings with `ids`, and optionally `mask` and `weight`.

    Raises:
        ValueError: for a mask of the wrong length or one that counts no token, or a weight that is not above 0; the
            message names the prompt.
    """
    out = []
    for part in parts:
        ids, weight = part["ids"], part.get("weight")
        mask = part.get("mask")
        counted = (True,) * len(ids) if mask is None else tuple(map(bool, mask))
        if len(counted) != len(ids) or not any(counted):
            raise ValueError(
                f"mask must have one value for each of the {len(ids)} tokens of a positive, and count at "
                f"least one token; got {len(counted)} values, of which {sum(counted)} count, for the prompt "
                f"{name[-300:]!r}"
            )
        if weight is not None and not 0 < weight < float("inf"):
            raise ValueError(
                f"weight of a positive must be above 0 and finite, got {weight} for the prompt {name[-300:]!r}"
            )
        out.append(Part(tuple(ids), counted, 1.0 if weight is None else float(weight)))
    return tuple(out)


def parts_of(positives: pd.DataFrame, problems: Sequence[Problem]) -> list[list[dict[str, Any]] | None]:
    """For each problem, its rows of `positives.parquet` in the form that `several` takes; None if it has none."""
    held: dict[str, list[dict[str, Any]]] = {}
    for row in positives[["problem", "ids", "mask", "weight"]].to_dict("records"):
        part = {
            "ids": [int(i) for i in row["ids"]],
            "mask": None if row["mask"] is None else [bool(m) for m in row["mask"]],
            "weight": None if pd.isna(row["weight"]) else float(row["weight"]),
        }
        held.setdefault(str(row["problem"]), []).append(part)
    return [held.get(p.id) for p in problems]
