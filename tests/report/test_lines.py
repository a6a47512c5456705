"""Names at the ends of lines stand apart, and lines are means and bases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from expo.report.accuracy import MEAN
from expo.report.lines import rate_name, spread, with_means


@pytest.mark.parametrize("places", [[0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [0.95, 0.97, 1.0], [0.1, 0.4, 0.8], [0.3], []])
def test_places_are_spread_no_more_than_they_need(places: list[float]) -> None:
    moved = spread(places, 0.1)
    assert all(np.diff(moved) >= 0.1 - 1e-9)
    assert moved == sorted(moved)
    assert all(0 <= place <= 1 for place in moved)
    # As they were, some of these would hide each other.
    if all(np.diff(places) >= 0.1):
        assert moved == pytest.approx(places)
    else:
        assert moved != places


def test_means_are_over_bases_at_each_rate() -> None:
    rows = pd.DataFrame({"base": ["a", "b", "a", "b"], "rate": [1, 1, 2, 2], "loss": [0.0, 1.0, 4.0, 6.0]})
    means = with_means(rows, ["rate"]).query("base == @MEAN")
    assert means["loss"].tolist() == [0.5, 5.0]
    assert len(with_means(rows, ["rate"])) == 6


def test_a_rate_is_named_in_few_letters() -> None:
    assert [rate_name(rate) for rate in (3e-6, 1e-4, 1.5e-3)] == ["3e−6", "1e−4", "1.5e−3"]
    assert MEAN == "mean over bases"
