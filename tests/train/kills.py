"""Runs that are killed and go on, against the one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file

from expo.records import Run
from expo.tables import TABLES
from expo.train.callbacks import BY_STEP, whole_checkpoints
from expo.train.recipe import read_recipe
from expo.train.run import train

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


def kill_and_go_on(values: dict[str, Any], whole: Run, folder: Path) -> None:
    """SIGKILL at random moments of the real command, in as many runs as it takes; EXPO_KILLS sets how many.

    Those count that hit a run between its first checkpoint and its end.
    """
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    # How long a training takes, without what it takes to import it all.
    begun = time.monotonic()
    train(read_recipe(dict(values)), folder / "timed", progress=False)
    takes = time.monotonic() - begun
    rng, wanted, landed = random.Random(0), int(os.environ.get("EXPO_KILLS", "1")), 0
    for n in range(10 * wanted):
        run = folder / f"run{n}"
        while not Run(run).has("evaluation"):
            running = _start(file, run)
            if landed < wanted:
                time.sleep(rng.uniform(0, takes))
                running.send_signal(signal.SIGKILL)
            output = running.communicate()[0]
            assert running.returncode in (0, -signal.SIGKILL), output[-2000:]
            # One before the first checkpoint, or when all is done, has nothing to go on with.
            told = whole_checkpoints(Run(run)) and not Run(run).has("evaluation")
            landed += running.returncode == -signal.SIGKILL and bool(told)
        same(whole, Run(run))
        if landed == wanted:
            return
    raise AssertionError(f"{landed} of {wanted} kills hit a run")


def _start(file: Path, folder: Path) -> subprocess.Popen[str]:
    """The command, when it has said that it begins: a kill before that tells nothing."""
    command = [sys.executable, "-m", "expo.cli", "train", "--config", str(file), "--output", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    while (line := running.stdout.readline()) and not line.startswith("record: "):
        pass
    return running
