"""Which number of a positive tells what a step along its gradient will do to J: rank correlations within questions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from expo.measure.verdict import Interval, bootstrap

# Column of `alignment` or `gains` -> what it is; higher is to mean a higher gain.
PREDICTORS = {
    "predicted": "slope of J, estimated",
    "nll_sum": "log-probability (−NLL per sequence)",
    "nll_per_token": "log-probability per token",
    "learning_signal": "learning signal log π(a*|q, c)",
    "log10_t1": "T1",
    "norm": "norm of the gradient",
}
_LOWER = ("nll_sum", "nll_per_token")


def realised(gains: pd.DataFrame) -> pd.Series:
    """The change of J: by enumeration where there is one, else from rollouts."""
    exact = (gains["exact_after"] - gains["exact_before"]).astype(float)
    return exact.where(exact.notna(), gains["realised"].astype(float))


def joined(alignment: pd.DataFrame, gains: pd.DataFrame, size: float) -> pd.DataFrame:
    """A row for each positive: its numbers, and what a step of this length does, as `realised_change`."""
    held = gains[gains["size"] == size].assign(realised_change=realised)
    return held.merge(alignment.drop(columns="level"), on=["problem", "source"], validate="one_to_one")


def rank_correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of each predictor with the realised change, of the positives of a question; the mean.

    Columns: predictor, mean, low, high (95 % bootstrap, questions resampled), n (questions in which both vary, of at
    least three positives).
    """
    table = []
    for column in PREDICTORS:
        sign = -1 if column in _LOWER else 1
        each = [
            (sign * held[column].astype(float)).corr(held["realised_change"], "spearman")
            for _, held in rows.groupby("problem")
            if len(held) >= 3 and held[column].nunique() > 1 and held["realised_change"].nunique() > 1
        ]
        found: Interval = bootstrap(np.array(each, dtype=float))
        table.append({"predictor": column, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n})
    return pd.DataFrame(table)
