"""How trainings that are shown together were run, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from expo.report.accuracy import RULE_OF_ORDER, order
from expo.report.lines import bases_note
from expo.report.trainings import EvaluatedRun, by_method, count_bases
from expo.report.words import listed, method_name, share, spanned
from expo.stats import MIN_PROBLEMS
from expo.text import plural


def named(method: object) -> str:
    """The name of a method in a picture; a base is called a base."""
    return "base" if method == "base" else method_name(method)


def findings(ends: pd.DataFrame, shown: str) -> tuple[str, str, str]:
    """What a heading may say of what is `shown`, such as `accuracy at level 3`, from the fullest to the shortest.

    `ends` has a row for each method, by its name, that compares the others with the first (`compared`).
    """
    at = re.sub("^in accuracy ", "", f"in {shown}")
    first, *others = [(named(method), row["mean"]) for method, row in ends.iterrows()]
    scores = listed([f"{first[0]} scores {share(first[1])}", *(f"{name} {share(mean)}" for name, mean in others)])
    means = [mean for _, mean in others] or [first[1]]
    span = dict.fromkeys([share(min(means)), share(max(means))])
    rest = f", the {len(others)} other methods {' to '.join(span)}" if len(others) > 1 else ""
    return (
        f"in {shown}, {standing(ends)}",
        f"{at}, {scores}",
        f"{at}, {first[0]} scores {share(first[1])}{rest}",
    )


def standing(ends: pd.DataFrame) -> str:
    """`ExP-GRPO (97 %) ends above GRPO (0 %)`: where the first method ends against each of the others."""
    rows = {str(method): row for method, row in ends.iterrows()}
    first, *others = (f"{named(method)} ({share(row['mean'])})" for method, row in rows.items())
    if not others:
        return f"{named(next(iter(rows)))} scores {share(rows[next(iter(rows))]['mean'])}"
    of: dict[str, list[str]] = {}
    for other, row in zip(others, [*rows.values()][1:], strict=True):
        of.setdefault(side(row), []).append(other)
    told = listed([words.format(listed(of[where])) for where, words in _SIDES.items() if where in of])
    return f"{first} {told.replace(' and ends ', ' and ') if len(of) == 2 and told.startswith('ends') else told}"


BY_BASE, UNCLEAR, NOT_COMPARED = "by base", "unclear", "not compared"
# Where a method ends against others. An order is shown only by `above` and `below`.
_SIDES = {
    "above": "ends above {}",
    "at or above": "ties with or leads {}",
    "below": "ends below {}",
    "at or below": "ties with or trails {}",
    BY_BASE: "ends above or below {}, depending on the base",
    UNCLEAR: "cannot be told apart from {}",
    NOT_COMPARED: "is not compared with {}",
}


def side(row: pd.Series) -> str:
    """Where the first method ends, as seen from a row that compares another with it."""
    if row["problems"] < MIN_PROBLEMS or pd.isna(row["less"]):
        return NOT_COMPARED
    if sign := order(row):
        return "below" if sign > 0 else "above"
    if row["less_low"] > 0:
        return "at or below" if row["less_lowest"] >= 0 else BY_BASE
    if row["less_high"] < 0:
        return "at or above" if row["less_highest"] <= 0 else BY_BASE
    return UNCLEAR


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


def against(runs: Sequence[EvaluatedRun]) -> str:
    """` against wrong losers only`, for trainings by DPO in which no right answer was a loser; else nothing."""
    may_be_right = [run.recipe.get("right_losers", True) for run in runs if run.is_dpo]
    return " against wrong losers only" if may_be_right and not any(may_be_right) else ""


def rates(runs: Sequence[EvaluatedRun]) -> str:
    """The learning rate of each method."""
    return listed([f"{named(method)} {of_method[0].rate:g}" for method, of_method in by_method(runs).items()])


def notes_of(runs: Sequence[EvaluatedRun], problems: str) -> str:
    """The lines beneath curves of accuracy: over how many bases and `problems`, how sampled, and what is unequal."""
    arms = by_method(runs)
    counts = {method: count_bases(of_method) for method, of_method in arms.items()}
    most = max(counts.values())
    fewer = [f"{named(method)}: {plural(n, 'base')}" for method, n in counts.items() if n < most]
    about = (
        f"{bases_note(most)}; n = {problems}, k = {runs[0].sampling}, seed {runs[0].seed}."
        f"{f' {listed(fewer)}.' if fewer else ''}"
    )
    return "\n".join(filter(None, [about, _unequal(arms)]))


def _unequal(arms: Mapping[str, Sequence[EvaluatedRun]]) -> str:
    """How the methods' trainings differ from the first one's; empty if they do not."""
    first, (one, *_) = next(iter(arms.items()))
    by_rate: dict[float, list[str]] = {}
    for method, (run, *_) in arms.items():
        by_rate.setdefault(run.rate, []).append(named(method))
    told = [
        f"The learning rate of {listed(methods)} is {rate / one.rate:.2g} times that of {named(first)}."
        for rate, methods in by_rate.items()
        if rate != one.rate
    ]
    told += [
        f"{named(method)} ends at step {run.last_step}, {named(first)} at step {one.last_step}."
        for method, (run, *_) in arms.items()
        if run.last_step != one.last_step
    ]
    told += [
        f"{named(method)} starts, at step 0, from policies that SFT has trained."
        for method in arms
        if method.startswith("sft_") and "+" in method
    ]
    return " ".join(told)


def setting_of(runs: Sequence[EvaluatedRun]) -> str:
    """How the runs of a picture were trained, and when it speaks of an order; beside the picture, not beneath it."""
    return (
        f"Trained on {runs[0].levels} for {spanned(run.last_step for run in runs)} steps; {schedule(runs)}. "
        f"Learning rates: {rates(runs)}.{weights_note(runs)} {RULE_OF_ORDER}; it ties with or leads (trails) another "
        "where some bases tie. Two methods cannot be told apart where that interval includes 0. With fewer than "
        f"{MIN_PROBLEMS} problems, or without a base in common, methods are not compared."
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
