"""Pairs for DPO: a winner, closed with a*, and a loser sampled from the question alone (Section 5.1)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from expo.grading.answers import Grade, Status
from expo.policies.engine import Completion, Request
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.positives.closing import question_ids
from expo.schema import as_frame
from expo.tasks import Checker
from expo.tasks.problem import Problem, Skip
from expo.text import plural


def order(problems: Sequence[Problem], wanted: int, seed: int) -> list[Problem]:
    """The first `wanted` problems in training order: epoch after epoch, each shuffled by seed."""
    ordered: list[Problem] = []
    for epoch in range(-(-wanted // max(len(problems), 1))):
        shuffled = list(problems)
        random.Random(f"{seed}:{epoch}").shuffle(shuffled)
        ordered += shuffled
    return ordered[:wanted]


def make_pairs(
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    positives: pd.DataFrame,
    *,
    right_losers: bool,
    tries: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    step: int,
    rows: int = 64,
    on_finished: Callable[[int, Completion], object] | None = None,
) -> tuple[pd.DataFrame, list[Skip]]:
    """Make a pair for each problem that has a positive: rows of `pairs`, without reference log-probabilities yet.

    The loser is the first of `tries` samples; or the first that is not right, if losers may not be right. A problem
    without such a sample, or whose winner and loser have the same tokens, is left out and listed in the skips.
    """
    winners = positives.set_index("problem")
    wanted = [p for p in problems if p.id in winners.index]
    asked = [Request(f"{p.id}/loser", question_ids(policy, p), tries, max_new_tokens) for p in wanted]
    done = sample(policy, asked, temperature=temperature, seed=seed + step, rows=rows, on_finished=on_finished)
    texts = [(p, policy.decode(c.ids)) for p, group in zip(wanted, done, strict=True) for c in group]
    grades = iter(checker.grade(texts, [c.truncated for group in done for c in group]))
    table, missing = [], []
    for p, group in zip(wanted, done, strict=True):
        graded = [(c, next(grades)) for c in group]
        right = sum(g.status is Status.CORRECT for _, g in graded)
        fit = [(c, g) for c, g in graded if right_losers or g.status is not Status.CORRECT]
        winner = winners.loc[p.id].to_dict()
        if not fit:
            why = f"no sample is wrong ({plural(len(graded), 'sample')}): no loser, no pair"
            missing.append(Skip(p.where or p.id, "loser", why))
        elif list(fit[0][0].ids) == [int(i) for i in winner["ids"]]:
            missing.append(Skip(p.where or p.id, "loser", "winner and loser are the same: no pair"))
        else:
            table.append(_row(policy, p, step, winner, *fit[0], tries=len(graded), right=right))
    return as_frame("pairs", table), missing


def _row(
    policy: Policy,
    problem: Problem,
    step: int,
    winner: dict[Any, Any],
    loser: Completion,
    grade: Grade,
    *,
    tries: int,
    right: int,
) -> dict[str, object]:
    ids = [int(i) for i in winner["ids"]]
    return {
        "step": step,
        "problem": problem.id,
        "level": problem.level,
        "source": winner["source"],
        "winner": winner["text"],
        "winner_ids": ids,
        "winner_tokens": len(ids),
        "loser": policy.decode(loser.ids),
        "loser_ids": list(loser.ids),
        "loser_tokens": len(loser.ids),
        "loser_status": grade.status.value,
        "loser_truncated": loser.truncated,
        "tries": tries,
        "right": right,
        "ref_winner": None,
        "ref_loser": None,
    }


def in_order(pairs: pd.DataFrame, wanted: Sequence[Problem]) -> pd.DataFrame:
    """The pairs of a round in the order in which they are learnt: those of the problems `wanted`.

    If a problem has no pair, the next one takes its place; the round's pairs repeat to make up the number.
    """
    by_problem = pairs.set_index("problem", drop=False)
    names = [p.id for p in wanted if p.id in by_problem.index]
    return by_problem.loc[[names[i % len(names)] for i in range(len(wanted))]].reset_index(drop=True)
