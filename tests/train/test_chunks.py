"""Positives and losers are saved chunk by chunk: a training that was stopped in between samples only the rest."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expo.records import RecordError, Run, write_atomic
from expo.schema import as_frame
from expo.tasks import chain
from expo.tasks.problem import Skip
from expo.train import chunks as chunks_module
from expo.train import supply as supply_module
from expo.train.checkpoints import MARK, last_checkpoint
from expo.train.chunks import Chunks, drop_chunks
from expo.train.recipe import TrainRecipe, read_recipe
from expo.train.run import train
from tests.train.kills import same

from .test_dpo import VALUES as DPO
from .test_run import VALUES

slow = pytest.mark.slow
PROBLEMS = chain.load("train", 7).problems
# Chunks of 16 samples: of 8 problems for positives, of 16 for losers.
FEW = {"rows": 16, "positive_tries": 2, "save_steps": 2, "eval_steps": 4, "eval_problems": 2, "eval_samples": 1}
FEW |= {"gradient_problems": 0}
RECIPES = {
    "grpo": {**VALUES, **FEW, "probe_problems": 0, "max_steps": 4, "refresh_steps": 2},
    "dpo": {**DPO, **FEW, "max_steps": 3, "refresh_steps": 0, "probe_problems": 1},
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "_BATCHES", {"hf": 1})


class Counted:
    """Notes the problems of each call of `make` or `make_pairs` at a step, and may stop before one."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, step: int, stop: int = -1) -> None:
        usual, self.asked = getattr(supply_module, name), []

        def made(policy: Any, checker: Any, problems: Any, *more: Any, **kwargs: Any) -> Any:
            if kwargs["step"] == step:
                if len(self.asked) == stop:
                    raise KeyboardInterrupt
                self.asked.append([p.id for p in problems])
            return usual(policy, checker, problems, *more, **kwargs)

        patch.setattr(supply_module, name, made)


def stop_in_second_chunk(recipe: TrainRecipe, folder: Path, made: str = "make", step: int = 0) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        Counted(patch, made, step, stop=1)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, folder, progress=False)
    return Run(folder)


@pytest.mark.parametrize(
    ("algorithm", "made", "step", "size"),
    [
        ("grpo", "make", 0, 8),
        ("grpo", "make", 2, 8),
        pytest.param("dpo", "make", 0, 8, marks=slow),
        ("dpo", "make_pairs", 0, 16),
    ],
)
def test_a_run_stopped_between_chunks_samples_the_rest_and_ends_the_same(
    tmp_path: Path, algorithm: str, made: str, step: int, size: int
) -> None:
    recipe = read_recipe(dict(RECIPES[algorithm]))
    with pytest.MonkeyPatch.context() as patch:
        asked = Counted(patch, made, step).asked
        whole = train(recipe, tmp_path / "whole", progress=False)
    *full, last = map(len, asked)
    assert set(full) == {size}
    assert 0 < last <= size
    run = stop_in_second_chunk(recipe, tmp_path / "run", made, step)
    with pytest.MonkeyPatch.context() as patch:
        rest = Counted(patch, made, step).asked
        train(recipe, run.folder, progress=False)
    assert rest == asked[1:]
    same(whole, run)
    assert sorted(p.name for p in run.folder.iterdir()) == sorted(p.name for p in whole.folder.iterdir())


def test_kept_chunks_are_what_a_run_goes_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is lost is made again, and one that was changed is seen in what is learnt."""
    recipe = read_recipe({**RECIPES["grpo"], "max_steps": 1, "refresh_steps": 0, "save_steps": 1})
    changed, lost = (stop_in_second_chunk(recipe, tmp_path / name) for name in ("changed", "lost"))
    kept = Run(changed.path("chunks", "positives-0"))
    assert kept.shards("positives") == kept.shards("skips") == {"0-0000"}
    first = kept.read("positives", "0-0000")
    kept.write("positives", first.assign(text="changed"), "0-0000")
    Run(lost.path("chunks", "positives-0")).file("positives", "0-0000").unlink()
    asked = Counted(monkeypatch, "make", 0).asked
    # With fewer rows, as where memory ran out: chunks stay as they were begun.
    texts = train(replace(recipe, rows=8), changed.folder, progress=False).read("positives")["text"]
    assert [len(ids) for ids in asked] == [8, 8]
    assert (texts == "changed").tolist() == [i < len(first) for i in range(len(texts))]
    asked.clear()
    assert "changed" not in set(train(recipe, lost.folder, progress=False).read("positives")["text"])
    assert [len(ids) for ids in asked] == [8, 8, 8]


def test_another_recipe_takes_no_chunk(tmp_path: Path) -> None:
    recipe = read_recipe(dict(RECIPES["grpo"]))
    run = stop_in_second_chunk(recipe, tmp_path / "run")
    with pytest.raises(RecordError, match=r"positive_temperature: None -> 0\.5"):
        train(replace(recipe, positive_temperature=0.5), run.folder, progress=False)
    assert last_checkpoint(run) is None
    assert Chunks.of(run, "positives", 0, 0, chain.load("train", 24).problems, 2).done == 8


def test_chunks_of_steps_that_are_taken_anew_are_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_atomic(run.path("recipe.yaml"), "rows: 16")
    write_atomic(run.path("checkpoints", "checkpoint-4", MARK), "")
    for table, step in itertools.product(("positives", "pairs"), (0, 4, 8)):
        chunks = Chunks.of(run, table, step, 1, PROBLEMS, 4)
        frame, skips = chunks.complete(lambda some, table=table: (as_frame(table), [Skip(some[0].id, "own", "none")]))
        assert len(frame) == 0
        assert [s.where for s in skips] == [PROBLEMS[0].id, PROBLEMS[4].id]
        assert chunks.done == 7
    run.write("positives", as_frame("positives"), "000000")
    last_checkpoint(run)
    assert {p.name for p in run.path("chunks").iterdir()} == {"positives-4", "pairs-0", "pairs-4"}
    for table, step in (("positives", 4), ("pairs", 0), ("pairs", 4)):
        drop_chunks(run, table, step)
    assert not run.path("chunks").exists()
