"""Trainings in pictures and tables: each number against the record it comes from, and what is said of it."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from expo.report.curves import _per_group, draw_curves, draw_fig1, draw_table3, what_changed
from expo.report.grid import best, draw_grid

from expo.records import RecordError, Run
from expo.report import paper
from expo.report.training import (
    Evaluated,
    by_method,
    check_alike,
    check_comparable,
    find_evaluated,
    is_grid,
    label,
    levels_of,
    over_bases,
    spread,
)
from expo.report.words import number, share
from expo.schema import TABLES, as_frame
from expo.stats import pass_at_k

N = 8


def write(folder: Path, recipe: dict[str, Any], right: dict[int, dict[int, float]], **facts: Any) -> None:
    """A run whose problems of a level have a share of right samples, by step and level."""
    run = Run.start(folder, recipe, seed=0, toy=True, weights="none", **facts)
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    rows = [
        {
            **dict.fromkeys(TABLES["evaluation"], 0),
            "step": step,
            "problem": f"p{level}-{i}",
            "level": level,
            "n": N if "positive" in recipe else 128,
            "correct": int(np.clip(round(share * N + rng.integers(-1, 2)), 0, N)),
            "steps": 10,
            "steps_true": 7,
        }
        for step, shares in right.items()
        for level, share in shares.items()
        for i in range(12)
    ]
    if "positive" in recipe:
        groups = [
            {
                **dict.fromkeys(TABLES["groups"], 0),
                "problem": f"p{level}-0",
                "level": level,
                "n": 4,
                "correct": 5 - level,
            }
            for level in (4, 5)
        ]
        run.write("groups", pd.DataFrame(groups))
        held = [] if recipe["positive"] == "none" else ["p5-0"]
        blank = {
            **dict.fromkeys(TABLES["positives"], 0),
            "source": "",
            "hint": "",
            "text": "",
            "status": "",
            "ids": [1],
        }
        blank["leak"] = False
        positives = as_frame("positives", [{**blank, "problem": p} for p in held])
        run.write("positives", positives)
    run.write("evaluation", pd.DataFrame(rows))


def levels(hard: float) -> dict[int, float]:
    return {1: 1.0, 2: 0.9, 3: 0.8, 4: 0.4, 5: hard}


def write_study(folder: Path, name: str, trained_on: list[int] | None, rate: float = 3e-4) -> None:
    """Trainings of three bases with three methods."""
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        for positive, end in (("explanation", 0.8), ("none", 0.1), ("expert", 0.3)):
            recipe = {
                "task": "chain",
                "policy": base,
                "levels": trained_on,
                "positive": positive,
                "eval_split": "test",
                "eval_temperature": 0.7,
                "learning_rate": rate,
            }
            shares = {0: levels(0.0), 10: levels(end / 2), 20: levels(end)}
            write(folder / f"{name}-{base}-{positive}", recipe, shares)


BASE = {"task": "chain", "samples": 128, "split": "test", "temperature": 0.7, "max_new_tokens": 512}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_study(tmp_path, "all", None)
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write(tmp_path / f"base-{base}", {**BASE, "policy": base}, {0: levels(0.02)})
    return tmp_path


def test_runs_are_found_and_sorted_by_method(folder: Path) -> None:
    Run.start(folder / "cut-short", {"policy": "tiny-0", "task": "chain", "positive": "none"})
    found, unfinished = find_evaluated(folder)
    assert (len(found), unfinished) == (12, ["cut-short"])
    assert list(by_method(found)) == ["explanation", "expert", "none"]
    assert {run.method for run in found if not run.is_training} == {"base"}
    with pytest.raises(RecordError, match="no run here"):
        find_evaluated(folder / "nothing")


def test_means_are_over_bases_and_problems(folder: Path) -> None:
    runs = by_method(find_evaluated(folder)[0])["explanation"]
    ends = [run.evaluation[(run.evaluation["step"] == 20) & (run.evaluation["level"] == 5)] for run in runs]
    by_hand = [np.mean([pass_at_k(N, int(c), 1) for c in e["correct"]]) for e in ends]
    assert spread(runs, levels=[5], k=1) == pytest.approx(by_hand)
    found = over_bases(runs, levels=[5], k=1)
    assert found.mean == pytest.approx(np.mean(by_hand))
    assert found.low < found.mean < found.high
    assert found.n == 12


def test_runs_from_one_base_count_as_one(folder: Path) -> None:
    runs = by_method(find_evaluated(folder)[0])["explanation"]
    recipe = {**runs[0].recipe, "seed": 1}
    write(folder / "all-tiny-0-explanation-seed1", recipe, {0: levels(0.0), 20: levels(0.2)})
    more = by_method(find_evaluated(folder)[0])["explanation"]
    assert len(more) == 4
    one, two, *others = (r.accuracies(20, [5]).mean() for r in sorted(more, key=lambda r: r.base))
    assert spread(more, levels=[5]) == pytest.approx([(one + two) / 2, *others])
    assert over_bases(more, levels=[5]).mean == pytest.approx(np.mean([(one + two) / 2, *others]))
    assert not is_grid(more)


def test_trainings_on_positives_alone_and_from_a_trained_policy_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    sft = {"task": "chain", "policy": "tiny-0", "levels": None, "positive": "expert", "algorithm": "sft"}
    sft |= {"eval_split": "test", "eval_temperature": 0.7, "max_completion_length": 512}
    write(folder / "sft", sft, {0: levels(0.0), 20: levels(0.2)})
    after = {**sft, "policy": str(folder / "sft" / "model"), "algorithm": "grpo", "positive": "none"}
    write(folder / "after", after, {0: levels(0.0), 20: levels(0.2)}, trained_from="tiny-0", processes=2)
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    one, two = (next(r for r in runs if r.name == name) for name in ("sft", "after"))
    assert (one.method, one.base, one.rate, one.beta, one.batch) == ("sft_expert", "tiny-0", 2e-5, 0.0, 8)
    assert (two.method, two.base, two.batch) == ("again", "tiny-0", 16)
    assert is_grid(runs)
    assert len(by_method(runs)["none"]) == 3
    text = draw_grid("rates", runs, tmp_path / "out").shown.read_text(encoding="utf-8")
    assert "| all levels | SFT-GT-CoT | **2e-05** | **0** |" in text


def test_policies_of_one_name_are_two_bases_and_a_trained_one_is_none(folder: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "task": "gsm8k"}
    for seed, end in ((0, 0.2), (1, 0.8)):
        more = {**recipe, "policy": f"somewhere/seed{seed}/checkpoint-500", "positive": "own_correct"}
        write(folder / f"other-{seed}", more, {0: levels(0.0), 20: levels(end)})
    evaluated = {"task": "chain", "policy": "runs/sft/model", "samples": 128}
    write(folder / "trained", evaluated, {0: levels(0.5)}, trained_from="tiny-0")
    runs = find_evaluated(folder)[0]
    own = [r for r in runs if r.method == "own_correct"]
    assert {r.base_name for r in own} == {"checkpoint-500"}
    assert len(spread(own, levels=[5])) == 2
    assert label(own) == "checkpoint-gsm8k"
    assert label(own[:1]) == "checkpoint-500-gsm8k"
    assert [r.method for r in runs if r.name == "trained"] == ["trained"]
    assert "trained" not in by_method(r for r in runs if label([r]) == "tiny")
    with pytest.raises(ValueError, match="are of checkpoint and tiny, and cannot be compared"):
        by_method(runs)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"eval_split": "train"}, "differ in eval_split, and cannot be compared"),
        ({"eval_temperature": 1.0, "problems": 4}, "differ in eval_temperature, problems, and cannot be compared"),
        ({"policy": "tiny"}, None),
        ({"policy": "tiny-seed7"}, None),
        ({"policy": "other"}, "are of other and tiny, and cannot be compared"),
        ({"max_completion_length": 512}, None),
        ({"max_completion_length": 100}, "differ in max_completion_length, and cannot be compared"),
    ],
)
def test_only_what_was_evaluated_alike_is_compared(
    folder: Path, tmp_path: Path, other: dict[str, object], message: str | None
) -> None:
    write(folder / "other", {**Run(folder / "all-tiny-0-none").recipe(), **other}, {0: levels(0.0), 20: levels(0.3)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    if message is None:
        check_comparable(runs)
        assert len({run.base for run in runs}) == (4 if other.get("policy") == "tiny-seed7" else 3)
        return
    for draw in (draw_fig1, lambda runs, out: draw_grid("rates", runs, out)):
        with pytest.raises(ValueError, match=message):
            draw(runs, tmp_path / "out")


@pytest.mark.parametrize(
    ("facts", "message"),
    [({"data_sha256": "b"}, "had other problems at the same seed"), ({"processes": 8}, "other numbers of processes")],
)
def test_runs_of_other_data_or_batches_are_not_averaged(folder: Path, facts: dict[str, object], message: str) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.method == "none"]
    check_alike(runs)
    file = runs[0].run.path("environment.json")
    file.write_text(json.dumps(runs[0].run.environment() | facts))
    with pytest.raises(ValueError, match=message):
        check_alike([Evaluated(Run(r.run.folder)) for r in runs])


def test_bases_evaluated_in_another_way_are_not_beside_the_trained(folder: Path, tmp_path: Path) -> None:
    found = find_evaluated(folder)[0]
    trained, bases = [r for r in found if r.is_training], [r for r in found if not r.is_training]
    for more in ({"temperature": 1.0}, {"split": "train"}, {"policy": "other/model"}, {"max_new_tokens": 16}):
        write(folder / "odd", {**BASE, "policy": "tiny-3", **more}, {0: levels(0.5)})
        odd = Evaluated(Run(folder / "odd"))
        assert draw_table3(trained, [*bases, odd], tmp_path / "out").numbers["bases"].max() == 3
        shutil.rmtree(folder / "odd")


def test_a_positive_counts_where_it_was_in_force(folder: Path, tmp_path: Path) -> None:
    run = Run(folder / "all-tiny-0-explanation")
    blank = run.read("positives").iloc[[0]]
    # Held at first, and no more from step 5 on.
    run.write("positives", pd.concat([blank, blank.assign(step=5, problem="p1-0")]))
    groups = run.read("groups")
    run.write("groups", pd.concat([groups, groups.assign(step=5)]))
    recipe = {**run.recipe(), "refresh_steps": 5}
    run.path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert _per_group([Evaluated(run)], 5)["added"] == [0.5]
    assert _per_group([Evaluated(run)], 4)["added"] == [0.0]
    assert np.isnan(_per_group([Evaluated(run)], 3)["right"]).all()
    failed = {**recipe, "sft_failed_groups_only": True}
    run.path("recipe.yaml").write_text(yaml.safe_dump(failed))
    run.write("groups", groups.assign(correct=[1, 1]))
    assert _per_group([Evaluated(run)], 5)["added"] == [0.0]


def test_trainings_that_ended_at_different_steps_are_not_joined(folder: Path) -> None:
    recipe = Run(folder / "all-tiny-0-none").recipe()
    write(folder / "short", {**recipe, "policy": "tiny-3"}, {0: levels(0.0), 10: levels(0.1)})
    with pytest.raises(ValueError, match=r"GRPO ended at different steps.*-0-none after step 20.*short after step 10"):
        by_method(find_evaluated(folder)[0])


def without_levels(runs: list[Evaluated]) -> list[Evaluated]:
    """The same runs as of a task that has none."""
    for run in runs:
        run.run.write("evaluation", run.evaluation.assign(level=pd.NA))
        if run.run.has("pairs"):
            run.run.write("pairs", run.run.read("pairs").assign(level=pd.NA))
    return find_evaluated(runs[0].run.folder.parent)[0]


def test_a_task_without_levels_is_shown_as_a_whole(folder: Path, tmp_path: Path) -> None:
    before = find_evaluated(folder)[0]
    expected = spread(by_method(before)["explanation"])
    # All levels are all there are.
    assert expected == pytest.approx(spread(by_method(before)["explanation"], levels=[1, 2, 3, 4, 5]))
    assert levels_of(before) == [1, 2, 3, 4, 5]
    runs = without_levels(before)
    assert levels_of(runs) == []
    trained = [r for r in runs if r.is_training]
    made = draw_curves("fig5", trained, None, "All", tmp_path / "out").numbers.set_index(["method", "step"])
    assert made.loc[("explanation", 20), "mean"] == pytest.approx(np.mean(expected))
    assert "accuracy there from" in what_changed(by_method(trained)["explanation"])
    assert "nan" not in what_changed(by_method(trained)["explanation"])
    grid = draw_grid("rates", trained, tmp_path / "out")
    assert set(grid.numbers["level"]) == {"all"}
    text = grid.shown.read_text(encoding="utf-8")
    assert "| trained on | method | rate | weight | all | steps | bases |" in text
    assert "lowest and highest base. 60 problems, 8 samples each" in text
    assert "at the best rate and weight of each: ExP-GRPO" in grid.reading
    assert "–" not in text.split("ExP-GRPO")[1]


def test_of_equal_rates_the_lowest_is_best(folder: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "policy": "tiny-9"}
    for rate in (1e-3, 1e-4):
        write(folder / f"dead-{rate}", {**recipe, "learning_rate": rate}, {20: dict.fromkeys(range(1, 6), -1.0)})
    dead = [r for r in find_evaluated(folder)[0] if r.base == "tiny-9"]
    assert best(dead) == {("all levels", "none"): (1e-4, 0.0)}


def test_several_rates_are_a_grid_and_no_curve(folder: Path, tmp_path: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "learning_rate": 1e-3}
    write(folder / "all-tiny-0-none-fast", recipe, {0: levels(0.0), 20: levels(0.6)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    assert is_grid(runs)
    with pytest.raises(
        ValueError, match="GRPO was trained in several ways, which no mean may join: its runs differ in learning_rate"
    ):
        draw_curves("fig4", runs, [5], "Level 5", tmp_path / "out")
    # Methods may differ in their rates.
    assert not is_grid([r for r in runs if r.method != "none" or r.rate == 1e-3])


def test_a_curve_shows_the_mean_and_the_band(folder: Path, tmp_path: Path) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_curves("fig4", runs, [5], "Level 5", tmp_path / "out")
    assert drawn.name == "fig4-tiny"
    csv = pd.read_csv(tmp_path / "out" / "fig4-tiny.csv")
    assert set(csv["step"]) == {0, 10, 20}
    row = csv[(csv["method"] == "explanation") & (csv["step"] == 20)].iloc[0]
    of_bases = spread(by_method(runs)["explanation"], 20, [5])
    assert row["mean"] == pytest.approx(np.mean(of_bases))
    assert row["std"] == pytest.approx(np.std(of_bases, ddof=1))
    assert (row["bases"], row["problems"], row["samples"]) == (3, 12, N)
    assert "Every base ends higher with ExP-GRPO than any with GRPO" in drawn.reading
    assert "Toy" in drawn.reading
    assert drawn.shown.read_bytes()[:4] == b"\x89PNG"
    runs_shown = json.loads((tmp_path / "out" / "provenance.json").read_text())["fig4-tiny"]["runs"]
    assert len(runs_shown) == 9
    assert all(set(r) >= {"tables", "commit", "policy", "toy"} for r in runs_shown)


def test_an_order_is_said_only_where_no_base_crosses(folder: Path, tmp_path: Path) -> None:
    recipe = Run(folder / "all-tiny-0-none").recipe()
    (folder / "all-tiny-0-none" / "evaluation.parquet").unlink()
    write(folder / "all-tiny-0-none-better", recipe, {0: levels(0.0), 10: levels(0.5), 20: levels(1.0)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    assert "no order is shown" in draw_curves("fig4", runs, [5], "Level 5", tmp_path / "out").reading


def test_table3_has_the_paper_s_numbers_apart(folder: Path, tmp_path: Path) -> None:
    found = find_evaluated(folder)[0]
    trained, bases = [r for r in found if r.is_training], [r for r in found if not r.is_training]
    drawn = draw_table3(trained, bases, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "table3-tiny.csv")
    assert set(zip(csv["method"], csv["k"], strict=True)) == set(paper.TABLE3)
    base = csv[csv["method"] == "base"].pivot(index="level", columns="k", values="mean")
    assert (base[128] >= base[64]).all()
    text = drawn.shown.read_text(encoding="utf-8")
    measured, printed = text.split("## The paper's Table 3")
    assert "A toy" in measured
    assert "base pass@128 (n = 128, 12 problems a level, 3 bases)" in measured
    assert "| 437 | 894 | 1131 | 1214 | 1324 |" in printed
    assert "76 %" in printed
    assert "never to be compared" in printed
    # Ours never hold the paper's numbers.
    assert "1131" not in measured


def test_what_changed_is_counted_over_bases(folder: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "levels": [5]}
    for base, end in (("tiny-0", 0.5), ("tiny-1", 0.6)):
        ends = {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2, 5: end}
        write(folder / f"hard-{base}", {**recipe, "policy": base}, {0: levels(0.0), 20: ends})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training and r.levels == "level 5"]
    before, after = np.mean(spread(runs, 0, [5])), np.mean(spread(runs, 20, [5]))
    told = what_changed(runs)
    assert told.startswith("Trained on level 5, first step to last (toy):")
    assert f"accuracy there from {number(before)} to {number(after)} (rose on 2, fell on 0 of 2 bases)" in told
    assert "(rose on 0, fell on 2 of 2 bases)." in told


def test_fig1_counts_the_samples_of_a_group(folder: Path, tmp_path: Path) -> None:
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_fig1(runs, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "fig1-tiny.csv")
    samples = csv[csv["panel"] == "samples"].set_index(["method", "level", "kind"])["mean"]
    assert samples["none", 4, "right"] == 1
    assert samples["none", 4, "wrong"] == 3
    assert samples["none", 5, "right"] == 0
    assert samples["explanation", 5, "added"] == 1
    assert samples["none", 5, "added"] == 0
    assert set(csv[csv["panel"] == "accuracy"]["method"]) == {"base", "explanation", "expert", "none"}
    assert "Accuracy at level 5: base" in drawn.reading


def test_a_grid_is_shown_whole(folder: Path, tmp_path: Path) -> None:
    recipe = {**Run(folder / "all-tiny-0-none").recipe(), "learning_rate": 1e-3}
    write(folder / "all-tiny-0-none-fast", recipe, {0: levels(0.0), 20: levels(0.6)})
    runs = [r for r in find_evaluated(folder)[0] if r.is_training]
    drawn = draw_grid("rates", runs, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "rates-tiny.csv")
    # Three methods, one of them at two rates, and the bases as they were.
    assert len(csv) == 5 * 6
    csv["level"] = csv["level"].replace("all", 0).astype(int)
    whole = csv[(csv["rate"] == 1e-3) & (csv["level"] == 0)].iloc[0]
    assert whole["mean"] == pytest.approx(csv[(csv["rate"] == 1e-3) & (csv["level"] > 0)]["mean"].mean())
    before = csv[(csv["method"] == "base") & (csv["level"] == 4)].iloc[0]
    assert before["mean"] == pytest.approx(np.mean(spread(runs, 0, [4])))
    fast = csv[(csv["rate"] == 1e-3) & (csv["level"] == 5)].iloc[0]
    assert (fast["bases"], fast["method"], fast["beta"]) == (1, "none", 0)
    assert fast["steps_true"] == pytest.approx(0.7)
    assert best(runs) == {
        ("all levels", "explanation"): (3e-4, 1.0),
        ("all levels", "expert"): (3e-4, 1.0),
        ("all levels", "none"): (1e-3, 0.0),
    }
    assert "| all levels | before training | | |" in drawn.shown.read_text(encoding="utf-8")
    assert "| all levels | GRPO | **0.001** | **0** |" in drawn.shown.read_text(encoding="utf-8")
    assert "| all levels | GRPO | 0.0003 | 0 |" in drawn.shown.read_text(encoding="utf-8")
    assert f"GRPO {share(fast['mean'])} (rate 0.001, weight 0)" in drawn.reading
    assert "GRPO" in drawn.shown.read_text(encoding="utf-8")
