"""Each training by itself: accuracy before and after on the training levels, and the results of its groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import share_of_true_steps, with_interval
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.training.setting import named, rates, weights_note
from expo.report.trainings import EvaluatedRun, by_method, label
from expo.report.words import listed, share
from expo.stats import MIN_PROBLEMS, bootstrap_rate

COLUMNS = ["trained_on", "method", "base", "seed", "before", "mean", "low", "high", "problems", "samples", "steps_true"]
COLUMNS += ["groups", "some_right", "all_right"]


def draw_by_base(runs: Sequence[EvaluatedRun], out: Path | str, name: str = "by-base") -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: one row per training, with its interval over problems."""
    rows = []
    for trained_on in sorted({run.levels for run in runs}):
        alike = [run for run in runs if run.levels == trained_on]
        rows += [_row(run) for of_method in by_method(alike).values() for run in of_method]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    return write_table(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        title=f"Each training by itself: {label(runs)}",
        parts=[_about(runs), _table(numbers)],
        reading=_read(numbers),
    )


def _row(run: EvaluatedRun) -> dict[str, Any]:
    levels = run.trained_levels
    accuracy = asdict(bootstrap_rate(run.accuracies(run.last_step, levels).to_numpy()))
    accuracy["problems"] = accuracy.pop("n")
    groups = run.run.read("groups") if run.run.has("groups") else None
    return {
        "trained_on": run.levels,
        "method": run.method,
        "base": run.policy_name,
        "seed": run.seed,
        "before": float(run.accuracies(0, levels).mean()),
        **accuracy,
        "samples": run.eval_samples,
        "steps_true": share_of_true_steps(run, run.last_step, levels),
        "groups": len(groups) if groups is not None else 0,
        "some_right": int((groups["correct"] > 0).sum()) if groups is not None else 0,
        "all_right": int((groups["correct"] == groups["n"]).sum()) if groups is not None else 0,
    }


def _about(runs: Sequence[EvaluatedRun]) -> str:
    first = runs[0]
    told = " ".join(
        f"Learning rates on {trained_on}: {rates([run for run in runs if run.levels == trained_on])}."
        for trained_on in sorted({run.levels for run in runs})
    )
    return (
        f"Accuracy on the split `{first.recipe['eval_split']}` at the levels trained on, before the first step and "
        f"after the last ({first.last_step}), {first.sampling}; in brackets the 95 % bootstrap interval by problem, "
        f"exact where all problems are alike, none for fewer than {MIN_PROBLEMS}. *True steps* are of the same "
        "samples. A group is a question's samples at a step; where none or all are right, GRPO learns nothing from "
        "it. Bases that have the same seed here share problems, their order and random numbers. "
        f"{told}{weights_note(runs)}"
    )


def _table(numbers: pd.DataFrame) -> str:
    heads = ["trained on", "method", "base", "seed", "before", "after", "problems", "true steps"]
    heads += ["groups", "with a right sample", "all right"]
    rows = []
    for _, row in numbers.iterrows():
        counts = [str(row[name]) if row["groups"] else "–" for name in ("groups", "some_right", "all_right")]
        cells = [share(row["before"]), with_interval(row), str(row["problems"]), share(row["steps_true"])]
        rows.append([row["trained_on"], named(row["method"]), row["base"], str(row["seed"]), *cells, *counts])
    return markdown_table(heads, rows, [*["---"] * 3, *["--:"] * (len(heads) - 3)])


def _read(numbers: pd.DataFrame) -> str:
    lines = []
    for trained_on, of_levels in numbers.groupby("trained_on", sort=False):
        told = [
            f"{named(method)} {listed([share(mean) for mean in of_method['mean']])}"
            for method, of_method in of_levels.groupby("method", sort=False)
        ]
        lines.append(f"Trained on {trained_on}, base by base: {'; '.join(told)}.")
    return " ".join(lines)
