"""Two processes against one: the same loss and the same gradient, where one of them has no positive in its share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from expo.report.runs import ROOT


def run(folder: Path, processes: int) -> tuple[dict[str, float], dict[str, object]]:
    folder.mkdir()
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
    command += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--num_cpu_threads_per_process",
        "1",
    ]
    command += ["-m", "tests.train.two_processes", str(folder)]
    environment = {**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "log.json").read_text()), load_file(folder / "weights.safetensors")


def test_two_processes_make_the_step_of_one(tmp_path: Path) -> None:
    (log_one, one), (log_two, two) = run(tmp_path / "one", 1), run(tmp_path / "two", 2)
    assert log_two["loss"] == pytest.approx(log_one["loss"], rel=1e-5)
    assert log_two["grad_norm"] == pytest.approx(log_one["grad_norm"], rel=1e-5)
    for name in ("exp_sft/loss", "exp_sft/nll", "exp_sft/scored", "exp_sft/nll_per_token"):
        assert log_two[name] == pytest.approx(log_one[name], rel=1e-5)
    assert log_one["exp_sft/scored"] == 5
    # Neither term is idle.
    assert log_one["exp_sft/policy_grad_norm"] > 0.1
    assert log_one["exp_sft/grad_norm"] > 0.1
    for name, weight in one.items():
        assert (weight - two[name]).abs().max() < 1e-7, name
