"""A user's own reward: it is what is learnt, answers are graded beside it, and a wrong name is told."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from expo.cli import main
from expo.train import own_reward as own_reward_module
from expo.train.own_reward import own_reward, source_of
from expo.train.recipe import read_recipe
from expo.train.run import train
from expo.train.show import show
from tests.train.test_run import VALUES

OWN = """
import functools

def of_length(completions, completion_ids, answer, level, problem, **_):
    assert len(completions) == len(answer) == len(level) == len(problem)
    return [float(len(ids)) for ids in completion_ids]

something = 3

def answer(completions, **_):
    return [0.0] * len(completions)

def every_other(completions, value, **_):
    return [value if i % 2 else None for i in range(len(completions))]

def never(completions, **_):
    return [None] * len(completions)

halves = functools.partial(every_other, value=0.5)
nans = functools.partial(every_other, value=float("nan"))
words = functools.partial(every_other, value="yes")

class Constant:
    def __init__(self, value):
        self.value = value

    def __call__(self, completions, **_):
        return [self.value] * len(completions)

ones = Constant(1.0)

async def later(completions, **_):
    return [2.0] * len(completions)

def divides(completions, **_):
    return [1 / 0 for _ in completions]

async def divides_later(completions, **_):
    return divides(completions)

def of_text(text):
    return 1.0

def without_rest(completions, answer):
    return [0.0] * len(completions)
"""
KEYWORDS = {
    **{name: ["a", "b"] for name in ("prompts", "completions", "completion_ids", "problem", "answer", "level")},
    **{"positive": [None, None], "trainer_state": None},
}
BASE = {**VALUES, "max_steps": 2, "eval_steps": 2, "gradient_problems": 0, "refresh_steps": 0, "positive": "none"}
ONE_STEP = {**BASE, "max_steps": 1, "eval_steps": 1, "eval_problems": 1, "eval_samples": 1}


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


KEEPS = """
import json
from pathlib import Path

def keeps(completions, problem, positive, **_):
    Path(__file__).with_name("kept.json").write_text(json.dumps([problem, positive]))
    return [0.0] * len(completions)
"""


@pytest.mark.parametrize(
    "values",
    [
        {"positive": "explanation"},
        {"positive": "explanation", "positive_choice": "weighted", "positive_tries": 3},
        {"positive": "own_correct"},
        {"positive": "explanation", "positive_tokens": "least_moved"},
        {"positive": "explanation", "refresh_steps": 1, "max_steps": 2},
        {"positive": "none"},
    ],
)
def test_a_reward_is_given_the_positives_as_texts_with_masks_and_weights(
    values: dict[str, Any], tmp_path: Path
) -> None:
    """In one form, whatever was chosen; None for a problem without one; and those of the first step throughout."""
    file = tmp_path / "rewards.py"
    file.write_text(KEEPS)
    recipe = read_recipe({**ONE_STEP, **values, "reward": f"{file}:keeps"})
    run = train(recipe, tmp_path / "run", progress=False)
    learnt: dict[str, list[dict[str, Any]]] = {}
    positives = run.read("positives")
    assert positives["step"].nunique() == (0 if values["positive"] == "none" else values.get("max_steps", 1))
    for row in positives[positives["step"] == 0].to_dict("records"):
        mask = None if row["mask"] is None else list(row["mask"])
        text = {"ids": list(row["ids"]), "mask": mask, "weight": row["weight"]}
        learnt.setdefault(row["problem"], []).append(text)
    asked, given = json.loads((tmp_path / "kept.json").read_text())
    assert given == [learnt.get(problem) for problem in asked]
    assert (None in given) == (values["positive"] in ("own_correct", "none"))
    assert any(texts and len(texts) > 1 for texts in given) == ("positive_choice" in values)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "rewards.py:nothing",
            "has no function 'nothing'; it has answer, divides, divides_later, every_other, halves, ",
        ),
        ("rewards.py:something", "has no function 'something'"),
        ("rewards.py", "does not name a function; write module:function"),
        ("missing.py:of_length", "reward: missing.py: no such file"),
        ("no_such_module:of_length", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("broken.py:of_length", "broken.py cannot be imported: SyntaxError"),
        ("rewards.py:answer", "rename your function"),
        (
            "rewards.py:Constant",
            "rewards.py:Constant is a class; name an instance of it, such as `reward = Constant()`",
        ),
        (
            "rewards.py:of_text",
            "rewards.py:of_text takes (text), but is called with the keyword arguments prompts, completions, ",
        ),
        ("rewards.py:every_other", "missing a required argument: 'value'. Name the ones that you use"),
        (
            "rewards.py:without_rest",
            "got an unexpected keyword argument 'prompts'. Name the ones that you use, and add **_",
        ),
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
    with pytest.raises(ValueError, match="reward: applies only to grpo, not to sft"):
        read_recipe({"algorithm": "sft", "task": "chain", "policy": "tiny-0", "reward": "a:b"})


def test_a_module_of_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert own_reward("my_rewards:of_length").function(**{**KEYWORDS, "completion_ids": [[1], [1, 2]]}) == [1.0, 2.0]


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    file = tmp_path / "rewards.py"
    file.write_text(OWN)
    return file


def asked(file: Path, name: str, **more: Any) -> tuple[list[float | None], dict[str, list[float]]]:
    """What TRL would be given for two completions, and what would be logged."""
    reward = own_reward(f"{file}:{name}")
    logged: dict[str, list[float]] = {"answer_reward": []}

    class Graded:
        __name__ = "answer"

        def __call__(self, **_: Any) -> list[float]:
            return [1.0, 0.0]

    function = reward.graded_beside(reward.function, Graded())  # type: ignore[arg-type]
    log: dict[str, Any] = {"log_metric": lambda name, value: logged.setdefault(name, []).append(value)}
    log["log_extra"] = lambda name, values: logged[name].extend(values)
    found = function(**KEYWORDS, **log, **more)
    return asyncio.run(found) if inspect.isawaitable(found) else found, logged


@pytest.mark.parametrize(
    ("name", "values"),
    [("halves", [None, 0.5]), ("ones", [1.0, 1.0]), ("later", [2.0, 2.0])],
)
def test_any_callable_is_a_reward(rewards: Path, name: str, values: list[float | None]) -> None:
    found, logged = asked(rewards, name)
    assert found == values
    assert logged == {"answer_reward": [1.0, 0.0], "rewards/answer/mean": [1.0, 0.0]}
    reward = own_reward(f"{rewards}:{name}")
    assert reward.function.__name__ == name
    assert source_of(reward) == hashlib.sha256(OWN.encode()).hexdigest()[:12]


@pytest.mark.parametrize("values", [torch.tensor([1.0, 0.5]), np.array([1, 0.5]), [True, np.float32(0.5)], (1, 0.5)])
def test_numbers_of_other_libraries_are_rewards(rewards: Path, values: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect.getmodule(own_reward), "_module", lambda _: module(values))
    found, _ = asked(rewards, "f")
    assert found == [1.0, 0.5]
    assert {type(value) for value in found} == {float}


def module(values: Any) -> Any:
    class Module:
        f = staticmethod(lambda **_: values)

    return Module


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [0.0, float("nan")],
            "f returned nan for completion 1 (counted from 0); a reward must be a finite number, or None",
        ),
        ([float("inf"), 0.0], "f returned inf for completion 0"),
        ([0.0, "1.0"], "f returned '1.0' for completion 1"),
        ([0.0, [1.0]], "f returned [1.0] for completion 1"),
        ([0.0], "f returned 1 rewards for 2 completions"),
        (None, "f returned None; it must return a list, one reward per completion"),
        (1.0, "f returned 1.0; it must return a list"),
        ("ab", "f returned 'ab'; it must return a list"),
        (b"ab", "f returned b'ab'; it must return a list"),
        ({1.0, 2.0}, "it must return a list"),
        (torch.tensor(1.0), "it must return a list"),
        ([10**400, 0.0], "for completion 0"),
    ],
)
def test_what_is_no_reward_is_refused(
    rewards: Path, values: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect.getmodule(own_reward), "_module", lambda _: module(values))
    with pytest.raises(ValueError, match=re.escape(message)):
        asked(rewards, "f")


@pytest.mark.parametrize("name", ["divides", "divides_later"])
def test_a_reward_that_raises_shows_its_own_line(rewards: Path, name: str) -> None:
    line = OWN.splitlines().index("    return [1 / 0 for _ in completions]") + 1
    raised = f"{name} raised ZeroDivisionError: division by zero\n{rewards}, line {line}, in "
    with pytest.raises(RuntimeError, match=re.escape(raised)) as caught:
        asked(rewards, name)
    assert "return [1 / 0 for _ in completions]" in str(caught.value)


def test_a_completion_without_a_reward_is_no_zero(rewards: Path, tmp_path: Path) -> None:
    run = train(read_recipe({**ONE_STEP, "reward": f"{rewards}:halves"}), tmp_path / "run", progress=False)
    assert metric(run, "reward") == metric(run, "rewards/halves/mean") == [0.5]
    # All are graded.
    groups = run.read("groups")
    assert metric(run, "rewards/answer/mean") == [pytest.approx(groups["correct"].sum() / groups["n"].sum())]


def test_a_step_without_any_reward_is_taken(rewards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = train(read_recipe({**ONE_STEP, "reward": f"{rewards}:never"}), tmp_path / "run", progress=False)
    assert pd.isna(metric(run, "reward")).all()
    assert "at 1 of 1 steps the reward was None for every completion" in show(run)
    assert len(metric(run, "rewards/answer/mean")) == 1
    # TRL would write all that the function was given to the log, at each step.
    assert "All reward functions returned None" not in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nans", "rewards.py:nans returned nan for completion 1"),
        ("words", "rewards.py:words returned 'yes' for completion 1"),
        ("divides", "rewards.py, line "),
    ],
)
@pytest.mark.parametrize("failed_alone", [False, True])
def test_a_training_stops_at_what_is_no_reward(
    rewards: Path, tmp_path: Path, name: str, message: str, failed_alone: bool
) -> None:
    values = {**ONE_STEP, "reward": f"{rewards}:{name}", "sft_failed_groups_only": failed_alone}
    with pytest.raises((ValueError, RuntimeError), match=re.escape(message)):
        train(read_recipe(values), tmp_path / "run", progress=False)


def test_a_reward_that_is_made_of_anothers_code_is_known_by_both_files(tmp_path: Path) -> None:
    library, mine = tmp_path / "lib_of_rewards.py", tmp_path / "mine.py"
    library.write_text("def f(completions, value=0.0, **_):\n    return [value for _ in completions]\n")
    written = "import functools, sys\nsys.path.insert(0, {!r})\nimport lib_of_rewards\n"
    found = []
    for value in (0.5, 2.0):
        mine.write_text(written.format(str(tmp_path)) + f"g = functools.partial(lib_of_rewards.f, value={value})\n")
        own_reward_module._module.cache_clear()
        reward = own_reward(f"{mine}:g")
        assert reward.files == (mine, library)
        found.append(source_of(reward))
    assert found[0] != found[1]


def test_a_dry_run_finds_the_reward(
    rewards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["train", "--task", "chain", "--policy", "tiny-0", "--max_completion_length", "100", "--dry_run"]
    assert main([*given, "--reward", "rewards.py:halves"]) == 0
    assert f"\nreward        rewards.py:halves, from {rewards}\n" in capsys.readouterr().out
    assert main([*given, "--reward", "rewards.py:of_text"]) == 1
    assert "rewards.py:of_text takes (text), but is called with" in capsys.readouterr().err
    assert main(given) == 0
    assert "\nreward  " not in capsys.readouterr().out
