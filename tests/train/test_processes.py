"""Two processes against one: the same loss and the same gradient, where one of them has no positive in its share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pandas.testing import assert_frame_equal
from safetensors.torch import load_file

from expo.records import Run
from expo.report.runs import ROOT
from expo.train.checkpoints import MARK
from tests.forked import Forked

from .kills import same
from .test_dpo import VALUES as DPO
from .test_run import VALUES

# They start processes, and kill them.
pytestmark = pytest.mark.slow
ON_CPU = {"ACCELERATE_USE_CPU": "true", "TRL_EXPERIMENTAL_SILENCE": "1"}


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
    done = subprocess.run(
        command, env={**os.environ, **ON_CPU}, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
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


class Launched:
    """`expo` in two processes, as `accelerate launch` starts them."""

    def __init__(self, arguments: list[str], said: Path) -> None:
        with said.open("a") as out:
            self._launcher = subprocess.Popen(
                [*launch(2), "-m", "expo.cli", *arguments],
                env={**os.environ, **ON_CPU},
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.poll, self.wait = self._launcher.poll, self._launcher.wait

    def kill(self) -> None:
        launcher = psutil.Process(self._launcher.pid)
        # Its processes outlive it.
        for process in (launcher, *launcher.children(recursive=True)):
            process.kill()


class Ranked:
    """The same without launcher and imports: two processes that are told what a launcher tells them."""

    def __init__(self, arguments: list[str], said: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        told |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", **ON_CPU}
        self._ranks = [Forked(arguments, said, RANK=rank, LOCAL_RANK=rank, **told) for rank in "01"]

    def poll(self) -> int | None:
        codes = [rank.poll() for rank in self._ranks]
        return None if None in codes else max(map(abs, codes))

    def wait(self, timeout: float) -> int | None:
        for rank in self._ranks:
            rank.wait(timeout)
        return self.poll()

    def kill(self) -> None:
        for rank in self._ranks:
            rank.kill()


Start = Callable[[list[str], Path], Launched | Ranked]


def kill_at_its_checkpoint(start: Start, arguments: list[str], folder: Path) -> bool:
    """Kill all processes after their second step; False if they had ended before that."""
    said = folder.with_suffix(".txt")
    killed, begun = start([*arguments, "--output", str(folder)], said), time.monotonic()
    while not Path(folder, "checkpoints", "checkpoint-2", MARK).exists():
        assert killed.poll() is None, said.read_text()[-3000:]
        if time.monotonic() - begun > 300:
            killed.kill()
            raise AssertionError(f"no checkpoint after five minutes:\n{said.read_text()[-3000:]}")
        time.sleep(0.02)
    if killed.poll() is None:
        killed.kill()
    killed.wait(timeout=300)
    return not Run(folder).has("evaluation")


@pytest.mark.parametrize(("algorithm", "start"), [("grpo", Launched), ("dpo", Ranked)])
def test_two_processes_write_one_record_and_go_on_after_a_kill(algorithm: str, start: Start, tmp_path: Path) -> None:
    recipe, said = tmp_path / "recipe.yaml", tmp_path / "said.txt"
    values = {**VALUES, "per_device_train_batch_size": 8} if algorithm == "grpo" else {**DPO, "eval_steps": 3}
    recipe.write_text(json.dumps({**values, "max_steps": 4, "refresh_steps": 2}), encoding="utf-8")
    command = ["train", "--config", str(recipe)]
    assert start([*command, "--output", str(tmp_path / "whole")], said).wait(timeout=300) == 0, said.read_text()[-3000:]
    # Said once, not by each process.
    assert said.read_text().count("record: ") == 2
    folders = (tmp_path / f"killed{n}" for n in range(5))
    folder = next(folder for folder in folders if kill_at_its_checkpoint(start, command, folder))
    alone = tmp_path / "alone.txt"
    assert Forked([*command, "--output", str(folder)], alone, **ON_CPU).wait(300) == 1, alone.read_text()[-3000:]
    assert "started under other conditions (processes: 2 -> 1). Restore them" in alone.read_text()
    # The control: two go on.
    assert start([*command, "--output", str(folder)], said).wait(timeout=300) == 0, said.read_text()[-3000:]
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


def kill_between_chunks(arguments: list[str], folder: Path) -> set[str]:
    """Kill two processes when each has kept a chunk; the problems that were kept, none if it was too late."""
    said, kept = folder.with_suffix(".txt"), Run(folder / "chunks" / "positives-0")
    killed, begun = Ranked([*arguments, "--output", str(folder)], said), time.monotonic()
    while {name[0] for name in kept.shards("positives")} != {"0", "1"} and killed.poll() is None:
        if time.monotonic() - begun > 300:
            break
        time.sleep(0.01)
    killed.kill()
    killed.wait(timeout=300)
    if Run(folder).shards("positives"):
        return set()
    for name in kept.shards("positives"):
        kept.write("positives", kept.read("positives", name).assign(text="kept"), name)
    return {row for name in kept.shards("positives") for row in kept.read("positives", name)["problem"]}


def test_two_processes_go_on_with_the_chunks_of_each(tmp_path: Path) -> None:
    """What was kept is taken, the rest is sampled, and both are the positives of one process."""
    # A problem is a chunk.
    few = {"rows": 1, "positive_tries": 8, "max_steps": 1, "save_steps": 1, "eval_steps": 1, "refresh_steps": 0}
    few |= {
        "problems": 12,
        "levels": [2],
        "eval_problems": 1,
        "eval_samples": 1,
        "probe_problems": 0,
        "gradient_problems": 0,
    }
    command = {}
    for processes in (1, 2):
        recipe = tmp_path / f"recipe{processes}.yaml"
        recipe.write_text(json.dumps({**VALUES, **few, "per_device_train_batch_size": 16 // processes}))
        command[processes] = ["train", "--config", str(recipe)]
    said, one, two = tmp_path / "said.txt", Run(tmp_path / "one"), Run(tmp_path / "two")
    assert Forked([*command[1], "--output", str(one.folder)], said).wait(300) == 0, said.read_text()[-3000:]
    assert Ranked([*command[2], "--output", str(two.folder)], said).wait(300) == 0, said.read_text()[-3000:]
    whole = two.read("positives")
    assert_frame_equal(
        whole.sort_values("problem", ignore_index=True), one.read("positives").sort_values("problem", ignore_index=True)
    )
    folders = (tmp_path / f"killed{n}" for n in range(5))
    folder, kept = next((f, kept) for f in folders if (kept := kill_between_chunks(command[2], f)))
    assert Ranked([*command[2], "--output", str(folder)], said).wait(300) == 0, said.read_text()[-3000:]
    is_kept = whole["problem"].isin(kept)
    assert 0 < is_kept.sum() < len(whole)
    assert_frame_equal(whole.assign(text=whole["text"].mask(is_kept, "kept")), Run(folder).read("positives"))
    weights = [load_file(run.path("model", "model.safetensors")) for run in (two, Run(folder))]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


KILLS = """
import os, signal

asked = 0

def kills(completions, **_):
    global asked
    asked += 1
    if os.environ["RANK"] == "1" and asked == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return [1.0] * len(completions)
"""


def test_a_process_that_is_killed_is_named_by_the_other(tmp_path: Path) -> None:
    recipe, said, rewards = tmp_path / "recipe.yaml", tmp_path / "said.txt", tmp_path / "rewards.py"
    rewards.write_text(KILLS)
    few = {"save_steps": 1, "refresh_steps": 0, "gradient_problems": 0, "per_device_train_batch_size": 8}
    recipe.write_text(json.dumps({**VALUES, **few, "reward": f"{rewards}:kills"}))
    assert Ranked(["train", "--config", str(recipe), "--output", str(tmp_path / "run")], said).wait(300) != 0
    assert "process 0 of 2 stops: another process has exited" in said.read_text()
    assert "Repeat the command to resume from step 2" in said.read_text()
