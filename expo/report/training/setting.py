"""How trainings that are shown together were run, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from expo.report.accuracy import RULE_OF_ORDER, order
from expo.report.trainings import EvaluatedRun, by_method, count_bases
from expo.report.words import listed, method_name, share
from expo.stats import MIN_PROBLEMS
from expo.text import plural


def named(method: object) -> str:
    """The name of a method in a picture; a base is called a base."""
    return "base" if method == "base" else method_name(method)


def standing(ends: pd.DataFrame) -> str:
    """`ExP-GRPO (97 %) ends above GRPO (0 %)`: where the first method ends against each of the others.

    `ends` has a row for each method, by its name, that compares the others with the first (`compared`).
    """
    rows = {str(method): row for method, row in ends.iterrows()}
    first, *others = (f"{named(method)} ({share(row['mean'])})" for method, row in rows.items())
    if not others:
        return f"{first} alone"
    of: dict[str, list[str]] = {}
    for other, row in zip(others, [*rows.values()][1:], strict=True):
        of.setdefault(_side(row), []).append(other)
    sides = [f"{side} {listed(of[side])}" for side in _SIDES if side in of]
    if _BY_BASE in of:
        sides.append(f"above or below {listed(of[_BY_BASE])} by base")
    parts = [f"ends {listed(sides)}"] if sides else []
    if _UNCLEAR in of:
        parts.append(f"cannot be told apart from {listed(of[_UNCLEAR])}")
    return f"{first} {', and '.join(parts)}"


# Where a method ends against another. An order is shown only by `above` and `below`, without `at or`.
_SIDES = ("above", "at or above", "below", "at or below")
_BY_BASE, _UNCLEAR = "by base", "unclear"


def _side(row: pd.Series) -> str:
    """Where the first method ends, as seen from a row that compares another with it."""
    if sign := order(row):
        return "below" if sign > 0 else "above"
    if row["problems"] < MIN_PROBLEMS or not (row["less_low"] > 0 or row["less_high"] < 0):
        return _UNCLEAR
    if row["less_low"] > 0:
        return "at or below" if row["less_lowest"] >= 0 else _BY_BASE
    return "at or above" if row["less_highest"] <= 0 else _BY_BASE


def schedule(runs: Sequence[EvaluatedRun]) -> str:
    """What a step of these trainings is: its size, and the setting of the added term or of DPO."""
    first = runs[0]
    if first.is_dpo:
        return f"{first.batch} pairs a step, beta {first.beta:g}"
    weights = [f"{beta:g}" for beta in sorted({run.beta for run in runs if run.beta})]
    return (
        f"{first.batch} samples a step, G = {first.recipe.get('num_generations', 8)}, weight of the added term "
        f"{listed(weights)}"
    )


def rates(runs: Sequence[EvaluatedRun]) -> str:
    """The learning rate of each method."""
    return listed([f"{named(method)} {of_method[0].rate:g}" for method, of_method in by_method(runs).items()])


def notes_of(runs: Sequence[EvaluatedRun], bases: str, problems: str) -> str:
    """The line beneath a picture of accuracies: over how many `bases`, on how many `problems`, and how sampled."""
    counts = {method: count_bases(of_method) for method, of_method in by_method(runs).items()}
    most = max(counts.values())
    fewer = [f"{named(method)}: {plural(n, 'base')}" for method, n in counts.items() if n < most]
    return (
        f"{bases[0].upper()}{bases[1:]}; n = {problems}, k = {runs[0].sampling}, seed {runs[0].seed}."
        f"{f' {listed(fewer)}.' if fewer else ''}"
    )


def setting_of(runs: Sequence[EvaluatedRun]) -> str:
    """How the runs of a picture were trained, and when it speaks of an order; beside the picture, not beneath it."""
    return (
        f"Trained on {runs[0].levels}; {schedule(runs)}. Learning rates: {rates(runs)}.{weights_note(runs)} "
        f"{RULE_OF_ORDER}; at or above, if some bases tie."
    )


def weights_note(runs: Iterable[EvaluatedRun]) -> str:
    """A caption's note that a base of these runs was made more than once; empty if none was.

    If the same recipe is run again on another machine, the weights differ by rounding.
    """
    weights: dict[str, set[str]] = {}
    for run in runs:
        if not run.environment.get("trained_from") and (source := run.environment.get("weights")):
            weights.setdefault(run.base, set()).add(str(source))
    again = sorted(Path(base).name for base, sources in weights.items() if len(sources) > 1)
    made = "were made more than once" if len(again) > 1 else "was made more than once"
    return f" {listed(again)} {made} by one recipe; the weights of these runs differ by rounding." if again else ""
