"""A scored positive as a row of `samples.parquet`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from expo.grading.answers import Grade, Status
from expo.tasks import Checker

# Pictures read FIRST, and importing torch takes seconds.
if TYPE_CHECKING:
    from expo.policies.policy import Policy
    from expo.policies.scoring import Score
    from expo.positives.kinds import Positive

# The first tokens of a text: their NLL is an estimate of the entropy there.
FIRST = 8


def sample_row(
    policy: Policy,
    checker: Checker,
    p: Positive,
    grade: Grade | None,
    s: Score,
    prompted: np.ndarray | None = None,
) -> dict[str, object]:
    """One row of `samples.parquet`; `prompted` has log mu(t|q, hint, ...) for the tokens of a hinted CoT."""
    steps = checker.steps(p.problem, p.cot_text)
    return {
        "problem": p.problem.id,
        "level": p.problem.level,
        "source": p.source,
        "index": p.index,
        "question": p.problem.question,
        "reference": p.problem.answer,
        "hint": p.hint,
        "text": policy.decode(p.scored.completion),
        "cot": p.cot_text,
        "answer": grade.extracted if grade else None,
        "tokens": len(p.scored.completion),
        "cot_tokens": p.scored.cot,
        "answer_tokens": len(p.scored.answer),
        "nll_sum": s.nll_sum,
        "nll_per_token": s.nll_per_token,
        "nll_cot": float(-s.completion[: p.scored.cot].sum()),
        "learning_signal": s.learning_signal,
        "nll_first": float(-s.completion[:FIRST].mean()),
        "nll_prompted": None if prompted is None else float(-prompted.sum()),
        "status": grade.status.value if grade else "",
        "correct": grade.status == Status.CORRECT if grade else None,
        "truncated": p.sampled.truncated if p.sampled else False,
        "leak": checker.is_leak(p.text) if p.sampled else False,
        "steps": len(steps),
        "steps_true": sum(true for _, true in steps),
    }
