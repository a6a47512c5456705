"""What is shown of trainings by DPO, against records of known numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from expo.report.diagnostics import draw_diagnostics
from expo.report.preferences import draw_fig6, draw_table2, draw_table4
from expo.report.rates import draw_drift, draw_losses

from expo.records import Run
from expo.report import paper
from expo.report.training import Evaluated, find_evaluated, is_grid
from expo.report.words import share
from expo.schema import TABLES
from tests.report.test_curves import levels, without_levels, write
from theory import printed
from theory.objectives import dpo_loss

BETA = 0.1
# Of each arm: accuracy at level 5 at the end, and the relative gain of its batches at the end, in nats.
ARMS = {
    ("explanation", 0): (0.3, 10.0),
    ("explanation", 10): (0.8, 10.0),
    ("expert", 0): (0.1, 60.0),
    ("expert", 10): (0.3, 40.0),
    ("answer", 0): (0.1, 40.0),
}


def write_arm(folder: Path, base: str, kind: str, refresh: int, end: float, gain: float, rate: float = 1e-4) -> None:
    recipe = {
        "algorithm": "dpo",
        "task": "chain",
        "policy": base,
        "levels": None,
        "positive": kind,
        "refresh_steps": refresh,
        "eval_split": "test",
        "eval_temperature": 0.7,
        "learning_rate": rate,
        "per_device_train_batch_size": 16,
    }
    where = folder / f"{base}-{kind}-{refresh}"
    write(where, recipe, {0: levels(0.0), 10: levels(end / 2), 20: levels(end)})
    run = Run(where)
    metrics = []
    for step in range(1, 21):
        margin = gain * (step - 1) / 19
        values = {"rewards/margins": BETA * margin, "loss": float(dpo_loss(margin, BETA)) + 0.01}
        metrics += [{"step": step, "name": name, "value": value} for name, value in values.items()]
    run.write("metrics", pd.DataFrame(metrics))
    rows = [
        {
            **dict.fromkeys(TABLES["margins"], 0),
            "step": step,
            "sampled": sampled,
            "problem": f"p{i}",
            "winner": -20.0 + step / 10,
            "loser": -15.0 - step,
            "winner_tokens": 10,
            "loser_tokens": 10,
            "ref_winner": -20.0,
            "ref_loser": -15.0,
        }
        for step in (0, 10, 20)
        for sampled in sorted({0, refresh if step > 10 else 0})
        for i in range(4)
    ]
    run.write("margins", pd.DataFrame(rows))
    blank = dict.fromkeys(TABLES["pairs"], 0) | {"source": kind, "winner": "w", "loser": "l"}
    blank |= {"winner_ids": [1], "loser_ids": [2], "loser_truncated": False}
    statuses = ["correct"] * (3 if kind == "expert" else 1) + ["wrong"] * 4
    pairs = [
        {**blank, "problem": f"p{i}", "level": 1 + i % 5, "loser_status": status} for i, status in enumerate(statuses)
    ]
    run.write("pairs", pd.DataFrame(pairs))


@pytest.fixture
def runs(tmp_path: Path) -> list[Evaluated]:
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        for (kind, refresh), (end, gain) in ARMS.items():
            write_arm(tmp_path / "runs", base, kind, refresh, end, gain)
    return find_evaluated(tmp_path / "runs")[0]


def test_table2_has_each_winner_offline_and_online(runs: list[Evaluated], tmp_path: Path) -> None:
    assert not is_grid(runs)
    made = draw_table2(runs, tmp_path)
    assert made.name == "table2-tiny"
    text = made.shown.read_text(encoding="utf-8")
    assert (
        "| | ExP-DPO, offline | DPO with expert CoT, offline | ExP-DPO, online | DPO with expert CoT, online |" in text
    )
    held = made.numbers.set_index(["set", "method"])
    by_hand = [run for run in runs if run.method == "dpo_explanation"]
    expected = np.mean([run.accuracies(20, k=4).mean() for run in by_hand])
    assert held.loc[("all levels", "dpo_explanation"), "mean"] == pytest.approx(expected)
    assert share(float(expected)) in text
    assert set(made.numbers["bases"]) == {3}
    assert "every base of the first is above every base of the second" in made.reading
    assert "Toy" in text or "toy" in text
    # Winners that were compared on other pairs than each other are said to be.
    assert "- ExP-DPO, offline: 5 to 5 problems a base for 320 places, 40 % of the pairs of levels 4 and 5" in text
    assert "- DPO with expert CoT, offline: 7 to 7 problems a base for 320 places, 29 % of the pairs" in text
    assert "right losers in 43 %" in text


def test_the_papers_table_is_apart_and_its_odd_cell_is_marked(runs: list[Evaluated], tmp_path: Path) -> None:
    text = draw_table2(runs, tmp_path).shown.read_text(encoding="utf-8")
    assert text.count("⚠") == 2
    assert "**53.6** ⚠" in text
    assert paper.TABLE2 == printed.TABLE2 == printed.TABLE4
    odd = [(task, i) for task in paper.TABLE2 for i in range(8) if paper.contradicts(task, i)]
    assert odd == [("MATH", 3)]
    shown = draw_table2(runs, tmp_path).numbers
    assert not {45.7, 53.6} & set(shown["mean"])


def test_table4_has_every_arm_by_level(runs: list[Evaluated], tmp_path: Path) -> None:
    numbers = draw_table4(runs, tmp_path).numbers
    assert len(numbers) == 6 * 6
    first = numbers[(numbers["set"] == "all levels") & (numbers["method"] == "dpo_answer")].iloc[0]
    assert first["k"] == 1
    assert first["mean"] == pytest.approx(np.mean([r.accuracies(20).mean() for r in runs if r.method == "dpo_answer"]))
    before = numbers[(numbers["method"] == "base") & (numbers["set"] == "level 1")]["mean"].iloc[0]
    assert before == pytest.approx(np.mean([r.accuracies(0, [1], 4).mean() for r in runs if r.method == "dpo_answer"]))


def test_a_task_without_levels_has_tables_of_the_whole(runs: list[Evaluated], tmp_path: Path) -> None:
    levelled = draw_table2(runs, tmp_path).numbers
    found = without_levels(runs)
    numbers = draw_table2(found, tmp_path).numbers
    page = (tmp_path / "table2-tiny.md").read_text(encoding="utf-8").partition("## The paper")[0]
    assert "levels 4 and 5" not in page
    assert "right losers in" in page
    assert set(levelled["set"]) == {"all levels", "levels 1 to 3"}
    assert set(numbers["set"]) == {"all levels"}
    whole = levelled[levelled["set"] == "all levels"]
    assert numbers["mean"].tolist() == pytest.approx(whole["mean"].tolist())
    four = draw_table4(found, tmp_path)
    assert set(four.numbers["set"]) == {"all levels"}
    assert four.reading.startswith("pass@1 at all levels: before training")
    assert "| | accuracy, all levels |\n" in four.shown.read_text(encoding="utf-8")


def test_a_low_loss_is_called_deceptive_only_where_it_is(runs: list[Evaluated], tmp_path: Path) -> None:
    made = draw_fig6(runs, tmp_path)
    assert (
        "The lowest loss is that of DPO with expert CoT, offline, and every base of ExP-DPO, offline is above every "
        "base of it: a lower loss does not tell the better policy"
    ) in made.reading
    at_end = made.numbers[(made.numbers["step"] == 20) & (made.numbers["method"] == "dpo_expert")]
    expected = np.mean([float(dpo_loss(60 * (s - 1) / 19, BETA)) + 0.01 for s in range(16, 21)])
    assert at_end["loss"].iloc[0] == pytest.approx(expected)
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write_arm(tmp_path / "other", base, "explanation", 0, 0.9, 80.0)
        write_arm(tmp_path / "other", base, "answer", 0, 0.1, 5.0)
    other = draw_fig6(find_evaluated(tmp_path / "other")[0], tmp_path / "out")
    assert "no deceptively low loss among these" in other.reading
    one = draw_fig6([r for r in runs if r.base == "tiny-0"], tmp_path / "out")
    assert "One arm, or one base, tells nothing of a deceptively low loss." in one.reading
    for base, ends in (("tiny-0", (0.9, 0.1)), ("tiny-1", (0.1, 0.3)), ("tiny-2", (0.9, 0.1))):
        for (kind, gain), end in zip((("explanation", 5.0), ("answer", 80.0)), ends, strict=True):
            write_arm(tmp_path / "close", base, kind, 0, end, gain)
    close = draw_fig6(find_evaluated(tmp_path / "close")[0], tmp_path / "out")
    assert "that of DPO with bare answer, offline, the highest accuracy that of ExP-DPO, offline" in close.reading
    assert "the bases overlap: no order of accuracy is shown" in close.reading
    assert "does not tell" not in close.reading


def test_diagnostics_are_of_the_first_rounds_pairs(runs: list[Evaluated], tmp_path: Path) -> None:
    made = draw_diagnostics(runs, tmp_path)
    held = made.numbers[made.numbers["method"] == "dpo_explanation_online"]
    dots = held[held["panel"] == "gain"]
    assert (dots["y"].to_numpy() >= dpo_loss(dots["x"].to_numpy(float), BETA) - 1e-9).all()
    assert dots["x"].max() == pytest.approx(10.0)
    last = held[held["step"] == 20].set_index("panel")["y"]
    assert last["winner"].item() == pytest.approx(2.0)
    assert last["loser"].item() == pytest.approx(-20.0)
    assert last["likelier"].item() == 1.0
    assert held[(held["panel"] == "likelier") & (held["step"] == 0)]["y"].item() == 0.0
    assert last["nll"].item() == pytest.approx(1.8)
    assert set(held[held["panel"] == "nll"]["pairs"]) == {4}
    assert "winners rose by 2.00 nats and losers fell by 20.0 nats" in made.reading


def test_a_grid_says_where_the_lowest_loss_is_the_best_policy(runs: list[Evaluated], tmp_path: Path) -> None:
    made = draw_losses(runs, tmp_path / "out")
    assert len(made.numbers) == 15
    assert made.reading.startswith("- offline, 3 comparisons of winners from one base at one rate: the lowest loss is")
    assert "of DPO with expert CoT, offline (3); it has the highest accuracy in 0; accuracy fell" in made.reading
    row = made.numbers[(made.numbers["method"] == "dpo_expert") & (made.numbers["base"] == "tiny-0")].iloc[0]
    assert row["nll_before"] == pytest.approx(2.0)
    assert row["nll_after"] == pytest.approx(1.8)
    losses = [float(dpo_loss(60 * (s - 1) / 19, BETA)) + 0.01 for s in range(16, 21)]
    assert row["loss"] == pytest.approx(np.mean(losses))
    run = next(r for r in runs if r.method == "dpo_expert" and r.base == "tiny-0")
    assert row["change"] == pytest.approx(run.accuracies(20).mean() - run.accuracies(0).mean())
    assert row["low"] <= row["change"] <= row["high"]
    # Where the lowest loss is the best policy, that is what is said; rates are compared apart.
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write_arm(tmp_path / "good", base, "explanation", 0, 0.9, 80.0)
        write_arm(tmp_path / "good", base, "answer", 0, 0.1, 5.0)
        write_arm(tmp_path / "higher", base, "answer", 0, 0.1, 200.0, rate=1e-3)
    good = [run for name in ("good", "higher") for run in find_evaluated(tmp_path / name)[0]]
    agree = draw_losses(good, tmp_path / "agree")
    assert "(3); it has the highest accuracy in 3" in agree.reading
    assert agree.reading.startswith("- offline, 3 comparisons")


def test_drift_is_said_by_rate(runs: list[Evaluated], tmp_path: Path) -> None:
    made = draw_drift(runs, tmp_path)
    assert "- ExP-DPO, offline: −0.200 at 0.0001" in made.reading
