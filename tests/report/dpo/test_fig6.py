from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.report.accuracy import MEAN, difference, points
from expo.report.dpo import fig6
from expo.report.dpo.fig6 import draw_fig6
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.trainings import EvaluatedRun, by_method, find_evaluated
from theory.objectives import dpo_loss

from ..records.dpo import BETA, write_arm


def test_a_low_loss_is_called_deceptive_only_where_it_is(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    made = draw_fig6(runs, tmp_path)
    assert (
        "The lowest loss is that of offline DPO with expert CoT, and on every base offline ExP-DPO is above it: a "
        "lower loss does not tell the better policy"
    ) in made.reading
    begin = "After the paper's Figure 6, on the toy: of DPO on all levels, "
    assert headings.pop() == f"{begin}ExP-DPO ends highest in pass@4, DPO with expert CoT lowest in loss"
    at_end = made.numbers[(made.numbers["step"] == 20) & (made.numbers["method"] == "dpo_expert")]
    assert at_end["base"].tolist() == [MEAN, "tiny-0", "tiny-1", "tiny-2"]
    expected = np.mean([float(dpo_loss(60 * (s - 1) / 19, BETA)) + 0.01 for s in range(16, 21)])
    assert at_end["loss"].iloc[0] == pytest.approx(expected)
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write_arm(tmp_path / "other", base, "explanation", 0, 0.9, 80.0)
        write_arm(tmp_path / "other", base, "answer", 0, 0.1, 5.0)
    other = draw_fig6(find_evaluated(tmp_path / "other")[0], tmp_path / "out")
    assert "no deceptively low loss among these" in other.reading
    assert headings.pop() == f"{begin}ExP-DPO ends highest in pass@4 and lowest in loss"
    one = draw_fig6([r for r in runs if r.base == "tiny-0"], tmp_path / "out")
    assert "One arm, or one base, tells nothing of a deceptively low loss." in one.reading
    for base, ends in (("tiny-0", (0.9, 0.1)), ("tiny-1", (0.1, 0.3)), ("tiny-2", (0.9, 0.1))):
        for (kind, gain), end in zip((("explanation", 5.0), ("answer", 80.0)), ends, strict=True):
            write_arm(tmp_path / "close", base, kind, 0, end, gain)
    close = draw_fig6(find_evaluated(tmp_path / "close")[0], tmp_path / "out")
    assert "that of offline DPO with bare answer, the highest accuracy that of offline ExP-DPO" in close.reading
    assert "but no order of accuracy is shown" in close.reading
    assert "does not tell" not in close.reading
    assert headings.pop() == f"{begin}the losses differ, pass@4 cannot be told apart"


def test_the_gaps_to_exp_dpo_are_said_with_their_intervals(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    numbers = draw_fig6(runs, tmp_path).numbers
    arms = by_method(runs)
    for method in ("dpo_expert", "dpo_answer"):
        less = difference(arms["dpo_explanation"], arms[method], None, 4)
        row = numbers[(numbers["method"] == method) & (numbers["base"] == MEAN)].iloc[-1]
        assert [row["gap"], row["gap_low"], row["gap_high"]] == [less["mean"], less["low"], less["high"]]
        assert points({**less, "bases": 1}) in captions[0].notes
    assert numbers.loc[numbers["method"] == "dpo_explanation", "gap"].isna().all()
    # Without ExP-DPO there is nothing to compare with.
    draw_fig6([run for run in runs if run.method != "dpo_explanation"], tmp_path)
    assert "paired" in captions[0].notes
    assert "paired" not in captions[1].notes


def test_two_panels_name_their_lines(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    numbers = draw_fig6(runs, tmp_path).numbers
    with look():
        panels = fig6._plot(numbers, Caption("heading", "notes", toy=True)).axes
    for axes, style in zip(panels, ("-", "--"), strict=True):
        assert [line.get_linestyle() for line in axes.lines] == [style] * 3
        names = {text.get_text().partition("\n")[0] for text in axes.texts}
        assert names == {"ExP-DPO", "DPO with expert CoT", "DPO with bare answer"}
