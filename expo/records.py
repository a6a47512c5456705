"""The run folder: the only thing that training, measuring and notebooks share.

A run is `runs/<study>/<run>/` with `recipe.yaml` (resolved), `environment.json` (versions, commit, device, seed, origin
of task and weights) and parquet tables that plain pandas reads. Every file is written next to its final place and then
renamed: a reader never sees half a file, and a killed run leaves none.

Longer than most modules: writing, checking and reading a record must agree on every file, so they are here together.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from expo.environment import environment
from expo.schema import LATER, SCHEMA, TABLES

_VERSION_KEY = b"expo.schema"
DRAFT = ".tmp"  # suffix of a file that is still being written
_LOCK = ".lock"
_SHARDS = "parts"  # folder of unfinished tables


class RecordError(ValueError):
    """A record that is missing, damaged, or of another version or recipe; the message names the file and the fix."""


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace a whole file atomically: readers see the old one or the new one, even after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT}")
    try:
        with draft.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            # Before the rename: after a power loss the name must not survive without the content.
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# Facts that do not define a run: `task` is determined by its data, and measured facts vary with the threads.
_NO_CONDITIONS = ("task", "sampling_error")
# Packages that only hold or print what others compute: a run may resume with other versions of them.
_TABLES_ALONE = ("datasets", "numpy", "pandas")


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Lock the folder against other processes, unless the file system has no locks. A kill releases the lock too.

    Raises:
        BlockingIOError: if another process holds the lock and `wait` is False.
    """
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        yield


def to_yaml(recipe: dict[str, Any]) -> str:
    """A recipe as YAML that reads back unchanged."""
    readable: str = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    # PyYAML reads some Unicode line breaks back as spaces unless they are escaped.
    return readable if yaml.safe_load(readable) == recipe else yaml.safe_dump(recipe, sort_keys=False)


def identity(recipe: dict[str, Any]) -> dict[str, Any]:
    """The fields of a resolved recipe that identify a run: all but those that divide the work, and an audit's limits.

    The number of rows decoded at a time changes results only by rounding, so a run that ran out of memory may resume
    with fewer. A run resumes with the chunk size that it started with. Its processes may wait longer for each other.
    """
    return {name: value for name, value in recipe.items() if name not in ("rows", "chunk", "limits", "ddp_timeout")}


def defaults_of(recipe: type) -> dict[str, Any]:
    """The defaults of those fields of a recipe that are single values."""
    return {f.name: f.default for f in fields(recipe) if f.default is not MISSING}


def refuse_file(folder: Path) -> None:
    """Check that no file is in the way of a folder to create, or of one of its parents.

    Raises:
        RecordError: if there is one.
    """
    if file := next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None):
        raise RecordError(f"{file} is a file, but --output needs a folder; choose another --output")


# For each job, a field that its recipe has and those of later jobs lack; a recipe with none of them is an evaluation.
_FIELDS = {"train": "positive", "gradients": "rollouts", "measure": "sources"}


class Run:
    """A run folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def start(
        cls, folder: Path | str, recipe: dict[str, Any], defaults: dict[str, Any] | None = None, **facts: Any
    ) -> Run:
        """Start a run, or resume one with the same recipe. `defaults` has values of fields that an older record lacks.

        An unfinished run resumes only under the same facts: other data or weights under the same name would mix two
        runs in one record. (A fact of None is not known yet and is not compared.)

        Raises:
            RecordError: if the folder holds anything else; the message names what differs.
        """
        run = cls(folder)
        before = run_before(str(recipe.get("policy", "")))
        facts = {"trained_from": begun_from(before), "trained_by": trained_by(before), **facts}
        if run.path("recipe.yaml").exists():
            run._must_match(recipe, defaults or {}, facts)
            return run
        refuse_file(run.folder)
        if run.folder.exists() and not all(map(_left_by_a_start, run.folder.iterdir())):
            raise RecordError(f"{run.folder} is not empty and is not a run folder; choose another --output")
        write_atomic(run.path("environment.json"), json.dumps(environment(**facts), indent=2) + "\n")
        # Written last, so that a folder with a recipe always has the rest.
        write_atomic(run.path("recipe.yaml"), to_yaml(recipe))
        return run

    def changes(self, recipe: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
        """How a resolved recipe differs from this run's recipe; see `start` for `defaults`.

        Raises:
            RecordError: if this is not a run folder, or its recipe is damaged.
        """
        before = self.recipe()
        if _is_same_policy(before.get("policy"), recipe.get("policy")):
            recipe = {**recipe, "policy": before["policy"]}
        if self._unfinished() and before.get("revision") is None:
            # If the hub's main branch has moved since, this names the old commit; weights are compared later.
            recipe = {**recipe, "revision": None}
        return _differences(identity({**defaults, **before}), identity({**defaults, **recipe}))

    def _unfinished(self) -> bool:
        return not any(self.has(table) for table in TABLES)

    def is_begun(self) -> bool:
        """Whether only part of the record exists."""
        return self._unfinished() and self.path("recipe.yaml").exists() and any(self.path(_SHARDS).glob("*/*.parquet"))

    def refuse_another_recipe(self, recipe: dict[str, Any], defaults: dict[str, Any]) -> None:
        """Raise RecordError if a resolved recipe differs from this run's, or is for another job."""
        if not (changed := self.changes(recipe, defaults)):
            return
        job, other = job_of(recipe), job_of(self.recipe())
        more = [f"and {len(changed) - 6} more"] if len(changed) > 6 else []
        what = f"with a different recipe ({'; '.join([*changed[:6], *more])})" if job == other else f"of `expo {other}`"
        raise RecordError(
            f"{self.folder} already holds a run {what}. Choose another --output, or delete that folder if "
            "it is no longer needed."
        )

    def _must_match(self, recipe: dict[str, Any], defaults: dict[str, Any], facts: dict[str, Any]) -> None:
        self.refuse_another_recipe(recipe, defaults)
        began = self.environment()
        if not self._unfinished():
            if began.get("data_sha256") not in (None, facts.get("data_sha256")):
                raise RecordError(
                    f"{self.folder} holds a finished run on different problems: the data has changed since. "
                    "Choose another --output, or delete that folder to run again."
                )
            return
        now = environment(**facts)
        # Facts that an earlier version did not record are not compared.
        known = began.get("packages", {}).keys() - set(_TABLES_ALONE)
        for packages in (began.get("packages", {}), now["packages"]):
            for name in packages.keys() - known:
                del packages[name]
        asked = {
            k: now[k] for k in ("schema", "expo", "packages", *facts) if now[k] is not None and k not in _NO_CONDITIONS
        }
        for name in {"chat_template", "reward", "sharding", "trained_by"} - set(began):
            asked.pop(name, None)
        if "device" in asked and began.get("device"):
            # Older versions recorded it with its number.
            began["device"] = began["device"].partition(":")[0]
        if changed := _differences({k: began.get(k) for k in asked}, json.loads(json.dumps(asked))):
            raise RecordError(
                f"{self.folder} holds an unfinished run that started under other conditions "
                f"({'; '.join(changed)}). Restore them and repeat the command, or delete the folder to "
                "start over."
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing: no other process may write to it meanwhile.

        Raises:
            RecordError: if another process holds it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder, wait=False))
            except BlockingIOError:
                raise RecordError(
                    f"{self.folder} is being written by another process; wait for it, or stop it"
                ) from None
            yield

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        return self._load("recipe.yaml", yaml.safe_load, yaml.YAMLError)

    def environment(self) -> dict[str, Any]:
        """Versions, commit, device, seed, and the origin of task and weights."""
        return self._load("environment.json", json.loads, json.JSONDecodeError)

    def _load(self, name: str, parse: Any, error: type[Exception]) -> dict[str, Any]:
        path = self.path(name)
        try:
            content = parse(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RecordError(f"{self.folder} is not a run folder: it has no {name}") from None
        except (error, UnicodeDecodeError) as cause:
            raise RecordError(f"{path} is damaged ({cause}); delete the run folder and repeat the command") from cause
        if not isinstance(content, dict):
            raise RecordError(f"{path} is damaged (not a mapping); delete the run folder and repeat the command")
        return content

    def has(self, table: str) -> bool:
        """Whether the table is complete (its shards do not count)."""
        return self.path(f"{table}.parquet").exists()

    def lacks_a_table(self) -> bool:
        """Whether a table is missing although its shards are there, as after a damaged table was deleted."""
        return any(self.shards(table) and not self.has(table) for table in TABLES if table != "timing")

    def write(self, table: str, frame: pd.DataFrame, shard: str | None = None) -> None:
        """Write a table, or one named shard of it, with the schema version inside the file.

        Raises:
            RecordError: if a column is missing, unknown, or of the wrong type.
        """
        columns = TABLES[table]
        frame = _with_later(table, frame)
        if set(frame.columns) != set(columns):
            missing, unknown = set(columns) - set(frame.columns), set(frame.columns) - set(columns)
            raise RecordError(f"{table}: missing columns {sorted(missing)}, unknown columns {sorted(unknown)}")
        try:
            frame = frame[list(columns)].astype(columns)
        except (TypeError, ValueError) as cause:
            raise RecordError(f"{table}: {cause}") from cause
        content = pa.Table.from_pandas(frame, preserve_index=False)
        content = content.replace_schema_metadata(
            {**(content.schema.metadata or {}), _VERSION_KEY: str(SCHEMA).encode()}
        )
        sink = pa.BufferOutputStream()
        pq.write_table(content, sink)
        write_atomic(self.file(table, shard), sink.getvalue().to_pybytes())

    def read(self, table: str, shard: str | None = None) -> pd.DataFrame:
        """Read a table or one of its shards.

        Raises:
            RecordError: if it is missing, damaged, or of another schema version.
        """
        path = self.file(table, shard)
        try:
            # Opened once: given a path, pyarrow opens it again for the pages, and a writer may have replaced it in
            # between.
            with path.open("rb") as file:
                content = pq.read_table(file)
            version = (content.schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
            if version != str(SCHEMA):
                raise RecordError(
                    f"{path} has schema version {version}, but this toolkit reads {SCHEMA}; use the version "
                    "that wrote it, read it with plain pandas.read_parquet, or delete it and repeat the "
                    "command that wrote it"
                )
            frame = _with_later(table, content.to_pandas())
            if missing := [c for c in TABLES[table] if c not in frame]:
                raise RecordError(f"{path} lacks the columns {missing}; delete it and repeat the command that wrote it")
            return frame.astype(TABLES[table])[list(TABLES[table])]
        except (FileNotFoundError, NotADirectoryError):
            if not self.path("recipe.yaml").exists():
                raise RecordError(f"{self.folder} is not a run folder: it has no recipe.yaml") from None
            hint = "; the run is not finished: repeat its command" if self.path(_SHARDS).exists() else ""
            raise RecordError(f"{path}: no such table{hint}") from None
        except (PermissionError, RecordError):
            raise
        # The errors for a damaged footer, page or column.
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as cause:
            raise RecordError(f"{path} is damaged ({cause}); delete it and repeat the command that wrote it") from cause

    def shards(self, table: str) -> set[str]:
        """Names of the finished shards of a table."""
        return {p.stem for p in self.path(_SHARDS, table).glob("*.parquet")}

    def file(self, table: str, shard: str | None = None) -> Path:
        """The path of a table or of one of its shards, whether it exists or not."""
        return self.path(f"{table}.parquet") if shard is None else self.path(_SHARDS, table, f"{shard}.parquet")


def _with_later(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A table with the columns that were added to the schema later; missing values where the record lacks them."""
    return frame.assign(**{name: None for name in LATER.get(table, ()) if name not in frame})


def run_before(policy: str) -> Run | None:
    """The run whose `model` or checkpoint a policy is; None if the policy is not in a run folder."""
    folders = Path(policy).parents[:2] if Path(policy).is_dir() else ()
    # A recipe alone may be a user's own file next to a model.
    begun = ("recipe.yaml", "environment.json")
    return next((Run(folder) for folder in folders if all(Run(folder).path(name).exists() for name in begun)), None)


def begun_from(run: Run | None) -> str | None:
    """The policy that the chain of trainings behind a run's policy started from."""
    return str(run.environment().get("trained_from") or run.recipe().get("policy")) if run else None


def trained_by(run: Run | None) -> list[str] | None:
    """The methods of the trainings behind a run's policy, first to last; None if not all of them are known."""
    if run is None:
        return None
    before = run.environment().get("trained_by")
    if before is None and run.environment().get("trained_from"):
        return None
    return [*(before or []), method_of(run.recipe())]


def job_of(recipe: Mapping[str, Any]) -> str:
    """The job that a recipe is for."""
    return next((job for job, field in _FIELDS.items() if field in recipe), "evaluate")


def method_of(recipe: dict[str, Any]) -> str:
    """The method of a training: `none` for plain GRPO, or its positive, for SFT and DPO with a prefix.

    The prefix is `sft_` or `dpo_`; a DPO method ends with `_online` if pairs are resampled. The name of a positive is
    followed by how it was chosen among several, which part of it is learnt, in which groups, and whether it must be
    right.
    """
    positive, algorithm = str(recipe.get("positive")), recipe.get("algorithm", "grpo")
    if algorithm == "grpo" and recipe.get("beta_sft", 1.0) == 0:
        return "none"
    right = positive == "explanation" and recipe.get("positive_filter") == ["right"]
    if (choice := recipe.get("positive_choice", "first")) != "first":
        positive += f"_{choice}_{recipe['positive_tries']}"
    if (tokens := recipe.get("positive_tokens", "all")) != "all":
        positive += f"_{tokens}"
    positive += "_failed" * bool(recipe.get("sft_failed_groups_only"))
    positive += "_right" * right
    if algorithm == "dpo":
        return f"dpo_{positive}{'_online' * bool(recipe.get('refresh_steps'))}"
    return f"sft_{positive}" if algorithm == "sft" else positive


def _is_same_policy(one: Any, other: Any) -> bool:
    """Whether two paths of a policy, one written here and one elsewhere, are the same path."""
    short, long = sorted((Path(os.path.normpath(str(p))).parts for p in (one, other)), key=len)
    return len(short) > 2 and long[-len(short) :] == short


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """List `name: before -> after` for each field that differs; nested mappings field by field."""
    out = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            out += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            out.append(f"{prefix}{name}: {old!r} -> {new!r}")
    return out


def _left_by_a_start(path: Path) -> bool:
    """Whether this file may be left over from a start that was killed before it wrote the recipe."""
    return path.name in ("environment.json", _LOCK) or path.name.endswith(DRAFT)
