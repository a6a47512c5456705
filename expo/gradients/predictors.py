"""Which property of a positive predicts how a step along its gradient changes J: rank correlations per question."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from expo.stats import Interval, bootstrap_questions, rank_correlation

# Column of `joined` -> description; a higher value should mean a higher gain.
PREDICTORS = {
    "predicted": "estimated slope of J / norm",
    "nll_sum": "log-probability (−NLL per sequence)",
    "nll_per_token": "log-probability per token",
    "learning_signal": "learning signal log π(a*|q, c)",
    "unit_t1": "T1 / norm",
    "norm": "norm of the gradient",
}
_LOWER = ("nll_sum", "nll_per_token")
# With fewer rollouts of the rarer outcome (right or wrong), the error of a slope is itself unreliable: with one, it is
# about as large as the slope, whatever that is. From five on, twice the error covers 0.89 to 0.99 of simulated slopes.
MIN_RARER = 5
COLUMNS = ["predictor", "mean", "low", "high", "n", "more", "more_low", "more_high", "more_n"]


def joined(alignment: pd.DataFrame, gains: pd.DataFrame, size: float, *, by_rollouts: bool = False) -> pd.DataFrame:
    """One row per positive of a run: its measurements, and what a step of this length does to J.

    That is `change`: by enumeration if available (`change_error` is then 0), or else, or on request, from rollouts
    other than those of the slope. The error of the slope is unreliable if `few`, that of a change from rollouts if
    `change_few`. Among positives of one question with the same text only the first is kept, since the results hold for
    all.
    """
    rows = gains[gains["size"] == size].merge(
        distinct(alignment).drop(columns="level"), on=["problem", "source"], validate="one_to_one"
    )
    exact = (rows["exact_after"] - rows["exact_before"]).astype(float)
    exact = exact * float("nan") if by_rollouts else exact
    error = rows["realised_error"].astype(float)
    return rows.assign(
        change=exact.where(exact.notna(), rows["realised"].astype(float)),
        change_error=error.where(exact.isna(), 0.0),
        few=few(rows),
        change_few=_rare(rows["realised_right"], rows["rollouts"]) & exact.isna(),
        unit_t1=rows["log10_t1"].astype(float) - np.log10(rows["norm"].astype(float)),
    )


def few(rows: pd.DataFrame) -> pd.Series:
    """Whether fewer than `MIN_RARER` rollouts of a question were right, or wrong, for rows of `alignment`."""
    return _rare(rows["right"], rows["rollouts"])


def _rare(right: pd.Series, rollouts: pd.Series) -> pd.Series:
    return (right.where(2 * right < rollouts, rollouts - right) < MIN_RARER).astype(bool)


def distinct(alignment: pd.DataFrame) -> pd.DataFrame:
    """The positives of a run, without those whose text equals that of an earlier one of the same question."""
    text = alignment["ids"].map(tuple)
    return alignment[~alignment.assign(ids=text).duplicated(["step", "problem", "ids"])]


def unit_slopes(alignment: pd.DataFrame) -> pd.Series:
    """The slope of J per unit step along each positive's gradient; 0 if the gradient is 0."""
    norm = alignment["norm"].astype(float)
    return (alignment["slope"].astype(float) / norm.where(norm > 0)).fillna(0.0)


def rank_correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean Spearman correlation of each predictor with the change of J over the positives of a question.

    `rows` are those of `joined`, of several runs if they have a column `run`; only questions with a slope and a change
    for at least three different positives count. Columns (`COLUMNS`): the mean with its 95 % bootstrap interval,
    resampling questions, over the n questions in which both vary; and `more`, its excess over the correlation of the
    log-probability per sequence, in the questions that have both.
    """
    known = rows[rows["predicted_error"].notna() & rows["change_error"].notna()]
    keys = [k for k in ("run", "problem") if k in known]
    correlations = {column: _within(known.groupby(keys), column) for column in PREDICTORS}
    table: list[list[object]] = []
    for column, of_predictor in correlations.items():
        nll = correlations["nll_sum"]
        mean, more = (
            _mean(of_predictor),
            _mean({key: of_predictor[key] - nll[key] for key in of_predictor if key in nll}),
        )
        table.append([column, mean.mean, mean.low, mean.high, mean.n, more.mean, more.low, more.high, more.n])
    return pd.DataFrame(table, columns=COLUMNS)


def _within(questions: Any, column: str) -> dict[tuple[str, ...], float]:
    """The correlation in each question with at least three positives in which both vary."""
    sign = -1 if column in _LOWER else 1
    correlations = {}
    for key, rows in questions:
        correlation = rank_correlation(sign * rows[column].astype(float), rows["change"])
        if len(rows) >= 3 and not np.isnan(correlation):
            correlations[key] = correlation
    return correlations


def _mean(values: dict[tuple[str, ...], float]) -> Interval:
    mean = bootstrap_questions(pd.Series(list(values.values()), [key[-1] for key in values], dtype=float))
    # Sums of fractions that cancel are not quite 0.
    return Interval(round(mean.mean, 12), round(mean.low, 12), round(mean.high, 12), mean.n)
