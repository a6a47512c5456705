"""Shared by the pictures of DPO at several learning rates: one row per training, and the description of its setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from expo.report.dpo.setting import against, first_round, metric, smooth
from expo.report.trainings import EvaluatedRun
from expo.report.words import method_name, method_order
from expo.stats import bootstrap

COLUMNS = ["method", "base", "rate", "loss", "before", "change", "low", "high", "nll_before", "nll_after"]
COLUMNS += ["problems", "n", "pairs"]


def by_rate(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """One row (`COLUMNS`) per DPO run.

    It has the loss over the last batches; the accuracy on all levels before training, and its change with a 95 %
    bootstrap interval (problems resampled); and the NLL (nats per token) of the watched winners of the first round,
    before and after.
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        watched = first_round(run)
        nll = -watched["winner"] / watched["winner_tokens"]
        before, after = run.accuracies(0), run.accuracies(run.last_step)
        change = bootstrap((after - before).to_numpy())
        rows.append(
            {
                "method": run.method,
                "base": run.policy_name,
                "rate": run.rate,
                "loss": smooth(metric(run, "loss"), run.last_step),
                "before": float(before.mean()),
                "change": change.mean,
                "low": change.low,
                "high": change.high,
                "nll_before": float(nll[watched["step"] == 0].mean()),
                "nll_after": float(nll[watched["step"] == run.last_step].mean()),
                "problems": len(before),
                "n": run.eval_samples,
                "pairs": int((watched["step"] == 0).sum()),
            }
        )
    rows.sort(key=lambda row: (row["rate"], method_order(row["method"]), row["base"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def by_sampling(numbers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of offline and of online trainings; a group without rows is left out."""
    is_online = numbers["method"].str.endswith("_online")
    both = {"offline": numbers[~is_online], "online": numbers[is_online]}
    return {sampling: rows for sampling, rows in both.items() if len(rows)}


def winner_name(method: str) -> str:
    """The name of a DPO method, online or offline."""
    return method_name(method.removesuffix("_online")).removeprefix("offline ")


def trained_on(runs: Sequence[EvaluatedRun]) -> str:
    """How a heading begins: on which levels they were trained, and whether on wrong losers only."""
    return f"trained on {runs[0].levels}{against(runs)}"
