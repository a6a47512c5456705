"""Finished runs as a report sees them: finding them in a study's folder, and identifying them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from expo.policies.names import called
from expo.records import RecordError, Run, identity
from expo.report.toy import any_toy
from expo.schema import TABLES

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class FinishedRun:
    """A finished run of any job; its files are read once."""

    run: Run

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The run's resolved recipe."""
        return self.run.recipe()

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The environment and inputs of the run."""
        return self.run.environment()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.folder.resolve().name

    @property
    def policy_name(self) -> str:
        """The policy's name, never a path of this machine; that of a trained policy is its run's."""
        return called(str(self.recipe["policy"]))

    @property
    def trained_before(self) -> str:
        """The trainings that led to its policy, named as in METHODS; empty if there were none, or none are known."""
        return "+".join(self.environment.get("trained_by") or ())

    @property
    def base(self) -> str:
        """The policy before any training, as it was given: this identifies the base. It may be a path."""
        given = os.path.normpath(str(self.environment.get("trained_from") or self.recipe["policy"]))
        return "tiny-0" if given == "tiny" else given

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any paths of this machine."""
        return {**origin_of(self.run), "policy": self.policy_name, "toy": any_toy([self])}


def runs_in(folder: Path | str, job: str) -> list[Run]:
    """The runs in a study's folder in natural order, or the run itself if the folder is one.

    Raises:
        RecordError: if there are none; the message names the job that makes one.
    """
    folder = Path(folder)
    is_run = (folder / "recipe.yaml").exists()
    folders = [folder] if is_run else sorted(folder.glob("*/"), key=lambda path: natural(path.name))
    runs = [Run(path) for path in folders if (path / "recipe.yaml").exists()]
    if not runs:
        found = "neither it nor a folder in it has a recipe.yaml" if folder.is_dir() else "it is a file"
        what = found if folder.exists() else "there is no such folder"
        raise RecordError(f"{folder} is not a run folder: {what}; make one with `expo {job}` or `expo reproduce`")
    return runs


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names with numbers as a reader expects: `tiny-2` before `tiny-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def differing(runs: Sequence[FinishedRun]) -> set[str]:
    """The fields in which the recipes of these runs differ."""
    first = runs[0].recipe
    return {name for run in runs for name in {*first, *run.recipe} if run.recipe.get(name) != first.get(name)}


def check_alike(what: str, runs: Sequence[FinishedRun], indifferent: set[str]) -> None:
    """Check that the recipes of these runs differ only in fields that do not affect their comparison.

    Raises:
        ValueError: if they differ in others; the message says `what` runs they are, and names the fields.
    """
    if fields := differing(runs) - indifferent - {"policy", "rows", "chunk", "device", "dtype"}:
        raise ValueError(
            f"{what} differ in {', '.join(sorted(fields))}, and cannot be compared; put them into folders of their own"
        )


def origin_of(run: Run) -> dict[str, Any]:
    """What identifies any run: its place, recipe, code and weights, and the hashes of its tables except its timings."""
    environment = run.environment()
    return {
        "run": relative_folder(run.folder),
        "tables": table_hashes(run),
        "study": run.folder.resolve().parent.name,
        "recipe": recipe_hash(run.recipe()),
        "commit": environment.get("commit"),
        "schema": environment.get("schema"),
        "weights": environment.get("weights"),
    }


def table_hashes(run: Run) -> dict[str, str]:
    """The hash of each table that a run has, except its timings."""
    tables = [table for table in TABLES if table != "timing" and run.has(table)]
    return {table: sha256(run.path(f"{table}.parquet").read_bytes()) for table in tables}


def recipe_hash(recipe: dict[str, Any]) -> str:
    """The hash of the fields that identify a run; a study's recipe and the run's resolved recipe give the same one."""
    asked = {**identity(recipe), "policy": _in_study(str(recipe["policy"]))}
    return sha256(json.dumps(_as_floats(asked), sort_keys=True))


def _in_study(policy: str) -> str:
    """A policy as a study names it: the run for a training's `<run>/model`, `base-0` for a base's `<name>-seed0`."""
    path = Path(policy)
    if len(path.parts) < 3:
        return policy
    base = re.fullmatch(r".+-seed(\d+)", path.name)
    return f"base-{base[1]}" if base else path.parent.name if path.name == "model" else policy


def _as_floats(value: Any) -> Any:
    """With all numbers of one type: a recipe is the same whether it says 1 or 1.0."""
    if isinstance(value, dict):
        return {name: _as_floats(of) for name, of in value.items()}
    if isinstance(value, list):
        return [_as_floats(of) for of in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def relative_folder(folder: Path) -> str:
    """A run folder relative to the repository; outside of it, only the names of its study and the run."""
    folder = folder.resolve()
    if folder.is_relative_to(ROOT):
        return folder.relative_to(ROOT).as_posix()
    return "/".join(folder.parts[-2:])


def sha256(content: str | bytes) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
