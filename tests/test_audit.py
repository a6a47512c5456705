"""The audit of a baseline: samples cut at a limit are those of that limit, and each grader grades by its own rule."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from expo.audit import _cut, audit, pass_rate, show, sizes
from expo.cli import main
from expo.evaluate import evaluate_run
from expo.grade import graders
from expo.grading.answers import Status
from expo.grading.last_number import last_number
from expo.grading.rules import USUAL
from expo.recipe import EvaluateRecipe
from expo.records import RecordError, Run
from expo.report.training.audit import draw_audit
from expo.report.trainings import EvaluatedRun

TOY = EvaluateRecipe(
    task="chain", policy="tiny-0", problems=15, samples=4, max_new_tokens=60, limits=[15, 30, 60], seed=3
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluate_run(TOY, tmp_path_factory.mktemp("audit") / "tiny-0", progress=False)


def test_a_text_cut_at_a_limit_is_the_sample_of_that_limit(toy: Run, tmp_path: Path) -> None:
    """What a lower limit would have sampled: the same tokens, as far as they go."""
    short = EvaluateRecipe(task="chain", policy="tiny-0", problems=15, samples=4, max_new_tokens=30, seed=3)
    sampled = evaluate_run(short, tmp_path / "short", progress=False).read("completions")
    cut = [_cut(row, 30) for row in toy.read("completions").to_dict("records")]
    assert cut == list(zip(sampled["text"], sampled["truncated"], strict=True))
    assert 0 < sampled["truncated"].sum() < len(sampled)


def test_the_toy_is_graded_as_it_was_and_by_its_last_number(toy: Run) -> None:
    grades, evaluation = toy.read("grades"), toy.read("evaluation")
    exact = grades[(grades["grader"] == "exact") & (grades["limit"] == 60)]
    pd.testing.assert_series_equal(exact["correct"], evaluation["correct"], check_index=False)
    by = grades.groupby(["grader", "limit"])["correct"].sum().unstack()
    # Of an exact answer the last number is right too; of one that is cut, it may be by chance.
    assert (by.loc["last number"] >= by.loc["exact"]).all()
    unparsed = grades[grades["limit"] == 15].groupby("grader")["unparsed"].sum()
    assert unparsed["exact"] > unparsed["last number"] == 0
    assert by.loc["exact"].is_monotonic_increasing
    text = show(grades)
    assert "n = 15 problems, 4 samples each" in text
    rate = pass_rate(exact, 4)
    assert 0 <= rate.low <= rate.mean <= rate.high <= 1
    assert rate.mean >= pass_rate(exact, 1).mean


def test_graders_differ_where_their_rules_do() -> None:
    texts = {
        "The answer is 18.": {"ours", "no last number", "within 1 %", "last number", "math-verify"},
        "She has 9 * 2 and that makes 18": {"ours", "within 1 %", "last number", "math-verify"},
        r"It is \boxed{18}. I checked 3 times.": {
            *("ours", "no last number", "within 1 %", "boxed only", "math-verify"),
        },
        "The answer is 18.1.": {"within 1 %"},
    }
    with ExitStack() as stack:
        by_name = graders(stack, USUAL)
        for text, right in texts.items():
            found = {name for name, grade in by_name.items() if grade("18", text, False).status is Status.CORRECT}
            assert found == right, text
        # Cut at its limit, a text that states nothing is nobody's but those that take any number.
        cut = {n for n, grade in by_name.items() if grade("18", "that makes 18", True).status is Status.CORRECT}
        assert cut == {"last number", "math-verify"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("a 5 and $1,250.", "1250"), ("3.5 or -2", "-2"), ("none", None), ("...", None), ("x = 7.", "7")],
)
def test_the_last_number_is_what_harnesses_take(text: str, number: str | None) -> None:
    assert last_number(text) == number


def test_what_cannot_be_graded_is_named(toy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecordError, match="limits must be between 1 and 60"):
        audit(toy, [61], progress=False)
    with pytest.raises(RecordError, match=r"no completions\.parquet"):
        audit(Run(tmp_path), progress=False)
    with pytest.raises(ValueError, match="limits must be between 1 and max_new_tokens"):
        EvaluateRecipe(task="chain", policy="tiny-0", limits=[200])
    assert main(["grade", "--run", str(toy.folder), "--gold", "1"]) == 1
    assert "leave out --gold" in capsys.readouterr().err
    assert main(["grade", "--run", str(toy.folder), "--limits", "0"]) == 1
    assert f"limits must be between 1 and 60, the token limit of {toy.folder}; got [0]\n" in capsys.readouterr().err
    assert main(["grade", "--gold", "1", "--answer", "1", "--limits", "3"]) == 1
    assert "limits: applies only with --run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            None,
            "--run runs/x is not a run folder: there is no such folder; give the folder of a run of `expo evaluate`\n",
        ),
        ({"samples": 1}, "runs/x holds an unfinished run: repeat the command of its evaluation\n"),
        (
            {"sources": ["own"]},
            "--run runs/x is a record of `expo measure`, but a record of `expo evaluate` is needed\n",
        ),
        (
            {"positive": "none"},
            "--run runs/x is a record of `expo train`, but a record of `expo evaluate` is needed; "
            "make one with `expo evaluate --policy runs/x/model`\n",
        ),
    ],
)
def test_what_is_no_evaluation_is_named_with_the_fix(
    recipe: dict[str, object] | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if recipe is not None:
        Run.start("runs/x", recipe)
    assert main(["grade", "--run", "runs/x"]) == 1
    assert capsys.readouterr().err.endswith(f"expo grade: {message}")


def test_a_record_is_graded_again_at_other_limits(toy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = toy.read("grades")
    assert main(["grade", "--run", str(toy.folder), "--limits", "20"]) == 0
    assert set(toy.read("grades")["limit"]) == {20, 60}
    assert "exact" in capsys.readouterr().out
    audit(toy, [15, 30, 60], progress=False)
    pd.testing.assert_frame_equal(toy.read("grades"), before)


def test_the_figure_holds_the_grades_and_the_printed_numbers_apart(toy: Run, tmp_path: Path) -> None:
    picture, table = draw_audit([EvaluatedRun(toy)], tmp_path)
    assert picture.shown.read_bytes().startswith(b"\x89PNG")
    numbers = pd.read_csv(tmp_path / "audit-tiny.csv")
    assert set(numbers["k"]) == set(sizes(4)) == {1, 2, 4}
    grades = toy.read("grades")
    exact = grades[(grades["grader"] == "exact") & (grades["limit"] == 60)]
    row = numbers[(numbers["grader"] == "exact") & (numbers["limit"] == 60) & (numbers["k"] == 4)].iloc[0]
    assert row["mean"] == pytest.approx(pass_rate(exact, 4).mean)
    measured, printed = table.shown.read_text(encoding="utf-8").split("## Printed elsewhere")
    assert "A toy" in measured
    assert "never to be compared with the toy's" in printed
    # The paper's Table 3 over all levels, and the vendor's one answer.
    assert "55.8 %" in printed
    assert "65.9 %" in printed
    assert "55.8" not in measured + numbers.to_csv()
