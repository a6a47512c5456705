"""The shards of a run, which are joined into whole tables once all of them are there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from expo.records import RecordError, Run
from expo.schema import TABLES, as_frame
from expo.tasks.problem import DataError, Problem, Skip


def chunk_of(run: Run, chunk: int) -> int:
    """The number of problems in a shard of the run, fixed when the run started."""
    return int(run.recipe().get("chunk", chunk))


def in_chunks(problems: Sequence[Problem], size: int) -> dict[str, Sequence[Problem]]:
    """Split problems, in order, into groups of `size`, keyed by the names of their shards."""
    return {f"{i:04d}": problems[at : at + size] for i, at in enumerate(range(0, len(problems), size))}


def check_shards(run: Run, marker: str) -> None:
    """Check that finished shards can be read, before hours are spent on the rest.

    Raises:
        RecordError: for a shard that is damaged, or missing although the shard of `marker`, written last, is there.
    """
    tables = [table for table in TABLES if table != "timing" and run.shards(table)]
    for name, table in product(sorted(run.shards(marker)), tables):
        if state := fault_of(run, table, name):
            file, last = run.file(table, name), run.file(marker, name)
            raise RecordError(
                f"{file} is {state}; delete {'it' if file == last else last} and repeat the command, which "
                "redoes the problems of that shard"
            )


def fault_of(run: Run, table: str, name: str) -> str:
    """Describe in a word what is wrong with a shard; empty if it can be read.

    Raises:
        RecordError: for a shard of another version (see `Run.read`).
    """
    try:
        run.read(table, name)
    except RecordError as error:
        if not run.file(table, name).exists():
            return "missing"
        if error.__cause__ is None:
            raise
        return "damaged"
    return ""


def join_shards(
    run: Run, tables: Sequence[str], names: Sequence[str], skipped: Sequence[Skip]
) -> dict[str, pd.DataFrame]:
    """Join the shards of these tables into one each, and `skips`, which also lists what the data lacks.

    Raises:
        DataError: if the shards of the first table have no rows.
    """
    joined = {t: pd.concat([run.read(t, name) for name in names], ignore_index=True) for t in tables}
    skips = pd.concat([as_frame("skips", map(vars, skipped)), *(run.read("skips", name) for name in names)])
    # For an unusable expert CoT, the data's own skip has already given the reason.
    skips = skips.drop_duplicates(["where", "field"], ignore_index=True)
    if joined[tables[0]].empty:
        first = "".join(f"\n  {s.where}: {s.field}: {s.reason}" for s in skips.head(3).itertuples())
        raise DataError(f"no problem could be measured: all were skipped; the first ones:{first}")
    return {"skips": skips, **joined}


def join_timing(run: Run) -> None:
    """Write how many seconds each chunk took in its process; a run of an older version has no such shards."""
    if names := sorted(run.shards("timing")):
        run.write("timing", pd.concat([run.read("timing", name) for name in names], ignore_index=True))


def restore_tables(run: Run, tables: Sequence[str], skipped: Sequence[Skip]) -> None:
    """Write those of these tables and `skips` that a finished run lacks, if all shards are there."""
    names = sorted(run.shards(tables[0]))
    if not run.lacks_a_table() or any(run.shards(t) != set(names) for t in (*tables, "skips")):
        return
    for table, frame in join_shards(run, tables, names, skipped).items():
        if not run.has(table):
            run.write(table, frame)
