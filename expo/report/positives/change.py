"""How training changes each kind of positive: its likelihood and its learning signal, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.positives.measurements import Measurement, label
from expo.report.runs import check_alike
from expo.report.words import NAMES, interval, is_method, levels_in_words, listed, method_name, method_order
from expo.stats import Interval, bootstrap, bootstrap_rate
from expo.text import plural

COLUMNS = ["method", "source", "quantity", "mean", "low", "high", "problems", "bases", "samples"]
QUANTITIES = {
    "nll_sum": "NLL per sequence",
    "nll_per_token": "NLL per token",
    "learning_signal": "log π(a\\*∣q, c)",
    "correct": "own answer right",
    "steps_true": "true steps",
}
_SHARES = ("correct", "steps_true")


def before_and_after(runs: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of trained policies and of the bases they started from; none unless there are both.

    Raises:
        ValueError: if they differ in more than the policy.
    """
    trained = [run for run in runs if is_method(run.trained_before)]
    bases = {run.base for run in trained}
    before = [run for run in runs if not run.environment.get("trained_from") and run.base in bases]
    if not before or not trained:
        return []
    check_alike("measurements before and after training", [*before, *trained], set())
    return [*before, *trained]


def draw_change(runs: Sequence[Measurement], out: Path | str) -> Artefact:
    """Write `change-<label>.md` and `.csv`: the two properties of each kind of positive, before and after training.

    Each number is a mean over bases and then over problems, with its bootstrap interval over problems.
    """
    numbers = pd.DataFrame(_rows(runs), columns=COLUMNS)
    first = runs[0]
    levels = levels_in_words(first.recipe.get("levels"))
    about = (
        f"{first.setting}, split `{first.recipe['split']}`, {levels}; {_bases(runs)}. "
        "Every positive but the expert CoT is sampled anew from the policy at hand. "
        "There is one expert CoT and one control of each kind per problem. "
        "All are closed with a\\* and scored under the plain question prompt, in nats at temperature 1. "
        "*Own answer right* is about the text before a\\* took the place of its answer. "
        "Means over problems and bases with 95 % bootstrap intervals over problems, exact where a share is 0 or 1."
    )
    return write_table(
        out,
        f"change-{label(first)}",
        runs,
        numbers,
        title=f"Positives before and after training: {label(first)}",
        parts=[about, _table(numbers)],
        reading=_read(numbers),
    )


def _bases(runs: Sequence[Measurement]) -> str:
    names = sorted({Path(run.base).name for run in runs})
    return f"{'base' if len(names) == 1 else 'bases'} {listed(names)}"


def _rows(runs: Sequence[Measurement]) -> list[dict[str, Any]]:
    rows = []
    for method in sorted({run.trained_before for run in runs}, key=method_order):
        alike = [run for run in runs if run.trained_before == method]
        sources = list(dict.fromkeys(source for run in alike for source in run.samples["source"]))
        for source in sources:
            of_source = [run.samples[run.samples["source"] == source] for run in alike]
            about = {"method": method or "base", "source": source, "bases": len({run.base for run in alike})}
            for quantity in QUANTITIES:
                resample = bootstrap_rate if quantity in _SHARES else bootstrap
                mean = resample(_by_problem(of_source, quantity).to_numpy())
                if mean.n:
                    rows.append({**about, "quantity": quantity, **_named(mean), "samples": sum(map(len, of_source))})
    return rows


def _by_problem(frames: Sequence[pd.DataFrame], quantity: str) -> pd.Series:
    """For each problem, the mean over bases of its means."""
    of_bases = []
    for frame in frames:
        values = frame[quantity]
        if quantity == "steps_true":
            values = values / frame["steps"].where(frame["steps"] > 0)
        of_bases.append(values.astype("Float64").groupby(frame["problem"]).mean().astype(float))
    return pd.concat(of_bases, axis=1).mean(axis=1).dropna()


def _named(mean: Interval) -> dict[str, Any]:
    values = asdict(mean)
    values["problems"] = values.pop("n")
    return values


def _table(numbers: pd.DataFrame) -> str:
    rows = []
    for (source, method), of_both in numbers.groupby(["source", "method"], sort=False):
        told = {row["quantity"]: _cell(row) for _, row in of_both.iterrows()}
        cells = [told.get(quantity, "–") for quantity in QUANTITIES]
        rows.append([NAMES[str(source)], method_name(method), *cells, *map(str, of_both.iloc[0][["bases", "samples"]])])
    order = list(NAMES.values())
    rows.sort(key=lambda row: order.index(row[0]))
    return markdown_table(["positive", "policy", *QUANTITIES.values(), "bases", "samples"], rows)


def _cell(row: pd.Series) -> str:
    return interval(Interval(row["mean"], row["low"], row["high"], row["problems"]))


def _read(numbers: pd.DataFrame) -> str:
    told = numbers[numbers["quantity"] == "nll_per_token"]
    lines = []
    for source in ("explanation", "expert"):
        rows = told[told["source"] == source]
        if parts := [f"{_when(row['method'])} {_cell(row)}" for _, row in rows.iterrows()]:
            problems = plural(int(rows["problems"].max()), "problem")
            lines.append(f"NLL per token of the {NAMES[source]}, over {problems}: {listed(parts)}.")
    return " ".join(lines)


def _when(method: str) -> str:
    return f"after {method_name(method)}" if is_method(method) else method_name(method)
