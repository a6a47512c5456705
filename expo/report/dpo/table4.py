"""Table 4 of the paper, with every arm that was measured here: accuracy over all levels, and pass@4 by level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import accuracy_text, summary, with_interval
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import COLUMNS, LEGEND, K, pairs_learnt, printed_table2, setting
from expo.report.markdown import markdown_table, write_table
from expo.report.trainings import EvaluatedRun, before_training, by_method, label, levels_of
from expo.report.words import listed, method_name, spanned
from expo.text import plural


def draw_table4(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `table4-<label>.md` and `.csv`: pass@4 by level for each kind of winner, and for SFT on the same."""
    rows = _rows("base", before_training(runs), 0, levels_of(runs))
    for method, arm in by_method(runs).items():
        rows += _rows(method, arm, None, levels_of(runs))
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    note = (
        "The paper's Table 4 prints the numbers of its Table 2 again (beneath). Here it has every arm: accuracy over "
        "all levels (pass@1), and pass@4 by level."
    )
    return write_table(
        out,
        f"table4-{label(runs)}",
        runs,
        numbers,
        title=f"Table 4, measured: {label(runs)}",
        parts=[setting(runs), pairs_learnt(runs), f"{note} {LEGEND}", _table(numbers), printed_table2(runs)],
        reading=_read(numbers),
    )


def _rows(method: str, runs: Sequence[EvaluatedRun], step: int | None, levels: Sequence[int]) -> list[dict[str, Any]]:
    rows = [{"set": "all levels", "method": method, "k": 1, **summary(runs, step)}]
    for level in levels:
        rows.append({"set": f"level {level}", "method": method, "k": K, **summary(runs, step, [level], K)})
    return rows


def _table(numbers: pd.DataFrame) -> str:
    levels = [name for name in dict.fromkeys(numbers["set"]) if name != "all levels"]
    table = []
    for method, rows in numbers.groupby("method", sort=False):
        last = rows.iloc[-1]
        each = " a level" * (len(rows) > 1)
        size = f"{last['problems']} problems{each}, n = {last['n']}, {plural(last['bases'], 'base')}"
        table.append([f"{method_name(method)} ({size})", *(accuracy_text(row) for _, row in rows.iterrows())])
    return markdown_table(["", "accuracy, all levels", *levels], table)


def _read(numbers: pd.DataFrame) -> str:
    # The last set is that of the hardest level, or of all problems if there are no levels.
    last = numbers[numbers["set"] == numbers["set"].iloc[-1]]
    accuracies = [f"{method_name(row['method'])} {with_interval(row)}" for _, row in last.iterrows()]
    about = f"{last['set'].iloc[0]}, {spanned(last['problems'])} problems"
    return f"pass@{last['k'].iloc[0]} at {about}: {listed(accuracies)}."
