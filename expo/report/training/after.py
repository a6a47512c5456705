"""What training does to a policy beyond accuracy: length, leaks, variety, distance from its base, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.grading.answers import Status
from expo.measure.samples import FIRST
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.training.grid import best
from expo.report.training.setting import named, weights_note
from expo.report.trainings import EvaluatedRun, before_training, label
from expo.report.words import interval, listed, method_order, number
from expo.stats import Interval, bootstrap, bootstrap_rate

COLUMNS = ["trained_on", "method", "rate", "step", "quantity", "mean", "low", "high", "problems", "runs"]
COLUMNS += ["change", "change_low", "change_high"]
Values = Callable[[EvaluatedRun, int], pd.Series]


def _share(name: str) -> Values:
    """A count over each problem's evaluated samples, as a share of them."""

    def values(run: EvaluatedRun, step: int) -> pd.Series:
        rows = run.at(step, run.trained_levels).set_index("problem")
        return (rows[name] / rows["n"]).astype(float)

    return values


def _of_probes(value: Callable[[pd.DataFrame], pd.Series]) -> Values:
    """A number from the own samples of the watched questions."""

    def values(run: EvaluatedRun, step: int) -> pd.Series:
        own = run.probes[(run.probes["source"] == "own") & (run.probes["step"] == step)].set_index("problem")
        return value(own).astype(float).dropna()

    return values


def _signal(own: pd.DataFrame) -> pd.Series:
    return own["learning_signal"].astype(float).map(np.exp)


def _confidence(own: pd.DataFrame) -> pd.Series:
    """pi(a|q, c) for the sample's own answer; missing if it has no answer."""
    answered = own[own["status"].isin([Status.CORRECT, Status.WRONG])]
    return (answered["nll_cot"] - answered["nll_sum"]).astype(float).map(np.exp)


def _squared_error(own: pd.DataFrame) -> pd.Series:
    return (_confidence(own) - own["correct"].astype(float)).dropna() ** 2


# A heading, and the source of its numbers.
QUANTITIES: dict[str, tuple[str, Values]] = {
    "tokens": ("tokens", _share("tokens")),
    "leaks": ("leaks", _share("leaks")),
    "distinct": ("distinct", _share("distinct")),
    "entropy": (f"entropy, first {FIRST} tokens", _of_probes(lambda own: own["nll_first"])),
    "kl": ("KL to the base", _of_probes(lambda own: own["nll_initial"] - own["nll_sum"])),
    "signal": ("π(a\\*∣q, c)", _of_probes(_signal)),
    "right": ("right", _of_probes(lambda own: own["correct"])),
    "confidence": ("π(own answer∣q, c)", _of_probes(_confidence)),
    "brier": ("Brier score", _of_probes(_squared_error)),
}
# Their intervals are exact if all problems have the same value.
_SHARES = {"leaks", "distinct", "right"}
# At step 0 it is 0 by definition.
_FROM_THE_BASE = "kl"


def has_after(runs: Sequence[EvaluatedRun]) -> bool:
    """Whether all of these trainings recorded what the table shows."""
    return bool(runs) and all(
        run.run.has("probes") and len(run.probes) and run.evaluation["leaks"].notna().all() for run in runs
    )


def draw_after(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "after-training") -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: each method at its best rate, before and after, with intervals.

    The CSV has every evaluation in between, too.
    """
    rows = []
    for trained_on in dict.fromkeys(run.levels for run in runs):
        alike = [run for run in runs if run.levels == trained_on]
        bases = before_training(alike)
        before = {name: _over_bases([values(run, 0) for run in bases]) for name, (_, values) in QUANTITIES.items()}
        rows += _rows(trained_on, "base", 0.0, 0, bases, before)
        chosen = best(alike)
        for method in sorted({m for levels, m in chosen if levels == trained_on}, key=method_order):
            rate, beta = chosen[trained_on, method]
            of_method = [r for r in alike if (r.method, r.rate, r.beta) == (method, rate, beta)]
            for step in sorted(set(of_method[0].evaluation["step"]) - {0}):
                rows += _rows(trained_on, method, rate, int(step), of_method, before)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    last = numbers[numbers["step"] == numbers.groupby(["trained_on", "method"])["step"].transform("max")]
    return write_table(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        title=f"Beyond accuracy: {label(runs)}",
        parts=[_about(runs), _table(last)],
        reading=_read(last),
    )


def _rows(
    trained_on: str, method: str, rate: float, step: int, runs: Sequence[EvaluatedRun], before: dict[str, pd.Series]
) -> list[dict[str, Any]]:
    """For each quantity, its mean at a step, and the difference from the same problems before training."""
    rows = []
    setting = {"trained_on": trained_on, "method": method, "rate": rate, "step": step, "runs": len(runs)}
    for quantity, (_, values) in QUANTITIES.items():
        after = before[quantity] if method == "base" else _over_bases([values(run, step) for run in runs])
        of = (bootstrap_rate if quantity in _SHARES else bootstrap)(after.to_numpy())
        row = {**setting, "quantity": quantity, "mean": of.mean, "low": of.low, "high": of.high, "problems": of.n}
        if method != "base" and quantity != _FROM_THE_BASE:
            moved = bootstrap((after - before[quantity]).dropna().to_numpy())
            row |= {"change": moved.mean, "change_low": moved.low, "change_high": moved.high}
        rows.append(row)
    return rows


def _over_bases(by_run: Sequence[pd.Series]) -> pd.Series:
    """A question watched by several trainings counts once."""
    return pd.concat(by_run, axis=1).mean(axis=1)


def _about(runs: Sequence[EvaluatedRun]) -> str:
    first = runs[0]
    probed = sorted({1.0 if run.recipe.get("probe_initial") else run.temperature for run in runs})
    temperatures = " and ".join(f"{t:g}" for t in probed)
    return (
        f"Before the first step and after the last ({_steps(runs)}), each method at its rate with the highest "
        "accuracy. Means over problems and bases, in brackets the 95 % bootstrap interval by problem. *Tokens* a "
        "sample, *leaks* (the share of samples that say they were given the answer, which they were not) and "
        f"*distinct* (texts that differ, as a share) are of the evaluation, {first.sampling}. The others are of one "
        f"own sample of each question watched, at temperature {temperatures}. *Entropy* is −log π per token. "
        "*KL* is the mean of log π less log π of the policy before any training, in nats per sequence. "
        "π(a\\*∣q, c) is the probability of the right answer after the sample's CoT. That of its own answer says how "
        "sure the policy is, and the *Brier score* is the mean square of its difference from 1 where the answer is "
        f"right and from 0 where it is wrong. The CSV has the evaluations in between, too.{weights_note(runs)}"
    )


def _steps(runs: Sequence[EvaluatedRun]) -> str:
    """The number of the last step; if there are several, also that of each method that differs from most."""
    by_method = {run.method: run.last_step for run in runs}
    usual, _ = Counter(by_method.values()).most_common(1)[0]
    others = [
        f"{named(method)}: {steps}{', after its first stage' if '+' in method else ''}"
        for method, steps in by_method.items()
        if steps != usual
    ]
    return "; ".join([str(usual), *others])


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
    """The quantities of a method that differ from those before training, paired by problem."""
    lines = []
    for trained_on, of in numbers.groupby("trained_on", sort=False):
        base = of[of["method"] == "base"].set_index("quantity")["mean"]
        told = []
        for method, rows in of[of["method"] != "base"].groupby("method", sort=False):
            apart = rows[(rows["change_low"] > 0) | (rows["change_high"] < 0)]
            changes = [
                f"{QUANTITIES[name][0]} {number(float(base[name]))} → {number(float(mean))}"
                for name, mean in zip(apart["quantity"], apart["mean"], strict=True)
            ]
            told.append(f"- {named(method)}: {listed(changes) if changes else 'nothing'}")
        head = (
            f"Trained on {trained_on}, what differs from before training (paired by problem, with an interval that "
            "excludes 0):"
        )
        lines.append("\n".join([head, *told]))
    return "\n\n".join(lines)
