from __future__ import annotations

import re
from pathlib import Path

import pytest

from expo.records import Run
from expo.report.accuracy import MEAN, accuracy_by_base
from expo.report.training.accuracy_by_rate import draw_accuracy_by_rate, has_rates
from expo.report.trainings import EvaluatedRun, find_evaluated
from expo.report.words import share

from ..records.trainings import levels, write


def at_rates(folder: Path, ends: dict[tuple[str, float], float]) -> list[EvaluatedRun]:
    """Trainings on level 5 of three bases, by method and rate, with an accuracy there at the end."""
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "levels": [5]}
    for (positive, rate), end in ends.items():
        for base in ("tiny-0", "tiny-1", "tiny-2"):
            given = {**recipe, "policy": base, "positive": positive, "learning_rate": rate}
            write(folder / "grid" / f"{base}-{positive}-{rate}", given, {0: levels(0.0), 20: levels(end)})
    return find_evaluated(folder / "grid")[0]


def test_each_method_is_shown_at_each_rate(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    ends = {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.8, ("none", 1e-4): 0.2, ("none", 1e-3): 0.0}
    runs = at_rates(folder, ends)
    assert has_rates(runs)
    assert not has_rates([run for run in runs if run.rate == 1e-4])
    made = draw_accuracy_by_rate("rates", runs, tmp_path / "out")
    assert made.name == "by-rate-rates-tiny"
    held = made.numbers.set_index(["method", "rate", "base"])
    alike = [run for run in runs if (run.method, run.rate) == ("explanation", 1e-3)]
    of_bases = accuracy_by_base(alike, None, [5])
    assert held.loc[("explanation", 1e-3, MEAN), "mean"] == pytest.approx(sum(of_bases) / 3)
    assert held.loc[("explanation", 1e-3, "tiny-1"), "mean"] == pytest.approx(of_bases[1])
    assert held.loc[("base", 0.0, MEAN), "mean"] == pytest.approx(sum(accuracy_by_base(runs, 0, [5])) / 3)
    best = held.loc[("explanation", 1e-3, MEAN)]
    assert f"ExP-GRPO {share(best['mean'])} [{share(best['low'])}, {share(best['high'])}] at 0.001" in made.reading
    assert headings == [f"On the toy: at best rates on level 5, ExP-GRPO ({share(best['mean'])}) leads"]


def test_no_method_leads_where_bases_overlap(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    runs = at_rates(folder, {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.0, ("none", 1e-3): 0.3})
    made = draw_accuracy_by_rate("rates", runs, tmp_path / "out")
    assert headings == ["On the toy: at best rates on level 5, no method leads"]
    assert "At best rates on level 5, no method leads." in made.reading


def test_one_base_agrees_with_no_other(folder: Path, tmp_path: Path) -> None:
    runs = at_rates(folder, {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.8})
    for name, of_runs, said, unsaid in (
        ("one", [run for run in runs if run.base == "tiny-0"], "All runs are from one base", "means over bases"),
        ("three", runs, "means over bases", "All runs are from one base"),
    ):
        made = draw_accuracy_by_rate(name, of_runs, tmp_path / name)
        words = " ".join(made.shown.with_suffix(".svg").read_text(encoding="utf-8").split())
        assert said in words
        assert unsaid not in words


def test_those_below_the_best_are_named_where_none_leads(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    ends = {("explanation", 1e-4): 0.8, ("explanation", 1e-3): 0.8, ("expert", 1e-4): 0.8, ("none", 1e-4): 0.0}
    draw_accuracy_by_rate("rates", at_rates(folder, ends), tmp_path / "out")
    (heading,) = headings
    assert re.fullmatch(
        r"On the toy: at best rates on level 5, only GRPO \([\d.]+ %\) is clearly below the best", heading
    )


def test_a_picture_has_no_more_lines_than_can_be_told_apart(folder: Path) -> None:
    positives = ["explanation", "expert", "none", "answer", "nonsense", "own_correct", "wrong_explanation"]
    runs = at_rates(folder, {(positive, rate): 0.3 for positive in positives for rate in (1e-4, 1e-3)})
    assert not has_rates(runs)
    assert has_rates([run for run in runs if run.recipe["positive"] != "answer"])


def test_a_weight_that_was_tried_at_one_rate_has_no_line(folder: Path, tmp_path: Path) -> None:
    runs = at_rates(folder, {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.8, ("expert", 1e-3): 0.5})
    light = {**runs[0].recipe, "positive": "explanation", "learning_rate": 1e-4, "beta_sft": 0.25}
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write(folder / "grid" / f"{base}-light", {**light, "policy": base}, {0: levels(0.0), 20: levels(0.4)})
    made = draw_accuracy_by_rate("rates", find_evaluated(folder / "grid")[0], tmp_path / "out")
    words = made.shown.with_suffix(".svg").read_text(encoding="utf-8")
    assert "ExP-GRPO, weight 1" in words
    assert "weight 0.25" not in words
    assert set(made.numbers["beta"]) >= {0.25, 1.0}
    # A method that was tried at one rate alone is shown all the same.
    assert "GRPO SFT-GT-CoT" in words
