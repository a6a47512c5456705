from __future__ import annotations

from pathlib import Path

from expo.report.dpo import drift
from expo.report.dpo.drift import draw_drift
from expo.report.picture import Caption
from expo.report.style import look
from expo.report.trainings import EvaluatedRun


def test_drift_is_said_by_rate(runs: list[EvaluatedRun], tmp_path: Path, headings: list[str]) -> None:
    made = draw_drift(runs, tmp_path / "out")
    assert "- offline ExP-DPO: −0.200 at 0.0001" in made.reading
    falls = "On the toy: trained on all levels, the NLL of winners sampled before training {} of 15 trainings"
    assert headings.pop() == falls.format("falls in 15")
    for run in [run for run in runs if run.method == "dpo_expert"][:2]:
        margins = run.run.read("margins")
        run.run.write("margins", margins.assign(winner=-20.0 - margins["step"] / 10))
    drawn = draw_drift(runs, tmp_path / "drifted")
    assert headings.pop() == falls.format("falls in 13")
    assert drawn.reading.endswith(
        "Over 15 trainings: with ExP-DPO falls in 6 of 6, DPO with expert CoT falls in 4 of 6 and DPO with bare answer "
        "falls in 3 of 3."
    )
    # Where more rise than fall, this is said.
    for run in runs:
        margins = run.run.read("margins")
        run.run.write("margins", margins.assign(winner=-20.0 - margins["step"] / 10))
    draw_drift(runs, tmp_path / "risen")
    assert headings.pop() == falls.format("rises in 15")


def test_a_panel_shows_the_change_of_each_training(runs: list[EvaluatedRun], tmp_path: Path) -> None:
    numbers = draw_drift(runs, tmp_path / "out").numbers
    with look():
        figure = drift._plot(numbers, Caption("heading", "notes", toy=True))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "ExP-DPO\nfalls in 6 of 6",
        "DPO with expert CoT\nfalls in 6 of 6",
        "DPO with bare answer\nfalls in 3 of 3",
    ]
    # Beside the line at 0, every training and the means: the winners' NLL falls by 0.2 nats a token.
    drawn = [y for line in figure.axes[0].lines for y in line.get_ydata()]
    assert sorted({round(float(y), 6) for y in drawn}) == [-0.2, 0.0]
