"""Where in a text the hint acts: log mu(t|q, hint, ...) - log pi(t|q, ...) by kind of token, in nats."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

KINDS = {"answer": "mentions of the answer", "number": "other tokens with a digit", "rest": "all other tokens"}


def kinds_of(texts: list[str], answer: str) -> list[str]:
    """Of each token: `answer` where it lies in a mention of the answer, `number` where it has a digit, else `rest`."""
    text = "".join(texts)
    # Not within a longer word or number: 4 is no mention in 42.
    mentions = [m.span() for m in re.finditer(rf"(?<![\w.]){re.escape(answer)}(?!\w|\.\d)", text)]
    kinds, start = [], 0
    for piece in texts:
        end = start + len(piece)
        # White space before a word belongs to its token.
        inside = start + len(piece) - len(piece.lstrip())
        in_answer = any(low <= inside < high for low, high in mentions) and bool(piece.strip())
        kinds.append("answer" if in_answer else "number" if re.search(r"\d", piece) else "rest")
        start = end
    return kinds


def differences(row: pd.Series) -> np.ndarray:
    """log mu(t|q, hint, ...) - log pi(t|q, ...) of each token; their sum is the pointwise mutual information."""
    return np.asarray(row["prompted"], dtype=float) - np.asarray(row["plain"], dtype=float)


def shares(tokens: pd.DataFrame, answers: dict[str, str], source: str = "explanation") -> pd.DataFrame:
    """Of each problem, for each of `KINDS`: its share of |difference| and of tokens, as means over samples."""
    rows = []
    for _, row in tokens[tokens["source"] == source].iterrows():
        size = np.abs(differences(row))
        if not size.sum():
            continue
        kinds = np.array(kinds_of(list(row["texts"]), answers[row["problem"]]))
        of_kind = {kind: kinds == kind for kind in KINDS}
        rows.append(
            {"problem": row["problem"]}
            | {f"{kind}/difference": size[mask].sum() / size.sum() for kind, mask in of_kind.items()}
            | {f"{kind}/tokens": mask.mean() for kind, mask in of_kind.items()}
        )
    columns = ["problem", *(f"{kind}/{what}" for kind in KINDS for what in ("difference", "tokens"))]
    return pd.DataFrame(rows, columns=columns).groupby("problem", sort=False).mean()
