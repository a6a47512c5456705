"""The `expo` command as a user meets it: help, mistakes, a real run, Ctrl-C, and the same command again."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import datasets
import pandas as pd
import pytest
import yaml
from safetensors import SafetensorError
from transformers import GPT2Config

from expo import cli
from expo.cli import JOBS, default_folder, main
from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.tasks.prompts import TEXT

ROOT = Path(__file__).parent.parent
PROBLEMS = 12


@pytest.fixture(autouse=True)
def work(tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with problems `d.jsonl` and the policy `small`."""
    rows = [
        {"question": f"What is {i} + 4?", "answer": i + 4, "expert_cot": f"{i} + 4 = {i + 4}."} for i in range(PROBLEMS)
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "small").symlink_to(policy_folder)
    (tmp_path / "halted" / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(policy_folder)
    monkeypatch.chdir(tmp_path)
    # Which `main` would set for the rest of the tests.
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.delenv("EXPO_TRACEBACK", raising=False)
    return tmp_path


MEASURE = ["--task", "jsonl", "--data", "d.jsonl", "--policy", "small", "--device", "cpu"]
MEASURE += ["--samples", "2", "--max-new-tokens", "4"]
FEW = [*MEASURE, "--problems", "2", "--sources", "own", "explanation", "expert"]


def expo(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """The command as a shell starts it."""
    return subprocess.Popen(
        [Path(sysconfig.get_path("scripts"), "expo"), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


# ---- help


@pytest.mark.parametrize("asked", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_job(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {job} " in out for job in JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_every_job_explains_its_flags(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([job, "--help-all"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: expo {job}")
    if job in ("measure", "sample"):
        listed = {field.name for field in fields(MeasureRecipe) if re.search(rf"^  --{field.name}\b", out, re.M)}
        # `sample` has one kind of positives.
        unlisted = {"sources", "controls"} if job == "sample" else set()
        # A default is written as it would be given.
        assert ("(default: own explanation expert own_correct" in " ".join(out.split())) == (job == "measure")
        assert {field.name for field in fields(MeasureRecipe)} - listed == unlisted
    # Gradients take one value of each.
    assert ("--engine" in out and "--sampling_dtype" in out) == (job in ("measure", "sample", "evaluate"))


@pytest.mark.parametrize("job", JOBS)
def test_help_lists_the_usual_flags(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {}
    for asked in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as stop:
            main([job, asked])
        assert stop.value.code == 0
        said = capsys.readouterr().out
        listed[asked] = {line.split()[0] for line in said.splitlines() if line.startswith("  --")}
    assert 0 < len(listed["--help"]) <= 14 or job == "doctor"
    hidden = listed["--help-all"] - listed["--help"]
    assert listed["--help"] <= listed["--help-all"]
    # The control: a job of few flags has nothing to hide.
    assert bool(hidden) == (job in ("measure", "sample", "train", "evaluate", "gradients"))
    if hidden:
        assert {"--task", "--policy", "--output", "--config"} <= listed["--help"]


HEAVY = ["torch", "datasets", "sympy"]
TRAINERS = ["trl.trainer.grpo_trainer", "expo.evaluate"]
IMPORTS = f"""
import sys
from contextlib import suppress
from expo.cli import JOBS, main
def tell():
    print("imported:", *(name for name in {HEAVY + TRAINERS} if name in sys.modules))
for asked in (["--help"], *([job, "--help"] for job in JOBS)):
    with suppress(SystemExit):
        main(asked)
tell()
for job in ("train", "evaluate"):
    with suppress(SystemExit):
        main([job, "--problens", "3"])
tell()
"""


@pytest.fixture(scope="module")
def imports() -> tuple[list[list[str]], str]:
    """What a Python that had imported nothing has imported after help and after a typo; what it said."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", IMPORTS], env=environment, capture_output=True, text=True, check=True)
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("imported:")]
    return told, done.stderr


def test_help_is_quick_to_come(imports: tuple[list[list[str]], str]) -> None:
    (after_help, after_typo), _ = imports
    assert after_help == []
    assert "torch" in after_typo, "the check would see it"
    for name in HEAVY:
        importlib.import_module(name)


def test_a_typo_is_found_before_the_trainers_are_imported(imports: tuple[list[list[str]], str]) -> None:
    (_, after_typo), said = imports
    assert said.count("did you mean problems?") == 2
    assert not set(TRAINERS) & set(after_typo)
    for name in TRAINERS:
        importlib.import_module(name)


def test_doctor_prints_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("measure       ready\n")
    assert "study tiny: " not in said
    assert main(["doctor", "--studies", "true"]) == 0
    assert "\nready    study tiny: " in capsys.readouterr().out


# ---- mistakes


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


MISTAKES: list[tuple[list[str], int, str]] = [
    (
        ["bogus"],
        2,
        "unknown job 'bogus'; choose from doctor, measure, sample, train, evaluate, gradients, judge, grade, "
        "reproduce, report, completion",
    ),
    (
        ["sample", "--task", "chain", "--policy", "tiny-0", "--controls", "3"],
        1,
        "controls: expo sample writes only self-explanations",
    ),
    # A flag that is refused is not suggested.
    (["sample", "--contrls", "3"], 2, "no field 'contrls'; `expo sample --help-all` lists all fields"),
    (["mesure"], 2, "unknown job 'mesure'; did you mean measure?"),
    (["measure", *FEW, "--sample", "3"], 2, "no field 'sample'; did you mean samples?"),
    (["measure", "--bogus=3"], 2, "no field 'bogus'; `expo measure --help-all` lists all fields"),
    (
        ["train", "--sampling_dtype", "bfloat16"],
        2,
        "sampling_dtype: training samples from the policy as it is trained",
    ),
    (
        ["gradients", "--sampling_dtype", "bfloat16"],
        2,
        "sampling_dtype: gradients are computed for the policy that samples",
    ),
    (["measure", "stories"], 2, "unexpected argument 'stories'; a value must follow its flag"),
    (["measure", "--problems", "ten"], 2, "argument --problems: invalid int value: 'ten'"),
    (["measure", "--problems", "0"], 2, "problems must be at least 1, got 0"),
    (["measure", "--problems"], 2, "argument --problems: expected one argument"),
    (["measure", "--temperature", "nan"], 2, "temperature must be at least 0 and finite, got nan"),
    (["measure", "--temperature", "inf"], 2, "temperature must be at least 0 and finite, got inf"),
    (["measure", "--temperature", "1e-4"], 2, "temperature must be 0 (greedy) or at least 0.001, got 0.0001"),
    (["measure", "--seed", "-1"], 2, "seed must be at least 0, got -1"),
    (["measure", "--sources", "own", "expart"], 2, "sources: unknown kind ['expart']; choose from own, explanation"),
    (["measure", "--sources", "own", "own"], 2, "sources: give at least one kind, and each kind once"),
    (["measure", "--sources", "own_correct"], 2, "own_correct is chosen from the own CoTs; add own to"),
    (
        ["measure", "--task", "gms8k"],
        2,
        "task: unknown task 'gms8k'; choose from chain, letters, gsm8k, math, stories, jsonl",
    ),
    (["measure", "--prompts", "{"], 2, "prompts: not JSON"),
    (["measure", "--prompts", "[1]"], 2, "prompts must be a mapping of names, got [1]"),
    (["measure", "--prompts", '{"question": "Solve."}'], 2, "prompts.question must contain {question}"),
    (["measure", "--config"], 2, "--config needs the path of a YAML file"),
    (["measure", "--config="], 2, "--config needs the path of a YAML file"),
    (["measure", "--config", "nowhere.yaml"], 2, "nowhere.yaml cannot be read: No such file"),
    (["measure", "--config", "."], 2, ". cannot be read: Is a directory"),
    (["measure", "--task", "jsonl"], 1, "task jsonl needs --data FILE.jsonl"),
    (["measure", "--task", "stories", "--data", "d.jsonl"], 1, "--data: task stories reads no file"),
    (["measure", "--task", "chain", "--policy", "tiny-0", "--data", "d"], 1, "task chain reads no file"),
    (["measure", *MEASURE, "--data", "nowhere.jsonl"], 1, "nowhere.jsonl: no such file"),
    (
        ["measure", *MEASURE, "--policy", "./nowhere"],
        1,
        "policy './nowhere': this is neither a folder here nor",
    ),
    (
        ["measure", *MEASURE, "--policy", "http://localhost:8000/v1"],
        1,
        "an endpoint does not score given texts, so it is",
    ),
    (["measure", *MEASURE, "--dtype", "float8"], 2, "dtype: unknown value 'float8'; choose from auto, float32"),
    (["measure", *MEASURE, "--device", "gpu"], 1, "device 'gpu': "),
    (["measure", *FEW, "--output", "d.jsonl"], 1, "d.jsonl is a file, but --output needs a folder"),
    (["measure", *FEW, "--output", "small"], 1, "small is not empty and is not a run folder; choose another --output"),
    (["measure", *FEW, "--output", "/proc/nowhere"], 1, "No such file or directory: '/proc/nowhere'"),
    (["measure", *FEW, "--policy", "run"], 1, "policy 'run': this is a run folder; its policy is in 'run/model'"),
    (["sample", *MEASURE, "--sources", "own"], 1, "expo sample writes only self-explanations"),
    (["sample", *MEASURE, "--dataset", "small"], 1, "small already holds files; choose another --dataset"),
    (["train", "--learning_rat", "1"], 2, "no field 'learning_rat'; did you mean learning_rate?"),
    (["train", "--positive", "expret"], 2, "positive: unknown kind 'expret'; choose from explanation, expert"),
    (["train", "--algorithm", "dpo", "--num-generations=4"], 2, "num_generations applies only to algorithm grpo"),
    (
        ["train", "--policy", "tiny", "--task", "chain", "--max_completion_length", "512", "--dry_run"],
        1,
        "(512) leaves no room for a question in the",
    ),
    (["train", "--policy", "halted", "--dry_run"], 1, "not finished; repeat its command, or use 'halted/check"),
    (["train", "--policy", "run", "--dry_run"], 1, "policy 'run': this is a run folder; its policy is in 'run/model'"),
    (["train", "--output_dir", "x"], 2, "output_dir: the run folder is given by --output"),
    (["train", "--config", "nowhere.yaml"], 2, "nowhere.yaml cannot be read: No such file"),
    (["train", "--policy", "tiny", "--dry_run"], 2, "policy 'tiny' does not fit task 'stories'"),
    (["evaluate", "--samples", "0"], 2, "samples must be at least 1, got 0"),
    (["judge", "--model", "m"], 2, "the following arguments are required: --run"),
    (["report"], 2, "the following arguments are required: RUN"),
    (["report", "d.jsonl"], 1, "d.jsonl is not a run folder: it is a file; make one with `expo measure`"),
    (
        ["judge", "--run", "small", "--model", "m"],
        1,
        "--run small is not a run folder: it has no recipe.yaml; give the",
    ),
    (["judge", "--run", "d.jsonl", "--model", "m"], 1, "d.jsonl is not a run folder: it has no recipe.yaml"),
    (["reproduce", "--stuyd", "tiny"], 2, "no field 'stuyd'; did you mean study?"),
    (["reproduce", "--study", "tyni"], 1, "no study 'tyni'; choose from gradients, "),
    (["doctor", "now"], 2, "unexpected argument 'now'; a value must follow its flag"),
]


def outcome(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES)
def test_a_mistake_is_named_and_leaves_nothing(
    arguments: list[str], code: int, message: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(work)
    assert outcome(arguments) == code
    out, err = capsys.readouterr()
    assert message in err
    assert f"expo {arguments[0]}: " in err or arguments[0] not in JOBS
    assert "Traceback" not in err
    assert out == ""
    assert files(work) == before


WRONG_YAML: list[tuple[bytes, str]] = [
    (b"problmes: 2", "r.yaml: no field 'problmes'; did you mean problems?"),
    (b"bogus: 2\nproblmes: 2", "r.yaml: no field 'bogus'; `expo measure --help-all` lists all fields"),
    (b"problems: 2.5", "problems must be a whole number, got 2.5"),
    (b"problems: [2]", "problems must be a whole number, got [2]"),
    (b"problems: true", "problems must be a whole number, got True"),
    (b"problems: ten", "argument --problems: invalid int value: 'ten'"),
    (b"levels: 3", "levels must be a list, each a whole number, got 3"),
    (b"levels: [one]", "levels must be a list, each a whole number, got ['one']"),
    (b"levels: []", "levels: name at least one"),
    (b"sources: own", "sources must be a list, each text, got 'own'"),
    (b"sources: []", "sources: give at least one kind"),
    (b"policy: no", "policy must be text, got False"),
    (b"policy:", "policy must be text, got None"),
    (b"output: 3", "output must be text, got 3"),
    (b"prompts: 3", "prompts must be a mapping of names or text, got 3"),
    (b"prompts: {qestion: x}", "prompts: unknown field qestion; choose from answer_cue"),
    (b"prompts: {chat: maybe}", "prompts.chat must be true or false, got 'maybe'"),
    (b"problems: [2", "r.yaml cannot be read: while parsing a flow sequence"),
    (b"- problems", "r.yaml must contain a YAML mapping"),
    (b"", "r.yaml must contain a YAML mapping"),
    (b"\xff\xfe", "r.yaml cannot be read: 'utf-8' codec"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_YAML)
def test_a_wrong_recipe_file_is_named(
    text: bytes, message: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "r.yaml").write_bytes(text)
    before = files(work)
    assert outcome(["measure", "--config=r.yaml"]) == 2
    assert message in capsys.readouterr().err
    assert files(work) == before


def test_a_traceback_is_shown_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no study 'tyni'"):
        main(["reproduce", "--study", "tyni"])


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_: list[str]) -> int:
        raise TypeError("a bug")

    monkeypatch.setitem(cli.JOBS, "doctor", fault)
    with pytest.raises(TypeError, match="a bug"):
        main(["doctor"])


def test_the_process_ends_with_the_job_s_code() -> None:
    process = expo("mesure")
    _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith("expo: unknown job 'mesure'")


def test_the_installed_command_helps() -> None:
    process = expo("--help")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.startswith("usage: expo JOB")


@pytest.mark.parametrize("asked", ["--help", pytest.param("doctor", marks=pytest.mark.slow)])
def test_a_reader_that_has_seen_enough_is_no_error(asked: str) -> None:
    process = expo(asked)
    assert process.stdout is not None
    process.stdout.close()  # as `head` does
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


# ---- a real run


def test_measure_writes_a_record_and_prints_its_verdicts(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", *FEW, "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert "Table 1, measured" in out
    assert set(pd.read_parquet("out/samples.parquet")["source"]) == {"own", "explanation", "expert"}
    before = (work / "out" / "samples.parquet").stat().st_mtime_ns
    assert main(["measure", *FEW, "--output", "out"]) == 0  # the same again only shows it
    assert capsys.readouterr().out == out
    assert (work / "out" / "samples.parquet").stat().st_mtime_ns == before
    assert main(["measure", *FEW, "--output", "out", "--seed", "1"]) == 1
    assert "a different recipe (seed: 0 -> 1)" in capsys.readouterr().err
    assert main(["evaluate", *MEASURE, "--problems", "2", "--output", "out"]) == 1
    assert "out already holds a run of `expo measure`. Choose another --output" in capsys.readouterr().err
    # Before the plan is printed.
    train = ["train", "--task", "chain", "--policy", "tiny-0", "--max_completion_length", "100", "--output", "out"]
    assert main(train) == 1
    said = capsys.readouterr()
    assert "out already holds a run of `expo measure`" in said.err
    assert not said.out


TOY = ["--task", "chain", "--policy", "tiny-0", "--levels", "2", "--problems", "2"]
TRAIN = ["--max_steps", "1", "--per_device_train_batch_size", "8", "--eval_problems", "1", "--eval_samples", "1"]
TRAIN += ["--max_completion_length", "60", "--probe_problems", "0", "--gradient_checkpointing", "false"]


@pytest.mark.parametrize(
    "asked",
    [
        ["measure", *TOY],
        ["sample", *TOY],
        ["train", *TOY, *TRAIN, "--num_train_epochs", "1"],
        ["evaluate", *TOY, "--samples", "1"],
        ["evaluate", *TOY, "--samples", "1", "--limits", "9"],
        ["gradients", *TOY, "--rollouts", "3", "--sizes", "0.01"],
    ],
)
def test_a_job_ends_with_its_record_and_what_shows_it(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*asked, "--output", "my out"]) == 0
    *_, before, record, shows = capsys.readouterr().out.splitlines()
    assert (record, shows) == ("record: my out", "to see it: expo report 'my out'")
    assert "record" not in before
    assert Run("my out").recipe()["task"] == "chain"


def test_an_evaluation_is_compared_with_an_earlier_one(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--task", "chain", "--levels", "3", "--problems", "12", "--samples", "4"]
    assert main([*asked, "--policy", "tiny-0", "--output", "old"]) == 0
    assert main([*asked, "--policy", "tiny-0", "--output", "old", "--before", "old"]) == 0
    assert "\n  all levels     12 problems   accuracy 0 [0, 0], finite" in capsys.readouterr().out
    assert main([*asked, "--policy", "tiny-1", "--output", "new", "--before", "old", "--temperature", "1"]) == 0
    said = capsys.readouterr().out
    rates = [run["correct"] / run["n"] for run in (Run(name).read("evaluation") for name in ("new", "old"))]
    assert "change since old, paired by problem" in said
    assert f"accuracy {float((rates[0] - rates[1]).mean()):.3g} [" in said.partition("change since")[2]
    assert "(not only the policy has changed, but also temperature)" in said
    # Other questions, and what is no evaluation.
    other = ["evaluate", "--task", "chain", "--levels", "2", "--problems", "2", "--policy", "tiny-0", "--samples", "1"]
    assert main([*other, "--before", "old"]) == 1
    assert "--before old has no problem in common with runs/evaluate/chain-tiny-0-" in capsys.readouterr().err
    assert main([*other, "--before", "small"]) == 1
    assert "--before small is not a run folder: it has no recipe.yaml" in capsys.readouterr().err


def test_pass_at_k_is_shown_for_the_k_between(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--task", "chain", "--policy", "tiny-0", "--levels", "3", "--problems", "3"]
    shown = {}
    for samples in ("2", "6"):
        assert main([*asked, "--samples", samples]) == 0
        shown[samples] = re.findall(r"pass@(\d+) ", capsys.readouterr().out)
    # Above are those of all samples, for all levels and for the one.
    assert shown == {"2": ["2", "2"], "6": ["6", "6", "2", "4"]}


def test_a_recipe_file_is_overridden_by_flags(work: Path) -> None:
    held = {"task": "jsonl", "data": "d.jsonl", "policy": "small", "device": "cpu", "max_new_tokens": 9, "problems": 2}
    held |= {"sources": ["own", "explanation"], "temperature": 1, "prompts": {"question": "Q: {question}"}}
    (work / "r.yaml").write_text(yaml.safe_dump(held | {"output": "out"}))
    assert main(["measure", "--config", "r.yaml", "--max_new_tokens", "4", "--problems", "1"]) == 0
    recipe = Run("out").recipe()
    assert recipe == MeasureRecipe(**held | {"max_new_tokens": 4, "problems": 1}).resolved()
    assert recipe["prompts"]["question"] == "Q: {question}"
    assert len(set(pd.read_parquet("out/samples.parquet")["problem"])) == 1

    # A run's own resolved recipe is a recipe file, and finds its run again.
    before = (work / "out" / "samples.parquet").stat().st_mtime_ns
    assert main(["measure", "--config", "out/recipe.yaml", "--output", "out"]) == 0
    assert (work / "out" / "samples.parquet").stat().st_mtime_ns == before


def test_prompts_are_a_flag_in_json() -> None:
    asked = '{"question": "Sum: {question}", "chat": false}'
    assert main(["measure", *FEW, "--prompts", asked, "--output", "out"]) == 0
    assert Run("out").recipe()["prompts"]["question"] == "Sum: {question}"
    assert Run("out").recipe()["prompts"]["chat"] is False
    assert Run("out").recipe()["prompts"]["explain"] == TEXT.explain


def test_a_dry_run_says_what_a_training_takes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"task": "chain", "policy": "tiny-0", "problems": 20, "num_train_epochs": 2, "learning_rate": "3e-4"}
    recipe["max_completion_length"] = 100
    (work / "toy.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    flags = ["--per_device_train_batch_size", "16", "--num_generations", "4", "--learning_rate", "1e-4", "--dry_run"]
    assert main(["train", "--config", "toy.yaml", *flags]) == 0
    said = capsys.readouterr().out
    # 40 questions, 4 a step.
    assert "steps         10 of 16 samples, 4 per question, on 1 process" in said
    assert "learning_rate: 0.0001" in said
    assert "\nloss_type: dapo\n" in said.partition("# not set in the recipe")[2]
    assert "TRAINED ON" not in said
    assert "0.09M weights" in said
    assert not (work / "runs").exists()


@pytest.mark.parametrize("algorithm", ["grpo", "dpo", "sft"])
def test_the_toy_can_be_trained_without_a_limit(algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--task", "chain", "--policy", "tiny-0", "--algorithm", algorithm, "--dry_run"]) == 0
    assert "\nmax_completion_length: 100\n" in capsys.readouterr().out.partition("# not given")[0]
    # The control: of a task in words it is TRL's.
    assert (
        main(["train", "--policy", "small", "--algorithm", algorithm, "--dry_run", "--max_completion_length", "9"]) == 0
    )
    assert "\nmax_completion_length: 9\n" in capsys.readouterr().out


def test_a_dry_run_says_what_is_sampled_anew(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train", "--task", "chain", "--policy", "tiny-0", "--max_steps", "6", "--max_completion_length", "100"]
    asked += ["--refresh_steps", "3", "--dry_run"]
    assert main([*asked, "--algorithm", "dpo"]) == 0
    assert "steps         6 of 8 pairs, on 1 process; pairs are resampled every 3 steps" in capsys.readouterr().out
    assert main(asked) == 0
    assert "on 1 process; positives are resampled every 3 steps" in capsys.readouterr().out


def test_a_flag_overrides_the_file_also_where_it_says_no(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"task": "chain", "policy": "tiny-0", "problems": 20, "gradient_checkpointing": True, "max_steps": 3}
    recipe["max_completion_length"] = 100
    (work / "toy.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    flags = ["--no_gradient_checkpointing", "--num-generations=4", "--dry_run"]
    assert main(["train", "--config", "toy.yaml", *flags]) == 0
    said = capsys.readouterr().out
    assert "gradient_checkpointing: false" in said
    assert "num_generations: 4" in said
    assert "steps         3 of" in said


def test_sft_has_flags_of_its_own(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--task", "chain", "--policy", "tiny-0", "--algorithm", "sft", "--positive", "expert", "--problems", "20"]
    asked += ["--max_completion_length", "100"]
    assert main(["train", *asked, "--per_device_train_batch_size", "8", "--max_length", "90", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "max_length: 90" in said
    assert "anew" not in said
    # 3 epochs of 20 problems, 8 a step.
    assert "steps         9 of 8 positives, if every problem has one, on 1 process" in said
    with pytest.raises(SystemExit):
        main(["train", "--help-all"])
    text = " ".join(capsys.readouterr().out.split())
    assert "samples per problem, at each evaluation (default: 4)" in text
    assert "weight of the added term, log pi(positive|q)" in text


def test_a_dry_run_knows_the_shape_of_other_families(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500).save_pretrained(work / "gpt2")
    data = work / "mine.jsonl"
    data.write_text('{"question": "1+1?", "answer": "2"}\n', encoding="utf-8")
    asked = ["train", "--task", "jsonl", "--data", str(data), "--policy", str(work / "gpt2"), "--dry_run"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    size = r"[\d.]+ [GM]iB"
    assert re.search(rf"a step, {size}: weights {size}, gradients {size}, optimizer {size}, activations {size}", said)
    assert "evaluated on  1 problem, 1 of them TRAINED ON: give --eval_data another file" in said


def test_what_is_trained_on_is_known_by_its_question(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy under other ids is trained on; other questions under the same ids are not."""
    files = {"train": [("a", "1 + 1?"), ("b", "2 + 2?")], "copy": [("x", "2 + 2?")], "other": [("a", "5 + 5?")]}
    for name, rows in files.items():
        lines = [json.dumps({"id": i, "question": q, "answer": "4"}) for i, q in rows]
        (work / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    asked = ["train", "--task", "jsonl", "--data", "train.jsonl", "--policy", "small", "--dry_run"]
    asked += ["--max_completion_length", "64"]
    for name, trained_on in (("copy", True), ("other", False)):
        assert main([*asked, "--eval_data", f"{name}.jsonl"]) == 0
        assert ("1 of them TRAINED ON" in capsys.readouterr().out) == trained_on


def test_what_is_left_out_is_listed_before_a_training(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [{"question": "1 + 1?", "answer": 2, "expert_cot": 3}, {"question": "2 + 2?"}]
    data += [{"question": "3 + 3?", "answer": 6, "expert_cot": "3 + 3 = 6."}]
    (work / "mine.jsonl").write_text("\n".join(map(json.dumps, data)), encoding="utf-8")
    asked = ["train", "--task", "jsonl", "--data", "mine.jsonl", "--policy", "small", "--positive", "expert"]
    assert main([*asked, "--max_completion_length", "8", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "trained on    2 problems, 1 of them with an expert CoT\n              2 rows or fields left out:" in said
    assert "mine.jsonl:2: answer: missing" in said
    (work / "mine.jsonl").write_text(json.dumps(data[0]), encoding="utf-8")
    assert main([*asked, "--max_completion_length", "8", "--dry_run"]) == 1
    assert (
        "mine.jsonl: no problem has an expert_cot; add this field, or choose another --positive"
        in capsys.readouterr().err
    )


def test_a_limit_beyond_the_context_is_said_with_one_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--task", "chain", "--policy", "tiny-0", "--problems", "5"]
    beyond = ["--max_new_tokens", "250"]
    assert main([*asked, *beyond]) == 1
    said = capsys.readouterr().err
    reason = "no problem (5 tried) fits the policy's context of 256 tokens with max_new_tokens 250; --max_new_tokens"
    assert reason in said
    fits = said.partition("--max_new_tokens ")[2].split()[0]
    assert not Path("runs").exists()
    assert main([*asked, "--samples", "1", "--max_new_tokens", fits]) == 0
    assert main(["measure", *asked[1:], *beyond]) == 1
    assert "no problem could be measured" in capsys.readouterr().err


def test_evaluate_prints_accuracy_by_level(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--task", "chain", "--policy", "tiny-0", "--problems", "5", "--max_new_tokens", "100"]
    assert main(asked) == 0
    assert "level 1" in capsys.readouterr().out
    assert main(asked) == 0  # the same command finds its record


def test_each_recipe_has_a_folder_of_its_own() -> None:
    base = MeasureRecipe(policy="me/small", temperature=1)
    assert default_folder("measure", base) == default_folder(
        "measure", MeasureRecipe(policy="me/small", temperature=1.0)
    )
    assert default_folder("measure", base).name.startswith("stories-small-")
    # As it was before recipes had more fields: a command finds the run that an earlier version began.
    assert default_folder("measure", MeasureRecipe(policy="small")).name.endswith("-8c0542be")
    others = [{"temperature": 0.9}, {"seed": 1}, {"prompts": {"question": "Q: {question}"}}, {"policy": "you/small"}]
    folders = {default_folder("measure", MeasureRecipe(**{"policy": "me/small", "temperature": 1} | o)) for o in others}
    assert len(folders | {default_folder("measure", base)}) == 5
    # Of a policy that a training left the run is named, not its folder `model`.
    names = {"runs/toy/model": "toy", "runs/toy/checkpoints/checkpoint-8": "toy-checkpoint-8", "my/model-2": "model-2"}
    for policy, name in names.items():
        recipe = MeasureRecipe(policy=policy)
        assert default_folder("measure", recipe).name.rpartition("-")[0] == f"stories-{name}"
    # A run that an earlier version named differently is found by its hash.
    folder = default_folder("measure", recipe)
    old = folder.with_name(f"stories-model-{folder.name.rpartition('-')[2]}")
    old.mkdir(parents=True)
    assert default_folder("measure", recipe) == old
    assert default_folder("evaluate", recipe).name == folder.name
    assert default_folder("measure", MeasureRecipe(policy=".")).parent == Path("runs/measure")
    assert default_folder("measure", MeasureRecipe(policy="..")).name.count(".") == 0


def test_sample_writes_a_dataset(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", *MEASURE, "--problems", "2"]) == 0
    (run,) = (work / "runs" / "measure").iterdir()
    folder = Path("self-explanations") / run.name
    assert str(folder) in capsys.readouterr().out
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(work / "cache"))
    assert len(rows) == 4
    assert (pd.read_parquet(run / "samples.parquet")["cot"] == rows["explanation"][:]).all()
    assert main(["sample", *MEASURE, "--problems", "2"]) == 0
    # The command that it prints plans a training on it.
    (train,) = re.findall(r"to train on it: expo (.*)", capsys.readouterr().out)
    assert main([*shlex.split(train), "--max_completion_length", "4", "--dry_run"]) == 0
    assert "positives     4 texts for 2 of them" in capsys.readouterr().out
    # Another recipe has another folder by default, and is kept out of this one.
    assert main(["sample", *MEASURE, "--problems", "1"]) == 0
    assert main(["sample", *MEASURE, "--problems", "1", "--dataset", str(folder)]) == 1
    assert "already holds other files; choose another --dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full: free some space"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "the disk is full"),
        (OSError(28, "No space left on device"), "repeat the command to resume from what was saved"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "with a lower --rows"),
        (ValueError("no such thing"), "no such thing\n"),
    ],
)
def test_an_error_is_told_with_its_mend(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(argv: list[str]) -> int:
        raise error

    monkeypatch.setitem(JOBS, "doctor", failing)
    assert main(["doctor"]) == 1
    assert said in capsys.readouterr().err
    monkeypatch.setenv("EXPO_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main(["doctor"])


# ---- data as people have it


def _csv(folder: Path) -> list[str]:
    (folder / "d.csv").write_text('question,answer\n"What is 2 + 2?",4\n"What, then, is 3 + 4?",7\n', encoding="utf-8")
    return ["--data", "d.csv"]


def _svamp(folder: Path) -> list[str]:
    rows = [{"Body": "Ann has 3 pens.", "Question": "How many are 4 more?", "Answer": 7.0, "Equation": "( 3.0 + 4.0 )"}]
    (folder / "svamp.json").write_text(json.dumps(rows), encoding="utf-8")
    return ["--data", "svamp.json", "--columns", "question=Body+Question,answer=Answer,expert_cot=Equation"]


def _parquet(folder: Path) -> list[str]:
    pd.DataFrame({"problem": ["What is 2 + 2?"], "solution": ["It is 4. \\boxed{4}"]}).to_parquet(folder / "d.parquet")
    return ["--data", "d.parquet"]


def _saved(folder: Path) -> list[str]:
    datasets.Dataset.from_list([{"question": "What is 2 + 2?", "answer": "4"}]).save_to_disk(folder / "saved")
    return ["--data", "saved"]


@pytest.mark.parametrize("written", [_csv, _svamp, _parquet, _saved])
def test_data_as_people_have_it_is_measured_in_one_command(written: Callable[[Path], list[str]], work: Path) -> None:
    asked = [
        "--task",
        "jsonl",
        "--policy",
        "small",
        "--device",
        "cpu",
        "--max_new_tokens",
        "4",
        "--output",
        "run-of-it",
    ]
    assert main(["measure", *written(work), *asked]) == 0
    samples = Run("run-of-it").read("samples")
    assert samples["reference"].iloc[0] in ("4", "7")
    assert samples["question"].iloc[0].startswith(("What is 2", "Ann has 3 pens. How many"))
    assert ("expert" in set(samples["source"])) == (written in (_svamp, _parquet))


# ---- Ctrl-C


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_and_the_same_command_resumes(
    number: int, code: int, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["measure", *MEASURE, "--max-new-tokens", "64", "--chunk", "1"]
    process = expo(*asked, "--output", "stopped", process_group=0)
    try:
        while not Run("stopped").shards("samples"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        # To the whole group, as a terminal does.
        os.killpg(process.pid, number)
        out, err = process.communicate()
    finally:
        process.kill()
    assert process.returncode == code
    assert "expo: stopped; repeat the command to resume" in err
    assert "Traceback" not in err
    assert out == ""
    stopped = Run("stopped")
    done = stopped.shards("samples")
    assert 0 < len(done) < PROBLEMS
    assert not stopped.has("samples")
    before = {part: stopped.path("parts", "samples", f"{part}.parquet").stat().st_mtime_ns for part in done}
    assert main(["judge", "--run", "stopped", "--model", "m"]) == 1
    assert "the run is not finished: repeat its command" in capsys.readouterr().err

    assert main([*asked, "--output", "stopped"]) == 0
    assert "stopped/ holds part of this run: resuming" in capsys.readouterr().out
    assert main([*asked, "--output", "whole"]) == 0
    assert "resuming" not in capsys.readouterr().out
    for table in ("samples", "metrics", "skips"):
        one, other = (Path(run, f"{table}.parquet").read_bytes() for run in ("stopped", "whole"))
        assert one == other, table
    after = {part: stopped.path("parts", "samples", f"{part}.parquet").stat().st_mtime_ns for part in done}
    assert after == before  # what was done was not done again

    frame = Run("whole").read("samples")
    frame.loc[3, "nll_sum"] += 1e-9
    Run("whole").write("samples", frame)
    assert Path("stopped/samples.parquet").read_bytes() != Path("whole/samples.parquet").read_bytes()


def test_a_file_may_hold_what_is_required(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "judge.yaml").write_text("run: small\nmodel: m\n", encoding="utf-8")
    assert outcome(["judge", "--config", "judge.yaml"]) == 1
    assert "small is not a run folder: it has no recipe.yaml" in capsys.readouterr().err
    # Without one of the two the command is not understood.
    (work / "judge.yaml").write_text("run: small\n", encoding="utf-8")
    assert outcome(["judge", "--config", "judge.yaml"]) == 2
    assert "the following arguments are required: --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output: 7", "r.yaml: output must be text, got 7"),
        ("dry_run: [1]", "r.yaml: dry_run must be true or false, got [1]"),
        ("trl: {}", "r.yaml: no field 'trl'"),
        ("help: true", "r.yaml: no field 'help'"),
    ],
)
def test_a_training_s_file_is_checked_too(
    text: str, message: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "r.yaml").write_text(text, encoding="utf-8")
    assert outcome(["train", "--config", "r.yaml"]) == 2
    assert message in capsys.readouterr().err


def test_a_flag_is_at_fault_not_the_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "r.yaml").write_text("samples: 2", encoding="utf-8")
    assert outcome(["measure", "--config", "r.yaml", "--problems", "0"]) == 2
    assert "error: problems must be at least 1, got 0" in capsys.readouterr().err
    (work / "r.yaml").write_text("problems: 0", encoding="utf-8")
    assert outcome(["measure", "--config", "r.yaml"]) == 2
    assert "error: r.yaml: problems must be at least 1, got 0" in capsys.readouterr().err
