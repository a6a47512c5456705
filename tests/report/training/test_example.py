from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from expo.report.training.example import draw_example
from expo.report.trainings import EvaluatedRun, find_evaluated
from expo.schema import TABLES, as_frame
from expo.tasks import chain


def with_probes(folder: Path, problems: list[int]) -> list[EvaluatedRun]:
    """The trainings of a study, each with probes of these problems: wrong before training, right after."""
    task = chain.load("test", 4, levels=[2]).problems
    runs = [run for run in find_evaluated(folder)[0] if run.is_training]
    for run in runs:
        rows = []
        for step in (0, 20):
            for i in problems:
                p = task[i]
                steps = chain.parse(p.question).own_steps
                cot = " ".join(steps if step else [steps[0].replace(" get ", " got "), *steps[1:]])
                row = dict.fromkeys(TABLES["probes"])
                row |= {"step": step, "problem": p.id, "level": 2, "source": "own", "index": 0, "question": p.question}
                row |= {"reference": p.answer, "cot": cot, "text": f"{cot} <ans> {p.answer}", "answer": p.answer}
                row |= {"status": "correct" if step else "wrong", "truncated": False, "steps": 2}
                row |= {"steps_true": 2 if step else 1}
                rows.append(row)
        run.run.write("probes", as_frame("probes", rows))
    return runs


def test_one_question_is_shown_before_and_after(folder: Path, tmp_path: Path) -> None:
    runs = with_probes(folder, [0, 1, 2])
    drawn = draw_example(runs, tmp_path / "out")
    numbers = pd.read_csv(tmp_path / "out" / "example-tiny.csv")
    assert list(dict.fromkeys(zip(numbers["method"], numbers["step"], strict=True))) == [
        ("base", 0),
        ("explanation", 20),
        ("expert", 20),
        ("none", 20),
    ]
    ids = sorted(p.id for p in chain.load("test", 4, levels=[2]).problems[:3])
    assert set(numbers["problem"]) == {ids[0]}
    assert all("tiny-0" in run for run in numbers["run"])
    truth = numbers[numbers["true"].notna()].groupby("method")["true"].mean()
    assert truth.to_dict() == {"base": 0.5, "expert": 1.0, "explanation": 1.0, "none": 1.0}
    text = drawn.shown.read_text(encoding="utf-8")
    assert text.count("✗") == 1
    assert "**ExP-GRPO, step 20**: 2 of 2 steps true, answered" in text
    assert drawn.reading == (
        f"The question {ids[0]}, before training: wrong (1 of 2 steps true); "
        "after ExP-GRPO: correct (2 of 2 steps true); "
        "after GRPO SFT-GT-CoT: correct (2 of 2 steps true); after GRPO: correct (2 of 2 steps true)."
    )


def test_a_method_that_lacks_the_first_base_does_not_end_the_drawing(folder: Path, tmp_path: Path) -> None:
    runs = with_probes(folder, [0])
    # The next base has all three methods.
    left = [run for run in runs if not (run.method == "none" and run.base == "tiny-0")]
    numbers = draw_example(left, tmp_path / "out").numbers
    assert set(numbers["method"]) == {"base", "explanation", "expert", "none"}
    assert all("tiny-1" in run for run in numbers["run"])
    # Where no base has all, those of one are shown.
    few = [r for r in runs if (r.method == "none") == (r.base == "tiny-1") and r.base != "tiny-2"]
    numbers = draw_example(few, tmp_path / "few").numbers
    assert set(numbers["method"]) == {"base", "explanation", "expert"}


def test_runs_that_watched_other_questions_have_no_example(folder: Path, tmp_path: Path) -> None:
    with_probes(folder, [0])
    runs = with_probes(folder, [0])
    probes = runs[0].run.read("probes")
    runs[0].run.write("probes", probes.assign(problem="another"))
    with pytest.raises(ValueError, match="watched no question in common"):
        draw_example(runs, tmp_path / "out")
