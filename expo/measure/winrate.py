"""Win rate of the self-explanation against the own CoT, judged by the step checker (the paper's Fig 3 asks GPT-4o).

A problem's k-th explanation is compared with its k-th own CoT. There are two rules, because a longer text has more true
steps:

| rule | the winner has |
| --- | --- |
| count | more true steps |
| share | the larger share of true steps among those it states |

A win scores 1, a tie 0.5, a loss 0; a problem's score is the mean over its pairs. A CoT without any step that the
checker can read has no share: the share rule leaves such pairs out and reports their number. Neither rule asks whether
a step moves towards the answer: a true but idle step counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from expo.stats import Interval, bootstrap_rate, finite_sample

RULES = ("count", "share")


@dataclass(frozen=True)
class StepWins:
    """A win rate over problems with its two intervals; the counts are of pairs. `level` is None for all levels."""

    rule: str
    level: int | None
    rate: Interval
    finite_sample: Interval
    wins: int
    ties: int
    losses: int
    left_out: int

    @property
    def pairs(self) -> int:
        """The number of pairs that the rule could judge."""
        return self.wins + self.ties + self.losses


def pair_scores(samples: pd.DataFrame, first: str = "explanation", second: str = "own") -> pd.DataFrame:
    """Score each pair of samples with the same problem and index.

    Returns:
        Columns problem, level, index, `count` and `share`: the score of `first` (1, 0.5 or 0) under each
        rule, NaN where the rule cannot judge.
    """
    keys = ["problem", "index"]
    columns = [*keys, "steps", "steps_true"]
    of_first, of_second = (samples[samples["source"] == source] for source in (first, second))
    of_first = of_first[["level", *columns]]
    pairs = of_first.merge(of_second[columns], on=keys, suffixes=("", "_other"), validate="one_to_one")
    number = {name: pairs[name].astype(float) for name in pairs.columns if name.startswith("steps")}
    with np.errstate(invalid="ignore"):
        share = number["steps_true"] / number["steps"]
        share_other = number["steps_true_other"] / number["steps_other"]
    return pairs[["problem", "level", "index"]].assign(
        count=_score(number["steps_true"], number["steps_true_other"]), share=_score(share, share_other)
    )


def step_wins(samples: pd.DataFrame) -> list[StepWins]:
    """Both rules over all problems, then for each level if problems have levels."""
    pairs = pair_scores(samples)
    wins = [_wins(pairs, rule, None) for rule in RULES]
    for level in sorted(pairs["level"].dropna().unique()):
        wins += [_wins(pairs[pairs["level"] == level], rule, int(level)) for rule in RULES]
    return wins


def _score(first: pd.Series, second: pd.Series) -> pd.Series:
    gap = first - second
    return gap.gt(0).astype(float).mask(gap.eq(0), 0.5).where(gap.notna())


def _wins(pairs: pd.DataFrame, rule: str, level: int | None) -> StepWins:
    scores = pairs[rule].dropna()
    of_problems = scores.groupby(pairs["problem"]).mean().to_numpy(dtype=float)
    return StepWins(
        rule=rule,
        level=level,
        rate=bootstrap_rate(of_problems),
        finite_sample=finite_sample(of_problems),
        wins=int((scores == 1).sum()),
        ties=int((scores == 0.5).sum()),
        losses=int((scores == 0).sum()),
        left_out=len(pairs) - len(scores),
    )
