"""What training changed, in words only: accuracy on the training levels and on the others, before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expo.report.accuracy import accuracy_by_base
from expo.report.toy import marked
from expo.report.training.setting import named
from expo.report.trainings import EvaluatedRun, by_method, levels_of
from expo.report.words import share
from expo.text import plural


def what_changed(runs: Sequence[EvaluatedRun]) -> str:
    """What each method did to accuracy on the training levels and on the others, and on how many bases, in words."""
    trained = runs[0].trained_levels
    others = [level for level in levels_of(runs) if trained and level not in trained]
    lines = [marked(f"Trained on {runs[0].levels}, first step to last", runs) + ":", ""]
    for method, of_method in by_method(runs).items():
        parts = [f"accuracy there {_change(of_method, trained)}"]
        if others:
            parts.append(f"on the other levels {_change(of_method, others)}")
        lines.append(f"- {named(method)}: {'; '.join(parts)}.")
    return "\n".join(lines)


def _change(runs: Sequence[EvaluatedRun], levels: Sequence[int] | None) -> str:
    before, after = accuracy_by_base(runs, 0, levels), accuracy_by_base(runs, None, levels)
    rose, fell = (sum(sign * (b - a) > 0 for a, b in zip(before, after, strict=True)) for sign in (1, -1))
    means = f"from {share(float(np.mean(before)))} to {share(float(np.mean(after)))}"
    return f"{means} (rose on {rose}, fell on {fell} of {plural(len(before), 'base')})"
