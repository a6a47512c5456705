"""How trainings that are shown together were trained, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from expo.report.accuracy import order
from expo.report.trainings import EvaluatedRun, by_method, count_bases
from expo.report.words import listed, method_name
from expo.text import plural


def named(method: object) -> str:
    """What a method is called in a picture; a base is called one."""
    return "base" if method == "base" else method_name(method)


def standing(ends: pd.DataFrame) -> str:
    """Above and below which other methods the first one ends, and with which it has no order.

    `ends` has a row for each method, by its name, that compares the others with the first (`compared`).
    """
    rows = {str(method): row for method, row in ends.iterrows()}
    first, *others = rows
    if not others:
        return f"{named(first)} alone"
    of: dict[int, list[str]] = {}
    for other in others:
        of.setdefault(-order(rows[other]), []).append(named(other))
    if set(of) == {0}:
        return f"{named(first)} cannot be told apart from {listed(of[0])}"
    parts = [f"{word} {listed(of[sign])}" for word, sign in (("above", 1), ("below", -1)) if sign in of]
    told = f"{named(first)} ends {' and '.join(parts)}"
    if 0 not in of:
        return told
    return f"{told}, and cannot be told apart from {of[0][0] if len(of[0]) == 1 else 'the others'}"


def schedule(runs: Sequence[EvaluatedRun]) -> str:
    """What a step of these trainings is: its size, and what of the added term or of DPO."""
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
    """The lines beneath a picture of accuracies: over how many `bases`, on how many `problems`, and how trained."""
    first = runs[0]
    counts = {method: count_bases(of_method) for method, of_method in by_method(runs).items()}
    most = max(counts.values())
    fewer = [f"{named(method)}: {plural(n, 'base')}" for method, n in counts.items() if n < most]
    return (
        f"Mean over {bases}. n = {problems}, k = {first.sampling}, seed {first.seed}."
        f"{f' {listed(fewer)}.' if fewer else ''}\n"
        f"Trained on {first.levels}; {schedule(runs)}.\n"
        f"Learning rates: {rates(runs)}.{weights_note(runs)}"
    )


def weights_note(runs: Iterable[EvaluatedRun]) -> str:
    """What a caption says if a base that these runs began from was made more than once; empty if none was.

    Made again on another machine by the same recipe, its weights differ by rounding.
    """
    weights: dict[str, set[str]] = {}
    for run in runs:
        if not run.environment.get("trained_from") and (source := run.environment.get("weights")):
            weights.setdefault(run.base, set()).add(str(source))
    again = sorted(Path(base).name for base, sources in weights.items() if len(sources) > 1)
    made = "were made more than once" if len(again) > 1 else "was made more than once"
    return f" {listed(again)} {made} by one recipe; the weights of these runs differ by rounding." if again else ""
