"""What a job is set up with is let go of: the checker's process when it ends, settings before a policy is loaded."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expo import setup as set_up_module
from expo.recipe import EvaluateRecipe
from expo.setup import set_up_alone
from expo.tasks import TASKS
from expo.tasks.chain_task import ChainChecker
from expo.train import run as run_module
from expo.train.recipe import read_recipe
from expo.train.run import train

RECIPE = EvaluateRecipe(task="chain", policy="tiny-0", problems=2, max_new_tokens=100)


class Counted(ChainChecker):
    open = 0

    def __init__(self) -> None:
        Counted.open += 1

    def close(self) -> None:
        Counted.open -= 1


def test_the_checker_is_closed_however_a_job_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "chain", replace(TASKS["chain"], checker=Counted))
    with set_up_alone(RECIPE, tmp_path / "run", ["evaluation"]) as setup:
        assert isinstance(setup.checker, Counted)
        assert Counted.open == 1
    assert Counted.open == 0
    with pytest.raises(KeyboardInterrupt), set_up_alone(RECIPE, tmp_path / "run", ["evaluation"]):
        raise KeyboardInterrupt
    assert Counted.open == 0


def test_no_settings_are_alive_while_a_policy_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under ZeRO-3 they would have it loaded in parts, and positives are sampled from the whole of it."""
    made: list[weakref.ref[Any]] = []
    settings_of, load = run_module.settings_of, set_up_module.load
    alive: list[int] = []

    def noted(*args: Any) -> Any:
        settings = settings_of(*args)
        made.append(weakref.ref(settings))
        return settings

    def loading(*args: Any) -> Any:
        gc.collect()
        alive.append(sum(ref() is not None for ref in made))
        return load(*args)

    monkeypatch.setattr(run_module, "settings_of", noted)
    monkeypatch.setattr(set_up_module, "load", loading)
    values = {"task": "chain", "policy": "tiny-0", "positive": "answer", "problems": 4, "eval_problems": 2}
    values |= {"eval_samples": 1, "probe_problems": 0, "max_steps": 1, "max_completion_length": 40}
    values |= {"per_device_train_batch_size": 8, "num_generations": 8, "save_steps": 1}
    train(read_recipe(values), tmp_path / "run", progress=False)
    assert alive == [0]
    # The check sees settings that are alive.
    held = noted("grpo", {}, "answer", str(tmp_path))
    loading(RECIPE, "cpu")
    assert alive == [0, 1]
    del held
