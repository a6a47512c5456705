from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.measure.verdict import by_problem
from expo.records import Run
from expo.report.artefacts import Artefact
from expo.report.picture import Caption
from expo.report.positives import fig2
from expo.report.positives.fig2 import POINTS, draw_fig2, plot_fig2
from expo.report.positives.measurements import Group, Measurement, group_by_label
from expo.report.style import look
from expo.report.words import NAMES
from expo.stats import bootstrap

from ..records.positives import Make

CAPTION = Caption("heading", "notes", toy=True)


def test_fig2_gives_the_share_of_samples_up_to_each_point(swept: Group, drawn: dict[str, Artefact]):
    numbers = drawn["draw_fig2"].numbers
    assert set(numbers["run"]) == {"tiny-0", "tiny-1"}
    samples = swept.runs[0].samples
    for quantity in ("nll_sum", "nll_per_token"):
        for source in ("own", "explanation", "expert"):
            held = numbers[
                (numbers["run"] == "tiny-0") & (numbers["quantity"] == quantity) & (numbers["source"] == source)
            ]
            shares, mean = held[held["kind"] == "share"], held[held["kind"] == "mean"]
            values = samples.loc[samples["source"] == source, quantity].astype(float)
            assert len(shares) == POINTS
            assert shares["value"].is_monotonic_increasing
            assert shares["value"].iloc[-1] == 1
            # Every problem has as many samples.
            for row in shares.iloc[:-1:7].to_dict("records"):
                assert row["value"] == pytest.approx((values <= row["nll"]).mean())
                assert row["low"] <= row["value"] <= row["high"]
            assert mean["value"].tolist() == [by_problem(samples, source, quantity).mean()]
            assert (held["samples"].unique(), held["problems"].unique()) == (len(values), 12)


def test_intervals_of_shares_are_those_of_problems_not_of_samples(make: Make, tmp_path: Path):
    record = make("tiny-0")
    table = record.run.read("samples")
    half = table["problem"].rank(method="dense") <= table["problem"].nunique() / 2
    record.run.write("samples", table.assign(nll_sum=np.where(half, 1.0, 100.0)))
    numbers = draw_fig2(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path).numbers
    row = numbers[(numbers["source"] == "own") & (numbers["quantity"] == "nll_sum") & (numbers["kind"] == "share")]
    low, value, high = row[["low", "value", "high"]].iloc[POINTS // 2]
    spread = bootstrap(np.repeat([1.0, 0.0], 6))
    assert value == 0.5
    assert (low, high) == pytest.approx((spread.low, spread.high), abs=0.01)
    # The control: were each of its samples a problem, it would be narrower.
    assert bootstrap(np.repeat([1.0, 0.0], 12)).high < high - 0.03


def test_the_heading_says_what_the_numbers_say(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    headings: list[str] = []
    monkeypatch.setattr(fig2, "draw_picture", lambda *_, **words: headings.append(words["heading"]))
    for records in ([make("a", policy="tiny-0")], [make("b", policy="tiny-0", reverse=True)]):
        draw_fig2(*group_by_label(records), tmp_path)
    # Two runs of one policy that differ; fewer problems than can decide.
    draw_fig2(*group_by_label([make("tiny-0"), make("tiny-1", reverse=True)]), tmp_path)
    draw_fig2(*group_by_label([make("c", policy="tiny-0", n=2)]), tmp_path)
    # Longer explanations: less likely per sequence alone. Shorter ones: likelier per sequence alone.
    for name, factor in (("d", 1000.0), ("e", 0.001)):
        record = make(name, policy="tiny-0", reverse=name == "e")
        table = record.run.read("samples")
        is_explanation = table["source"] == "explanation"
        record.run.write(
            "samples",
            table.assign(nll_sum=table["nll_sum"].where(~is_explanation, factor * (1 + table.index / len(table)))),
        )
        draw_fig2(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path)
    begin = "After the paper's Figure 2, on the toy: self-explanations "
    lower = f"{begin}have a lower NLL than expert CoTs, per sequence and per token"
    assert headings == [
        lower,
        lower.replace("lower", "higher"),
        f"{begin}have a lower NLL than expert CoTs in 1 of 2 runs per sequence and 1 of 2 runs per token",
        # Nothing was compared, so that nothing is said to be alike.
        begin.replace("self-", "too few problems to compare the NLL of self-") + "and expert CoTs",
        f"{begin}have a higher NLL than expert CoTs per sequence, and a lower one per token",
        f"{begin}have a lower NLL than expert CoTs per sequence, and a higher one per token",
    ]


def test_where_one_quantity_tells_nothing_the_heading_says_what_the_other_does(
    make: Make, tmp_path: Path, headings: list[str]
):
    record = make("a", policy="tiny-0")
    table = record.run.read("samples")
    # An order per token, and none per sequence.
    signs = np.where(table["problem"].rank(method="dense") % 2 == 0, 1.0, -1.0)
    is_explanation = table["source"] == "explanation"
    record.run.write("samples", table.assign(nll_sum=np.where(is_explanation, 50 + signs, 50.0)))
    draw_fig2(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path)
    assert headings == [
        "After the paper's Figure 2, on the toy: self-explanations have a lower NLL than expert CoTs per token; per "
        "sequence they cannot be told apart"
    ]


def test_each_curve_is_named_beside_it_and_has_a_style_of_its_own(drawn: dict[str, Artefact]):
    with look():
        figure = plot_fig2(drawn["draw_fig2"].numbers, CAPTION)
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text() in NAMES.values()]
        assert sorted(name.get_text() for name in names) == ["expert CoT", "own CoT", "self-explanation"]
        # No two names in one place.
        heights = sorted(name.xy[1] for name in names)
        assert min(np.diff(heights)) > 0.1
        styles = {str(line._unscaled_dash_pattern) for line in axes.lines if line.get_drawstyle() == "steps-post"}
        assert len(styles) == 3


def test_a_name_stands_where_the_other_curves_leave_room():
    heights = len(fig2._HEIGHTS)
    edges = np.array([[0.0], [1.0]]) * np.ones(heights)
    own, nothing = np.full((1, heights), 0.5), np.zeros(heights, dtype=bool)
    near, far = np.full((1, heights), 0.6), np.full((1, heights), 0.6)
    far[0, 3:6] = 0.95
    # A curve is near on the right: the name stands on the left, or, with one there too, where the right one is far.
    assert fig2._beside(own, np.concatenate([edges, near]), nothing)[1:] == (0.5, -1)
    left = np.full((1, heights), 0.4)
    assert fig2._beside(own, np.concatenate([edges, far, left]), nothing) == (4, 0.5, 1)
    # The control: where another name stands, this one does not.
    taken = nothing.copy()
    taken[4] = True
    assert fig2._beside(own, np.concatenate([edges, far, left]), taken)[0] != 4


def test_fig2_reads_the_reversed_record_as_reversed(drawn: dict[str, Artefact]):
    made = drawn["draw_fig2"]
    one, other = made.reading.split("\n\n")
    assert made.setting.startswith("Each text is scored with its answer, at temperature 1.")
    assert "**tiny-0** (toy)" in one
    assert "**holds**" in one
    assert "**fails**" not in one
    assert "**fails**" in other
    assert "**holds**" not in other


def test_unequal_lengths_can_reverse_the_two_nlls(make: Make, tmp_path: Path):
    record = make("tiny-0")
    table = record.run.read("samples")
    is_explanation = table["source"] == "explanation"
    table["nll_sum"] = table["nll_sum"].where(~is_explanation, 1000.0 + np.arange(len(table)))
    record.run.write("samples", table)
    made = draw_fig2(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path)
    assert "**fails**" in made.reading
    assert "**holds**" in made.reading


def test_the_caption_says_how_many_texts_were_cut(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    notes: list[str] = []
    monkeypatch.setattr(fig2, "draw_picture", lambda *_, **words: notes.append(words["notes"]))
    whole, half = make("tiny-0", n=2), make("tiny-1", n=2)
    table = half.run.read("samples")
    half.run.write("samples", table.assign(truncated=(table["source"] == "own") & (table["index"] == 0)))
    half = Measurement(Run(half.run.folder))
    for records in ([whole], [half], [whole, half]):
        draw_fig2(*group_by_label(records), tmp_path)
    assert "Cut" not in notes[0]
    assert notes[1].endswith("T = 0.9. Cut at the token limit: 50 % of own CoTs.")
    assert notes[2].endswith("T = 0.9. Cut at the token limit: 0 % to 50 % of own CoTs.")
