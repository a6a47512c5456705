"""A measurement of gradients in the terminal: how J rises along each kind of positive, and what predicts it."""

from __future__ import annotations

import pandas as pd

from expo.gradients.predictors import (
    MIN_RARER,
    PREDICTORS,
    distinct,
    few,
    joined,
    rank_correlations,
    unit_slopes,
)
from expo.records import Run
from expo.stats import MIN_PROBLEMS, Interval, bootstrap_questions
from expo.terminal import NAMES, TOY, skipped
from expo.text import plural


def show(run: Run) -> str:
    """For each kind of positive, how J rises along its gradient, and what predicts that best, as text."""
    alignment, gains, recipe = run.read("alignment"), run.read("gains"), run.recipe()
    toy = TOY if run.environment().get("toy") else ""
    lines = [
        "",
        f"{recipe['policy']} on {recipe['task']}{toy}: {plural(alignment['problem'].nunique(), 'problem')}, 2 x "
        f"{recipe['rollouts']} rollouts each, seed {recipe['seed']}; gradients over {_weights(run)}",
        "",
        f"{'positive':<31}{'n':>4}{'NLL/seq':>9}{'signal':>9}{'norm':>9}{'reward':>7}  {'slope/norm':<27}{'clear':>6}",
    ]
    for source, rows in alignment.groupby("source", sort=False):
        rows = rows.set_index("problem")
        unit = unit_slopes(rows)
        clear = int(((rows["slope"].abs() > 2 * rows["slope_error"]) & ~few(rows)).sum())
        lines.append(
            f"{NAMES[str(source)]:<31}{len(rows):>4}{rows['nll_sum'].mean():>9.1f}{rows['learning_signal'].mean():>9.2f}"
            f"{rows['norm'].mean():>9.3g}{int(rows['reward'].sum()):>7}  {bootstrap_questions(unit)!s:<27}{clear:>6}"
        )
    lines += [
        "reward: how many would be right as a rollout (all but the own CoT end in a*)",
        "slope/norm: mean with 95 % bootstrap interval by problem; clear: more than two standard errors from 0,",
        f"among problems with at least {MIN_RARER} right and {MIN_RARER} wrong rollouts",
        *_caveats(alignment),
    ]
    for size in sorted(gains["size"].unique()):
        correlations = rank_correlations(joined(alignment, gains, size)).to_dict("records")
        lines += ["", f"a step of length {size:g}: rank correlation with the change of J, within questions"]
        for r in correlations:
            name = PREDICTORS[r["predictor"]]
            of = Interval(r["mean"], r["low"], r["high"], r["n"])
            lines.append(f"  {name:<38} {of}, n = {of.n}" if of.n > 1 else f"  {name:<38} too few problems to tell")
    return "\n".join([*lines, "", *skipped(run)])


def _weights(run: Run) -> str:
    """The number of weights that gradients were computed for, if the record has it."""
    count = run.environment().get("weights_measured")
    return f"all {count:,} trainable weights" if count else "all trainable weights"


def _caveats(alignment: pd.DataFrame) -> list[str]:
    """Caveats on what a measurement of gradients shows."""
    questions = alignment.drop_duplicates("problem")
    dead, unsure = int(questions["slope_error"].isna().sum()), int(few(questions).sum())
    same = len(alignment) - len(distinct(alignment))
    lines = []
    if dead:
        lines.append(f"{plural(dead, 'problem')} had only right or only wrong rollouts; the slope counts as 0 there")
    if unsure > dead:
        lines.append(
            f"{plural(unsure - dead, 'problem')} had fewer than {MIN_RARER} right or wrong rollouts; standard errors "
            f"are unreliable there"
        )
    if same:
        lines.append(
            f"{plural(same, 'positive')} had the same text as another of the same problem; both are in the means"
        )
    if len(questions) < MIN_PROBLEMS:
        lines.append(f"fewer than {MIN_PROBLEMS} problems decide nothing")
    return lines
