"""The chunks of a run, processed by as many processes as pay off: one per GPU, or a few on a CPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import multiprocessing

from expo.launcher import Peers, counted
from expo.policies.policy import Policy
from expo.recipe import SamplingRecipe
from expo.records import Run
from expo.schema import as_frame
from expo.setup import Setup, load
from expo.shards import check_shards, join_timing
from expo.tasks import Checker
from expo.tasks.problem import Problem
from expo.workers import launched, spread

# A model with more weights than this keeps two threads busy, and each process would hold a copy.
MAX_BYTES = 2 << 30
# With fewer rows, one process is as fast: the others would load longer than they work.
MIN_BYTES = 16 << 20
MIN_ROWS = 32
_LOOKS_EVERY = 0.5  # seconds

Frames = dict[str, pd.DataFrame]
# Does the problems of one chunk. Arguments: recipe, policy, checker, the problems, all problems of the run, and a
# callback for each step. The table that marks the chunk as done is written last.
Do = Callable[[Any, Policy, Checker, Sequence[Problem], Sequence[Problem], Callable[[], object]], Frames]


def do_chunks(
    recipe: SamplingRecipe,
    setup: Setup,
    chunks: Mapping[str, Sequence[Problem]],
    do: Do,
    table: str,
    on_step: Callable[[], object],
    *,
    on_cpu: bool = True,
) -> None:
    """Write the shards of all chunks that have none for `table`; with several processes, release the setup's policy.

    On a CPU, several processes are used only with `on_cpu`. Under a launcher each process does its share; all but the
    first then exit, and the first waits for their shards.

    Raises:
        Exception: whatever `do` raises in any process; the others are stopped, and the shards they wrote are kept.
        RecordError: see `check_shards`.
        RuntimeError: if a process died or hangs, or one of the launcher's processes failed or was lost.
        SystemExit: in every process but the launcher's first, when its share is done.
    """
    assert setup.policy
    check_shards(setup.run, table)
    rank, world = launched()
    processes = 1
    if world == 1 and (on_cpu or setup.policy.device.type != "cpu"):
        processes = processes_for(setup.policy, recipe.device, recipe.rows, len(chunks))
    work = ChunkWork(recipe, setup.run, setup.task.problems, do, setup.policy, setup.checker)
    if processes > 1:  # each loads its own policy
        if setup.policy.engine:
            setup.policy.engine.close()
        setup.policy = work.policy = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    done = setup.run.shards(table)
    share = list(chunks.items())[rank::world]
    if rank:
        on_step = counted(setup.run, rank, on_step)
    spread(work, [job for job in share if job[0] not in done], processes, on_step)
    if rank:
        raise SystemExit(0)
    peers, doer = Peers(setup.run, world), {name: i % world for i, name in enumerate(chunks)}
    while missing := chunks.keys() - setup.run.shards(table):
        peers.check({doer[name] for name in missing})
        time.sleep(_LOOKS_EVERY)
    join_timing(setup.run)


def processes_for(policy: Policy, device: str, rows: int, jobs: int) -> int:
    """How many processes share the work: one per GPU, unless `device` names one.

    On a CPU with a small model: one per thread, for at least 32 rows. A run that resumes with the same threads and rows
    gives the same results to the last bit.
    """
    # One of several runs side by side already has its share of the threads, and may not start processes.
    if multiprocessing.current_process().daemon:
        return 1
    if policy.engine and policy.device.type == "cpu":
        return 1  # it uses all threads
    if policy.device.type == "cuda":
        return max(1, min(torch.cuda.device_count(), jobs)) if device == "auto" else 1
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    if policy.device.type != "cpu" or not MIN_BYTES <= weights < MAX_BYTES:
        return 1
    return max(1, min(torch.get_num_threads(), rows // MIN_ROWS, jobs))


@dataclass
class ChunkWork:
    """A chunk of problems as a job for any process: each process opens the policy and checker for itself."""

    recipe: SamplingRecipe
    run: Run
    others: Sequence[Problem]
    do: Do
    policy: Policy | None = None
    checker: Checker | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "policy": None, "checker": None}

    def __call__(self, job: tuple[str, Sequence[Problem]], on_step: Callable[[], object], processes: int) -> None:
        """Process the problems of `job` and write them as the shards of its name."""
        # Processes on one CPU share its memory.
        self.policy = self.policy or load(self.recipe, self.recipe.device)
        rows = self.recipe.rows // processes if self.policy.device.type == "cpu" else self.recipe.rows
        self.checker = self.checker or self.recipe.checker()
        name, problems = job
        began = time.monotonic()
        frames = self.do(replace(self.recipe, rows=rows), self.policy, self.checker, problems, self.others, on_step)
        spent = {"step": 0, "name": "seconds", "value": time.monotonic() - began}
        for table, frame in {"timing": as_frame("timing", [spent]), **frames}.items():
            self.run.write(table, frame, name)
