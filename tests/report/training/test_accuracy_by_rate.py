from __future__ import annotations

import re
from pathlib import Path

import pytest

from expo.records import Run
from expo.report.accuracy import MEAN, accuracy_by_base
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.training import accuracy_by_rate
from expo.report.training.accuracy_by_rate import draw_accuracy_by_rate, has_rates
from expo.report.trainings import EvaluatedRun, find_evaluated
from expo.report.words import share

from ..records.dpo import write_arm
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
    begin = "On the toy: at the best rates tried, on level 5, "
    assert headings == [f"{begin}ExP-GRPO ({share(best['mean'])}) is clearly the highest"]
    alone = draw_accuracy_by_rate("alone", [run for run in runs if run.method == "explanation"], tmp_path / "alone")
    assert headings[1] == f"{begin}ExP-GRPO ({share(best['mean'])}) has no other to be compared with"
    assert "The best rate is the highest one tried for ExP-GRPO." in alone.reading


def test_no_method_leads_where_bases_overlap(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    runs = at_rates(folder, {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.0, ("none", 1e-3): 0.3})
    made = draw_accuracy_by_rate("rates", runs, tmp_path / "out")
    assert headings == ["On the toy: at the best rates tried, on level 5, no method is clearly below the highest"]
    assert "At the best rates tried, on level 5, no method is clearly below the highest." in made.reading


def test_too_few_problems_show_no_order(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    runs = at_rates(folder, {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.8, ("none", 1e-3): 0.0})
    parent = runs[0].run.folder.parent
    for run in runs:
        few = run.evaluation["problem"].isin([f"p5-{i}" for i in range(9)])
        run.run.write("evaluation", run.evaluation[few])
    at_few = [run for run in find_evaluated(parent)[0] if run.name in {run.name for run in runs}]
    draw_accuracy_by_rate("rates", at_few, tmp_path / "out")
    assert "on level 5, too few problems, or no base in common, to compare ExP-GRPO (" in headings[0]


def test_one_base_agrees_with_no_other(folder: Path, tmp_path: Path) -> None:
    runs = at_rates(folder, {("explanation", 1e-4): 0.3, ("explanation", 1e-3): 0.8})
    for name, of_runs, said, unsaid in (
        ("one", [run for run in runs if run.base == "tiny-0"], "All runs are from one base", "means over 3 bases"),
        ("three", runs, "means over 3 bases", "All runs are from one base"),
    ):
        made = draw_accuracy_by_rate(name, of_runs, tmp_path / name)
        words = " ".join(made.shown.with_suffix(".svg").read_text(encoding="utf-8").split())
        assert said in words
        assert unsaid not in words


def test_those_below_the_best_are_named_where_none_leads(folder: Path, tmp_path: Path, headings: list[str]) -> None:
    ends = {("explanation", 1e-4): 0.8, ("explanation", 1e-3): 0.8, ("expert", 1e-4): 0.8, ("none", 1e-4): 0.0}
    made = draw_accuracy_by_rate("rates", at_rates(folder, ends), tmp_path / "out")
    (heading,) = headings
    begin = "On the toy: at the best rates tried, on level 5, only GRPO "
    assert re.fullmatch(rf"{begin}\([\d.]+ %, tried at one rate\) is clearly below the highest", heading)
    assert "Only one rate was tried for GRPO SFT-GT-CoT and GRPO." in made.reading


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
    # The heading speaks of what is drawn, even if the weight without a line is the highest.
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write(folder / "grid" / f"{base}-light", {**light, "policy": base}, {0: levels(0.0), 20: levels(1.0)})
    again = draw_accuracy_by_rate("rates", find_evaluated(folder / "grid")[0], tmp_path / "again")
    assert accuracy_by_rate._finding(again.numbers) == accuracy_by_rate._finding(made.numbers)


def test_a_value_stands_below_its_ring_where_another_method_is_higher(
    folder: Path, tmp_path: Path, captions: list[Caption]
) -> None:
    ends = {("explanation", 1e-4): 0.6, ("explanation", 3e-4): 0.8, ("none", 1e-4): 0.4, ("none", 3e-4): 0.2}
    made = draw_accuracy_by_rate("rates", at_rates(folder, ends), tmp_path / "out")
    means = made.numbers[made.numbers["base"] == MEAN].set_index(["method", "rate"])["mean"]
    with look():
        (axes,) = accuracy_by_rate._plot(made.numbers, captions[0]).axes
    scale = axes.transAxes.inverted().transform
    places = {text.get_text(): text.xy[1] for text in axes.texts if "%" in text.get_text()}
    rings = {
        method: scale(axes.transData.transform((0, means[method, rate])))[1]
        for method, rate in (("explanation", 3e-4), ("none", 1e-4))
    }
    assert places[f"{share(means['explanation', 3e-4])} →"] > rings["explanation"]
    assert places[f"← {share(means['none', 1e-4])}"] < rings["none"]


def test_values_are_at_the_best_rates_which_are_ringed(folder: Path, tmp_path: Path, captions: list[Caption]) -> None:
    ends = {("explanation", 1e-4): 0.3, ("explanation", 3e-4): 0.8, ("explanation", 1e-3): 0.5}
    ends |= {("none", 1e-4): 0.6, ("none", 3e-4): 0.2, ("none", 1e-3): 0.0, ("expert", 3e-4): 0.1}
    made = draw_accuracy_by_rate("rates", at_rates(folder, ends), tmp_path / "out")
    means = made.numbers[made.numbers["base"] == MEAN].set_index(["method", "rate"])["mean"]
    with look():
        (axes,) = accuracy_by_rate._plot(made.numbers, captions[0]).axes
    assert axes.get_title(loc="left") == "accuracy, trained on level 5 (n = 12 problems)"
    labels = {text.get_text(): text.xy[0] for text in axes.texts if "%" in text.get_text()}
    assert labels == {
        share(means["explanation", 3e-4]): 3e-4,
        f"← {share(means['none', 1e-4])}": 1e-4,
        f"{share(means['expert', 3e-4])} (one rate)": 3e-4,
    }
    rings = {(*line.get_xdata(), *line.get_ydata()) for line in axes.lines if line.get_markersize() == 9}
    assert rings == {(3e-4, means["explanation", 3e-4]), (1e-4, means["none", 1e-4])}
    assert "arrow: at the edge of the grid" in captions[0].notes
    assert max(axes.get_yticks()) <= 1.001


def test_trainings_against_wrong_losers_say_so(tmp_path: Path, headings: list[str]) -> None:
    for base in ("tiny-0", "tiny-1"):
        for rate in (1e-4, 1e-3):
            write_arm(tmp_path / f"{rate}", base, "explanation", 0, 0.5, 10.0, rate)
    runs = [run for rate in (1e-4, 1e-3) for run in find_evaluated(tmp_path / f"{rate}")[0]]
    for wrong in (False, True):
        for run in runs:
            run.__dict__["recipe"] = {**run.recipe, "right_losers": not wrong}
        made = draw_accuracy_by_rate("rates", runs, tmp_path / "out")
        assert ("trained against wrong losers only, at the best rates tried" in headings[-1]) == wrong
        assert ("16 pairs against wrong losers only" in made.setting) == wrong
