"""Chunks of a step's positives or pairs, kept until all are done: a stopped training run samples only the rest.

They are kept in a separate folder from the shards by step. Each process writes and reads only the chunks of its share,
so no process waits for another between chunks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from expo.records import Run
from expo.schema import as_frame
from expo.shards import check_shards, in_chunks
from expo.tasks.problem import Problem, Skip

# Samples per chunk, in batches of `rows`: the last samples of a chunk leave most rows idle. vLLM's batches are larger.
_BATCHES = {"hf": 8, "vllm": 32}
_FOLDER = "chunks"

# Rows of the table, and what is missing, for some problems.
Make = Callable[[Sequence[Problem]], tuple[pd.DataFrame, list[Skip]]]


@dataclass
class Chunks:
    """A process's share of a step's problems, in chunks; `kept` holds the finished chunks."""

    kept: Run
    table: str
    problems: Mapping[str, Sequence[Problem]]

    @classmethod
    def of(cls, run: Run, table: str, step: int, process: int, problems: Sequence[Problem], tries: int) -> Chunks:
        """The chunks for the step's shard of a table, with `tries` samples per problem."""
        # A run may resume with other `rows`; its chunks stay as they were.
        begun = run.recipe()
        size = max(1, _BATCHES[begun.get("engine", "hf")] * int(begun.get("rows", 64)) // tries)
        named = {f"{process}-{name}": chunk for name, chunk in in_chunks(problems, size).items()}
        return cls(Run(_folder(run, table, step)), table, named)

    @property
    def done(self) -> int:
        """How many problems are in finished chunks."""
        return sum(len(self.problems[name]) for name in self.problems.keys() & self.kept.shards(self.table))

    def complete(self, make: Make) -> tuple[pd.DataFrame, list[Skip]]:
        """What `make` returns for all problems, in order; each chunk is saved as soon as it is done."""
        check_shards(self.kept, self.table)
        done = self.kept.shards(self.table)
        for name, problems in self.problems.items():
            if name not in done:
                frame, skips = make(problems)
                self.kept.write("skips", as_frame("skips", map(vars, skips)), name)
                # Last: it marks the chunk as done.
                self.kept.write(self.table, frame, name)
        return as_frame(self.table, self._rows(self.table)), [Skip(**row) for row in self._rows("skips")]

    def _rows(self, table: str) -> list[dict[Any, Any]]:
        return [row for name in self.problems for row in self.kept.read(table, name).to_dict("records")]


def drop_chunks(run: Run, table: str, step: int) -> None:
    """Delete the chunks of all processes, once the step's shard is written."""
    shutil.rmtree(_folder(run, table, step), ignore_errors=True)
    with suppress(OSError):  # raises if the folder is not empty
        run.path(_FOLDER).rmdir()


def drop_chunks_after(run: Run, step: int) -> None:
    """Delete chunks of later steps, and chunks whose shard is already written."""
    for folder in run.path(_FOLDER).glob("*-*"):
        table, _, of = folder.name.partition("-")
        if int(of) > step or any(int(shard) == int(of) for shard in run.shards(table)):
            drop_chunks(run, table, int(of))


def _folder(run: Run, table: str, step: int) -> Path:
    return run.path(_FOLDER, f"{table}-{step}")
