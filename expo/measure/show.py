"""A record in the terminal: Table 1's verdicts, counts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from expo.measure.predictors import (
    MIN_RARER,
    PREDICTORS,
    distinct,
    few,
    joined,
    over_questions,
    rank_correlations,
    unit_slopes,
)
from expo.measure.verdict import MIN_PROBLEMS, Interval, by_problem, table1
from expo.records import Run
from expo.text import plural

NAMES = {
    "own": "own CoT c",
    "explanation": "self-explanation c~",
    "expert": "expert CoT c_E",
    "own_correct": "own correct CoT",
    "wrong_explanation": "explanation of a wrong answer",
    "nonsense": "nonsense prefix",
    "answer": "bare answer",
}
_COLUMNS = ("tokens", "nll_sum", "nll_per_token", "learning_signal")
MARKS = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided"}


def show(run: Run) -> str:
    """Means and verdicts of a measurement, as text."""
    samples, recipe, environment = run.read("samples"), run.recipe(), run.environment()
    toy = " (a toy: it shows a mechanism, no effect size)" if environment.get("toy") else ""
    lines = [
        "",
        f"{recipe['policy']} on {recipe['task']}{toy}: {samples['problem'].nunique()} problems, "
        f"k = {recipe['samples']}, temperature {recipe['temperature']}, seed {recipe['seed']}",
        *_fewer(recipe, samples),
        "",
        f"{'positive':<31}{'n':>5}{'tokens':>8}{'NLL/seq':>9}{'NLL/tok':>9}{'signal':>9}{'right':>7}{'cut':>6}{'leak':>6}",
    ]
    for source, rows in samples.groupby("source", sort=False):
        means = {q: float(by_problem(samples, str(source), q).mean()) for q in _COLUMNS}
        right = "-" if rows["correct"].isna().all() else f"{rows['correct'].mean():.2f}"
        lines.append(
            f"{NAMES[str(source)]:<31}{len(rows):>5}{means['tokens']:>8.0f}{means['nll_sum']:>9.1f}"
            f"{means['nll_per_token']:>9.3f}{means['learning_signal']:>9.2f}{right:>7}"
            f"{rows['truncated'].mean():>6.2f}{rows['leak'].mean():>6.2f}"
        )
    lines += ["", "Table 1, measured (difference of means with 95 % bootstrap interval by problem, nats):"]
    for c in table1(samples):
        unit = {"nll_sum": "per sequence", "nll_per_token": "per token"}.get(c.quantity, "")
        lines.append(
            f"  {NAMES[c.source]:<30} {c.property} {unit}".ljust(66)
            + f"{MARKS[c.verdict]:<12} {c.difference} against {NAMES[c.reference]}, n = {c.difference.n}"
        )
    lines += ["", *skipped(run), f"record: {run.folder}"]
    return "\n".join(lines)


def show_gradients(run: Run) -> str:
    """Of each kind of positive how J rises along its gradient, and what tells it best, as text."""
    alignment, gains, recipe = run.read("alignment"), run.read("gains"), run.recipe()
    toy = " (a toy: it shows a mechanism, no effect size)" if run.environment().get("toy") else ""
    lines = [
        "",
        f"{recipe['policy']} on {recipe['task']}{toy}: {alignment['problem'].nunique()} problems, 2 x "
        f"{recipe['rollouts']} rollouts each, seed {recipe['seed']}; gradients over {_weights(run)}",
        "",
        f"{'positive':<31}{'n':>4}{'NLL/seq':>9}{'signal':>9}{'norm':>9}{'reward':>7}  {'slope/norm':<27}{'clear':>6}",
    ]
    for source, held in alignment.groupby("source", sort=False):
        held = held.set_index("problem")
        unit = unit_slopes(held)
        clear = int(((held["slope"].abs() > 2 * held["slope_error"]) & ~few(held)).sum())
        lines.append(
            f"{NAMES[str(source)]:<31}{len(held):>4}{held['nll_sum'].mean():>9.1f}{held['learning_signal'].mean():>9.2f}"
            f"{held['norm'].mean():>9.3g}{int(held['reward'].sum()):>7}  {over_questions(unit)!s:<27}{clear:>6}"
        )
    lines += [
        "reward: how many would be right as a rollout; they end in a*, but for the own CoT",
        "slope/norm: mean with 95 % bootstrap interval by problem; clear: beyond twice its standard error,",
        f"of problems with {MIN_RARER} right and {MIN_RARER} wrong rollouts at least",
        *_caveats(alignment),
    ]
    for size in sorted(gains["size"].unique()):
        found = rank_correlations(joined(alignment, gains, size)).to_dict("records")
        lines += ["", f"a step of length {size:g}: rank correlation with the change of J, within questions"]
        for r in found:
            name = PREDICTORS[r["predictor"]]
            of = Interval(r["mean"], r["low"], r["high"], r["n"])
            lines.append(f"  {name:<38} {of}, n = {of.n}" if of.n else f"  {name:<38} no problem tells")
    return "\n".join([*lines, "", *skipped(run), f"record: {run.folder}/"])


def _weights(run: Run) -> str:
    """How many weights gradients were taken of, if the record says it."""
    count = run.environment().get("weights_measured")
    return f"all {count:,} trainable weights" if count else "all trainable weights"


def _caveats(alignment: pd.DataFrame) -> list[str]:
    """What bounds that which a measurement of gradients shows."""
    questions = alignment.drop_duplicates("problem")
    dead, unsure = int(questions["slope_error"].isna().sum()), int(few(questions).sum())
    same = len(alignment) - len(distinct(alignment))
    lines = []
    if dead:
        lines.append(f"{plural(dead, 'problem')} had only right or only wrong rollouts: the slope counts as 0 there")
    if unsure > dead:
        lines.append(f"{plural(unsure - dead, 'problem')} had under {MIN_RARER} right or wrong ones: errors too small")
    if same:
        lines.append(f"{plural(same, 'positive')} had the text of another of the same problem; both are in the means")
    if len(questions) < MIN_PROBLEMS:
        lines.append(f"fewer than {MIN_PROBLEMS} problems decide nothing")
    return lines


def _fewer(recipe: dict[str, Any], samples: pd.DataFrame) -> list[str]:
    asked, held = recipe["problems"], samples["problem"].nunique()
    return [f"({asked} problems were asked for; {held} could be had)"] if asked and held < asked else []


def skipped(run: Run) -> list[str]:
    """How many rows or fields of the data were left out, and the first of them with their reasons."""
    skips = run.read("skips")
    if skips.empty:
        return []
    lines = [f"skipped: {len(skips)} rows or fields"]
    lines += [f"  {s.where}: {s.field}: {s.reason}" for s in skips.head(5).itertuples()]
    if len(skips) > 5:
        lines.append(f"  ... all of them in {run.path('skips.parquet')}")
    return lines
