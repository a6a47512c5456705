"""A user's own reward: it is what is learnt, answers are graded beside it, and a wrong name is told."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from expo.train.recipe import read_recipe
from expo.train.rewards import own_reward
from expo.train.run import train
from tests.train.test_run import VALUES

OWN = """
def of_length(completions, completion_ids, answer, level, problem, **_):
    assert len(completions) == len(answer) == len(level) == len(problem)
    return [float(len(ids)) for ids in completion_ids]

something = 3

def answer(completions, **_):
    return [0.0] * len(completions)
"""
BASE = {**VALUES, "max_steps": 2, "eval_steps": 2, "gradient_problems": 0, "refresh_steps": 0, "positive": "none"}


def metric(run: Any, name: str) -> list[float]:
    return run.read("metrics").query("name == @name")["value"].tolist()


def test_what_is_learnt_is_the_own_reward_and_answers_are_graded(tmp_path: Path) -> None:
    file = tmp_path / "rewards.py"
    file.write_text(OWN)
    usual = train(read_recipe(dict(BASE)), tmp_path / "usual", progress=False)
    run = train(read_recipe({**BASE, "reward": f"{file}:of_length"}), tmp_path / "run", progress=False)
    # The samples of the first step are the same ones.
    assert metric(run, "rewards/answer/mean")[0] == metric(usual, "rewards/answer/mean")[0]
    assert metric(run, "reward") == metric(run, "rewards/of_length/mean") != metric(usual, "reward")
    assert run.read("groups").query("step == 0").equals(usual.read("groups").query("step == 0"))
    assert run.environment()["reward"] == hashlib.sha256(OWN.encode()).hexdigest()[:12]
    assert metric(run, "reward")[0] == pytest.approx(metric(run, "completions/mean_length")[0])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("rewards.py:nothing", "has no function 'nothing'; it has answer, of_length"),
        ("rewards.py:something", "has no function 'something'"),
        ("rewards.py", "names no function; write module:function"),
        ("missing.py:of_length", "missing.py cannot be imported"),
        ("no_such_module:of_length", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("broken.py:of_length", "broken.py cannot be imported: SyntaxError"),
        ("rewards.py:answer", "give it another name"),
    ],
)
def test_what_is_no_function_is_named(
    place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("def (")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        own_reward(place)
    with pytest.raises(ValueError, match=re.escape(message)):
        train(read_recipe({**BASE, "reward": place}), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_only_grpo_has_a_reward() -> None:
    with pytest.raises(ValueError, match="reward: of grpo alone; sft has none"):
        read_recipe({"algorithm": "sft", "task": "chain", "policy": "tiny-0", "reward": "a:b"})


def test_a_module_of_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert own_reward("my_rewards:of_length")(["a"], [[1, 2]], ["1"], [1], ["p"]) == [2.0]
