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
from expo.report.words import method_name
from expo.stats import MIN_PROBLEMS
from theory.objectives import dpo_loss

from ..records.dpo import BETA, write_arm


def test_a_low_loss_is_called_deceptive_only_where_it_is(
    runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]
) -> None:
    made = draw_fig6(runs, tmp_path)
    explanation = method_name("dpo_explanation")
    assert (
        "Offline DPO with expert CoT has the lowest mean loss, and the lowest loss on 3 of 3 bases; "
        f"{explanation} ends with a higher pass@4. A lower loss does not mean a better policy"
    ) in made.reading
    begin = "After the paper's Figure 6, on the toy: of DPO on all levels, "
    lowest = "has the lowest mean loss"
    assert headings.pop() == f"{begin}DPO with expert CoT {lowest}, but ExP-DPO ends with a higher pass@4"
    at_end = made.numbers[(made.numbers["step"] == 20) & (made.numbers["method"] == "dpo_expert")]
    assert at_end["base"].tolist() == [MEAN, "tiny-0", "tiny-1", "tiny-2"]
    expected = np.mean([float(dpo_loss(60 * (s - 1) / 19, BETA)) + 0.01 for s in range(16, 21)])
    assert at_end["loss"].iloc[0] == pytest.approx(expected)
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write_arm(tmp_path / "other", base, "explanation", 0, 0.9, 80.0)
        write_arm(tmp_path / "other", base, "answer", 0, 0.1, 5.0)
    other = draw_fig6(find_evaluated(tmp_path / "other")[0], tmp_path / "out")
    assert "No low loss is deceptive among these" in other.reading
    assert headings.pop() == f"{begin}ExP-DPO {lowest} and ends with the highest pass@4"
    one = draw_fig6([r for r in runs if r.base == "tiny-0"], tmp_path / "out")
    assert f"on 1 of 1 base; {explanation} ends with a higher pass@4" in one.reading
    few = [r for r in runs if r.base == "tiny-0"]
    for run in few:
        run.run.write("evaluation", run.evaluation.groupby("step").head(MIN_PROBLEMS - 1))
    few = [r for r in find_evaluated(few[0].run.folder.parent)[0] if r.base == "tiny-0"]
    said = f"there are fewer than {MIN_PROBLEMS} problems, or no base in common"
    assert f"Whether a low loss is deceptive is not shown: {said}." in draw_fig6(few, tmp_path / "out").reading
    draw_fig6([r for r in runs if r.method == "dpo_expert"], tmp_path / "out")
    assert headings.pop() == f"{begin}one kind of winner has no other to be compared with"
    for base, ends in (("tiny-0", (0.9, 0.1)), ("tiny-1", (0.1, 0.3)), ("tiny-2", (0.9, 0.1))):
        for (kind, gain), end in zip((("explanation", 5.0), ("answer", 80.0)), ends, strict=True):
            write_arm(tmp_path / "close", base, kind, 0, end, gain)
    close = draw_fig6(find_evaluated(tmp_path / "close")[0], tmp_path / "out")
    assert "no other method is shown to end with a higher pass@4" in close.reading
    assert "does not mean" not in close.reading
    assert headings.pop() == f"{begin}DPO with bare answer {lowest}, and no other a clearly higher pass@4"


def test_a_method_that_stopped_earlier_is_shown_at_its_own_last_step(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    for run in runs:
        if run.method == "dpo_expert":
            run.run.write("evaluation", run.evaluation[run.evaluation["step"] < 20])
    made = draw_fig6(find_evaluated(runs[0].run.folder.parent)[0], tmp_path)
    rows = made.numbers[(made.numbers["method"] == "dpo_expert") & (made.numbers["base"] == MEAN)]
    assert rows["gap"].notna().tolist() == [False, True]
    assert f"- {method_name('dpo_expert')}: loss from" in made.reading
    assert made.reading.count("at step 10") == 1
    assert made.reading.count("at step 20") == 2
    assert "against DPO with expert CoT" in captions[0].notes
    with look():
        texts = [text.get_text() for text in fig6._plot(made.numbers, captions[0]).axes[0].texts]
    assert sum("step 10" in text for text in texts) == 1
    assert not any("step 20" in text for text in texts)


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
    kinds = ("ExP-DPO", "DPO with expert CoT", "DPO with bare answer")
    for axes, style in zip(panels, ("-", "--"), strict=True):
        # A line for each base of each method, and one for their mean.
        assert [line.get_linestyle() for line in axes.lines] == [style] * 12
        assert {text.get_text().partition("\n")[0] for text in axes.texts} == {f"{kind}, rate 1e−4" for kind in kinds}
        assert ("does not begin at 0" in axes.get_title(loc="left")) == (axes.get_ylim()[0] > 0)
