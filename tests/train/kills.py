"""Runs that are killed and go on, against the one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file

from expo.records import Run
from expo.schema import TABLES
from expo.train.checkpoints import BY_STEP, whole_checkpoints
from tests.forked import Forked

# All but that of times.
EXACT = sorted(set(TABLES) & set(BY_STEP) - {"timing"})


def same(a: Run, b: Run) -> None:
    """Bit for bit: weights and every table but that of times."""
    one, two = (load_file(r.path("model", "model.safetensors")) for r in (a, b))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    for table in EXACT:
        assert a.has(table) == b.has(table)
        if not a.has(table):
            continue
        pd.testing.assert_frame_equal(a.read(table), b.read(table), check_exact=True)


Start = Callable[[Sequence[str], Path], "subprocess.Popen[bytes] | Forked"]


def command(arguments: Sequence[str], said: Path) -> subprocess.Popen[bytes]:
    """`expo` as a shell starts it; what it says goes to the end of the file `said`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with said.open("a") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "expo.cli", *arguments], env=environment, stdout=out, stderr=subprocess.STDOUT
        )


def fork(arguments: Sequence[str], said: Path) -> Forked:
    """The same without its imports."""
    return Forked(arguments, said, OMP_NUM_THREADS="1")


def kill_and_go_on(start: Start, values: dict[str, Any], whole: Run, folder: Path) -> None:
    """SIGKILL at random moments of the command, in as many runs as it takes; EXPO_KILLS sets how many.

    Those count that hit a run between its first checkpoint and its end.
    """
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    # How long a training takes, without what it takes to import it all.
    begun, ended = (whole.path(name).stat().st_mtime for name in ("recipe.yaml", "evaluation.parquet"))
    longest = ended - begun
    rng, wanted, landed = random.Random(0), int(os.environ.get("EXPO_KILLS", "1")), 0
    for n in range(10 * wanted):
        run = folder / f"run{n}"
        while not Run(run).has("evaluation"):
            said = folder / "said"
            said.write_text("")
            running = start(["train", "--config", str(file), "--output", str(run)], said)
            # A kill before it says that it begins tells nothing.
            while "record: " not in said.read_text() and running.poll() is None:
                time.sleep(0.01)
            began = time.monotonic()
            if landed < wanted:
                time.sleep(rng.uniform(0, longest))
                running.kill()
            code = running.wait()
            if code == 0:
                # It was quicker than the one before it, which may have met other work.
                longest = min(longest, time.monotonic() - began)
            assert code in (0, -signal.SIGKILL), said.read_text()[-2000:]
            # One before the first checkpoint, or when all is done, has nothing to go on with.
            told = whole_checkpoints(Run(run)) and not Run(run).has("evaluation")
            landed += code == -signal.SIGKILL and bool(told)
        same(whole, Run(run))
        if landed == wanted:
            return
    raise AssertionError(f"{landed} of {wanted} kills hit a run")
