"""Two processes of a launcher share the chunks of a job: the record is that of one process."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from pandas.testing import assert_frame_equal

from expo.evaluate import evaluate_run
from expo.launcher import FAILED
from expo.recipe import EvaluateRecipe
from expo.records import Run
from tests.forked import Forked
from tests.train.test_processes import Launched, Ranked

# They start processes.
pytestmark = pytest.mark.slow
JOBS = {
    "evaluate": ["--problems", "6", "--chunk", "2", "--samples", "2"],
    "measure": ["--problems", "6", "--chunk", "2"],
    "gradients": ["--problems", "3", "--rollouts", "4", "--sizes", "0.01"],
}


def asked(job: str, folder: Path) -> list[str]:
    toy = ["--task", "chain", "--policy", "tiny-0", "--levels", "2", "--max_new_tokens", "45"]
    return [job, *toy, *JOBS[job], "--output", str(folder)]


@pytest.mark.parametrize("job", sorted(JOBS))
def test_two_processes_write_the_record_of_one(job: str, tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert Forked(asked(job, one.folder), said, OMP_NUM_THREADS="1").wait(300) == 0, said.read_text()
    # The second time all is done: each process ends at once.
    for _ in range(2):
        assert Ranked(asked(job, two.folder), said).wait(300) == 0, said.read_text()
    assert said.read_text().count("record: ") == 3
    tables = {p.stem for p in one.folder.glob("*.parquet")}
    assert tables == {p.stem for p in two.folder.glob("*.parquet")}
    assert len(tables) >= 2
    # How long it took differs.
    for table in tables - {"timing"}:
        assert_frame_equal(one.read(table), two.read(table), rtol=1e-5)


def test_a_process_that_dies_ends_the_others_and_leaves_what_is_done(tmp_path: Path) -> None:
    said, folder = tmp_path / "said.txt", tmp_path / "run"
    more = ["--samples", "40"]
    launched = Launched([*asked("evaluate", folder), *more], said)
    while not (shards := Run(folder).shards("completions")):
        assert launched.poll() is None, said.read_text()
        time.sleep(0.01)
    second = [p for p in psutil.process_iter() if p.is_running() and rank_of(p) == ("1", str(folder))]
    second[0].kill()
    assert launched.wait(120) != 0
    assert not Run(folder).has("evaluation")
    times = {name: Run(folder).file("completions", name).stat().st_mtime_ns for name in shards}
    assert Ranked([*asked("evaluate", folder), *more], said).wait(300) == 0, said.read_text()
    evaluation = Run(folder).read("evaluation")
    assert len(evaluation) == evaluation["problem"].nunique() == 6
    assert times == {name: Run(folder).file("completions", name).stat().st_mtime_ns for name in shards}


def rank_of(process: psutil.Process) -> tuple[str, str]:
    """Its rank in a launch, and the folder that it writes to."""
    try:
        return process.environ().get("RANK", ""), process.cmdline()[-3] if process.cmdline() else ""
    except (psutil.Error, IndexError):
        return "", ""


def test_the_first_process_ends_with_the_reason_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy_folder: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    recipe = EvaluateRecipe(task="stories", policy=str(policy_folder), problems=2, chunk=1, samples=1, max_new_tokens=4)

    def other_fails() -> None:
        (tmp_path / "run" / FAILED).write_text("process 1 of 2: OutOfMemoryError: none left")

    with pytest.raises(RuntimeError, match="process 1 of 2: OutOfMemoryError"):
        evaluate_run(recipe, tmp_path / "run", progress=False, on_step=other_fails)
    # The same command goes on; the word of before is gone.
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert len(evaluate_run(recipe, tmp_path / "run", progress=False).read("evaluation")) == 2
