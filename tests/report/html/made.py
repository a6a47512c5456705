"""Samples whose numbers have no pattern, and the numbers that a page shows."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ...browser import dump
from ..records.positives import samples


def random_samples(n: int = 40, k: int = 3) -> pd.DataFrame:
    """Samples whose numbers have no pattern, some of them cut, leaking, wrong or without a number."""
    rng, rows = np.random.default_rng(1), samples(n, k)
    size = len(rows)
    rows["nll_sum"] = rng.gamma(3, 10, size)
    rows["nll_per_token"] = rng.gamma(3, 0.2, size)
    rows["nll_cot"] = rng.gamma(3, 9, size)
    rows["learning_signal"] = -rng.gamma(1, 1.5, size)
    hinted = rows["source"].isin(["explanation", "wrong_explanation", "nonsense"])
    rows["nll_prompted"] = pd.Series(rng.gamma(3, 8, size)).where(hinted & (rng.random(size) > 0.1))
    rows["learning_signal"] = rows["learning_signal"].where(rng.random(size) > 0.05)
    rows["truncated"] = rng.random(size) < 0.3
    rows["leak"] = rng.random(size) < 0.2
    rows["correct"] = pd.Series(rng.random(size) < 0.5).astype("boolean").where(rows["source"] != "expert")
    return rows


def random_tokens(rows: pd.DataFrame) -> pd.DataFrame:
    """Each self-explanation token by token."""
    rng, out = np.random.default_rng(2), []
    for row in rows[rows["source"] == "explanation"].to_dict("records"):
        texts = re.findall(r"\S+\s*", row["cot"])
        plain, prompted = -rng.gamma(1, 1, len(texts)), -rng.gamma(1, 1, len(texts))
        key = {name: row[name] for name in ("problem", "source", "index")}
        out.append({**key, "ids": list(range(len(texts))), "texts": texts, "plain": plain, "prompted": prompted})
    return pd.DataFrame(out)


def shown(page: Path, fragment: str = "") -> dict[str, float]:
    """The numbers that the page shows, by name."""
    found = re.findall(r'<data data-name="([^"]*)" value="([^"]*)"', dump(page, f"numbers=1&{fragment}"))
    return {html.unescape(name): float(value.replace("Infinity", "inf")) for name, value in found}
