"""A table of many trainings: each method at each learning rate and weight, shown whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.training import (
    Evaluated,
    check_alike,
    check_comparable,
    label,
    levels_of,
    over_bases,
    per_base,
    spread,
    untrained,
)
from expo.report.words import METHODS, TOY, listed, number, share

COLUMNS = ["trained_on", "method", "rate", "beta", "level", "mean", "low", "high", "lowest", "highest"]
COLUMNS += ["steps_true", "bases", "problems", "n", "split"]


# Of `level`: all of them together.
ALL = "all"


def draw_grid(name: str, runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: accuracy by level of every method, rate and weight at the last step.

    `steps_true` is the share of true steps: low accuracy with true steps is a failure to copy, not to reason.
    """
    # What they are trained on may differ.
    for on in {run.levels for run in runs}:
        check_comparable([run for run in runs if run.levels == on])
    cells = _cells(runs)
    levels: list[int | str] = [*levels_of(runs), ALL]
    rows = []
    for on in dict.fromkeys(key[0] for key in cells):
        before = untrained(run for run in runs if run.levels == on)
        rows += [_row((on, "base", 0.0, 0.0), before, level, 0) for level in levels]
        rows += [_row(key, held, level) for key, held in cells.items() if key[0] == on for level in levels]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    toy = runs[0].is_toy
    first = runs[0]
    shown, recipe, hardest = numbers.iloc[0], first.recipe, [ALL, *levels][-2]
    about = (
        f"Accuracy after {first.last_step} steps of {first.batch} {'pairs' if first.is_dpo else 'samples'}, on the "
        f"split `{recipe['eval_split']}`: the mean over bases, and the lowest and highest base. {shown['problems']} "
        f"problems{' a level' * (hardest != ALL)}, {shown['n']} samples each at T = {recipe['eval_temperature']:g}, "
        f"seed {recipe.get('seed', 42)}; intervals over problems are in the CSV. *Steps* is the share of true steps at "
        f"{_where(hardest)}. In bold: of each method the rate and weight with the highest mean accuracy on the levels "
        "that it was trained on."
    )
    title = f"# Trainings: {name}, {label(runs)}{' (toy)' if toy else ''}"
    text = "\n\n".join([title, *([f"**{TOY}**"] if toy else []), about, _table(numbers, best(runs), hardest)]) + "\n"
    reading = _read(numbers, best(runs), hardest)
    return publish(out, f"{name}-{label(runs)}", runs, numbers, {".md": text}, reading)


def _where(level: int | str) -> str:
    return "all levels" if level == ALL else f"level {level}"


def best(runs: Sequence[Evaluated]) -> dict[tuple[str, str], tuple[float, float]]:
    """The learning rate and weight of each method, by what it was trained on, with the highest mean accuracy there.

    "There" is the levels trained on, at the last step: (levels, method) -> (rate, weight). Of equal means the lowest
    rate and weight; none where these levels were not evaluated.
    """
    found: dict[tuple[str, str], tuple[float, float, float]] = {}
    for (levels, method, rate, beta), held in _cells(runs).items():
        mean = over_bases(held, levels=held[0].trained_levels).mean
        if mean > found.get((levels, method), (-1.0, 0.0, 0.0))[0]:
            found[levels, method] = (mean, rate, beta)
    return {key: (rate, beta) for key, (_, rate, beta) in found.items()}


def _cells(runs: Sequence[Evaluated]) -> dict[tuple[str, str, float, float], list[Evaluated]]:
    cells: dict[tuple[str, str, float, float], list[Evaluated]] = {}
    for run in runs:
        cells.setdefault((run.levels, run.method, run.rate, run.beta), []).append(run)
    for some in cells.values():
        check_alike(some)
    order = list(METHODS)
    return dict(sorted(cells.items(), key=lambda c: (c[0][0], order.index(c[0][1]), *c[0][2:])))


def _row(
    key: tuple[str, str, float, float], runs: Sequence[Evaluated], level: int | str, step: int | None = None
) -> dict[str, Any]:
    levels = None if level == ALL else [int(level)]
    found, of_bases = over_bases(runs, step, levels), spread(runs, step, levels)
    values = [*key, level, found.mean, found.low, found.high, min(of_bases), max(of_bases)]
    steps = per_base(runs, lambda run: _true_steps(run, run.last_step if step is None else step, levels))
    n = min(int(run.evaluation["n"].min()) for run in runs)
    values += [sum(steps) / len(steps), len(of_bases), found.n, n, runs[0].recipe["eval_split"]]
    return dict(zip(COLUMNS, values, strict=True))


def _true_steps(run: Evaluated, step: int, levels: list[int] | None) -> float:
    held = run.at(step, levels)
    return float(held["steps_true"].sum() / max(held["steps"].sum(), 1))


def _table(numbers: pd.DataFrame, chosen: dict[tuple[str, str], tuple[float, float]], hardest: int | str) -> str:
    levels = [str(level) if level == ALL else f"level {level}" for level in dict.fromkeys(numbers["level"])]
    head = ["trained on", "method", "rate", "weight", *levels, "steps", "bases"]
    lines = [f"| {' | '.join(head)} |", "| --- | --- |" + " --: |" * (len(head) - 2)]
    for (on, method, rate, beta), rows in numbers.groupby(["trained_on", "method", "rate", "beta"], sort=False):
        cells = [f"{share(r['mean'])} ({share(r['lowest'])} to {share(r['highest'])})" for _, r in rows.iterrows()]
        last = rows[rows["level"] == hardest].iloc[0]
        mark = "**" if chosen.get((str(on), str(method))) == (rate, beta) else ""
        name, setting = METHODS.get(str(method)), f"{mark}{rate:g}{mark} | {mark}{beta:g}{mark}"
        lines.append(
            f"| {on} | {f'{name} | {setting}' if name else 'before training | |'} | {' | '.join(cells)} | "
            f"{share(last['steps_true'])} | {last['bases']} |"
        )
    return "\n".join(lines)


def _read(numbers: pd.DataFrame, chosen: dict[tuple[str, str], tuple[float, float]], hardest: int | str) -> str:
    says = []
    means = numbers[numbers["level"] == hardest].set_index(["trained_on", "method", "rate", "beta"])["mean"]
    for on in dict.fromkeys(on for on, _ in chosen):
        tops = [
            f"{METHODS[method]} {share(float(means[on, method, rate, beta]))} (rate {rate:g}, weight {number(beta)})"
            for (of, method), (rate, beta) in chosen.items()
            if of == on
        ]
        says.append(f"Trained on {on}, {_where(hardest)} at the best rate and weight of each: {listed(tops)}.")
    return " ".join(says)
