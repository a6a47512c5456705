"""What the terminal output of all jobs shares: names of positives, how texts were sampled, what was left out."""

from __future__ import annotations

import shlex

from expo.records import Run
from expo.tasks.problem import Skip, counted, in_lines

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


def sampled_in(run: Run) -> list[str]:
    """A note that a run sampled in another dtype than it scores in, and how much the two differ."""
    environment = run.environment()
    if not (dtype := run.recipe().get("sampling_dtype")):
        return []
    apart = ""
    if "mean" in (error := environment.get("sampling_error") or {}):
        apart = f"; log-probabilities in the two differ by {error['mean']:.2g} nats per token on average"
    return [f"(sampled in {dtype} from a policy in {environment['dtype']}{apart})"]


def skipped(run: Run) -> list[str]:
    """The number of rows or fields of the data that were left out, and the first of them with reasons."""
    skips = run.read("skips")
    if skips.empty:
        return []
    found = [Skip(*row) for row in skips.itertuples(index=False)]
    lines = [f"skipped: {counted(found)}"]
    lines += [f"  {line}" for line in in_lines(found, 5)]
    return [*lines, f"  (all of them are in {run.path('skips.parquet')})", ""]


def record_of(run: Run) -> str:
    """The last lines of a job: where its record is, and the command that shows it."""
    return f"record: {run.folder}\nto see it: expo report {shlex.quote(str(run.folder))}"
