"""Two processes of a launcher share the chunks of a job: the record is that of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from expo.records import Run
from tests.forked import Forked
from tests.train.test_processes import Ranked

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
    for table in tables:
        assert_frame_equal(one.read(table), two.read(table), rtol=1e-5)


def test_a_process_that_fails_leaves_what_is_done(tmp_path: Path) -> None:
    """A launcher ends the others; the same command goes on."""
    said, folder = tmp_path / "said.txt", tmp_path / "run"
    two = Ranked(asked("evaluate", folder), said)
    two.kill()
    assert Ranked(asked("evaluate", folder), said).wait(300) == 0, said.read_text()
    evaluation = Run(folder).read("evaluation")
    assert len(evaluation) == evaluation["problem"].nunique() == 6
