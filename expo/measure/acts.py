"""Where in a text the hint acts: log mu(t|q, hint, ...) - log pi(t|q, ...) by kind of token, in nats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.verdict import as_metrics
from expo.stats import bootstrap
from expo.tasks import TASKS
from expo.tasks.definition import TaskDefinition

KINDS = {"answer": "mentions of the answer", "number": "other tokens with a digit", "rest": "all other tokens"}


def mentions_of(task: str, answer: str) -> list[str]:
    """The ways a text may spell an answer of the task, or a part of it: 1234 also as 1,234, and 1,234 as 1234."""
    said = TASKS[task].mentions if task in TASKS else TaskDefinition.mentions
    found = list(said(answer))
    for text in [m for m in found if re.fullmatch(r"-?\d+|-?\d{1,3}(,\d{3})+", m)]:
        plain = text.replace(",", "")
        found += [plain, f"{int(plain):,}"]
    return list(dict.fromkeys(found))


def mentions_by_problem(task: str, samples: pd.DataFrame) -> dict[str, list[str]]:
    """`mentions_of` the answer of each problem in `samples`."""
    answers = dict(zip(samples["problem"], samples["reference"], strict=True))
    return {problem: mentions_of(task, str(answer)) for problem, answer in answers.items()}


def kinds_of(texts: list[str], mentions: Sequence[str]) -> list[str]:
    """Classify each token: `answer` if it lies in one of the `mentions`, `number` if it has a digit, else `rest`."""
    text = "".join(texts)
    # Not inside a longer word or number: 4 is not mentioned in 42, 4,000 or -4, but it is in 10-4.
    said = "|".join(map(re.escape, mentions))
    whole = rf"(?<![\w.])(?<!\d,)(?<!(?<![\w)])[-−])(?:{said})(?!\w|\.\d|,\d{{3}})"
    found = [m.span() for m in re.finditer(whole, text)]
    kinds, start = [], 0
    for piece in texts:
        end = start + len(piece)
        # White space before a word belongs to its token.
        inside = start + len(piece) - len(piece.lstrip())
        in_answer = any(low <= inside < high for low, high in found) and bool(piece.strip())
        kinds.append("answer" if in_answer else "number" if re.search(r"\d", piece) else "rest")
        start = end
    return kinds


def differences(row: Mapping[Any, Any] | pd.Series) -> np.ndarray:
    """log mu(t|q, hint, ...) - log pi(t|q, ...) of each token; their sum is the pointwise mutual information."""
    return np.asarray(row["prompted"], dtype=float) - np.asarray(row["plain"], dtype=float)


def shares(tokens: pd.DataFrame, mentions: dict[str, list[str]], source: str = "explanation") -> pd.DataFrame:
    """For each problem and each of `KINDS`, its share of |difference| and of tokens, as means over samples.

    `mentions` has the result of `mentions_of` for each problem's answer.
    """
    rows = []
    for _, row in tokens[tokens["source"] == source].iterrows():
        size = np.abs(differences(row))
        if not size.sum():
            continue
        kinds = np.array(kinds_of(list(row["texts"]), mentions[row["problem"]]))
        of_kind = {kind: kinds == kind for kind in KINDS}
        rows.append(
            {"problem": row["problem"]}
            | {f"{kind}/difference": size[mask].sum() / size.sum() for kind, mask in of_kind.items()}
            | {f"{kind}/tokens": mask.mean() for kind, mask in of_kind.items()}
        )
    columns = ["problem", *(f"{kind}/{what}" for kind in KINDS for what in ("difference", "tokens"))]
    return pd.DataFrame(rows, columns=columns).groupby("problem", sort=False).mean()


def share_metrics(tokens: pd.DataFrame, mentions: dict[str, list[str]]) -> pd.DataFrame:
    """`shares` as rows of `metrics`: `acts/<kind>/<difference or tokens>`, means over problems, `/low` and `/high`."""
    found = shares(tokens, mentions)
    rows = [row for name in found for row in as_metrics(f"acts/{name}", bootstrap(found[name].to_numpy(dtype=float)))]
    return pd.DataFrame([(0, *row) for row in rows], columns=["step", "name", "value"])
