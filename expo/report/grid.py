"""A table of many trainings: each method at each learning rate and weight, shown whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.training import LEVELS, Evaluated, label, over_bases, spread
from expo.report.words import METHODS, TOY, listed, number, share

COLUMNS = ["trained_on", "method", "rate", "beta", "level", "mean", "low", "high", "lowest", "highest"]
COLUMNS += ["steps_true", "bases", "problems", "n", "split"]


def draw_grid(name: str, runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: accuracy by level of every method, rate and weight at the last step.

    `steps_true` is the share of true steps: low accuracy with true steps is a failure to copy, not to reason.
    """
    cells: dict[tuple[str, str, float, float], list[Evaluated]] = {}
    for run in runs:
        cells.setdefault((run.levels, run.method, run.rate, run.beta), []).append(run)
    order = list(METHODS)
    rows = [
        _row(key, held, level)
        for key, held in sorted(cells.items(), key=lambda c: (c[0][0], order.index(c[0][1]), *c[0][2:]))
        for level in LEVELS
    ]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    toy = runs[0].is_toy
    first = runs[0]
    about = (
        f"Accuracy at the last step on the split `{first.recipe['eval_split']}`: the mean over bases, and the lowest "
        f"and highest base. {numbers['problems'].iloc[0]} problems a level, {numbers['n'].iloc[0]} samples each at T = "
        f"{first.recipe['eval_temperature']:g}, seed {first.recipe.get('seed', 42)}; intervals over problems are in "
        "the CSV. *Steps* is the share of true steps at level 5."
    )
    title = f"# Trainings: {name}, {label(runs)}{' (toy)' if toy else ''}"
    text = "\n\n".join([title, *([f"**{TOY}**"] if toy else []), about, _table(numbers)]) + "\n"
    return publish(out, f"{name}-{label(runs)}", runs, numbers, {".md": text}, _read(numbers))


def best(runs: Sequence[Evaluated], level: int) -> dict[str, tuple[float, float]]:
    """Of each method the learning rate with the highest mean accuracy at a level, and that accuracy."""
    out: dict[str, tuple[float, float]] = {}
    for method in METHODS:
        rates = sorted({run.rate for run in runs if run.method == method})
        means = [
            (over_bases([r for r in runs if (r.method, r.rate) == (method, x)], levels=[level]).mean, x) for x in rates
        ]
        if means:
            mean, rate = max(means)
            out[method] = (rate, mean)
    return out


def _row(key: tuple[str, str, float, float], runs: Sequence[Evaluated], level: int) -> dict[str, Any]:
    found, of_bases = over_bases(runs, levels=[level]), spread(runs, levels=[level])
    ends = pd.concat([run.evaluation[run.evaluation["step"] == run.last_step] for run in runs])
    ends = ends[ends["level"] == level]
    values = [*key, level, found.mean, found.low, found.high, min(of_bases), max(of_bases)]
    steps = float(ends["steps_true"].sum() / max(ends["steps"].sum(), 1))
    values += [steps, len(of_bases), found.n, int(ends["n"].min()), runs[0].recipe["eval_split"]]
    return dict(zip(COLUMNS, values, strict=True))


def _table(numbers: pd.DataFrame) -> str:
    head = ["trained on", "method", "rate", "weight", *(f"level {level}" for level in LEVELS), "steps", "bases"]
    lines = [f"| {' | '.join(head)} |", "| --- | --- |" + " --: |" * (len(head) - 2)]
    for (on, method, rate, beta), rows in numbers.groupby(["trained_on", "method", "rate", "beta"], sort=False):
        cells = [f"{share(r['mean'])} ({share(r['lowest'])} to {share(r['highest'])})" for _, r in rows.iterrows()]
        last = rows.iloc[-1]
        lines.append(
            f"| {on} | {METHODS[str(method)]} | {rate:g} | {beta:g} | {' | '.join(cells)} | "
            f"{share(last['steps_true'])} | {last['bases']} |"
        )
    return "\n".join(lines)


def _read(numbers: pd.DataFrame) -> str:
    says = []
    hardest = numbers[numbers["level"] == max(LEVELS)]
    for on, rows in hardest.groupby("trained_on", sort=False):
        best = [(m, r.sort_values("mean").iloc[-1]) for m, r in rows.groupby("method", sort=False)]
        tops = [
            f"{METHODS[str(m)]} {share(r['mean'])} (rate {r['rate']:g}, weight {number(r['beta'])})" for m, r in best
        ]
        says.append(f"Trained on {on}, the best of each method at level {max(LEVELS)}: {listed(tops)}.")
    return " ".join(says)
