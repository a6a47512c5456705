"""The tables of a training run, each joined from the shards written at its steps."""

from __future__ import annotations

from itertools import product

import pandas as pd

from expo.records import RecordError, Run, write_atomic
from expo.shards import fault_of
from expo.train.checkpoints import BY_STEP, TOGETHER
from expo.train.completions import completions


def join_tables(run: Run) -> None:
    """Join the shards of each table; the one that marks the run as finished is last. A finished run gets missing ones.

    Raises:
        RecordError: see `check_parts`; not for a finished run.
    """
    done, whole = run.has(BY_STEP[-1]), set()
    if not done:
        check_parts(run)
    for together in TOGETHER:
        names = {table: run.shards(table) for table in together if run.shards(table)}
        for table, shards in names.items():
            if not set().union(*names.values()) - shards:
                whole.add(table)
    for table in BY_STEP:
        if table in whole and not (done and run.has(table)):
            run.write(table, _all_shards(run, table))
        if table == "probes" and run.has("probes") and len(run.read("probes")):
            write_atomic(run.path("completions.md"), completions(run))


def check_parts(run: Run, before: int | None = None) -> None:
    """Check that the shards of a training run are readable, and present wherever others of their step are.

    Args:
        run: an unfinished training run.
        before: the step to resume from; at this step the run may have been stopped between two shards.

    Raises:
        RecordError: for the first that is not; the message says what to delete so that the run can make it again.
    """
    for together in TOGETHER:
        names = {table: run.shards(table) for table in together if run.shards(table)}
        for shard, table in product(sorted(set().union(*names.values())), names):
            # What is learnt from a step on is written after its checkpoint, everything else before it.
            later = before == 0 or "positives" in together
            may_be_missing = before is not None and int(shard) >= before and later
            if (may_be_missing and shard not in names[table]) or not (state := fault_of(run, table, shard)):
                continue
            fix = _what_to_delete(run, table, shard)
            raise RecordError(
                f"{run.file(table, shard)} is {state} and must be made again; delete {fix} and repeat the command"
            )


def _what_to_delete(run: Run, table: str, shard: str) -> str:
    """The minimum to delete for a shard to be made again."""
    if int(shard):
        return f"the checkpoints of step {int(shard)} and after in {run.path('checkpoints')}"
    if table in ("positives", "skips") and not run.shards("pairs"):
        # Positives of the initial policy are sampled again and come out the same.
        return " and ".join(str(run.file(name, shard)) for name in ("positives", "skips"))
    return f"{run.folder}/"


def _all_shards(run: Run, table: str) -> pd.DataFrame:
    return pd.concat([run.read(table, name) for name in sorted(run.shards(table))], ignore_index=True)
