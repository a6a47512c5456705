"""Samples whose numbers have no pattern, and the numbers that a page shows."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from expo.measure.acts import mentions_by_problem, share_metrics
from expo.measure.verdict import summary
from expo.measure.weights import posterior_metrics
from expo.records import Run

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


def computed(run: Run, rows: pd.DataFrame) -> dict[str, float]:
    """The numbers of these samples by Python."""
    left = set(zip(rows["problem"], rows["source"], rows["index"], strict=True))
    tokens = run.read("tokens")
    keys = zip(tokens["problem"], tokens["source"], tokens["index"], strict=True)
    tokens = tokens[[key in left for key in keys]]
    parts = [summary(rows), posterior_metrics(rows), share_metrics(tokens, mentions_by_problem("chain", rows))]
    found = pd.concat(parts)
    return dict(zip(found["name"], found["value"].astype(float), strict=True))


def check_same(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    assert set(ours) == set(theirs)
    assert ours
    for name, value in theirs.items():
        same = math.isclose(ours[name], value, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(value) and math.isnan(ours[name])
        )
        assert same, f"{name}: {ours[name]} is shown, {value} computed"
