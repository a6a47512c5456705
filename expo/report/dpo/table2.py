"""Table 2 of the paper as measured here: DPO with self-explanations and with expert CoTs as winners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import RULE_OF_ORDER, accuracy_text, difference, points, sign, summary
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import COLUMNS, LEGEND, K, pairs_learnt, printed_table2, setting
from expo.report.markdown import markdown_table, write_table
from expo.report.trainings import EvaluatedRun, by_method, label, levels_of
from expo.report.words import method_name, share
from expo.text import plural

EASY = (1, 2, 3)
_EASY_SET = "levels 1 to 3"
METHODS = [f"dpo_{source}{suffix}" for suffix in ("", "_online") for source in ("explanation", "expert")]
_COMPARISONS = (
    ("Self-explanation against expert CoT, offline", "dpo_explanation", "dpo_expert"),
    ("Self-explanation against expert CoT, online", "dpo_explanation_online", "dpo_expert_online"),
    ("Online against offline, self-explanation", "dpo_explanation_online", "dpo_explanation"),
    ("Online against offline, expert CoT", "dpo_expert_online", "dpo_expert"),
)


def has_fig8(runs: Sequence[EvaluatedRun]) -> bool:
    """Whether Figure 8 can show anything: whether any comparison on the easier levels shows an order."""
    return any(sign(less) for less in _differences(by_method(runs), EASY)) if _has_easy(runs) else False


def _has_easy(runs: Sequence[EvaluatedRun]) -> bool:
    return set(EASY) <= set(levels_of(runs))


def draw_table2(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `table2-<label>.md` and `.csv`: pass@4 by winner, offline and online, in the paper's layout."""
    all_arms = by_method(runs)
    arms = {method: all_arms[method] for method in METHODS if method in all_arms}
    sets: dict[str, Sequence[int] | None] = {"all levels": None}
    if _has_easy(runs):
        sets[_EASY_SET] = EASY
    rows = [
        {"set": name, "method": method, "k": K, **summary(arm, None, levels, K)}
        for name, levels in sets.items()
        for method, arm in arms.items()
    ]
    less = [
        {**row, "set": f"{row['set']}, {name}" if levels else row["set"]}
        for name, levels in sets.items()
        for row in _differences(arms, levels)
    ]
    numbers = pd.DataFrame([*rows, *less], columns=COLUMNS)
    shown = numbers[numbers["set"].isin(list(sets))]
    note = [] if not _has_easy(runs) or has_fig8(runs) else [_no_fig8(numbers)]
    parts = [setting(runs), pairs_learnt(runs), LEGEND, _table(shown, list(arms)), *note, printed_table2(runs)]
    return write_table(
        out,
        f"table2-{label(runs)}",
        [run for arm in arms.values() for run in arm],
        numbers,
        title=f"Table 2, measured: {label(runs)}",
        parts=parts,
        reading=_read(numbers),
    )


def _differences(
    arms: Mapping[str, Sequence[EvaluatedRun]], levels: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """For each comparison, the first minus the second on these levels, paired by problem and base."""
    return [
        {"set": f"less {b}", "method": a, "k": K, **difference(arms[a], arms[b], levels, K)}
        for _, a, b in _COMPARISONS
        if a in arms and b in arms
    ]


def _no_fig8(numbers: pd.DataFrame) -> str:
    """The line that replaces Figure 8 if the figure would show nothing."""
    told = _compared(numbers, _EASY_SET)
    return "Figure 8 of the paper, online against offline on an easier test set, is not drawn: on levels 1 to 3 " + (
        f"no order is shown.\n\n{told}" if told else "there is nothing to compare."
    )


def _table(numbers: pd.DataFrame, methods: Sequence[str]) -> str:
    table = []
    for name, rows in numbers.groupby("set", sort=False):
        first = rows.iloc[0]
        size = f"{first['problems']} problems, n = {first['n']}, {plural(first['bases'], 'base')}"
        cells = {row["method"]: accuracy_text(row) for _, row in rows.iterrows()}
        table.append([f"{name} ({size})", *(cells[method] for method in methods)])
    return markdown_table(["", *map(method_name, methods)], table)


def _read(numbers: pd.DataFrame) -> str:
    return f"On all levels. {RULE_OF_ORDER}.\n\n{_compared(numbers, 'all levels')}"


def _compared(numbers: pd.DataFrame, name: str) -> str:
    """A line for each comparison on a set of levels: both means, and their paired difference with its interval."""
    rows = {(row["set"], row["method"]): row for _, row in numbers.iterrows()}
    suffix = "" if name == "all levels" else f", {name}"
    lines = []
    for what, a, b in _COMPARISONS:
        if (less := rows.get((f"less {b}{suffix}", a))) is not None:
            means = f"{share(rows[name, a]['mean'])} against {share(rows[name, b]['mean'])}"
            shown = "" if sign(less) else "; no order is shown"
            lines.append(f"- {what}: {means}, {points(less)}{shown}.")
    return "\n".join(lines)
