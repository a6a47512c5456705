from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from expo.report.dpo import drift
from expo.report.dpo.drift import _likelier, draw_drift
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.toy import TOY
from expo.report.trainings import EvaluatedRun
from expo.report.words import method_name


def drifting(run: EvaluatedRun, nats: float) -> None:
    """Change the log-probability of its watched winners by so much a step."""
    margins = run.run.read("margins")
    run.run.write("margins", margins.assign(winner=-20.0 + nats * margins["step"]))


def test_drift_is_said_by_rate(runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]) -> None:
    made = draw_drift(runs, tmp_path / "out")
    assert f"- {method_name('dpo_explanation')}: −0.200 at 0.0001" in made.reading
    found = "On the toy: trained on all levels, winners become {} trainings{}"
    assert headings.pop() == found.format("likelier in 15 of 15", "")
    for run in [run for run in runs if run.method == "dpo_expert"][:2]:
        drifting(run, -0.1)
    drawn = draw_drift(runs, tmp_path / "drifted")
    but = ", but those of DPO with expert CoT {} in {} of 6"
    assert headings.pop() == found.format("likelier in 13 of 15", but.format("less likely", 2))
    assert drawn.reading.endswith(
        "those of ExP-DPO likelier in 6 of 6, those of DPO with expert CoT likelier in 4 of 6 and those of DPO with "
        "bare answer likelier in 3 of 3."
    )
    # One kind has no exception among the others.
    draw_drift([run for run in runs if "expert" in run.method], tmp_path / "one")
    assert headings.pop() == found.format("likelier in 4 of 6", "")
    # Where more become less likely, this is said.
    for run in runs:
        drifting(run, 0.1 if run.method == "dpo_expert" else -0.1)
    draw_drift(runs, tmp_path / "risen")
    assert headings.pop() == found.format("less likely in 12 of 15", but.format("likelier", 3))


@pytest.mark.parametrize(("change", "likelier"), [(0.0005, "likelier in 1 of 3"), (0.005, "less likely in 2 of 3")])
def test_a_change_that_cannot_be_seen_does_not_count(change: float, likelier: str) -> None:
    numbers = pd.DataFrame({"nll_before": [1.0, 1.0, 1.0], "nll_after": [1 + change, 1 + change, 0.9]})
    assert _likelier(numbers) == likelier


def test_the_caption_counts_winners_and_not_problems(
    runs: list[EvaluatedRun], tmp_path: Path, captions: list[Caption]
) -> None:
    draw_drift(runs, tmp_path)
    assert "the mean of 4 winners of each training's first round" in captions[0].notes
    assert "logarithmic beyond ±0.1" in captions[0].notes
    assert "problems" not in captions[0].notes.removesuffix(TOY)


def test_a_panel_shows_the_change_of_each_training(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    numbers = draw_drift(runs, tmp_path / "out").numbers
    with look():
        figure = drift._plot(numbers, Caption("heading", "notes", toy=True))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "ExP-DPO\nlikelier in 6 of 6",
        "DPO with expert CoT\nlikelier in 6 of 6",
        "DPO with bare answer\nlikelier in 3 of 3",
    ]
    # Beside the line at 0, every training and the means: the winners' NLL falls by 0.2 nats a token.
    drawn = [y for line in figure.axes[0].lines for y in line.get_ydata()]
    assert sorted({round(float(y), 6) for y in drawn}) == [-0.2, 0.0]
