"""Table 2 of the paper as measured here: what DPO does with self-explanations and with expert CoTs as winners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import accuracy_text, order_of_bases, summary
from expo.report.artefacts import Artefact
from expo.report.dpo.setting import COLUMNS, LEGEND, K, pairs_learnt, printed_table2, setting
from expo.report.markdown import markdown_table, write_table
from expo.report.trainings import EvaluatedRun, by_method, label, levels_of
from expo.report.words import method_name, share
from expo.text import plural

EASY = (1, 2, 3)
METHODS = [f"dpo_{source}{suffix}" for suffix in ("", "_online") for source in ("explanation", "expert")]
_COMPARISONS = (
    ("Self-explanation against expert CoT, offline", "dpo_explanation", "dpo_expert"),
    ("Self-explanation against expert CoT, online", "dpo_explanation_online", "dpo_expert_online"),
    ("Online against offline, self-explanation", "dpo_explanation_online", "dpo_explanation"),
    ("Online against offline, expert CoT", "dpo_expert_online", "dpo_expert"),
)


def has_fig8(runs: Sequence[EvaluatedRun]) -> bool:
    """Whether Figure 8 can show anything: an interval of one arm, on the easier levels, beyond that of another."""
    if not set(EASY) <= set(levels_of(runs)):
        return False
    arms = by_method(runs)
    return _are_apart([summary(arms[method], None, EASY, K) for method in METHODS if method in arms])


def _are_apart(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(a["low"] > b["high"] for a in rows for b in rows)


def draw_table2(runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `table2-<label>.md` and `.csv`: pass@4 by winner, offline and online, in the paper's layout."""
    all_arms = by_method(runs)
    arms = {method: all_arms[method] for method in METHODS if method in all_arms}
    sets: dict[str, Sequence[int] | None] = {"all levels": None}
    if set(EASY) <= set(levels_of(runs)):
        sets["levels 1 to 3"] = EASY
    rows = [
        {"set": name, "method": method, "k": K, **summary(arm, None, levels, K)}
        for name, levels in sets.items()
        for method, arm in arms.items()
    ]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    easy = [row for row in rows if row["set"] != "all levels"]
    parts = [setting(runs), pairs_learnt(runs), LEGEND, _table(numbers, list(arms)), *_fig8(easy), printed_table2(runs)]
    return write_table(
        out,
        f"table2-{label(runs)}",
        [run for arm in arms.values() for run in arm],
        numbers,
        title=f"Table 2, measured: {label(runs)}",
        parts=parts,
        reading=_read(numbers),
    )


def _fig8(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The line that stands for Figure 8 where that would show nothing."""
    if not rows or _are_apart(rows):
        return []
    return [
        "Figure 8 of the paper, online against offline on an easier test set, is not drawn: on levels 1 to 3 the "
        "intervals of all arms overlap, and nothing can be told apart."
    ]


def _table(numbers: pd.DataFrame, methods: Sequence[str]) -> str:
    table = []
    for name, rows in numbers.groupby("set", sort=False):
        first = rows.iloc[0]
        size = f"{first['problems']} problems, n = {first['n']}, {plural(first['bases'], 'base')}"
        cells = {row["method"]: accuracy_text(row) for _, row in rows.iterrows()}
        table.append([f"{name} ({size})", *(cells[method] for method in methods)])
    return markdown_table(["", *map(method_name, methods)], table)


def _read(numbers: pd.DataFrame) -> str:
    arms = {row["method"]: row for _, row in numbers[numbers["set"] == "all levels"].iterrows()}
    lines = [f"- {what}: {_order(arms[a], arms[b])}." for what, a, b in _COMPARISONS if a in arms and b in arms]
    return "On all levels:\n\n" + "\n".join(lines)


def _order(a: pd.Series, b: pd.Series) -> str:
    """What two means are, and whether the bases tell them apart."""
    text = f"{share(a['mean'])} against {share(b['mean'])}"
    if min(a["bases"], b["bases"]) < 2:
        return f"{text}; of one base, which shows no order"
    order = order_of_bases(a, b)
    if order == 0:
        return f"{text}; the bases overlap, no order is shown"
    return f"{text}; every base of the first is {'above' if order > 0 else 'below'} every base of the second"
