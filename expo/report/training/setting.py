"""How trainings that are shown together were run, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from expo.report.accuracy import RULE_OF_ORDER, order
from expo.report.trainings import EvaluatedRun, by_method, count_bases
from expo.report.words import listed, method_name
from expo.stats import MIN_PROBLEMS
from expo.text import plural


def named(method: object) -> str:
    """The name of a method in a picture; a base is called a base."""
    return "base" if method == "base" else method_name(method)


def standing(ends: pd.DataFrame) -> str:
    """The methods that the first one ends above or below, and those with which it has no clear order.

    `ends` has one row per method, by name, which compares the others with the first (`compared`).
    """
    rows = {str(method): row for method, row in ends.iterrows()}
    first, *others = rows
    if not others:
        return f"{named(first)} alone"
    of: dict[int, list[str]] = {}
    for other in others:
        of.setdefault(-order(rows[other]), []).append(other)
    places = [f"{place} {_all(of[sign])}" for place, sign in (("above", 1), ("below", -1)) if sign in of]
    parts = [f"{named(first)} ends {' and '.join(places)}"] if places else []
    if unclear := of.get(0, []):
        them = "the others" if places and len(unclear) > 1 else _all(unclear)
        if any(_bases_disagree(rows[other]) for other in unclear):
            parts.append(f"{'its order' if places else f'the order of {named(first)}'} with {them} depends on the base")
        else:
            parts.append(f"{'' if places else f'{named(first)} '}cannot be told apart from {them}")
    return ", and ".join(parts)


def _all(methods: Sequence[str]) -> str:
    return listed([named(method) for method in methods])


def _bases_disagree(row: pd.Series) -> bool:
    """Whether the mean has an order with that which it is compared with, and the bases do not agree on it."""
    return bool(row["problems"] >= MIN_PROBLEMS and not row["less_low"] <= 0 <= row["less_high"])


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
        f"{RULE_OF_ORDER}."
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
