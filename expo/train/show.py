"""A training or an evaluation in the terminal: accuracy by level, before and after."""

from __future__ import annotations

from expo.evaluate import by_level
from expo.records import Run


def show(run: Run) -> str:
    """Accuracy and pass@k by level with 95 % intervals, for the first and the last step of the record."""
    evaluation, recipe, environment = run.read("evaluation"), run.recipe(), run.environment()
    toy = " (a toy: it shows a mechanism, no effect size)" if environment.get("toy") else ""
    n = int(evaluation["n"].min())
    lines = ["", f"{recipe['policy']} on {recipe['task']}{toy}: {n} samples a problem, seed {environment['seed']}", ""]
    for step in sorted({evaluation["step"].min(), evaluation["step"].max()}):
        held = evaluation[evaluation["step"] == step]
        cut, unread = (held[name].sum() / held["n"].sum() for name in ("truncated", "unparsed"))
        lines.append(f"step {step}: {cut:.0%} of samples met the token limit, {unread:.0%} gave no answer")
        for level, accuracy in by_level(held).items():
            name = "all levels" if level is None else f"level {level}"
            wide = f"   pass@{n} {by_level(held, n)[level]}" if n > 1 else ""
            lines.append(f"  {name:<11} {accuracy.n:>5} problems   accuracy {accuracy}{wide}")
    return "\n".join([*lines, "", f"record: {run.folder}/"])
