"""What the reports of all jobs share in the terminal: names of positives, and what was left out."""

from __future__ import annotations

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
    "posterior": "c~ drawn by weight",
    "best_signal": "c~ with best learning signal",
    "best_joint": "likeliest c~",
    "right": "c~ with a right answer",
}
TOY = " (a toy: it shows a mechanism, no effect size)"


def skipped(run: Run) -> list[str]:
    """How many rows or fields of the data were left out, and the first of them with their reasons."""
    skips = run.read("skips")
    if skips.empty:
        return []
    lines = [f"skipped: {plural(len(skips), 'row or field', 'rows or fields')}"]
    lines += [f"  {s.where}: {s.field}: {s.reason}" for s in skips.head(5).itertuples()]
    if len(skips) > 5:
        lines.append(f"  ... all of them in {run.path('skips.parquet')}")
    return lines
