"""Finished runs as a report sees them: finding them in a study's folder, and what identifies each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from expo.records import RecordError, Run
from expo.report.toy import any_toy
from expo.schema import TABLES

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class FinishedRun:
    """A finished run of any job, read once."""

    run: Run

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The run's resolved recipe."""
        return self.run.recipe()

    @cached_property
    def environment(self) -> dict[str, Any]:
        """What the run was made with and from."""
        return self.run.environment()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.folder.resolve().name

    @property
    def policy_name(self) -> str:
        """The policy's name; of a folder or a file only the last part, never a path of this machine."""
        return Path(str(self.recipe["policy"])).name

    @property
    def trained_before(self) -> str:
        """The trainings that led to its policy, as METHODS names them; empty if there was none, or none is known."""
        return "+".join(self.environment.get("trained_by") or ())

    @property
    def base(self) -> str:
        """The policy before any training, as it was given: what tells bases apart. It may be a path."""
        given = os.path.normpath(str(self.environment.get("trained_from") or self.recipe["policy"]))
        return "tiny-0" if given == "tiny" else given

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any path of this machine."""
        return {**origin_of(self.run), "policy": self.policy_name, "toy": any_toy([self])}


def runs_in(folder: Path | str, job: str) -> list[Run]:
    """The runs of a study's folder in natural order, or the one that the folder is.

    Raises:
        RecordError: if there is none; the message names the job that makes one.
    """
    folder = Path(folder)
    is_run = (folder / "recipe.yaml").exists()
    folders = [folder] if is_run else sorted(folder.glob("*/"), key=lambda path: natural(path.name))
    runs = [Run(path) for path in folders if (path / "recipe.yaml").exists()]
    if not runs:
        raise RecordError(f"{folder}: no run here; make one with `expo {job}` or `expo reproduce`")
    return runs


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names with numbers in them as a reader would: `tiny-2` before `tiny-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def differing(runs: Sequence[FinishedRun]) -> set[str]:
    """The fields in which the recipes of these runs differ."""
    first = runs[0].recipe
    return {name for run in runs for name in {*first, *run.recipe} if run.recipe.get(name) != first.get(name)}


def check_alike(what: str, runs: Sequence[FinishedRun], indifferent: set[str]) -> None:
    """Check that the recipes of these runs differ in nothing but what does not matter to their comparison.

    Raises:
        ValueError: if they do; `what` says which runs they are, and the fields are named.
    """
    if fields := differing(runs) - indifferent - {"policy", "rows", "chunk", "device", "dtype"}:
        raise ValueError(
            f"{what} differ in {', '.join(sorted(fields))}, and cannot be compared; put them into folders of their own"
        )


def origin_of(run: Run) -> dict[str, Any]:
    """What identifies any run: its place, the hashes of its tables but how long it took, code and weights."""
    environment = run.environment()
    tables = [table for table in TABLES if table != "timing" and run.has(table)]
    return {
        "run": relative_folder(run.folder),
        "tables": {table: sha256(run.path(f"{table}.parquet").read_bytes()) for table in tables},
        "commit": environment.get("commit"),
        "schema": environment.get("schema"),
        "weights": environment.get("weights"),
    }


def relative_folder(folder: Path) -> str:
    """A run folder relative to the repository; outside of it, the names of its study and itself."""
    folder = folder.resolve()
    if folder.is_relative_to(ROOT):
        return folder.relative_to(ROOT).as_posix()
    return "/".join(folder.parts[-2:])


def sha256(content: str | bytes) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
