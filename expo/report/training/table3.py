"""Table 3 of the paper as measured here: pass@k by level for trained policies, and for bases with many samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report import paper
from expo.report.accuracy import LEGEND, accuracy_text, summary, with_interval
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.toy import beside_paper
from expo.report.training.setting import named, rates, schedule, weights_note
from expo.report.trainings import LEVELS, EvaluatedRun, by_method, label, levels_of
from expo.report.words import listed, spanned
from expo.text import plural

COLUMNS = ["method", "k", "level", "mean", "low", "high", "lowest", "highest", "bases", "problems", "n"]


def draw_table3(
    runs: Sequence[EvaluatedRun], bases: Sequence[EvaluatedRun], out: Path | str, name: str = "table3"
) -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: pass@k by level in the paper's layout, with the paper's numbers below."""
    rows: list[dict[str, Any]] = []
    levels = levels_of(runs)
    drawn: set[int] = set()
    for method, of_method in by_method(runs).items():
        rows += _rows(method, of_method, 4, levels)
    for k in (64, 128):
        sampled = [base for base in bases if _is_base_of(base, runs[0]) and base.eval_samples >= k]
        if sampled:
            drawn |= {base.seed for base in sampled}
            rows += _rows("base", sampled, k, levels_of(sampled))
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    first = runs[0]
    setting = (
        f"Trained for {spanned(run.last_step for run in runs)} steps on {first.levels}; learning rates: {rates(runs)}; "
        f"{schedule(runs)}. Sampled at T = {first.recipe['eval_temperature']:g}, at most "
        f"{first.recipe.get('max_completion_length')} tokens, seed {first.seed}.{weights_note(runs)}"
        + (f" Bases alone had other problems: seed {listed(sorted(map(str, drawn)))}." if drawn - {first.seed} else "")
    )
    return write_table(
        out,
        f"{name}-{label(runs)}",
        [*runs, *bases],
        numbers,
        title=f"Table 3, measured: {label(runs)}",
        parts=[f"pass@k by level of the test problems, {LEGEND}", setting, _table(numbers), _printed(runs)],
        reading=_read(numbers),
    )


def _rows(method: str, runs: Sequence[EvaluatedRun], k: int, levels: Sequence[int]) -> list[dict[str, Any]]:
    return [{"method": method, "k": k, "level": level, **summary(runs, None, [level], k)} for level in levels]


def _heads(levels: Iterable[int]) -> list[str]:
    return ["", *(f"level {level}" for level in levels)]


def _is_base_of(base: EvaluatedRun, training: EvaluatedRun) -> bool:
    """Whether a base was evaluated by itself in the same way as at the training's step 0, perhaps on fewer problems."""
    trained, alone = training.recipe, base.recipe
    return (
        training.limit == base.limit
        and (trained.get("eval_data") or trained.get("data")) == alone.get("data")
        and trained["task"] == alone["task"]
        and label([training]) == label([base])
        and trained.get("eval_split") == alone.get("split")
        and trained.get("eval_temperature") == alone.get("temperature")
    )


def _table(numbers: pd.DataFrame) -> str:
    rows = []
    heads = _heads(sorted(set(numbers["level"])))
    for (method, k), levels in numbers.groupby(["method", "k"], sort=False):
        first, problems = levels.iloc[0], spanned(levels["problems"])
        cells = {f"level {row['level']}": accuracy_text(row) for _, row in levels.iterrows()}
        size = f"n = {first['n']}, {problems} problems a level, {plural(int(first['bases']), 'base')}"
        rows.append([f"{named(method)} pass@{k} ({size})", *(cells.get(head, "–") for head in heads[1:])])
    return markdown_table(heads, rows)


def _printed(runs: Sequence[EvaluatedRun]) -> str:
    about = beside_paper("another model on another task", runs)
    rows = [["test problems", *map(str, paper.TABLE3_PROBLEMS)]]
    rows += [
        [f"{named(method)} pass@{k}", *(f"{value} %" for value in values)]
        for (method, k), values in paper.TABLE3.items()
    ]
    title = f"## The paper's Table 3 ({about}): Qwen2.5-3B-Instruct on MATH"
    return f"{title}\n\n{markdown_table(_heads(LEVELS), rows)}"


def _read(numbers: pd.DataFrame) -> str:
    level = numbers[numbers["method"] != "base"]["level"].max()
    hardest = numbers[numbers["level"] == level]
    accuracies = [f"{named(row['method'])} pass@{row['k']} {with_interval(row)}" for _, row in hardest.iterrows()]
    return f"At level {level}: {listed(accuracies)}."
