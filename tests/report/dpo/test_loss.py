from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expo.report.dpo import loss
from expo.report.dpo.loss import draw_loss
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.trainings import EvaluatedRun, find_evaluated
from expo.report.words import method_name
from theory.objectives import dpo_loss

from ..records.dpo import BETA, write_arm


def test_a_grid_says_where_the_lowest_loss_is_the_best_policy(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    made = draw_loss(runs, tmp_path / "out")
    assert len(made.numbers) == 15
    found = "On the toy: trained on all levels{}, the method with the lowest loss {} has the highest accuracy ({} "
    found += "comparisons)"
    assert headings.pop() == found.format("", "never", "0 of 6")
    assert made.reading.startswith("- offline, 3 comparisons of winners from one base at one rate: the lowest loss is")
    assert (
        f"of {method_name('dpo_expert')} (3). The method with the lowest loss has the highest accuracy in 0 of 3."
        in made.reading
    )
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
    agree = draw_loss(good, tmp_path / "agree")
    assert "(3). The method with the lowest loss has the highest accuracy in 3 of 3." in agree.reading
    assert agree.reading.startswith("- offline, 3 comparisons")
    assert headings.pop() == found.format("", "always", "3 of 3")
    # Where the first base is an exception, it is counted.
    for base, of_lowest_loss, of_other in (("tiny-0", 0.0, 1.0), ("tiny-1", 1.0, 0.0), ("tiny-2", 1.0, 0.0)):
        write_arm(tmp_path / "mixed", base, "explanation", 0, of_lowest_loss, 80.0)
        write_arm(tmp_path / "mixed", base, "answer", 0, of_other, 5.0)
    draw_loss(find_evaluated(tmp_path / "mixed")[0], tmp_path / "out")
    assert headings.pop().endswith(", the method with the lowest loss has the highest accuracy in 2 of 3 comparisons")
    # A tie is not the highest accuracy.
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write_arm(tmp_path / "ties", base, "explanation", 0, 0.5, 80.0)
        write_arm(tmp_path / "ties", base, "answer", 0, 0.5, 5.0)
    tied = find_evaluated(tmp_path / "ties")[0]
    for run in tied:
        run.run.write("evaluation", tied[0].evaluation)
    draw_loss(find_evaluated(tmp_path / "ties")[0], tmp_path / "out")
    assert headings.pop() == found.format("", "never", "0 of 3")
    wrong = [replace(run) for run in good]
    for run in wrong:
        run.__dict__["recipe"] = {**run.recipe, "right_losers": False}
    assert draw_loss(wrong, tmp_path / "wrong").setting.startswith(
        "Trained on all levels against wrong losers only for 20 steps; 16 pairs a step, beta 0.1; seed 42."
    )
    assert headings.pop() == found.format(" against wrong losers only", "always", "3 of 3")


def test_lines_have_their_names_and_a_lone_column_has_none(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    numbers = draw_loss(runs, tmp_path).numbers
    offline = numbers[~numbers["method"].str.endswith("_online")]
    for rows, titles in ((numbers, ["offline", "online"]), (offline, [""])):
        with look():
            panels = loss._plot(rows, Caption("heading", "notes", toy=True)).axes
        assert [axes.get_title(loc="left") for axes in panels[: len(titles)]] == titles
        for axes in (panels[0], panels[len(titles)]):
            names = {text.get_text() for text in axes.texts}
            assert names == {"ExP-DPO", "DPO with expert CoT", "DPO with bare answer"}
