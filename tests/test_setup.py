"""What a job is set up with is let go of: the checker's process when it ends, settings before a policy is loaded."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expo import setup as set_up_module
from expo.recipe import EvaluateRecipe, MeasureRecipe
from expo.setup import set_up_alone, within_context, without_control_tokens
from expo.tasks import TASKS
from expo.tasks.chain_task import ChainChecker
from expo.tasks.problem import DataError, Problem, Task
from expo.train import run as run_module
from expo.train.recipe import read_recipe
from expo.train.run import train
from tests.conftest import build

RECIPE = EvaluateRecipe(task="chain", policy="tiny-0", problems=2, max_new_tokens=100)


class Counted(ChainChecker):
    open = 0

    def __init__(self) -> None:
        Counted.open += 1

    def close(self) -> None:
        Counted.open -= 1


def test_the_checker_is_closed_however_a_job_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "chain", replace(TASKS["chain"], checker=lambda _: Counted()))
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


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_policy_that_a_job_lets_go_of_is_not_held(tmp_path: Path, dtype: str | None) -> None:
    """As where several processes load their own."""
    recipe = replace(RECIPE, sampling_dtype=dtype)
    with set_up_alone(recipe, tmp_path / "run", ["evaluation"]) as setup:
        assert setup.policy is not None
        seen = weakref.ref(setup.policy.model)
        gc.collect()
        assert seen() is not None
        setup.policy = None
        gc.collect()
        assert seen() is None


def test_texts_that_would_be_read_as_control_tokens_are_left_out() -> None:
    policy = build()
    mark = "<|im_end|>"
    # Else it becomes the token that ends a turn.
    assert policy.encode(mark) == [policy.tokenizer.convert_tokens_to_ids(mark)]
    problems = (
        Problem("plain", "How many?", "3", expert_cot="It is 3."),
        Problem("asked", f"How many?{mark}", "3"),
        Problem("shown", "How many pens?", "3", expert_cot=f"It is {mark} 3.", where="d.jsonl:3"),
    )
    kept = without_control_tokens(policy, Task("t", problems))
    assert [(p.id, p.expert_cot) for p in kept.problems] == [("plain", "It is 3."), ("shown", None)]
    assert [(s.where, s.field) for s in kept.skipped] == [("asked", "question"), ("d.jsonl:3", "expert_cot")]
    assert mark in kept.skipped[0].reason
    with pytest.raises(DataError, match="no usable problems; the first: asked"):
        without_control_tokens(policy, Task("t", problems[1:2]))


def test_the_record_says_which_chat_template_wraps_prompts() -> None:
    with_template, without = build(), build(chat=False)
    words = with_template.template_in_words
    assert words
    assert words.startswith("sha256 ")
    # The recipe asks for one in both.
    assert without.prompts.chat
    assert without.template_in_words == "none: the tokenizer has none"
    with_template.tokenizer.chat_template += " "
    assert with_template.template_in_words != words


@pytest.mark.parametrize("recipe", [MeasureRecipe, EvaluateRecipe])
def test_greedy_samples_are_not_counted_several_times(recipe: type) -> None:
    with pytest.raises(ValueError, match="samples: at temperature 0 all 8 samples would be the same"):
        recipe(temperature=0, samples=8)
    assert recipe(temperature=0, samples=1).temperature == 0


def test_a_context_that_is_too_short_is_named_with_what_would_help() -> None:
    """A limit that fits all, one that fits some, and questions that are too long by themselves."""
    short, long = Problem("s", "Short?", "1"), Problem("l", "long " * 200, "1")
    policy = build(context=128)
    for problems, fix in (
        ((short,), r"--max_new_tokens \d+ fits all of them$"),
        ((short, long), "a lower --max_new_tokens fits some of them, but not all$"),
        ((long,), "the questions alone fill it: shorten them, or take a policy with a longer context$"),
    ):
        with pytest.raises(DataError, match=fix):
            within_context(policy, Task("mine", problems), "max_new_tokens", 1000)
