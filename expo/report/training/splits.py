"""What trained policies can do on several splits of a task: training problems, new problems, and those known before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import LEGEND, accuracy_text, summary, true_steps, with_interval
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.runs import check_alike
from expo.report.training.setting import named, weights_note
from expo.report.trainings import EvaluatedRun, check_comparable, count_bases, label, levels_of
from expo.report.words import is_method, listed, method_order, spanned
from expo.tasks import TASKS
from expo.text import plural

COLUMNS = ["method", "split", "level", "quantity", "mean", "low", "high", "lowest", "highest", "bases", "problems", "n"]


def evaluated_on_splits(runs: Sequence[EvaluatedRun]) -> list[EvaluatedRun]:
    """The evaluations of trained policies, and of bases with as many samples, if they cover several splits."""
    known = [run for run in runs if run.trained_method == "base" or is_method(run.trained_method)]
    alone = [run for run in known if not run.is_training]
    samples = {run.recipe.get("samples") for run in alone if run.trained_before}
    alike = [run for run in alone if run.recipe.get("samples") in samples]
    return alike if len({run.recipe.get("split") for run in alike}) > 1 else []


def draw_splits(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "splits") -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: accuracy and true steps of each method by split and level.

    Raises:
        ValueError: if they were not evaluated in the same way.
    """
    check_alike("evaluations by split", runs, {"split", "problems", "levels", "limits"})
    rows: list[dict[str, Any]] = []
    for split in sorted({str(run.recipe["split"]) for run in runs}, key=lambda split: (split != "test", split)):
        of_split = [run for run in runs if run.recipe["split"] == split]
        check_comparable(of_split)
        for method in sorted({run.trained_method for run in of_split}, key=method_order):
            alike = [run for run in of_split if run.trained_method == method]
            rows += [row for level in levels_of(alike) for row in _rows(method, split, level, alike)]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    first = runs[0]
    about = (
        f"Accuracy by split and level, and the share of true steps, {LEGEND} Sampled at T = "
        f"{first.recipe['temperature']:g}, {first.eval_samples} samples a problem, {spanned(numbers['problems'])} "
        f"problems a level, at most {first.limit} tokens, seed {first.recipe['seed']}; "
        f"{plural(count_bases(runs), 'base')}.{weights_note(runs)} {TASKS[str(first.recipe['task'])].about_splits}"
    )
    return write_table(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        title=f"Before and after training, by split: {label(runs)}",
        parts=[about, _table(numbers)],
        reading=_read(numbers),
    )


def _rows(method: str, split: str, level: int, runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    of_quantity = {"accuracy": summary(runs, None, [level]), "true steps": true_steps(runs, [level])}
    return [
        {"method": method, "split": split, "level": level, "quantity": name, **values}
        for name, values in of_quantity.items()
    ]


def _table(numbers: pd.DataFrame) -> str:
    places = list(dict.fromkeys(zip(numbers["split"], numbers["level"], strict=True)))
    rows = []
    for (quantity, method), of_both in numbers.groupby(["quantity", "method"], sort=False):
        cells = {(row["split"], row["level"]): accuracy_text(row) for _, row in of_both.iterrows()}
        rows.append([f"{named(method)}, {quantity}", *(cells.get(place, "–") for place in places)])
    rows.sort(key=lambda row: row[0].endswith("true steps"))
    return markdown_table(["", *(f"{split}, level {level}" for split, level in places)], rows)


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for split, of_split in numbers.groupby("split", sort=False):
        hardest = of_split[of_split["level"] == of_split["level"].max()]
        level = hardest["level"].iloc[0]
        for quantity, of_one in hardest.groupby("quantity", sort=False):
            told = listed([f"{named(row['method'])} {with_interval(row)}" for _, row in of_one.iterrows()])
            lines.append(f"On `{split}` at level {level}, {quantity}: {told}.")
    return " ".join(lines)
