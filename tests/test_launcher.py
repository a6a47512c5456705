"""The first process of a launcher waits for those that live, and for no other."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread

import pytest

from expo import launcher
from expo.evaluate import evaluate_run
from expo.launcher import FAILED, Peers, counted, forget, reporting
from expo.recipe import EvaluateRecipe
from expo.records import Run, write_atomic

LIMIT = 1.0


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_EVERY", 0.02)
    monkeypatch.setattr(launcher, "_LIMIT", LIMIT)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    begun = Run(tmp_path / "run")
    write_atomic(begun.path("recipe.yaml"), "{}")
    return begun


def waited_for(peers: Peers, process: int) -> None:
    """Looks for a process for twice the limit."""
    until = time.monotonic() + 2 * LIMIT
    while time.monotonic() < until:
        peers.check([process])
        time.sleep(0.02)


def test_a_process_that_is_lost_is_named_and_one_that_lives_is_not(run: Run) -> None:
    peers = Peers(run, 3)
    with reporting(run, 1, 3):
        waited_for(peers, 1)
        with pytest.raises(RuntimeError, match=r"process 2 of 3 has had no heartbeat for .* resume"):
            waited_for(peers, 2)
    # The file that a killed process left behind is no heartbeat.
    launcher._alive(run, 1).touch()
    with pytest.raises(RuntimeError, match="process 1 of 3"):
        waited_for(peers, 1)


def test_a_process_that_hangs_is_named_and_one_that_gets_on_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_PATIENCE", LIMIT)
    peers, calls = Peers(run, 2), []
    with reporting(run, 1, 2):
        step = counted(run, 1, lambda: calls.append(1))
        until = time.monotonic() + 2 * LIMIT
        while time.monotonic() < until:
            step()
            peers.check([1])
            time.sleep(0.05)
        assert len(calls) > 10
        # Its heartbeat goes on.
        with pytest.raises(
            RuntimeError, match="process 1 of 2 has not finished a sample for 0 minutes, so it probably hangs"
        ):
            waited_for(peers, 1)


@pytest.mark.parametrize("error", [MemoryError("none left"), KeyboardInterrupt(), SystemExit(0)])
def test_the_reason_of_a_failure_is_left_and_an_end_is_none(run: Run, error: BaseException) -> None:
    with pytest.raises(type(error)), reporting(run, 1, 2):
        raise error
    if isinstance(error, SystemExit):
        Peers(run, 2).check([1])
    else:
        with pytest.raises(RuntimeError, match=f"process 1 of 2: {type(error).__name__}: {error}"):
            Peers(run, 2).check([])
    assert {p.name for p in run.folder.iterdir()} <= {"recipe.yaml", FAILED}


def test_what_was_left_before_is_forgotten_and_no_folder_is_made(run: Run, tmp_path: Path) -> None:
    run.path(FAILED).write_text("process 1 of 2: MemoryError")
    launcher._alive(run, 1).touch()
    forget(run)
    assert [p.name for p in run.folder.iterdir()] == ["recipe.yaml"]
    Peers(run, 2).check([1])
    # A folder that is not begun must be empty to be begun.
    new = Run(tmp_path / "new")
    new.folder.mkdir()
    with reporting(new, 1, 2):
        time.sleep(0.1)
        assert list(new.folder.iterdir()) == []
    with pytest.raises(MemoryError), reporting(new, 1, 2):
        raise MemoryError
    assert list(new.folder.iterdir()) == []
    forget(Run(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("lives", [True, False])
def test_a_job_waits_for_the_other_process_as_long_as_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy_folder: Path, lives: bool
) -> None:
    recipe = EvaluateRecipe(task="stories", policy=str(policy_folder), problems=2, chunk=1, samples=1, max_new_tokens=4)
    whole = evaluate_run(recipe, tmp_path / "whole", progress=False)
    run = Run(tmp_path / "run")

    def other() -> None:
        """Is slower than the limit."""
        with reporting(run, 1, 2):
            time.sleep(3 * LIMIT)
            write_atomic(run.file("completions", "0001"), whole.file("completions", "0001").read_bytes())

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    if lives:
        slow = Thread(target=other)
        evaluate_run(recipe, run.folder, progress=False, on_step=slow.start)
        slow.join()
    else:
        with pytest.raises(RuntimeError, match="process 1 of 2 has had no heartbeat"):
            evaluate_run(recipe, run.folder, progress=False)
        assert run.shards("completions") == {"0000"}
        monkeypatch.setenv("WORLD_SIZE", "1")
        evaluate_run(recipe, run.folder, progress=False)
    assert run.read("completions").equals(whole.read("completions"))
