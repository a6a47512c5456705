"""Which records go into which picture: finding a study's runs, and grouping them by label."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from expo.records import RecordError, Run
from expo.tables import TABLES
from expo.text import plural

ROOT = Path(__file__).resolve().parent.parent.parent
# The paper samples at this temperature (Appendix C.1).
PAPER_TEMPERATURE = 0.9
# Fields that leave means over problems where they are in expectation: of a sweep, one run may have more samples.
_INDIFFERENT = {"sources", "samples", "controls", "device", "rows", "chunk"}
_NEEDED = {"policy", "task", "sources", "samples", "temperature", "seed"}


@dataclass(frozen=True)
class Finished:
    """A finished run of any job, read once."""

    run: Run

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The run's resolved recipe."""
        return self.run.recipe()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.folder.resolve().name

    @property
    def is_toy(self) -> bool:
        """Whether everything shown of this run must say that it is a toy."""
        return bool(self.run.environment().get("toy", self.recipe["task"] == "chain"))


@dataclass(frozen=True)
class Record(Finished):
    """A finished measurement."""

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The run's table of scored positives."""
        return self.run.read("samples")

    @property
    def policy(self) -> str:
        """The policy's name; of a folder or file only the last part, never a path of this machine."""
        policy = str(self.recipe["policy"])
        return policy if _is_hub_id(policy) else Path(policy).name

    @property
    def task(self) -> str:
        """The task's name, that of the data file for a user's own."""
        data = self.recipe.get("data")
        return Path(data).stem if data else str(self.recipe["task"])

    @property
    def temperature(self) -> float:
        """Of sampling; scores are at 1."""
        return float(self.recipe["temperature"])

    @property
    def has_pairs(self) -> bool:
        """Whether there are own CoTs and self-explanations to compare."""
        return {"own", "explanation"} <= set(self.samples["source"])

    @property
    def problems(self) -> int:
        """How many problems have samples."""
        return int(self.samples["problem"].nunique())

    @property
    def title(self) -> str:
        """The run's name, with policy, task and what was measured on how much."""
        toy = " (toy)" if self.is_toy else ""
        name = "" if self.name == self.policy else f"{self.name}: "
        return f"{name}{self.policy} on {self.task}{toy}"

    @property
    def called(self) -> str:
        """The run's name as a sentence about its numbers begins: a toy is called one."""
        return f"**{self.name}** (toy)" if self.is_toy else f"**{self.name}**"

    @property
    def size(self) -> str:
        """n and the task, k and seed."""
        k = plural(int(self.recipe["samples"]), "sample")
        return f"n = {plural(self.problems, 'problem')} of {self.task}, k = {k}, seed {self.recipe['seed']}"

    @property
    def setting(self) -> str:
        """n and the task, k, seed and sampling temperature."""
        return f"{self.size}, T = {self.temperature:g}"

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any path of this machine."""
        return {
            **origin_of(self.run),
            "policy": self.policy,
            "task": self.task,
            "toy": self.is_toy,
            "problems": self.problems,
            "samples": self.recipe["samples"],
            "temperature": self.temperature,
            "seed": self.recipe["seed"],
        }


@dataclass(frozen=True)
class Group:
    """The runs of one label: `runs` are shown one by one, those of a sweep differ in temperature alone."""

    label: str
    runs: tuple[Record, ...]
    sweeps: tuple[tuple[Record, ...], ...]

    @property
    def is_toy(self) -> bool:
        """Whether any of its runs is a toy."""
        return any(record.is_toy for record in self.runs)


def find(folder: Path | str) -> tuple[list[Record], list[str]]:
    """The finished measurements of a study's folder (or of one run's), and the names of those cut short.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    runs = runs_in(folder, "measure")
    measured = [run for run in runs if set(run.recipe()) >= _NEEDED]
    finished = [Record(run) for run in measured if run.has("samples")]
    return finished, [run.folder.name for run in measured if not run.has("samples")]


def runs_in(folder: Path | str, job: str) -> list[Run]:
    """The runs of a study's folder in natural order, or the one that the folder is.

    Raises:
        RecordError: if there is none; the message names the job that makes one.
    """
    folder = Path(folder)
    places = [folder] if (folder / "recipe.yaml").exists() else sorted(folder.glob("*/"), key=_natural)
    runs = [Run(p) for p in places if (p / "recipe.yaml").exists()]
    if not runs:
        raise RecordError(f"{folder}: no run here; make one with `expo {job}` or `expo reproduce`")
    return runs


def differing(runs: Sequence[Finished]) -> set[str]:
    """The fields in which the recipes of these runs differ."""
    first = runs[0].recipe
    return {name for run in runs for name in {*first, *run.recipe} if run.recipe.get(name) != first.get(name)}


def origin_of(run: Run) -> dict[str, Any]:
    """What identifies any run: its place, the hashes of its tables but how long it took, code and weights."""
    environment = run.environment()
    held = [table for table in TABLES if table != "timing" and run.has(table)]
    return {
        "run": where(run.folder),
        "tables": {table: sha256(run.path(f"{table}.parquet").read_bytes()) for table in held},
        "commit": environment.get("commit"),
        "schema": environment.get("schema"),
        "weights": environment.get("weights"),
    }


def where(folder: Path) -> str:
    """A run folder relative to the repository; outside of it, its study's and its own name."""
    folder = folder.resolve()
    if folder.is_relative_to(ROOT):
        return folder.relative_to(ROOT).as_posix()
    return "/".join(folder.parts[-2:])


def sha256(content: str | bytes) -> str:
    """Of a file's content."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def label(record: Record) -> str:
    """What an artefact's name ends in: the policy, then task and split if they are not the usual ones.

    The bases `tiny-0`, `tiny-1`, ... share the label `tiny`, whose usual task is chain; others' is stories.
    """
    policy = record.policy.rpartition("/")[2]
    is_tiny = re.fullmatch(r"tiny(-\d+)?", policy) is not None
    parts = ["tiny" if is_tiny else policy.removesuffix(".gguf")]
    if record.task != ("chain" if is_tiny else "stories"):
        parts.append(record.task)
    split = record.recipe.get("split", "test")
    if split != "test":
        parts.append(str(split))
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-.")


def group(records: Iterable[Record]) -> list[Group]:
    """Records by label, in natural order.

    Of each set of runs that differ in temperature alone, the one at the paper's temperature, or nearest to
    it, is shown by itself; the set as a whole is a sweep.
    """
    labels: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: _natural(Path(r.name))):
        labels.setdefault(label(record), []).append(record)
    return [_group(name, held) for name, held in sorted(labels.items())]


def _group(name: str, records: Sequence[Record]) -> Group:
    sets: dict[str, list[Record]] = {}
    for record in records:
        rest = {k: v for k, v in record.recipe.items() if k not in {*_INDIFFERENT, "temperature"}}
        sets.setdefault(repr(sorted(rest.items())), []).append(record)
    shown, sweeps = [], []
    for held in sets.values():
        nearest = min(held, key=lambda r: (abs(r.temperature - PAPER_TEMPERATURE), r.temperature))
        shown += [r for r in held if r.temperature == nearest.temperature]
        by_temperature = {r.temperature: r for r in reversed(held)}
        if len(by_temperature) > 1:
            sweeps.append(tuple(by_temperature[t] for t in sorted(by_temperature)))
    return Group(name, tuple(shown), tuple(sweeps))


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _is_hub_id(policy: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", policy) is not None
