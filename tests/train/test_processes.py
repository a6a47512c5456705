"""Two processes against one: the same loss and the same gradient, where one of them has no positive in its share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from expo.records import Run
from expo.report.runs import ROOT
from expo.train.checkpoints import MARK

from .kills import same
from .test_dpo import VALUES as DPO
from .test_run import VALUES

ON_CPU = {**os.environ, "ACCELERATE_USE_CPU": "true", "TRL_EXPERIMENTAL_SILENCE": "1"}


def launch(processes: int) -> list[str]:
    # With --cpu it would start one process and say nothing.
    flags = {"num_processes": str(processes), "num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no"}
    # Port 0 is a free one: with the usual 29500 two launches of one machine fall over each other.
    flags |= {"num_cpu_threads_per_process": "1", "main_process_port": "0"}
    command = [sys.executable, "-m", "accelerate.commands.launch", *["--multi_gpu"] * (processes > 1)]
    return command + [part for name, value in flags.items() for part in (f"--{name}", value)]


def run(folder: Path, processes: int) -> tuple[dict[str, float], dict[str, object]]:
    folder.mkdir()
    command = [*launch(processes), "-m", "tests.train.two_processes", str(folder)]
    done = subprocess.run(command, env=ON_CPU, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "log.json").read_text()), load_file(folder / "weights.safetensors")


def test_two_processes_make_the_step_of_one(tmp_path: Path) -> None:
    (log_one, one), (log_two, two) = run(tmp_path / "one", 1), run(tmp_path / "two", 2)
    assert (log_one["processes"], log_two["processes"]) == (1, 2)
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


def kill_at_its_checkpoint(start: Callable[[Path], subprocess.Popen[str]], folder: Path) -> bool:
    """Kill the launcher and its processes after their second step; False if they had ended before that."""
    killed, begun = start(folder), time.monotonic()
    while not Path(folder, "checkpoints", "checkpoint-2", MARK).exists():
        assert killed.poll() is None, killed.communicate()[0][-3000:]
        if time.monotonic() - begun > 300:
            killed.kill()
            raise AssertionError(f"no checkpoint after five minutes:\n{killed.communicate()[0][-3000:]}")
        time.sleep(0.02)
    if killed.poll() is None:
        launcher = psutil.Process(killed.pid)
        # Its processes outlive it.
        for process in (launcher, *launcher.children(recursive=True)):
            process.send_signal(signal.SIGKILL)
    killed.communicate()
    return not Run(folder).has("evaluation")


@pytest.mark.parametrize("algorithm", ["grpo", "dpo"])
def test_two_processes_write_one_record_and_go_on_after_a_kill(algorithm: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    values = {**VALUES, "per_device_train_batch_size": 8} if algorithm == "grpo" else {**DPO, "eval_steps": 3}
    recipe.write_text(json.dumps({**values, "max_steps": 4, "refresh_steps": 2}), encoding="utf-8")

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [*launch(2), "-m", "expo.cli", "train", "--config", str(recipe), "--output", str(folder)]
        return subprocess.Popen(
            command,
            env=ON_CPU,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    whole = start(tmp_path / "whole")
    said = whole.communicate(timeout=300)[0]
    assert whole.returncode == 0, said[-3000:]
    # Said once, not by each process.
    assert said.count("record: ") == 2
    folder = next(folder for n in range(5) if kill_at_its_checkpoint(start, folder := tmp_path / f"killed{n}"))
    again = start(folder)
    said = again.communicate(timeout=300)[0]
    assert again.returncode == 0, said[-3000:]
    record = Run(tmp_path / "whole")
    assert record.environment()["processes"] == 2
    same(record, Run(folder))
    evaluation = record.read("evaluation")
    assert len(evaluation) == len(evaluation.drop_duplicates(["step", "problem"])) == 3 * 10
    assert len(record.read("positives").drop_duplicates(["step", "problem"])) == len(record.read("positives"))
    if algorithm == "grpo":
        # 2 processes x 8 samples x 2 micro-batches are 8 groups of 4 a step.
        assert record.read("groups").groupby("step").size().tolist() == [8, 8, 8, 8]
    else:
        # 2 processes x 4 pairs x 2 micro-batches x 2 steps are more than the 24 problems.
        counts = record.read("pairs").groupby("step")["problem"].agg(["size", "nunique"])
        assert (counts["size"] == counts["nunique"]).all()
        assert counts["size"].min() > 18
