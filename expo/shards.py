"""The shards of a run as whole tables: what a run writes problem by problem is joined when all of them are there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from expo.records import RecordError, Run
from expo.schema import TABLES, as_frame
from expo.tasks.problem import DataError, Problem, Skip


def chunk_of(run: Run, chunk: int) -> int:
    """How many problems a shard of the run has: as when it was begun."""
    return int(run.recipe().get("chunk", chunk))


def in_chunks(problems: Sequence[Problem], size: int) -> dict[str, Sequence[Problem]]:
    """Problems in order, `size` at a time, by the names of their shards."""
    return {f"{i:04d}": problems[at : at + size] for i, at in enumerate(range(0, len(problems), size))}


def check_shards(run: Run, marker: str) -> None:
    """That the shards which are done can be read, before hours are spent on the rest.

    Raises:
        RecordError: for one that is damaged, or missing where there is one of `marker`, which is written last.
    """
    tables = [table for table in TABLES if run.shards(table)]
    for name, table in product(sorted(run.shards(marker)), tables):
        if state := fault_of(run, table, name):
            file, last = run.file(table, name), run.file(marker, name)
            raise RecordError(
                f"{file} is {state}; delete {'it' if file == last else last} and give the command again, which does "
                "the problems of that part anew"
            )


def fault_of(run: Run, table: str, name: str) -> str:
    """In a word what is wrong with a shard; nothing if it can be read.

    Raises:
        RecordError: for one of another version, as `Run.read` says.
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
    """The shards of these tables as one each, and `skips`, which has what the data lacks too.

    Raises:
        DataError: if no shard of the first table has a row.
    """
    joined = {t: pd.concat([run.read(t, name) for name in names], ignore_index=True) for t in tables}
    skips = pd.concat([as_frame("skips", map(vars, skipped)), *(run.read("skips", name) for name in names)])
    # Of an expert CoT that cannot be used the data's row has said why.
    skips = skips.drop_duplicates(["where", "field"], ignore_index=True)
    if joined[tables[0]].empty:
        first = "".join(f"\n  {s.where}: {s.field}: {s.reason}" for s in skips.head(3).itertuples())
        raise DataError(f"no problem could be measured: all are skipped; of the first:{first}")
    return {"skips": skips, **joined}


def restore_tables(run: Run, tables: Sequence[str], skipped: Sequence[Skip]) -> None:
    """Write those of these tables and `skips` that a finished run lacks, if all shards are there."""
    names = sorted(run.shards(tables[0]))
    if not run.lacks_a_table() or any(run.shards(t) != set(names) for t in (*tables, "skips")):
        return
    for table, frame in join_shards(run, tables, names, skipped).items():
        if not run.has(table):
            run.write(table, frame)
