from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.measure.verdict import by_problem
from expo.records import Run
from expo.report.artefacts import Artefact
from expo.report.positives.fig2 import BINS, draw_fig2
from expo.report.positives.measurements import Group, Measurement, group_by_label

from ..records.positives import Make


def test_fig2_counts_every_sample_once(swept: Group, drawn: dict[str, Artefact]):
    numbers = drawn["draw_fig2"].numbers
    assert set(numbers["run"]) == {"tiny-0", "tiny-1"}
    samples = swept.runs[0].samples
    for quantity in ("nll_sum", "nll_per_token"):
        for source in ("own", "explanation", "expert"):
            held = numbers[
                (numbers["run"] == "tiny-0") & (numbers["quantity"] == quantity) & (numbers["source"] == source)
            ]
            bins, mean = held[held["kind"] == "bin"], held[held["kind"] == "mean"]
            values = samples.loc[samples["source"] == source, quantity].astype(float)
            assert len(bins) == BINS
            assert bins["samples"].sum() == len(values)
            assert bins["value"].sum() == pytest.approx(1)
            for row in bins.to_dict("records"):
                last = row["right"] == bins["right"].max()
                inside = (values >= row["left"]) & ((values <= row["right"]) if last else (values < row["right"]))
                assert row["samples"] == inside.sum()
            assert mean["value"].tolist() == [by_problem(samples, source, quantity).mean()]


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
