"""The recipes for the paper's two families: planned as they stand, and run for two steps with sizes alone overridden.

Policies have the real tokenizers and templates, and random weights of a tiny shape.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from expo.cli import main
from expo.policies.engine import Request
from expo.policies.load import load_policy
from expo.policies.policy import TEMPLATE_DATE, Policy
from expo.policies.sampling import sample
from expo.policies.shapes import SHAPES, known_shape
from expo.positives.closing import close
from expo.tasks.math import TASK
from expo.tasks.problem import Problem
from expo.train import memory
from expo.train.config import settings_of
from expo.train.memory import GIB, Lengths, memory_of
from expo.train.needs import Machine
from expo.train.recipe import read_recipe
from expo.train.run import train
from tests.conftest import build
from tests.policies.families import FAMILIES, write

RECIPES = Path("expo/recipes")
OF_FAMILIES = sorted(path for family in FAMILIES for path in RECIPES.glob(f"{family}/*.yaml"))
FIRST = OF_FAMILIES[0].parent.name
# Of a recipe, what says how large a training is, and on how many problems.
SIZES = {
    "problems": 6,
    "eval_problems": 2,
    "eval_samples": 1,
    "eval_steps": 2,
    "save_steps": 2,
    "max_steps": 2,
    "probe_problems": 1,
    "positive_tries": 16,
    "rows": 4,
    "max_completion_length": 12,
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 2,
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, write(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def policy(folder: tuple[str, Path]) -> tuple[str, Policy]:
    return folder[0], load_policy(str(folder[1]), TASK.prompts)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few problems as MATH has them, in a folder of data."""
    for split, first in (("train", 0), ("test", 100)):
        rows = [
            {
                "problem": f"What is ${n} + {n}$?",
                "level": f"Level {n % 5 + 1}",
                "type": "Algebra",
                "solution": f"We add: ${n} + {n} = \\boxed{{{2 * n}}}$.",
            }
            for n in range(first + 2, first + 12)
        ]
        (tmp_path / "math").mkdir(exist_ok=True)
        (tmp_path / "math" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


BILLIONS = {"Qwen/Qwen2.5-3B-Instruct": 3.0859, "meta-llama/Llama-3.2-3B-Instruct": 3.2128}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_known_shape_has_the_weights_that_the_hub_counts(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(known_shape(name))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(BILLIONS[name], abs=1e-3)


@pytest.mark.parametrize("path", OF_FAMILIES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recipe_is_planned_without_a_hub(data: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(path), "--dry_run"]) == 0
    said = capsys.readouterr().out
    billions = BILLIONS[yaml.safe_load(path.read_text())["policy"]]
    millions, trained = re.findall(r"memory +([\d,.]+)M weights(?:, ([\d,]+) of them trained)?", said)[0]
    adapter = float(trained.replace(",", "") or 0) / 1e9
    assert float(millions.replace(",", "")) / 1e3 - adapter == pytest.approx(billions, abs=1e-3)
    assert (adapter > 0) == ("lora" in path.stem)
    assert "memory        not known" not in said
    size = r"[\d.]+ [GM]iB"
    assert re.search(rf"a step, {size}: weights {size}, gradients {size}, optimizer {size}, activations {size}", said)


@pytest.mark.parametrize("name", ["warm-up", "exp-grpo"])
def test_the_recipes_of_smollm2_are_planned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (RECIPES / "smollm2-135m" / f"{name}.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = ["train", "--config", str(config), "--dry_run"]
    made = "runs/warm-up/model"
    if name == "warm-up":
        # Its own policy needs a wheel or a hub.
        asked += ["--policy", made]
    assert main(asked) == 1
    assert f"policy '{made}': this is neither a folder here" in capsys.readouterr().err
    build("llama").model.config.save_pretrained(made)
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert re.search(r"steps +\d+ of \d+ ", said)
    assert "it fits" in said


# `--name value`, or of `exp-dpo` a sentence on the bare answer; what vLLM needs is not here.
SAID = re.compile(r"--(?!config|output|policy|use_vllm|vllm_mode|engine)(\w+) (\S*[\w])")


# Each takes a few seconds, and the heads of all families say the same.
@pytest.mark.parametrize("path", [path for path in OF_FAMILIES if path.parent.name == FIRST], ids=lambda p: p.stem)
def test_what_the_head_of_a_recipe_says_can_be_added_to_it(
    data: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    # The second stage of SFT-GT-CoT is another recipe.
    for name, value in SAID.findall(head):
        config = path.with_name("exp-grpo.yaml") if path.stem == "sft-gt-cot" else path
        given = ["train", "--config", str(config), f"--{name}", value, "--dry_run"]
        assert main(given) == 0, (given, capsys.readouterr().err)
        assert f"{name}: " in capsys.readouterr().out


def test_the_heads_of_the_recipes_say_what_the_baselines_are() -> None:
    said = {pair for path in OF_FAMILIES for pair in SAID.findall(path.read_text())}
    assert {("positive", "none"), ("positive", "expert"), ("refresh_steps", "0")} <= said
    for path in OF_FAMILIES:
        of_first = RECIPES / FIRST / path.name
        assert SAID.findall(path.read_text()) == SAID.findall(of_first.read_text()), path


@pytest.mark.parametrize("name", ["exp-grpo", "exp-grpo-lora", "exp-dpo", "exp-dpo-lora", "sft-gt-cot"])
def test_a_recipe_runs_as_it_stands_but_for_its_sizes(
    folder: tuple[str, Path], data: Path, tmp_path: Path, name: str
) -> None:
    family, where = folder
    values: dict[str, Any] = yaml.safe_load((RECIPES / family / f"{name}.yaml").read_text())
    # GRPO's prompts are compared with TRL's own rendering as it begins.
    values |= SIZES | {"policy": str(where)}
    values |= {"num_generations": 2} if name.startswith("exp-grpo") else {}
    values |= {"refresh_steps": 2} if name.startswith("exp-dpo") else {}
    run = train(read_recipe(values), tmp_path / "run", progress=False)
    assert set(run.read("evaluation")["step"]) == {0, 2}
    assert len(run.read("positives")) >= 2
    facts = run.environment()
    assert facts["chat_template"].startswith("sha256 ")


PAGE = Path("docs/TRAINING.md").read_text(encoding="utf-8")
LAUNCHES = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \|", line)
]


def launched(family: str, recipe: str, command: str) -> tuple[dict[str, Any], int]:
    """The values of a launch's recipe, with its flags, and the number of its processes."""
    values = yaml.safe_load((RECIPES / family / recipe.strip("`")).read_text())
    flags = dict(re.findall(r"--(\w+) (\d+)", command))
    processes = int(flags.pop("num_processes", 4 if "zero3" in command else 1))
    return values | {name: int(value) for name, value in flags.items()}, processes


@pytest.mark.parametrize("family", FAMILIES)
def test_the_launches_of_the_docs_have_whole_groups_and_the_batch_that_they_name(family: str) -> None:
    assert len(LAUNCHES) == 14
    for cards, trains, recipe, command, samples in LAUNCHES:
        values, processes = launched(family, recipe, command)
        assert values.get("use_peft", False) == (trains == "an adapter")
        each = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"]
        assert (processes, processes * each) == (int(cards), int(samples))
        assert each % values.get("num_generations", 1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("cards", "trains", "recipe", "command"), [launch[:4] for launch in LAUNCHES])
def test_a_launch_of_the_docs_fits_its_cards_with_vllm(
    family: str, cards: str, trains: str, recipe: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, processes = launched(family, recipe, command)
    asked = read_recipe({**values, "engine": "vllm"})
    args = settings_of(asked.algorithm, asked.trl, asked.positive, "unused")
    # "the same" is the launch in the row above.
    shared = "ZeRO-3" if re.search("zero3|the same", command) else "no"
    monkeypatch.setattr(memory, "shared_by", lambda _: shared)
    monkeypatch.setattr(type(args), "world_size", property(lambda _: processes))
    shape, card = known_shape(asked.policy), Machine(True, 80 * GIB, None)
    assert shape is not None
    # Longer than any question of MATH.
    lengths = Lengths(1500, args.max_completion_length)

    def fits(**flags: Any) -> bool:
        for name, value in flags.items():
            setattr(args, name, value)
        return memory_of(asked, args, shape, lengths, on_gpu=True, capacity=card.memory).peak <= card.usable

    if asked.algorithm != "grpo":
        assert fits()
        return
    must_sleep = (cards, trains) == ("1", "all weights")
    assert "GRPO of all weights on one card also needs `--vllm_enable_sleep_mode true`" in " ".join(PAGE.split())
    assert fits(use_vllm=True, vllm_mode="colocate") != must_sleep
    assert fits(vllm_enable_sleep_mode=True)


# As the two templates write a turn: the ids of their special tokens are those of the hub's tokenizers.
TURNS = {
    "qwen2.5-3b": ([151644], (151645,), {151643, 151645}, 151665),
    "llama-3.2-3b": ([128000, 128006], (128009,), {128001, 128008, 128009}, 128256),
}


def test_a_turn_begins_and_ends_as_the_template_has_it(policy: tuple[str, Policy]) -> None:
    begin, end, ends, vocabulary = TURNS[policy[0]]
    ids = policy[1].prompt_ids("What is 2 + 2?")
    assert ids[: len(begin)] == begin
    assert ids.count(begin[0]) == (3 if policy[0] == "qwen2.5-3b" else 1)
    assert policy[1].end == end
    assert policy[1].eos_ids == ends
    assert policy[1].vocabulary == vocabulary
    text = policy[1].tokenizer.decode(ids)
    assert text.endswith("assistant\n" if policy[0] == "qwen2.5-3b" else "assistant<|end_header_id|>\n\n")
    assert (TEMPLATE_DATE in text) == (policy[0] == "llama-3.2-3b")


def test_ids_that_are_no_tokens_are_never_drawn(policy: tuple[str, Policy]) -> None:
    done = sample(policy[1], [Request("a", [5, 9], 200, 1)], temperature=100.0, seed=0)
    assert max(c.ids[0] for c in done[0]) < policy[1].vocabulary


@pytest.mark.parametrize("cot", ["We add: 2 + 2 = 4.", "So 4", "Thus\n\n", "\\[ 2 + 2 = 4 \\]"])
def test_a_positive_has_the_tokens_of_its_text(policy: tuple[str, Policy], cot: str) -> None:
    problem = Problem("p", "What is 2 + 2?", "4")
    ids = tuple(policy[1].encode(cot))
    closed = close(policy[1], problem, "p", ids)
    body, answer = closed.completion[: -len(closed.answer) - 1], closed.answer
    assert closed.completion[-1:] == policy[1].end
    assert closed.completion == (*body, *answer, *policy[1].end)
    # The answer stands apart, so that its boundary is the same for every positive.
    assert body == tuple(policy[1].encode(cot.rstrip() + policy[1].prompts.answer_cue))
    assert closed.inline
    assert policy[1].decode(closed.completion).endswith(f"\\boxed{{4}}{policy[1].prompts.answer_end[1:]}")
