import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from expo.tasks import gsm8k, load_task, math
from expo.tasks.problem import DataError

REAL = os.environ.get("EXPO_DATA")
ROOT = Path(__file__).parents[2]


def row(solution: str = "2 pens cost 3*2=<<3*2=6>>6 euros.", final: str = "#### 6", **fields: object) -> str:
    return json.dumps({"question": "A pen costs 3 euros. And 2?", "answer": f"{solution}\n{final}"} | fields)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An EXPO_DATA folder with an empty gsm8k/test.jsonl, whose path this is."""
    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    path = tmp_path / "gsm8k" / "test.jsonl"
    path.parent.mkdir()
    return path


def test_row_becomes_a_problem(data: Path) -> None:
    data.write_text(row() + "\n")
    task = gsm8k.load("test")
    (problem,) = task.problems
    assert (problem.id, problem.answer) == ("gsm8k-test-0", "6")
    assert problem.expert_cot == "2 pens cost 3*2=6 euros."
    assert (problem.level, problem.where) == (None, f"{data}:1")
    assert (task.name, task.is_toy, task.source) == ("gsm8k", False, "EXPO_DATA/gsm8k/test.jsonl")


def test_an_answer_that_cannot_be_graded_is_skipped_by_name(data: Path) -> None:
    lines = [row(), row().replace("#### 6", "#### 66").replace("pens", "pins")]
    data.write_text("\n".join(lines))
    task = load_task("gsm8k", can_parse=lambda answer: answer != "66")
    assert [p.answer for p in task.problems] == ["6"]
    assert [(s.where, s.field) for s in task.skipped] == [(f"{data}:2", "answer")]
    assert len(load_task("gsm8k").problems) == 2


@pytest.mark.parametrize(("final", "answer"), [("#### 1,080", "1080"), ("#### -7", "-7"), ("####2.50 ", "2.50")])
def test_answer_after_the_mark(data: Path, final: str, answer: str) -> None:
    data.write_text(row(final=final))
    assert gsm8k.load().problems[0].answer == answer


def test_last_mark_counts(data: Path) -> None:
    data.write_text(row(solution="#### 5 is a first guess."))
    assert gsm8k.load().problems[0].answer == "6"


def test_solution_of_nothing_but_the_answer_is_no_expert_cot(data: Path) -> None:
    data.write_text(row(solution=""))
    assert gsm8k.load().problems[0].expert_cot is None


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("{", "line", "not JSON"),
        (row(final="6"), "answer", "no line '#### <number>'"),
        (row(final="#### six"), "answer", "'six' after #### is not a number"),
        (row(final="####"), "answer", "'' after #### is not a number"),
        (row(answer=6), "answer", "a number, not text"),
        (row(question=""), "question", "empty"),
    ],
)
def test_bad_row_is_named_and_ids_still_count_rows(data: Path, line: str, field: str, reason: str) -> None:
    data.write_text(f"{row()}\n\n{line}\n{row()}\n")
    task = gsm8k.load()
    assert [p.id for p in task.problems] == ["gsm8k-test-0", "gsm8k-test-2"]
    (skip,) = task.skipped
    assert (skip.where, skip.field) == (f"{data}:3", field)
    assert reason in skip.reason


def test_missing_split_is_never_replaced(data: Path) -> None:
    data.write_text(row())
    with pytest.raises(DataError, match=r"gsm8k/train\.jsonl: no such file \(splits of gsm8k in EXPO_DATA: test\)"):
        gsm8k.load("train")


def test_missing_folder_says_how_to_mend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPO_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"in EXPO_DATA: none\).* unset EXPO_DATA to read openai/gsm8k") as told:
        gsm8k.load()
    assert str(told.value).endswith(f"Each line holds a row: {gsm8k.HUB.row}")


@pytest.mark.parametrize("task", [gsm8k, math])
def test_the_row_that_errors_show_is_itself_read(task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    file = tmp_path / task.TASK.name / "test.jsonl"
    file.parent.mkdir()
    file.write_text(task.HUB.row)
    loaded = task.load()
    assert loaded.skipped == ()
    assert [p.answer for p in loaded.problems] == ["12"]


@pytest.mark.skipif(not REAL, reason="EXPO_DATA is not set: no folder with the real gsm8k/train.jsonl, test.jsonl")
@pytest.mark.parametrize(("split", "rows"), [("train", 7473), ("test", 1319)])
def test_real_rows_are_all_read(split: str, rows: int) -> None:
    task = gsm8k.load(split)
    assert (len(task.problems), task.skipped) == (rows, ())
    assert task.problems[-1].id == f"gsm8k-{split}-{rows - 1}"
    for problem in task.problems:
        assert problem.expert_cot
        assert not any(mark in problem.expert_cot for mark in ("####", "<<", ">>"))
        assert "," not in problem.answer


def test_hub_rows_and_what_is_said_when_there_is_no_hub(tmp_path: Path) -> None:
    # In a process of its own: the libraries read these variables when they are imported.
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: rows.jsonl\n"
        "- config_name: torn\n  data_files:\n  - split: test\n    path: torn.jsonl\n---\n"
    )
    (repo / "rows.jsonl").write_text(f"{row()}\n{row(final='6')}\n{row(question='And 2 more?')}\n")
    (repo / "torn.jsonl").write_text(row() + "\n{")
    code = f"""
from expo.tasks import gsm8k, math
from expo.tasks.problem import DataError
from expo.tasks.source import Hub
for load in (gsm8k.load, math.load):
    try:
        load("train")
    except DataError as error:
        print(error)
gsm8k.HUB = Hub({str(repo)!r}, "main")
task = gsm8k.load("test")
print([p.id for p in task.problems], task.problems[0].answer, *task.skipped)
for split, config in (("train", "main"), ("test", "none"), ("test", "torn")):
    gsm8k.HUB = Hub({str(repo)!r}, config)
    try:
        gsm8k.load(split)
    except DataError as error:
        print(error)
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("EXPO_DATA", "HF_DATASETS_OFFLINE")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    for task, name in ((gsm8k, "gsm8k"), (math, "math")):
        assert f"{task.HUB.repo}, config" in out
        fix = f"set EXPO_DATA to a folder that has {name}/train.jsonl; each line holds a row: {task.HUB.row}"
        assert f"Without the hub, {fix}" in out
    assert out.count("in offline mode (HF_HUB_OFFLINE)") >= 2
    assert f"['gsm8k-test-0', 'gsm8k-test-2'] 6 {repo}/main/test:1: answer: no line '####" in out
    assert f"{repo}, config main, split train: cannot be read from the hub" in out
    assert f"{repo}, config torn, split test: cannot be read from the hub" in out
    assert f"{repo}, config none, split test: cannot be read from the hub" in out
