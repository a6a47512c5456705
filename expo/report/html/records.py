"""The records for a page: run folders by name or in a study's folder, and what each of them lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from expo.records import RecordError, Run, job_of, method_of
from expo.report.runs import FinishedRun, runs_in
from expo.report.toy import any_toy
from expo.report.words import levels_in_words, method_name
from expo.stats import MIN_PROBLEMS
from expo.tasks import TASKS
from expo.tasks.problem import counted
from expo.text import plural, visible

# For each job, the table that marks a run as finished.
_LAST = {"measure": "samples", "evaluate": "evaluation", "train": "evaluation", "gradients": "alignment"}
# For each job, the tables that the page shows if the run has them.
_SHOWN = {
    "measure": ("samples", "tokens"),
    "evaluate": ("evaluation",),
    "train": ("evaluation", "metrics", "alignment"),
    "gradients": ("alignment", "gains"),
}


@dataclass(frozen=True)
class Shown(FinishedRun):
    """A finished run of any job, with the tables that the page shows.

    `lacks` holds sentences on what a reader may miss.
    """

    job: str = ""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()

    @cached_property
    def toy(self) -> bool:
        """Whether it is a run of the toy."""
        return any_toy([self])

    @property
    def task(self) -> str:
        """The name of the task, or of the user's data file."""
        return visible(Path(self.recipe["data"]).name if self.recipe.get("data") else str(self.recipe["task"]))

    @property
    def method(self) -> str:
        """The method of a training, in words; empty for any other job."""
        return method_name(method_of(self.recipe)) if self.job == "train" else ""

    @property
    def trained_on(self) -> str:
        """The levels of a training, in words; empty for any other job and for problems without levels."""
        has_levels = self.job == "train" and self.tables["evaluation"]["level"].notna().any()
        return levels_in_words(self.recipe.get("levels")) if has_levels else ""


def shown_runs(folders: Sequence[str | Path]) -> tuple[list[Shown], list[str]]:
    """The finished runs in these folders, and a sentence for each run left out.

    A folder is a run folder, or holds run folders.

    Raises:
        RecordError: for a folder without a run, a record that is damaged or of another schema, or if no run has
            finished; the message names the file or folder.
    """
    runs: dict[Path, Run] = {}
    for folder in map(Path, folders):
        runs |= {run.folder.resolve(): run for run in runs_in(folder, "measure")}
    found, left_out = [], []
    for run in runs.values():
        job = job_of(run.recipe())
        if run.has(_LAST[job]):
            found.append(_read(run, job))
        else:
            done = len(run.shards("samples" if job == "measure" else "completions"))
            so_far = f" ({plural(done, 'chunk')} of its problems done)" if done else ""
            name = visible(run.folder.resolve().name)
            left_out.append(
                f"{name} has not finished{so_far}. Unless it is still running, repeat its command to resume it."
            )
    if not found:
        raise RecordError(f"{folders[0]}: nothing to report: {' '.join(left_out)}")
    return found, left_out


def _check_recipe(run: Run) -> None:
    """Check that the recipe names its task and its policy, without which a record says nothing.

    Raises:
        RecordError: if it lacks one.
    """
    recipe = run.recipe()
    if missing := [name for name in ("task", "policy") if not isinstance(recipe.get(name), str)]:
        raise RecordError(
            f"{visible(str(run.path('recipe.yaml')))} is damaged (it names no {' and no '.join(missing)}); add what is "
            "missing, or delete the run folder and repeat the command"
        )


def _read(run: Run, job: str) -> Shown:
    _check_recipe(run)
    found = {table: run.read(table) for table in _SHOWN[job] if run.has(table)}
    tables = {table: frame for table, frame in found.items() if len(frame)}
    if _LAST[job] not in tables:
        raise RecordError(f"{run.path(_LAST[job])} has no rows, so there is nothing to report")
    return Shown(run, job, tables, tuple(_lacks(run, job, tables)))


def _lacks(run: Run, job: str, tables: dict[str, pd.DataFrame]) -> list[str]:
    """What the page cannot show because of how the run was made."""
    lacks = []
    main = tables[_LAST[job]]
    if run.has("skips") and len(skips := run.read("skips")):
        lacks.append(_skipped(skips))
    if main["level"].isna().all():
        lacks.append("The problems have no levels, so nothing is shown by level.")
    if (n := main["problem"].nunique()) < MIN_PROBLEMS:
        lacks.append(f"The record has {plural(n, 'problem')}. Fewer than {MIN_PROBLEMS} problems decide nothing.")
    if job == "measure":
        present = set(main["source"])
        for source, name in (("expert", "expert CoT"), ("own", "own CoT"), ("explanation", "self-explanation")):
            if source not in present:
                lacks.append(f"The record has no {name}, so nothing is compared with one.")
        if run.recipe().get("temperature") != 1:
            lacks.append(
                "The texts were not sampled at temperature 1, so this page does not compare them with the posterior."
            )
        if (task := run.recipe()["task"]) not in TASKS:
            lacks.append(f"The task {visible(task)} is not installed here, so the steps of the texts are not marked.")
        if "tokens" not in tables:
            lacks.append("The record was made without --token_scores true, so it does not show where the answer acts.")
    return lacks


def _skipped(skips: pd.DataFrame) -> str:
    """What was left out of the data, without paths; reasons, which may hold them, stay in the record."""
    parts = []
    for field_, rows in skips.groupby("field", sort=False):
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        parts.append(f"{visible(str(field_))} ({visible(Path(str(rows['where'].iloc[0])).name)}{more})")
    of = f"{counted(skips)} of the data {'was' if len(skips) == 1 else 'were'} left out"
    return f"{of}: {', '.join(parts)}. The reasons are in skips.parquet in the run folder."
