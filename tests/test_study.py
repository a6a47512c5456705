"""A study: every shipped one loads, a wrong one is named by file, run and field, and a done run is not done again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from expo import study as study_module
from expo.cli import main
from expo.recipe import EvaluateRecipe, MeasureRecipe
from expo.records import Run
from expo.report import notebook_page, notebooks
from expo.reproduce import reproduce
from expo.study import STUDIES, StudyError, default_figures, load_study
from expo.tasks.prompts import TEXT, Prompts
from expo.train.recipe import TrainRecipe, read_recipe


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("name", sorted(p.stem for p in STUDIES.glob("*.yaml")))
def test_a_shipped_study_loads(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.description
    assert study.runs or study.notebooks or study.bases
    assert len({json.dumps(r.resolved(), sort_keys=True) for r in study.runs.values()}) == len(study.runs)
    # TRL's fields are read when the runs begin.
    for recipe in study.runs.values():
        if isinstance(recipe, TrainRecipe):
            read_recipe(recipe.resolved())


def test_defaults_are_for_all_runs_and_each_run_may_differ(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        description: two temperatures
        notebooks: [2_positives]
        defaults: {task: gsm8k, problems: 10, temperature: 0.7, prompts: {question: "Q: {question}"}}
        runs:
          warm:
          cold: &cold {temperature: 0}
          other: {<<: *cold, task: math}
        """,
    )
    study = load_study(path)
    assert (study.name, study.description, study.notebooks) == ("mine", "two temperatures", ("2_positives",))
    assert list(study.runs) == ["warm", "cold", "other"]
    shared = {"problems": 10, "prompts": {"question": "Q: {question}"}}
    assert study.runs["warm"] == MeasureRecipe(task="gsm8k", temperature=0.7, **shared)
    assert study.runs["cold"] == MeasureRecipe(task="gsm8k", temperature=0, **shared)
    assert study.runs["other"] == MeasureRecipe(task="math", temperature=0, **shared)
    assert Prompts(**study.runs["warm"].prompts) == TEXT.override({"question": "Q: {question}"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "runs: give at least one run"),
        ("runs: {}", "runs: give at least one run"),
        ("description: none", "runs: give at least one run"),
        ("- runs", r"the file must be a mapping of names, got \['runs'\]"),
        ("runs: [a, b]", r"runs must be a mapping of names, got \['a', 'b'\]"),
        ("runs: {a: 3}", "a must be a mapping of names, got 3"),
        ("runs: {a: {}}\ndefaults: gsm8k", "defaults must be a mapping of names, got 'gsm8k'"),
        (
            "runs: {a: {}}\ndefault: {task: math}",
            "no field 'default'; the fields are description, notebooks, bases, defaults",
        ),
        ("runs: {a: {}}\nnotebooks: 2_positives", "notebooks must be a list of names, got '2_positives'"),
        ("runs: {a: {sampels: 2}}", "run a: no field 'sampels'; did you mean samples?"),
        ("runs: {a: {}}\ndefaults: {sampels: 2}", "run a: no field 'sampels'; did you mean samples?"),
        ("runs: {a: {1: 2}}", "run a: no field '1'; `expo measure --help-all` lists all fields"),
        ("runs: {a: {samples: 0}}", "run a: samples must be at least 1, got 0"),
        ("runs: {a: {samples: '2'}}", "run a: samples must be a whole number, got '2'"),
        ("runs: {a: {task: gms8k}}", "run a: task: unknown task 'gms8k'; choose from"),
        ("runs: {a: {prompts: {question: Solve.}}}", r"run a: prompts\.question must contain"),
        ("runs: {../a: {}}", r"run '\.\./a': the name is also a folder's"),
        ("runs: {..: {}}", r"run '\.\.': the name is also a folder's"),
        ("runs: {a/b: {}}", "run 'a/b': the name is also a folder's"),
        ("runs: {a: [}", r"cannot be read: (?s:.*)line 1"),
        ("runs: \x00", "cannot be read"),
    ],
)
def test_a_wrong_study_is_named(tmp_path: Path, text: str, message: str) -> None:
    load_study(written(tmp_path, "runs: {a: {}}"))
    with pytest.raises(StudyError, match=rf"mine\.yaml: {message}"):
        load_study(written(tmp_path, text))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("mine.yaml", "folder.yaml"):
        with pytest.raises(StudyError, match=f"{name}: cannot be read: "):
            load_study(str(tmp_path / name))


@pytest.mark.parametrize("name", ["tyni", "nowhere.yaml", ""])
def test_an_unknown_study_names_those_that_are_shipped(name: str) -> None:
    with pytest.raises(StudyError, match=f"no study '{name}'; choose from gradients, .*tiny.*the path of a .yaml file"):
        load_study(name)


def test_figures_go_to_the_project_for_its_own_study_alone() -> None:
    assert default_figures(load_study("tiny"), Path("runs")) == Path("figures")
    assert default_figures(load_study("smoke"), Path("runs")) == Path("runs/smoke/figures")


@pytest.fixture
def mine(tmp_path: Path, policy_folder: Path) -> str:
    (tmp_path / "d.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": "1 + 2?", "answer": "3"}\n')
    defaults = {"task": "jsonl", "data": str(tmp_path / "d.jsonl"), "policy": str(policy_folder), "device": "cpu"}
    defaults |= {"max_new_tokens": 4, "sources": ["own", "explanation"]}
    runs = {"first": {}, "second": {"temperature": 0.5}}
    return written(tmp_path, json.dumps({"defaults": defaults, "runs": runs}))


def test_reproduce_does_each_run_once(mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = load_study(mine)
    assert reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False) == []
    # They are done side by side, and either may end first.
    said = re.findall(r"^\[(\d)/2\] (\w+): ", capsys.readouterr().out, re.M)
    assert ([n for n, _ in said], {name for _, name in said}) == (["1", "2"], {"first", "second"})
    runs = [Run(tmp_path / "runs" / "mine" / name) for name in study.runs]
    assert [run.recipe()["temperature"] for run in runs] == [0.9, 0.5]
    before = [run.path("samples.parquet").stat().st_mtime_ns for run in runs]
    runs[1].path("samples.parquet").unlink()
    reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False)
    after = [run.path("samples.parquet").stat().st_mtime_ns for run in runs]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_missing_notebook_is_said_before_any_run(mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(mine).read_text()
    study = load_study(written(tmp_path, json.dumps(json.loads(text) | {"notebooks": ["9_nothing"]})))
    with pytest.raises(StudyError, match=r"no notebook 9_nothing in .*notebooks; run from a checkout"):
        reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False)
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(study_module, "NOTEBOOKS", tmp_path / "site-packages" / "notebooks")
    with pytest.raises(StudyError, match="no notebook 2_positives in"):
        reproduce(load_study("smoke"), tmp_path / "runs", tmp_path / "figures", progress=False)


def test_each_is_a_run_for_every_combination(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        defaults: {job: train, task: chain, max_steps: 2, learning_rate: 3e-4}
        runs:
          hard:
            levels: [5]
            each: {policy: [tiny-0, tiny-1], positive: [explanation, none]}
          base: {job: evaluate, policy: tiny-0}
        """,
    )
    with pytest.raises(
        StudyError, match="run base: no field 'learning_rate'; `expo evaluate --help-all` lists all fields"
    ):
        load_study(path)
    study = load_study(
        written(
            tmp_path,
            """
            runs:
              hard:
                {job: train, task: chain, levels: [5], max_steps: 2, learning_rate: 3e-4,
                 each: {policy: [tiny-0, tiny-1], positive: [explanation, none]}}
              base: {job: evaluate, task: chain, policy: tiny-0, samples: 8}
              c: {task: chain, policy: tiny-0}
            """,
        )
    )
    names = [f"hard-tiny-{i}-{p}" for i in (0, 1) for p in ("explanation", "none")]
    assert list(study.runs) == [*names, "base", "c"]
    held = study.runs["hard-tiny-1-none"]
    assert isinstance(held, TrainRecipe)
    assert (held.policy, held.positive, held.levels) == ("tiny-1", "none", [5])
    assert held.trl == {"max_steps": 2, "learning_rate": "3e-4"}
    assert isinstance(study.runs["base"], EvaluateRecipe)
    assert isinstance(study.runs["c"], MeasureRecipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: {a: {job: trian}}", "run a: unknown job 'trian'; choose from measure, evaluate, gradients, train"),
        ("runs: {a: {each: {policy: tiny-0}}}", "run a: each: give a list of values for each field"),
        (
            "runs: {a-tiny-0: {task: chain}, a: {each: {policy: [tiny-0]}, task: chain}}",
            "two runs would be called a-tiny-0",
        ),
        ("runs: {a: {each: {policy: []}}}", "run a: each: give a list of values for each field"),
        ("runs: {a: {each: [policy]}}", "run a: each must be a mapping of names"),
    ],
)
def test_a_wrong_job_or_grid_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(written(tmp_path, text))


def test_a_training_s_field_is_checked_before_any_run(tmp_path: Path) -> None:
    path = written(tmp_path, "runs: {a: {job: train, task: chain, policy: tiny-0, learning_rat: 1}}")
    with pytest.raises(StudyError, match=r"run a: no field 'learning_rat'; did you mean learning_rate\?"):
        reproduce(load_study(path), tmp_path / "runs", tmp_path / "figures", progress=False)
    assert not (tmp_path / "runs").exists()


def test_figures_can_be_drawn_of_what_is_there_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = []
    monkeypatch.setattr(notebooks, "execute", lambda path, **where: drawn.append((path.stem, where["runs"])))
    for name in ("executed_in", "write_page"):
        monkeypatch.setattr(notebook_page, name, lambda *_: None)
    text = "notebooks: [2_positives]\nruns: {a: {task: chain, policy: tiny-0, problems: 2, max_new_tokens: 8}}"
    study = load_study(written(tmp_path, text))
    where = {"runs": tmp_path / "runs", "figures": tmp_path / "figures", "progress": False}
    with pytest.raises(StudyError, match="mine: none of the study's runs is here; give --runs the folder that holds"):
        reproduce(study, **where, only_draw=True)
    assert (drawn, (tmp_path / "runs").exists()) == ([], False)
    # Without it, the run is done first.
    reproduce(study, **where)
    assert Run(tmp_path / "runs" / "mine" / "a").has("samples")
    assert drawn == [("2_positives", tmp_path / "runs" / "mine")]
    capsys.readouterr()
    more = load_study(written(tmp_path, text.replace("runs: {a:", "runs: {b: {task: chain, policy: tiny-1}, a:")))
    reproduce(more, **where, only_draw=True)
    assert "drawn from 1 of 2 runs; missing: b" in capsys.readouterr().out
    assert len(drawn) == 2
    with pytest.raises(StudyError, match="it has no notebooks, so there is nothing to draw"):
        reproduce(replace(study, notebooks=()), **where, only_draw=True)


def test_a_run_without_problems_is_named_before_any_is_done(tmp_path: Path) -> None:
    first = "first: {task: chain, policy: tiny-0, problems: 2, max_new_tokens: 8}"
    wrong = {
        "b: {task: chain, policy: tiny-0, levels: [9]}": r"run b: chain: levels: unknown level in \[9\]",
        "b: {job: train, task: chain, policy: tiny-0, eval_split: tests, max_steps: 1}": (
            "run b: for the evaluation .*eval_split.*: chain: split: unknown split 'tests'"
        ),
    }
    for run, message in wrong.items():
        study = load_study(written(tmp_path, f"runs:\n  {first}\n  {run}"))
        with pytest.raises(StudyError, match=message):
            reproduce(study, tmp_path / "runs", tmp_path / "figures", progress=False)
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["warm-up", "exp-grpo"])
def test_the_recipes_of_smollm2_are_those_of_its_study(name: str) -> None:
    alone = yaml.safe_load((STUDIES.parent / "smollm2-135m" / f"{name}.yaml").read_text(encoding="utf-8"))
    study = load_study("smollm2")
    assert study.bases
    if name == "warm-up":
        assert alone == study.bases.train
    else:
        recipe = study.runs["explanation-base-0"]
        assert isinstance(recipe, TrainRecipe)
        theirs = {**recipe.resolved(), "policy": None}
        assert {**read_recipe(alone).resolved(), "policy": None} == theirs


def test_the_study_of_rates_on_smollm2_differs_from_the_main_one_in_its_rate_alone() -> None:
    main, rates = load_study("smollm2").runs, load_study("smollm2-rates").runs
    for positive in ("explanation", "none", "expert"):
        main_recipe = main[f"{positive}-base-0"].resolved()
        assert rates[f"level3-base-0-{positive}-0.0001"].resolved() == main_recipe
        other = rates[f"level3-base-0-{positive}-0.0003"].resolved()
        assert {name for name, value in other.items() if value != main_recipe[name]} == {"learning_rate"}


@pytest.mark.parametrize(
    ("job", "flag", "file", "message"),
    [
        ("train", "--config", "studies/smoke.yaml", "this is a study: expo reproduce --study {}"),
        ("reproduce", "--config", "studies/theory.yaml", "this is a study: expo reproduce --study {}"),
        ("evaluate", "--config", "smollm2-135m/warm-up.yaml", "this is a recipe of expo train: expo train --config {}"),
        (
            "train",
            "--config",
            "accelerate/zero3.yaml",
            "these are accelerate's settings: accelerate launch --config_file {} -m expo.cli train ...",
        ),
        ("reproduce", "--study", "qwen2.5-3b/exp-dpo.yaml", "this is a recipe of expo train: expo train --config {}"),
    ],
)
def test_a_file_of_another_command_says_which(
    job: str, flag: str, file: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = STUDIES.parent / file
    try:
        code: object = main([job, flag, str(path)])
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2)
    assert f"{path}: {message.format(path)}\n" in capsys.readouterr().err


def test_a_misspelt_recipe_is_no_other_command_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("positive: none\nproblmes: 3\n")
    with pytest.raises(SystemExit):
        main(["evaluate", "--config", str(path)])
    assert f"{path}: no field 'positive'" in capsys.readouterr().err
