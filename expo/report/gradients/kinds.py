"""How J rises along the gradients of each kind of positive, and whether that is because one is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.measure.predictors import distinct, over_questions, unit_slopes
from expo.measure.verdict import Interval
from expo.report.artefacts import Artefact, publish
from expo.report.gradients import Gradients, notes
from expo.report.words import NAMES, TOY, interval
from expo.text import plural

COLUMNS = ["questions", "source", "positives", "right", "same_as_own", "mean", "low", "high", "n"]
ALL, OWN_RIGHT, OWN_WRONG = "all questions", "own CoT right", "own CoT wrong"


def draw_kinds(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `kinds-<name>.md` and `.csv`: the mean slope of J per unit of step along each kind of positive.

    Of all questions, and of those whose own CoT is right, or wrong, apart: a positive may gain on the own CoT by being
    right where that is wrong.
    """
    held = pd.concat([_values(run) for run in runs], ignore_index=True)
    rows: list[list[Any]] = []
    for questions, of in (
        (ALL, held),
        (OWN_RIGHT, held[held["own_right"].eq(True)]),
        (OWN_WRONG, held[held["own_right"].eq(False)]),
    ):
        for source, some in of.groupby("source", sort=False):
            found = over_questions(some.set_index("problem")["unit"])
            counts = [len(some), int(some["reward"].sum()), int(some["same"].sum())]
            rows.append([questions, source, *counts, found.mean, found.low, found.high, found.n])
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    toy = runs[0].is_toy
    about = notes(
        runs,
        "Slope of J per unit of step along a positive's gradient, ⟨∇J, g⟩ / ‖g‖, from rollouts; 0 where all of a "
        "question are right or all are wrong. Mean with its 95 % bootstrap interval, questions resampled; in brackets "
        "how many positives, and how many of them would be right as a rollout. The slope is that of Eq 6 (claim E6 of "
        "the ledger); a text that is wrong has no T1, so that all of its slope is T2 (E6-wrong).",
    ).replace(f"\n{TOY}", "")
    title = f"# Slope of J by kind of positive: {name}{' (toy)' if toy else ''}"
    text = "\n\n".join([title, *([f"**{TOY}**"] if toy else []), about, _table(numbers)]) + "\n"
    return publish(out, f"kinds-{name}", runs, numbers, {".md": text}, _read(numbers))


def _values(run: Gradients) -> pd.DataFrame:
    """A row for each positive: `unit`, its slope by its norm; whether its text is the own CoT's, and that is right."""
    rows = run.alignment
    own = rows[rows["source"] == "own"].set_index("problem")["reward"]
    first = distinct(rows)
    repeated = ~rows.index.isin(first.index)
    return rows.assign(
        unit=unit_slopes(rows),
        # The own CoT comes first of its question.
        same=repeated & (rows["source"] == "explanation"),
        own_right=rows["problem"].map(own),
    )


def _table(numbers: pd.DataFrame) -> str:
    columns = list(dict.fromkeys(numbers["questions"]))
    lines = ["| positive | " + " | ".join(columns) + " |", "| --- |" + " --: |" * len(columns)]
    for source in dict.fromkeys(numbers["source"]):
        cells = []
        for column in columns:
            found = numbers[(numbers["questions"] == column) & (numbers["source"] == source)].to_dict("records")
            cells.append(_cell(found[0]) if found else "–")
        lines.append(f"| {NAMES[str(source)]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(r: dict[Any, Any]) -> str:
    return f"{interval(Interval(r['mean'], r['low'], r['high'], r['n']))} ({r['positives']}, {r['right']})"


def _read(numbers: pd.DataFrame) -> str:
    every = numbers[numbers["questions"] == ALL]
    told = [f"{NAMES[str(r['source'])]} {_cell(r)}" for r in every.to_dict("records")]
    same, of = (int(every.loc[every["source"] == "explanation", c].sum()) for c in ("same_as_own", "positives"))
    says = f"Slope of J per unit of step: {'; '.join(told)}."
    return says + (f" {plural(same, 'self-explanation')} of {of} have the text of the own CoT." if of else "")
