"""The tables of a training as one each, from the shards that were written at its steps."""

from __future__ import annotations

import pandas as pd

from expo.records import RecordError, Run, write_atomic
from expo.train.checkpoints import BY_STEP, TOGETHER
from expo.train.completions import completions


def join_tables(run: Run) -> None:
    """The shards of each table as one; the one that says the run is done comes last. A done run has what it lacks.

    Raises:
        RecordError: if a shard is missing that others of its step have.
    """
    done, whole = run.has(BY_STEP[-1]), set()
    for together in TOGETHER:
        names = {table: run.shards(table) for table in together if run.shards(table)}
        for table, shards in names.items():
            lost = sorted(set().union(*names.values()) - shards)
            if not lost:
                whole.add(table)
            elif not done:
                step, folder = int(lost[0]), run.path("checkpoints")
                fix = (
                    f"the checkpoints of step {step} and after in {folder}" if step else f"the run folder {run.folder}"
                )
                raise RecordError(
                    f"{run.file(table, lost[0]).parent} lacks {lost[0]}.parquet, which must be made again: delete "
                    f"{fix}, and give the command again"
                )
    for table in BY_STEP:
        if table in whole and not (done and run.has(table)):
            run.write(table, _all_shards(run, table))
        if table == "probes" and run.has("probes") and len(run.read("probes")):
            write_atomic(run.path("completions.md"), completions(run))


def _all_shards(run: Run, table: str) -> pd.DataFrame:
    return pd.concat([run.read(table, name) for name in sorted(run.shards(table))], ignore_index=True)
