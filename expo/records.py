"""The run folder: the only thing that training, measuring and notebooks share.

A run is `runs/<study>/<run>/` with `recipe.yaml` (resolved), `environment.json` (versions, commit, device,
seed, where task and weights came from) and tables in parquet that plain pandas reads. Every file is written
beside its place and renamed into it: a reader never sees half a file, and a killed run leaves none.

Longer than most modules: who writes a record, who checks it and who reads it must agree on every file of it.
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
DRAFT = ".tmp"  # ends the name of a file that is being written
_LOCK = ".lock"
_SHARDS = "parts"  # the folder of unfinished tables


class RecordError(ValueError):
    """A record that is missing, damaged, or of another version or recipe; names the file and the fix."""


def write_atomic(path: Path, data: bytes | str) -> None:
    """Put a whole file in place at once: readers, also after a kill, see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT}")
    try:
        with draft.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            # Before the rename: a machine that loses power must not keep the name and lose the content.
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# Facts that are no conditions of a run: `task` is told by its data, and what was measured varies with the threads.
_NO_CONDITIONS = ("task", "sampling_error")
# Packages that hold and print what others compute: a run may go on with other versions of them.
_TABLES_ALONE = ("datasets", "numpy", "pandas")


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """No other process has the folder meanwhile, unless the file system knows no locks. A kill ends it, too.

    Raises:
        BlockingIOError: if another process has it, and `wait` is False.
    """
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        yield


def to_yaml(recipe: dict[str, Any]) -> str:
    """A recipe as YAML that reads back as it was."""
    readable: str = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    # PyYAML reads some of Unicode's line ends back as spaces, unless they are escaped.
    return readable if yaml.safe_load(readable) == recipe else yaml.safe_dump(recipe, sort_keys=False)


def identity(recipe: dict[str, Any]) -> dict[str, Any]:
    """What makes a resolved recipe another run's: all but how its work is shared out, and the limits of an audit.

    How many rows are decoded at a time changes no number beyond rounding: one that ran out of memory goes on with less.
    A run goes on with the chunks of problems that it began with. Its processes may wait longer for each other.
    """
    return {name: value for name, value in recipe.items() if name not in ("rows", "chunk", "limits", "ddp_timeout")}


def defaults_of(recipe: type) -> dict[str, Any]:
    """The defaults of a recipe's fields that are single values."""
    return {f.name: f.default for f in fields(recipe) if f.default is not MISSING}


def refuse_file(folder: Path) -> None:
    """That no file is in the place of a folder that is to be made, or of one above it.

    Raises:
        RecordError: for such a file.
    """
    if file := next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None):
        raise RecordError(f"{file} is a file; --output needs a folder")


# By job, a field that its recipe has and no later one's; what has none of them is an evaluation.
_FIELDS = {"train": "positive", "gradients": "rollouts", "measure": "sources"}


class Run:
    """One run folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def start(
        cls, folder: Path | str, recipe: dict[str, Any], defaults: dict[str, Any] | None = None, **facts: Any
    ) -> Run:
        """Begin a run, or go on with one of the same recipe. `defaults` has what a field is that an older record lacks.

        A run that is not finished goes on from the same facts only: other data or weights under the same name
        would mix two runs in one record. (A fact of None is not known yet, and not compared.)

        Raises:
            RecordError: if the folder holds anything else; what differs is named.
        """
        run = cls(folder)
        before = run_before(str(recipe.get("policy", "")))
        facts = {"trained_from": begun_from(before), "trained_by": trained_by(before), **facts}
        if run.path("recipe.yaml").exists():
            run._must_match(recipe, defaults or {}, facts)
            return run
        refuse_file(run.folder)
        if run.folder.exists() and not all(map(_left_by_a_start, run.folder.iterdir())):
            raise RecordError(f"{run.folder} is not empty and holds no run; choose another --output")
        write_atomic(run.path("environment.json"), json.dumps(environment(**facts), indent=2) + "\n")
        # Last, so that a folder with a recipe always has the rest.
        write_atomic(run.path("recipe.yaml"), to_yaml(recipe))
        return run

    def changes(self, recipe: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
        """In what a resolved recipe is another than this run's; see `start` for `defaults`.

        Raises:
            RecordError: if this is no run, or its recipe is damaged.
        """
        before = self.recipe()
        if _is_same_policy(before.get("policy"), recipe.get("policy")):
            recipe = {**recipe, "policy": before["policy"]}
        if self._unfinished() and before.get("revision") is None:
            # Where the hub's main branch has changed since, its commit of then is named; weights are compared later.
            recipe = {**recipe, "revision": None}
        return _differences(identity({**defaults, **before}), identity({**defaults, **recipe}))

    def _unfinished(self) -> bool:
        return not any(self.has(table) for table in TABLES)

    def is_begun(self) -> bool:
        """Whether a part of the record is there that the whole is still to be made of."""
        return self._unfinished() and self.path("recipe.yaml").exists() and any(self.path(_SHARDS).glob("*/*.parquet"))

    def refuse_another_recipe(self, recipe: dict[str, Any], defaults: dict[str, Any]) -> None:
        """Raise RecordError if a resolved recipe is another than this run's, or of another job."""
        if not (changed := self.changes(recipe, defaults)):
            return
        job, other = job_of(recipe), job_of(self.recipe())
        more = [f"and {len(changed) - 6} more"] if len(changed) > 6 else []
        what = f"with a different recipe ({'; '.join([*changed[:6], *more])})" if job == other else f"of `expo {other}`"
        raise RecordError(
            f"{self.folder} holds a run {what}. "
            "Choose another --output, or delete that folder if it is no longer needed."
        )

    def _must_match(self, recipe: dict[str, Any], defaults: dict[str, Any], facts: dict[str, Any]) -> None:
        self.refuse_another_recipe(recipe, defaults)
        began = self.environment()
        if not self._unfinished():
            if began.get("data_sha256") not in (None, facts.get("data_sha256")):
                raise RecordError(
                    f"{self.folder} holds a finished run on different problems: the data has changed since then. "
                    "Choose another --output, or delete that folder to measure again."
                )
            return
        now = environment(**facts)
        # Those that an earlier version did not note are not compared.
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
            # It was noted with its number once.
            began["device"] = began["device"].partition(":")[0]
        if changed := _differences({k: began.get(k) for k in asked}, json.loads(json.dumps(asked))):
            raise RecordError(
                f"{self.folder} holds an unfinished run that began under other conditions ({'; '.join(changed)}). "
                "Restore them and give the command again, or delete the folder to start over."
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """For as long as the folder is written to: no other process may do so.

        Raises:
            RecordError: if another process holds it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder, wait=False))
            except BlockingIOError:
                raise RecordError(
                    f"{self.folder} is being written to by another process; wait for it, or stop it"
                ) from None
            yield

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        return self._load("recipe.yaml", yaml.safe_load, yaml.YAMLError)

    def environment(self) -> dict[str, Any]:
        """Versions, commit, device, seed, and the provenance of task and weights."""
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
        """Whether the table is complete (shards of it do not count)."""
        return self.path(f"{table}.parquet").exists()

    def lacks_a_table(self) -> bool:
        """Whether a table is missing whose shards are there, as when it was damaged and deleted."""
        return any(self.shards(table) and not self.has(table) for table in TABLES)

    def write(self, table: str, frame: pd.DataFrame, shard: str | None = None) -> None:
        """Write a table, or one named shard of it, with its schema version inside the file.

        Raises:
            RecordError: if a column is missing, unknown, or does not fit its type.
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
        """Read a table or a shard of it.

        Raises:
            RecordError: if it is missing, damaged, or of another schema version.
        """
        path = self.file(table, shard)
        try:
            # Opened once: given a path, pyarrow opens it anew for the pages, and a writer may have replaced it between.
            with path.open("rb") as file:
                content = pq.read_table(file)
            version = (content.schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
            if version != str(SCHEMA):
                raise RecordError(
                    f"{path} has schema version {version}, but this toolkit reads {SCHEMA}; use the version "
                    "that wrote it, read it with plain pandas.read_parquet, or delete it and run the command "
                    "that wrote it again"
                )
            frame = _with_later(table, content.to_pandas())
            if missing := [c for c in TABLES[table] if c not in frame]:
                raise RecordError(
                    f"{path} lacks the columns {missing}; delete it and run the command that wrote it again"
                )
            return frame.astype(TABLES[table])[list(TABLES[table])]
        except (FileNotFoundError, NotADirectoryError):
            if not self.path("recipe.yaml").exists():
                raise RecordError(f"{self.folder} is not a run folder: it has no recipe.yaml") from None
            hint = "; the run is not finished: give its command again" if self.path(_SHARDS).exists() else ""
            raise RecordError(f"{path}: no such table{hint}") from None
        except (PermissionError, RecordError):
            raise
        # What a damaged footer, page or column raises.
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as cause:
            raise RecordError(
                f"{path} is damaged ({cause}); delete it and run the command that wrote it again"
            ) from cause

    def shards(self, table: str) -> set[str]:
        """Names of the shards of a table that are done."""
        return {p.stem for p in self.path(_SHARDS, table).glob("*.parquet")}

    def file(self, table: str, shard: str | None = None) -> Path:
        """Where a table, or a shard of it, is or will be."""
        return self.path(f"{table}.parquet") if shard is None else self.path(_SHARDS, table, f"{shard}.parquet")


def _with_later(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A table with the columns that its records did not have at first, missing where it lacks them."""
    return frame.assign(**{name: None for name in LATER.get(table, ()) if name not in frame})


def run_before(policy: str) -> Run | None:
    """The run whose `model` or checkpoint a policy is; None if it is no folder of a run."""
    folders = Path(policy).parents[:2] if Path(policy).is_dir() else ()
    # A recipe alone may be a user's own file beside a model.
    begun = ("recipe.yaml", "environment.json")
    return next((Run(folder) for folder in folders if all(Run(folder).path(name).exists() for name in begun)), None)


def begun_from(run: Run | None) -> str | None:
    """The policy before the first of the trainings that led to a run's."""
    return str(run.environment().get("trained_from") or run.recipe().get("policy")) if run else None


def trained_by(run: Run | None) -> list[str] | None:
    """The methods of the trainings that led to a run's policy, the first one first; None if they are not all known."""
    if run is None:
        return None
    before = run.environment().get("trained_by")
    if before is None and run.environment().get("trained_from"):
        return None
    return [*(before or []), method_of(run.recipe())]


def job_of(recipe: Mapping[str, Any]) -> str:
    """The job whose recipe this is."""
    return next((job for job, field in _FIELDS.items() if field in recipe), "evaluate")


def method_of(recipe: dict[str, Any]) -> str:
    """What a training trained with: the added positive of GRPO, `none` for GRPO alone, `sft_<positive>`, or
    `dpo_<positive>` with `_online` where pairs are sampled anew.

    A positive has after its name how it was chosen among several, which part of it is learnt, in which groups, and that
    it is right.
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
    """Whether two paths of a policy are one path, written from here and from elsewhere."""
    short, long = sorted((Path(os.path.normpath(str(p))).parts for p in (one, other)), key=len)
    return len(short) > 2 and long[-len(short) :] == short


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """`name: before -> after` for each field that differs, nested mappings field by field."""
    out = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            out += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            out.append(f"{prefix}{name}: {old!r} -> {new!r}")
    return out


def _left_by_a_start(path: Path) -> bool:
    """Whether a start that was killed before it wrote the recipe may have left this file."""
    return path.name in ("environment.json", _LOCK) or path.name.endswith(DRAFT)
