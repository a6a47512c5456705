"""One training question: the policy's own sample before and after training, by method, with each step judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.positives.example1 import Side, parts
from expo.report.runs import natural
from expo.report.toy import marked, warned
from expo.report.trainings import EvaluatedRun, by_method, label
from expo.report.words import method_name
from expo.tasks import checker_of
from expo.text import fenced, plural, visible

COLUMNS = ["method", "run", "step", "problem", "status", "part", "text", "true"]


def draw_example(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "example") -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: own samples of one question, from each method's run from one base.

    The base is the first of those that most methods were trained from.

    The question is the first by id among those that all of these runs watched, whatever the answers were.
    The CSV (`COLUMNS`) has one row per part of a CoT: a step and whether it is true, or the text between steps.

    Raises:
        ValueError: if the runs watched no question in common.
    """
    of_method = by_method(runs)
    # Methods without a run from it are left out.
    base = min({run.base for run in runs}, key=lambda base: (-_methods_from(base, of_method), natural(base)))
    chosen = {m: run for m, alike in of_method.items() if (run := next((r for r in alike if r.base == base), None))}
    sides = _sides(chosen)
    numbers = pd.DataFrame(
        [
            (method, run.name, side.row["step"], side.row["problem"], side.row["status"], i, text, true)
            for method, run, side in sides
            for i, (text, true) in enumerate(side.parts)
        ],
        columns=COLUMNS,
    ).astype({"true": "boolean"})
    shown = [run for _, run, _ in sides]
    title = marked(f"A question before and after training: {label(runs)}", runs)
    about = warned(
        "One sample each at the temperature of training; the first question by id of those watched, whatever was "
        f"answered. All from one base. Trained on {runs[0].levels}.",
        runs,
        " ",
    )
    return publish(out, f"{name}-{label(runs)}", shown, numbers, {".md": _markdown(title, about, sides)}, _read(sides))


def _methods_from(base: str, of_method: Mapping[str, Sequence[EvaluatedRun]]) -> int:
    """The number of methods with a run from a base."""
    return sum(any(run.base == base for run in alike) for alike in of_method.values())


def _sides(chosen: dict[str, EvaluatedRun]) -> list[tuple[str, EvaluatedRun, Side]]:
    """Method, run and sample: first before any training, then after each one."""
    own = {method: run.run.read("probes").query("source == 'own'") for method, run in chosen.items()}
    common = set.intersection(*(set(rows["problem"]) for rows in own.values()))
    if not common:
        raise ValueError("example: these runs watched no question in common (probe_problems)")
    problem = min(common)
    sides: list[tuple[str, EvaluatedRun, Side]] = []
    for method, run in chosen.items():
        rows: list[dict[Any, Any]] = (
            own[method][own[method]["problem"] == problem].sort_values("step").to_dict("records")
        )
        checker = checker_of(run.recipe)
        first, last = (Side(row, parts(checker, row)) for row in (rows[0], rows[-1]))
        # A run that starts from a trained policy has no sample from before training.
        if not sides and not run.environment.get("trained_from"):
            sides.append(("base", run, first))
        sides.append((method, run, last))
    return sides


def _markdown(title: str, about: str, sides: Sequence[tuple[str, EvaluatedRun, Side]]) -> str:
    row = sides[0][2].row
    blocks = [f"# {title}", about, fenced(visible(f"{row['question']}\n\n{row['reference']}"))]
    for method, _, side in sides:
        head = f"**{method_name(method)}, step {side.row['step']}**: {side.score}"
        blocks += [head, fenced(side.marked_text.strip())]
    return "\n\n".join(blocks) + "\n"


def _read(sides: Sequence[tuple[str, EvaluatedRun, Side]]) -> str:
    told = [
        f"{'' if method == 'base' else 'after '}{method_name(method)}: {side.row['status']} "
        f"({side.row['steps_true']} of {plural(side.row['steps'], 'step')} true)"
        for method, _, side in sides
    ]
    return f"The question {sides[0][2].row['problem']}, {'; '.join(told)}."
