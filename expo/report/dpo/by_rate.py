"""Shared by the pictures of DPO at several learning rates: one row per training, and the description of its setting."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from expo.report.dpo.setting import first_round, metric, smooth
from expo.report.trainings import EvaluatedRun, count_bases
from expo.report.words import method_name
from expo.stats import bootstrap
from expo.text import plural

COLUMNS = ["method", "base", "rate", "loss", "before", "change", "low", "high", "nll_before", "nll_after"]
COLUMNS += ["problems", "n", "pairs"]


def by_rate(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """One row (`COLUMNS`) per DPO run.

    It has the loss over the last batches; the accuracy on all levels before training, and its change with a 95 %
    bootstrap interval (problems resampled); and the NLL (nats per token) of the watched winners of the first round,
    before and after.
    """
    rows = []
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
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["rate", "method", "base"], ignore_index=True)


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
    return f"trained on {runs[0].levels}{'' if _has_right_losers(runs) else ' against wrong losers only'}"


def notes_of(runs: Sequence[EvaluatedRun], about: str) -> str:
    """What stands beneath a picture: what is drawn, and of how many problems, samples and bases."""
    first = runs[0]
    return (
        f"{about} n = {len(first.accuracies(0))} problems of the split `{first.recipe['eval_split']}`, "
        f"k = {first.sampling}; {plural(count_bases(runs), 'base')}."
    )


def setting_of(runs: Sequence[EvaluatedRun]) -> str:
    """How the runs were trained."""
    first = runs[0]
    return (
        f"{first.last_step} steps of {first.batch} pairs, beta {first.beta:g}, "
        f"{'losers right or wrong' if _has_right_losers(runs) else 'wrong losers only'}, seed {first.seed}."
    )


def _has_right_losers(runs: Sequence[EvaluatedRun]) -> bool:
    return bool(runs[0].recipe.get("right_losers", True))
