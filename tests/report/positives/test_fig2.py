from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.measure.verdict import by_problem
from expo.records import Run
from expo.report.artefacts import Artefact
from expo.report.positives import fig2
from expo.report.positives.fig2 import POINTS, draw_fig2
from expo.report.positives.measurements import Group, Measurement, group_by_label
from expo.stats import bootstrap

from ..records.positives import Make


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
    begin = "Figure 2 of the paper, on the toy: "
    neutral = f"{begin}NLL of self-explanations and expert CoTs"
    likelier = f"{begin}self-explanations are likelier than expert CoTs, per sequence and per token"
    assert headings == [likelier, likelier.replace("likelier", "less likely"), neutral, neutral]


def test_fig2_reads_the_reversed_record_as_reversed(drawn: dict[str, Artefact]):
    one, other = drawn["draw_fig2"].reading.split("\n\n")
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
