"""`expo grade`: several graders side by side, files of texts, and the rules that a recipe may change."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from expo.cli import main
from expo.flags import parse
from expo.grade import graders
from expo.grading.answers import AnswerGrader, Status
from expo.grading.compare import settle
from expo.grading.extraction import extract
from expo.grading.rules import USUAL, Rules
from expo.recipe import EvaluateRecipe, GradientRecipe
from expo.tasks import checker_for
from expo.workers import spread


def test_one_text_has_a_verdict_and_a_reason_from_each_grader(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--gold", "6ab", "--answer", "6"]) == 0
    lines = {line[:16].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}
    assert lines["ours"].startswith("wrong")
    assert "values" in lines["ours"]
    # What plain math-verify takes for right.
    assert lines["math-verify"].startswith("correct")
    assert main(["grade", "--gold", "18", "--text", "9 * 2 makes 18"]) == 0
    lines = {line[:16].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}
    assert lines["ours"].startswith("correct")
    assert lines["boxed only"].startswith("unparsed")
    assert lines["no last number"].startswith("unparsed")


def test_a_file_is_counted_and_its_disagreements_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"gold": "6ab", "text": r"\boxed{6}"},
        {"gold": "18", "completion": "The answer is 18."},
        {"gold": 7, "text": r"\boxed{8}"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = tmp_path / "verdicts.csv"
    asked = ["grade", "--file", str(tmp_path / "rows.jsonl"), "--output", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "n = 3" in said
    assert "2 rows on which the graders differ" in said
    with out.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["ours"] for row in found] == ["wrong", "correct", "wrong"]
    assert [row["boxed only"] for row in found] == ["wrong", "unparsed", "wrong"]
    # Nothing that is there is written over.
    assert main(asked) == 1
    assert "exists" in capsys.readouterr().err


def grade_with_all(job: tuple[Path, str], tick: Callable[[], object], processes: int) -> None:
    folder, name = job
    with ExitStack() as stack:
        found = {name: grader("2", "The answer is 2.", False).status for name, grader in graders(stack, USUAL).items()}
    (folder / name).write_text(json.dumps(found))


def test_runs_side_by_side_start_graders_with_processes_of_their_own(tmp_path: Path) -> None:
    jobs = [(tmp_path, name) for name in "ab"]
    spread(grade_with_all, jobs, 2, lambda: None, lambda job: None)
    for _, name in jobs:
        found = json.loads((tmp_path / name).read_text())
        assert found.pop("boxed only") == "unparsed"
        assert set(found) >= {"ours", "math-verify"}
        assert set(found.values()) == {"correct"}


BAD = {
    "{": "line: not JSON: Expecting property name enclosed in double quotes at column 2\n",
    "[]": "line: a list, not an object",
    '{"gold": null, "text": "18"}': "gold: null",
    '{"text": "18"}': "gold: missing",
    '{"gold": "18"}': "text: missing",
    '{"gold": "", "text": "18"}': "the ground-truth answer '' cannot be read",
}


def test_bad_lines_are_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "verdicts.csv"
    good = '{"gold": "1", "text": "1"}'
    rows.write_text("\n".join([good, *BAD, good, ""]), encoding="utf-8")
    assert main(["grade", "--file", str(rows), "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "n = 2" in said
    skipped = said.partition("skipped: 6 lines\n")[2]
    for number, message in enumerate(list(BAD.values())[:5], start=2):
        assert f"rows.jsonl:{number}: {message}" in skipped
    assert "1 more, for other reasons" in skipped
    with out.open(encoding="utf-8") as file:
        assert [row["where"] for row in csv.DictReader(file)] == [f"{rows}:1", f"{rows}:8"]
    # The last of them, which is named only where there are fewer.
    line, message = list(BAD.items())[-1]
    rows.write_text(f"{good}\n{line}\n", encoding="utf-8")
    assert main(["grade", "--file", str(rows)]) == 0
    assert message in capsys.readouterr().out.partition("skipped: 1 line\n")[2]
    # The control.
    rows.write_text(good, encoding="utf-8")
    assert main(["grade", "--file", str(rows)]) == 0
    assert "skipped" not in capsys.readouterr().out


@pytest.mark.parametrize("line", BAD)
def test_a_file_of_a_bad_line_alone_is_an_error(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(line, encoding="utf-8")
    assert main(["grade", "--file", str(rows)]) == 1
    said = capsys.readouterr().err
    assert f"{rows}: nothing to grade:" in said
    assert BAD[line] in said
    if BAD[line].partition(":")[0] in ("line", "gold", "text"):
        assert f"rows.jsonl:1: {BAD[line]}" in said


def test_a_ground_truth_that_cannot_be_read_and_an_empty_file_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grade", "--gold", "", "--text", "1"]) == 1
    assert "the ground-truth answer '' cannot be read" in capsys.readouterr().err
    (tmp_path / "rows.jsonl").write_text("")
    assert main(["grade", "--file", str(tmp_path / "rows.jsonl")]) == 1
    assert capsys.readouterr().err.endswith("rows.jsonl: nothing to grade\n")


@pytest.mark.parametrize("asked", [[], ["--gold", "1"], ["--text", "1"], ["--gold", "1", "--file", "rows.jsonl"]])
def test_what_is_graded_is_asked_in_one_way(capsys: pytest.CaptureFixture[str], asked: list[str]) -> None:
    assert main(["grade", *asked]) == 1
    assert "give --gold with either --text or --answer, or --file alone" in capsys.readouterr().err


def test_the_toys_limit_of_tokens_is_its_own() -> None:
    assert EvaluateRecipe(task="chain", policy="tiny-0").max_new_tokens == 100
    assert EvaluateRecipe(task="chain", policy="tiny-0", max_new_tokens=60).max_new_tokens == 60
    assert EvaluateRecipe(task="stories").max_new_tokens == 256


def test_numbers_of_a_list_in_yaml_may_have_an_exponent(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: chain\npolicy: tiny-0\nsizes: [3e-3, 0.01]\n")
    (recipe,) = parse("gradients", [GradientRecipe], ["--config", str(tmp_path / "recipe.yaml")], "")
    assert recipe.sizes == [0.003, 0.01]


def test_rules_change_what_an_answer_is_and_how_near_it_must_be() -> None:
    cued, last = "The answer is 18.", "that makes 18"
    assert [extract(t, Rules(boxed_only=True)) for t in (cued, last)] == [None, None]
    assert extract(cued, Rules(last_number=False)) == ("18", 0)
    assert extract(last, Rules(last_number=False)) is None
    assert settle(r"\pi", "3.14").right is False
    assert settle(r"\pi", "3.14", 0.01).right is True
    assert settle("100", "102", 0.01).right is False
    assert settle("x", "y", 0.5).right is False
    # The next comparison is exact again.
    assert settle(r"\pi", "3.14").right is False
    with AnswerGrader(rules=Rules(tolerance=0.01)) as grader:
        assert grader.grade("3", r"\boxed{3.02}").status is Status.CORRECT
        assert grader.grade("3", r"\boxed{3.2}").status is Status.WRONG


def test_a_recipe_may_change_the_rules_of_texts_alone() -> None:
    recipe = EvaluateRecipe(task="stories", boxed_only=True, tolerance=0.01)
    assert recipe.rules == Rules(boxed_only=True, tolerance=0.01)
    assert recipe.resolved()["boxed_only"] is True
    # A recipe of before there was a choice is the same recipe.
    assert not {"boxed_only", "last_number", "tolerance"} & EvaluateRecipe(task="stories").resolved().keys()
    checker = checker_for("stories", recipe.rules)
    assert checker.cot_end("So. The answer is 18.") == len("So. The answer is 18.")
    assert checker_for("stories").cot_end("So. The answer is 18.") == len("So. ")
    with pytest.raises(ValueError, match="apply only to the math grader, which chain does not use"):
        EvaluateRecipe(task="chain", policy="tiny-0", boxed_only=True)
    with pytest.raises(ValueError, match="tolerance must be at least 0 and below 1"):
        EvaluateRecipe(task="stories", tolerance=2.0)
