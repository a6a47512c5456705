"""What training does to a policy beyond accuracy: length, leaks, variety, distance from where it began, calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.samples import FIRST
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.training.grid import best
from expo.report.training.setting import named, weights_note
from expo.report.trainings import EvaluatedRun, before_training, label
from expo.report.words import interval, listed, method_order, number
from expo.stats import Interval, bootstrap

COLUMNS = ["trained_on", "method", "rate", "quantity", "mean", "low", "high", "problems", "runs"]
Values = Callable[[EvaluatedRun, int], pd.Series]


def _share(name: str) -> Values:
    """A count of each problem's evaluated samples, as a share of them."""

    def values(run: EvaluatedRun, step: int) -> pd.Series:
        rows = run.at(step, run.trained_levels).set_index("problem")
        return (rows[name] / rows["n"]).astype(float)

    return values


def _of_probes(value: Callable[[pd.DataFrame], pd.Series]) -> Values:
    """A number of the own samples of the questions watched."""

    def values(run: EvaluatedRun, step: int) -> pd.Series:
        probes = run.run.read("probes")
        own = probes[(probes["source"] == "own") & (probes["step"] == step)].set_index("problem")
        return value(own).astype(float).dropna()

    return values


def _signal(own: pd.DataFrame) -> pd.Series:
    return own["learning_signal"].astype(float).map(np.exp)


# A heading and where its numbers come from.
QUANTITIES: dict[str, tuple[str, Values]] = {
    "tokens": ("tokens", _share("tokens")),
    "leaks": ("leaks", _share("leaks")),
    "distinct": ("distinct", _share("distinct")),
    "entropy": (f"entropy, first {FIRST} tokens", _of_probes(lambda own: own["nll_first"])),
    "kl": ("KL to the initial policy", _of_probes(lambda own: own["nll_initial"] - own["nll_sum"])),
    "signal": ("π(a\\*∣q, c)", _of_probes(_signal)),
    "right": ("right", _of_probes(lambda own: own["correct"])),
    "brier": ("Brier score", _of_probes(lambda own: (_signal(own) - own["correct"].astype(float)) ** 2)),
}


def has_after(runs: Sequence[EvaluatedRun]) -> bool:
    """Whether all of these trainings have what the table shows."""
    return bool(runs) and all(
        run.run.has("probes") and len(run.run.read("probes")) and run.evaluation["leaks"].notna().all() for run in runs
    )


def draw_after(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "after-training") -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: of each method at its best rate, before and after, with intervals."""
    rows = []
    for trained_on in dict.fromkeys(run.levels for run in runs):
        alike = [run for run in runs if run.levels == trained_on]
        rows += _rows(trained_on, "base", 0.0, before_training(alike), first=True)
        chosen = best(alike)
        for method in sorted({m for levels, m in chosen if levels == trained_on}, key=method_order):
            rate, beta = chosen[trained_on, method]
            of_method = [r for r in alike if (r.method, r.rate, r.beta) == (method, rate, beta)]
            rows += _rows(trained_on, method, rate, of_method)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    return write_table(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        title=f"Beyond accuracy: {label(runs)}",
        parts=[_about(runs), _table(numbers)],
        reading=_read(numbers),
    )


def _rows(
    trained_on: str, method: str, rate: float, runs: Sequence[EvaluatedRun], *, first: bool = False
) -> list[dict[str, Any]]:
    rows = []
    for quantity, (_, values) in QUANTITIES.items():
        # A question watched by several trainings is one question.
        by_run = [values(run, 0 if first else run.last_step) for run in runs]
        found = asdict(bootstrap(pd.concat(by_run, axis=1).mean(axis=1).to_numpy()))
        rows.append(
            {"trained_on": trained_on, "method": method, "rate": rate, "quantity": quantity, "runs": len(runs)}
            | {"problems": found.pop("n"), **found}
        )
    return rows


def _about(runs: Sequence[EvaluatedRun]) -> str:
    first = runs[0]
    temperature = first.recipe.get("temperature", 1.0)
    return (
        f"Before the first step and after the last ({first.last_step}), each method at its rate with the highest "
        "accuracy; means over problems and bases, in brackets the 95 % bootstrap interval by problem. *Tokens* a "
        "sample, *leaks* (the share of samples that say they were given the answer, which they were not) and "
        f"*distinct* (texts that differ, as a share) are of the evaluation, {first.sampling}. The others are of one "
        f"own sample of each question watched, at temperature {temperature:g}: *entropy* is −log π per token; *KL* is "
        "the mean of log π − log π_initial in nats per sequence, of samples at temperature 1 alone an estimate of "
        "the KL; π(a\\*∣q, c) against the share *right*, and the Brier score, say how well calibrated it is."
        f"{weights_note(runs)}"
    )


def _table(numbers: pd.DataFrame) -> str:
    rows = []
    for (trained_on, method, rate), of in numbers.groupby(["trained_on", "method", "rate"], sort=False):
        cells = [
            "–" if row["problems"] == 0 else interval(Interval(row["mean"], row["low"], row["high"], row["problems"]))
            for _, row in of.iterrows()
        ]
        rows.append([str(trained_on), named(method), f"{rate:g}" if rate else "–", *cells])
    heads = ["trained on", "method", "rate", *(heading for heading, _ in QUANTITIES.values())]
    return markdown_table(heads, rows, [*["---"] * 3, *["--:"] * len(QUANTITIES)])


def _read(numbers: pd.DataFrame) -> str:
    """Which methods differ from the base, by intervals that do not overlap; in which quantities."""
    lines = []
    for trained_on, of in numbers.groupby("trained_on", sort=False):
        base = {str(row["quantity"]): row for _, row in of[of["method"] == "base"].iterrows()}
        told = []
        for method, rows in of[of["method"] != "base"].groupby("method", sort=False):
            apart = [
                f"{QUANTITIES[name][0]} {number(float(row['mean']))} after {number(float(base[name]['mean']))}"
                for name, row in ((str(row["quantity"]), row) for _, row in rows.iterrows())
                if row["low"] > base[name]["high"] or row["high"] < base[name]["low"]
            ]
            told.append(f"{named(method)}: {listed(apart) if apart else 'no quantity'}")
        lines.append(f"Trained on {trained_on}, with an interval apart from the base's: {'; '.join(told)}.")
    return " ".join(lines)
