"""Data as people have it: formats, columns of other names, and what is wrong with a row, named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expo.tasks import files, jsonl
from expo.tasks.files import eaten
from expo.tasks.problem import DataError

ROWS: list[dict[str, Any]] = [
    {"Body": "Ann has 3 pens.", "Question": "How many are 2 more?", "Answer": 5.0, "Equation": "3 + 2 = 5."},
    {"Body": "Bob has 7 cups.", "Question": "How many are 1 less?", "Answer": 6.0, "Equation": "7 - 1 = 6."},
]
COLUMNS = "question=Body+Question,answer=Answer,expert_cot=Equation"


def _jsonl(path: Path) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return path


def _gzip(path: Path) -> Path:
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    return path


def _array(path: Path) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")
    return path


def _csv(path: Path) -> Path:
    path = path.with_suffix(".csv")
    pd.DataFrame(ROWS).to_csv(path, index=False)
    return path


def _parquet(path: Path) -> Path:
    path = path.with_suffix(".parquet")
    pd.DataFrame(ROWS).to_parquet(path)
    return path


def _saved(path: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("write", [_jsonl, _gzip, _array, _csv, _parquet, _saved])
def test_every_format_gives_the_same_problems(
    write: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = jsonl.load(write(tmp_path / "svamp"), columns=COLUMNS)
    assert [p.question for p in task.problems] == [f"{r['Body']} {r['Question']}" for r in ROWS]
    # A CSV file has text alone, which is kept as it is.
    assert [p.answer.removesuffix(".0") for p in task.problems] == ["5", "6"]
    assert [p.expert_cot for p in task.problems] == ["3 + 2 = 5.", "7 - 1 = 6."]
    assert "question is Body + Question, answer is Answer, expert_cot is Equation" in capsys.readouterr().err


def read(tmp_path: Path, *rows: dict[str, Any] | str, **more: Any) -> Any:
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return jsonl.load(path, **more)


def test_usual_names_are_taken_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    math500 = {
        "problem": "What is $1+1$?",
        "solution": r"We add: $1+1=\boxed{2}$.",
        "answer": "2",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "test/algebra/1.json",
    }
    (problem,) = read(tmp_path, math500).problems
    assert (problem.question, problem.answer, problem.level) == ("What is $1+1$?", "2", 2)
    assert (problem.id, problem.subject) == ("test/algebra/1.json", "Algebra")
    assert problem.expert_cot == math500["solution"]
    assert "question is problem" in capsys.readouterr().err
    chat = {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "The answer is 4."}]}
    (problem,) = read(tmp_path, chat).problems
    assert (problem.question, problem.answer) == ("2 + 2?", "4")
    (problem,) = read(tmp_path, {"question": "9 * 2?", "answer": "9 * 2 = 18\n#### 18"}).problems
    assert (problem.answer, problem.expert_cot) == ("18", "9 * 2 = 18")
    # Names of ours say nothing.
    capsys.readouterr()
    read(tmp_path, {"question": "1 + 1?", "answer": "2"})
    assert capsys.readouterr().err == ""


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    given = ("51.0", "12345678901234567.0", "0.1", "1e-7", "-3", "1e3")
    rows = [f'{{"question": "Question {i}", "answer": {number}}}' for i, number in enumerate(given)]
    wanted = ["51", "12345678901234567", "0.1", "0.0000001", "-3", "1000"]
    assert [p.answer for p in read(tmp_path, *rows).problems] == wanted


def test_levels_in_words_have_an_order(tmp_path: Path) -> None:
    rows = [
        {"question": f"Question {i}", "answer": i, "difficulty": word} for i, word in enumerate(["Hard", "easy", "odd"])
    ]
    task = read(tmp_path, *rows, columns="level=difficulty:easy<medium<hard")
    assert [p.level for p in task.problems] == [3, 1, None]
    (skip,) = task.skipped
    reason = "'odd' is not one of easy < medium < hard; the problem is kept without it"
    assert (skip.field, skip.reason) == ("difficulty", reason)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{"question": "q", "answer": "1", "final_answer": "2"}], None, "columns answer and final_answer could be the"),
        (
            [{"question": "q", "answer": "1"}],
            "answer=Antwort",
            "no column 'Antwort' for answer; the source has question, an",
        ),
        (
            [{"question": "q", "answer": "1"}],
            "solution=answer",
            "a problem has no field 'solution'; choose from question, answer",
        ),
        ([{"question": "q", "answer": "1"}], "answer", "'answer' does not name a column; write --columns question="),
        ([{"question": "q", "answer": "1"}], "answer=answer:1<2", "only levels have an order"),
    ],
)
def test_columns_that_are_not_there_or_unclear_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], columns: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, *rows, columns=columns)


def test_a_choice_settles_which_is_the_answer(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "see there", "final_answer": "2"}
    (problem,) = read(tmp_path, row, columns="answer=final_answer").problems
    assert problem.answer == "2"


def test_ragged_and_empty_rows_of_a_csv_are_named(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('question,answer\n"What is 1 + 1,\nor 1 * 2?",2\n"3 + 3?",6,extra\n"4 + 4?",\n"5 + 5?",10\n')
    task = jsonl.load(path)
    assert [p.answer for p in task.problems] == ["2", "10"]
    assert [str(s) for s in task.skipped] == [
        f"{path}:4: row: 3 cells, but the header names 2 columns",
        f"{path}:5: answer: null or empty, but a text or a number is required",
    ]
    path.write_text("question,answer,answer\n1,2,3\n")
    with pytest.raises(DataError, match="the column 'answer' appears twice"):
        jsonl.load(path)


def test_nested_columns_of_parquet_are_named_by_row(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"question": ["1 + 1?", "2 + 2?"], "answer": [[2], [4]]}), path)
    with pytest.raises(DataError, match=r"own\.parquet:\[0\] and 1 more: answer: a list, not text"):
        jsonl.load(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        jsonl.load(path)


def test_mixed_types_are_named_by_row_and_column(tmp_path: Path) -> None:
    task = read(tmp_path, *({"question": f"q{i}", "answer": a} for i, a in enumerate([1, "2", None, ["3"], True])))
    assert [p.answer for p in task.problems] == ["1", "2"]
    assert [(s.where.rpartition(":")[2], s.field) for s in task.skipped] == [(n, "answer") for n in "345"]


@pytest.mark.parametrize(
    "name", ["frac", "text", "theta", "tan", "times", "neq", "nu", "rho", "right", "beta", "tfrac"]
)
def test_backslashes_that_json_has_eaten_are_named_with_their_cure(tmp_path: Path, name: str) -> None:
    line = f'{{"question": "What is \\{name} x?", "answer": "1"}}'
    task = read(tmp_path, line.replace("x?", "{x}?"), {"question": "1 + 1?", "answer": "2"})
    assert [p.answer for p in task.problems] == ["2"]
    (skip,) = task.skipped
    assert (skip.where.endswith(":1"), skip.field) == (True, "question")
    assert f"write \\\\{name} in the file, with two backslashes" in skip.reason
    # Written well it is read.
    assert len(read(tmp_path, {"question": rf"What is \{name} {{x}}?", "answer": "1"}).problems) == 1


@pytest.mark.parametrize(
    "text", ["One.\nTwo.\n\nnot three", "a\tb", "x\r\ny", "nu\nuse it", "1\n2", "end\nright there"]
)
def test_lines_and_tabs_of_prose_are_no_eaten_backslashes(text: str) -> None:
    assert eaten(text) is None


def test_what_is_no_file_is_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*args: Any, **kwargs: Any) -> datasets.Dataset:
        asked.append((args, kwargs))
        return datasets.Dataset.from_list([{"question": "1 + 1?", "answer": "2"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for data in ("nobody/sums", "nobody/sums:train", "nobody/sums:main:train"):
        assert len(jsonl.load(data).problems) == 1
    assert asked == [
        (("nobody/sums", None), {"split": "test"}),
        (("nobody/sums", None), {"split": "train"}),
        (("nobody/sums", "main"), {"split": "train"}),
    ]


def test_home_is_where_a_tilde_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _jsonl(tmp_path / "svamp")
    assert len(jsonl.load("~/svamp.jsonl", columns=COLUMNS).problems) == 2


def test_what_was_read_is_told_before_anything_is_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"question": "1 + 1?", "answer": "2", "reasoning": "We add.", "author": "A"}
    (problem,) = read(tmp_path, row, {**row, "question": ""}).problems
    assert problem.expert_cot == "We add."
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("own.jsonl: 1 problem with question, answer, expert_cot is reasoning; unused columns: author")
    assert rest[0] == "  left out: 1 row or field"
    assert rest[1].endswith("own.jsonl:2: question: empty")


def test_a_column_that_is_nearly_a_field_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, {"question": "1 + 1?", "answer": "2", "expert": "It is 2.", "votes": 3})
    said = capsys.readouterr().err
    assert "the column expert is ignored; did you mean expert_cot?" in said
    assert "votes" in said.splitlines()[0]
    assert "votes is" not in said


def test_a_field_that_is_misspelt_in_some_rows_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, misspelt = ({"question": f"{i} + 1?", "answer": "2", name: "x"} for i, name in enumerate(["level", "levle"]))
    good["level"], misspelt["levle"] = "1", "1"
    for _ in range(2):
        read(tmp_path, good, misspelt)
    assert capsys.readouterr().err.count("the column levle is ignored; did you mean level?") == 1
    # The control: a column like a field that its rows have, too.
    read(tmp_path, {**good, "answers": "2", "levels": "5"})
    assert "is ignored" not in capsys.readouterr().err


def test_a_mistyped_file_is_not_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(files, "_hub", lambda *repo: asked.append(repo[0]) or iter(()))
    with pytest.raises(DataError, match=r"nope\.csv"):
        list(files.read_rows("d/nope.csv"))
    assert asked == []
    list(files.read_rows("d/nope"))
    assert asked == ["d/nope"]


def test_a_mistyped_folder_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(files, "_hub", lambda *repo: asked.append(repo[0]) or iter(()))
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(DataError, match=r"runs/ is a folder here without textz; .*runs/textz:test"):
        list(files.read_rows("runs/textz"))
    assert asked == []
    list(files.read_rows("runs/textz:test"))
    assert asked == ["runs/textz"]
