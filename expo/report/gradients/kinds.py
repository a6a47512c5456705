"""How J rises along the gradients of each kind of positive, and whether that is because the positive is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from expo.gradients.predictors import distinct, unit_slopes
from expo.recipe import GRADIENT_CHOICES
from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, notes_of
from expo.report.markdown import markdown_table, write_table
from expo.report.words import NAMES, interval
from expo.stats import Interval, bootstrap_questions
from expo.text import plural

COLUMNS = ["questions", "source", "positives", "right", "same_as_own", "mean", "low", "high", "n"]
ALL, OWN_RIGHT, OWN_WRONG = "all questions", "own CoT right", "own CoT wrong"
MORE = "more than the self-explanation"


def draw_kinds(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `kinds-<name>.md` and `.csv`: the mean slope of J per unit of step along each kind of positive.

    For all questions, and separately for those whose own CoT is right and those where it is wrong: a positive may have
    an advantage over the own CoT only because it is right where the own CoT is wrong. Choices among several
    self-explanations have a column of differences from the first one of the same question.
    """
    slopes = pd.concat([_slopes(run).assign(run=run.name) for run in runs], ignore_index=True)
    numbers = _numbers(slopes)
    if runs[0].recipe.get("choices"):
        counts = dict.fromkeys(("same_as_own", "same_as_first"), "Int64")
        numbers = pd.concat([numbers, _more(slopes)], ignore_index=True).astype(counts)
    about = (
        "Slope of J, the expected reward, per unit of step along a positive's gradient, ⟨∇J, g⟩ / ‖g‖, from rollouts; "
        "0 where all rollouts of a question are right or all are wrong. Mean with its 95 % bootstrap interval, "
        "questions resampled, and of how many positives it is; right are those that would be right as a rollout. "
        "The slope is that of Eq 6 (claim E6 of the ledger); a text that is wrong has no T1, so that all of its slope "
        "is T2 (E6-wrong)."
    )
    return write_table(
        out,
        f"kinds-{name}",
        runs,
        numbers,
        title=f"Slope of J by kind of positive: {name}",
        parts=[notes_of(runs, about + _choices(runs[0])), _table(numbers)],
        reading=_read(numbers),
    )


def _slopes(run: GradientRun) -> pd.DataFrame:
    """One row per positive: `unit`, its slope over its norm; whether it has the own CoT's text, and that is right."""
    rows = run.alignment
    own = rows[rows["source"] == "own"].set_index("problem")["reward"]
    is_repeated = ~rows.index.isin(distinct(rows).index)
    return rows.assign(
        unit=unit_slopes(rows),
        # The own CoT comes first in its question.
        same=is_repeated & (rows["source"] == "explanation"),
        own_right=rows["problem"].map(own),
    )


def _numbers(slopes: pd.DataFrame) -> pd.DataFrame:
    table: list[dict[str, Any]] = []
    for questions, of_questions in (
        (ALL, slopes),
        (OWN_RIGHT, slopes[slopes["own_right"].eq(True)]),
        (OWN_WRONG, slopes[slopes["own_right"].eq(False)]),
    ):
        for source, rows in of_questions.groupby("source", sort=False):
            slope = bootstrap_questions(rows.set_index("problem")["unit"])
            counts = {"right": int(rows["reward"].sum()), "same_as_own": int(rows["same"].sum())}
            table.append({"questions": questions, "source": source, "positives": len(rows), **counts, **asdict(slope)})
    return pd.DataFrame(table, columns=COLUMNS)


def _more(slopes: pd.DataFrame) -> pd.DataFrame:
    """How much the slope along each choice exceeds the slope along the first of the same self-explanations."""
    keyed = slopes.set_index(["run", "problem"])
    first = keyed[keyed["source"] == "explanation"]
    table: list[dict[str, Any]] = []
    for source in GRADIENT_CHOICES:
        rows = keyed[keyed["source"] == source]
        if rows.empty:
            continue
        is_first = rows["ids"].map(tuple) == first["ids"].map(tuple).reindex(rows.index)
        # A text has one slope, but two computations of it differ by rounding.
        more = (rows["unit"] - first["unit"].reindex(rows.index)).mask(is_first, 0.0)
        more = more.dropna().reset_index("run", drop=True)
        counts = {"positives": len(rows), "right": int(rows["reward"].sum()), "same_as_first": int(is_first.sum())}
        table.append({"questions": MORE, "source": source, **counts, **asdict(bootstrap_questions(more))})
    return pd.DataFrame(table)


def _choices(run: GradientRun) -> str:
    if not run.recipe.get("choices"):
        return ""
    return (
        f" Of each question {run.recipe['tries']} self-explanations were sampled. The first that ended "
        f"is shown as such; a choice is among all that did. *{MORE.capitalize()}*: the mean difference from the first, "
        "by question, of how many choices it is, and how many of them are the first itself."
    )


def _table(numbers: pd.DataFrame) -> str:
    columns = list(dict.fromkeys(numbers["questions"]))
    table = []
    for source, rows in numbers.groupby("source", sort=False):
        cells = {row["questions"]: _cell(row) for row in rows.to_dict("records")}
        table.append([NAMES[str(source)], *(cells.get(column, "–") for column in columns)])
    return markdown_table(["positive", *columns], table, ["---", *["--:"] * len(columns)])


def _cell(row: Mapping[Any, Any]) -> str:
    slope = Interval(row["mean"], row["low"], row["high"], row["n"])
    same = row["questions"] == MORE
    some = f"{int(row['same_as_first'])} the first" if same else f"{int(row['right'])} right"
    return f"{interval(slope)} ({row['positives']}, {some})"


def _read(numbers: pd.DataFrame) -> str:
    of_all = numbers[numbers["questions"] == ALL]
    slopes = [f"{NAMES[str(row['source'])]} {_cell(row)}" for row in of_all.to_dict("records")]
    explanations = of_all[of_all["source"] == "explanation"]
    same, positives = int(explanations["same_as_own"].sum()), int(explanations["positives"].sum())
    text = f"Slope of J per unit of step: {'; '.join(slopes)}."
    if positives:
        text += f" {plural(same, 'self-explanation')} of {positives} have the text of the own CoT."
    compared = numbers[numbers["questions"] == MORE].to_dict("records")
    if more := [f"{NAMES[str(row['source'])]} {_cell(row)}" for row in compared]:
        text += f" {MORE.capitalize()}: {'; '.join(more)}."
    return text
