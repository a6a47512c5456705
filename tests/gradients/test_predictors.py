"""What ranks gains, and intervals over questions and over pairs of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from expo.gradients.predictors import joined, rank_correlations
from expo.stats import bootstrap_pairs, bootstrap_questions


def test_predictors_are_ranked_within_questions() -> None:
    rows = []
    for q in range(12):
        # The questions differ by more than the positives of one do, and in the other direction.
        for i in range(4):
            rows.append({"problem": f"q{q}", "source": f"s{i}", "gain": i - 100.0 * q, "nll": 10.0 - i + 50.0 * q})
    frame = pd.DataFrame(rows)
    alignment = frame.assign(
        step=0,
        ids=[[i] for i in range(len(frame))],
        level=1,
        nll_sum=frame["nll"],
        nll_per_token=-frame["nll"],
        learning_signal=0.0,
        log10_t1=1.0,
        norm=frame["nll"],
        right=8,
        rollouts=16,
    )[
        [
            "right",
            "rollouts",
            "step",
            "ids",
            "problem",
            "level",
            "source",
            "nll_sum",
            "nll_per_token",
            "learning_signal",
            "log10_t1",
            "norm",
        ]
    ]
    gains = frame.assign(size=0.1, level=1, predicted=frame["gain"], realised=frame["gain"])[
        ["problem", "level", "source", "size", "predicted", "realised"]
    ].assign(exact_before=np.nan, exact_after=np.nan, predicted_error=0.1, realised_error=0.1, realised_right=8)
    table = joined(alignment, gains, 0.1)
    found = rank_correlations(table).set_index("predictor")
    assert found.loc["predicted", "mean"] == pytest.approx(1)
    assert found.loc["nll_sum", "mean"] == pytest.approx(1)
    assert found.loc["nll_per_token", "mean"] == pytest.approx(-1)
    assert found.loc["norm", "mean"] == pytest.approx(-1)
    # T1 is the same for all, and the step of one length.
    assert found.loc["unit_t1", "mean"] == pytest.approx(1)
    assert found.loc["nll_per_token", "more"] == pytest.approx(-2)
    assert found.loc["norm", ["low", "high", "n", "more_n"]].tolist() == pytest.approx([-1, -1, 12, 12])
    # What is the same for all positives of a question ranks none.
    assert found.loc["learning_signal", "n"] == 0
    # A question counts once, whatever the number of policies.
    twice = pd.concat([table.assign(run=run) for run in ("a", "b")])
    assert rank_correlations(twice).set_index("predictor").loc["predicted", "n"] == 12
    # Questions that show no slope are left out for all predictors alike.
    some = table.assign(predicted_error=table["predicted_error"].where(table["problem"] != "q0"))
    assert set(rank_correlations(some)["n"]) == {0, 11}
    # The slope's error is known by the slope's rollouts, the change's by its own.
    assert not table["few"].any()
    assert not table["change_few"].any()
    for rare in (4, 12 + 1):
        assert joined(alignment, gains.assign(realised_right=rare), 0.1)[["few", "change_few"]].all().tolist() == [
            False,
            True,
        ]
        assert joined(alignment.assign(right=rare), gains, 0.1)[["few", "change_few"]].all().tolist() == [True, False]
    # Positives of one text are one: here two are left, too few for a rank.
    alike = alignment.assign(ids=[[min(i % 4, 1)] for i in range(len(frame))])
    assert len(joined(alike, gains, 0.1)) == 24
    assert set(rank_correlations(joined(alike, gains, 0.1))["n"]) == {0}


def test_t1_of_a_wrong_positive_ranks_lowest() -> None:
    rows = pd.DataFrame(
        {
            **{name: [1.0, 2.0, 3.0] for name in ("predicted", "nll_sum", "nll_per_token", "learning_signal", "norm")},
            **{"problem": "q", "unit_t1": [-np.inf, -5.0, -2.0], "change": [1.0, 2.0, 3.0]},
            **{"predicted_error": 0.1, "change_error": 0.1},
        }
    )
    found = rank_correlations(rows).set_index("predictor")
    assert found.loc["unit_t1", "mean"] == pytest.approx(1)
    assert found.loc["nll_sum", "mean"] == pytest.approx(-1)


def test_the_interval_over_pairs_is_that_of_the_questions() -> None:
    of = np.random.default_rng(3).normal(size=40)
    low, high = np.tril_indices(40, -1)
    names = pd.Series([f"q{i:02d}" for i in range(40)])
    found = bootstrap_pairs(pd.Series(of[low] + of[high]), names[low], names[high])
    single = bootstrap_pairs(pd.Series(of), names, names)
    expected = bootstrap_questions(pd.Series(of, names))
    assert single.mean == pytest.approx(expected.mean)
    assert single.n == found.n == 40
    # The mean over pairs of a sum of two is twice the mean, and its interval twice as wide.
    width = expected.high - expected.low
    assert single.high - single.low == pytest.approx(width, rel=0.1)
    assert found.mean == pytest.approx(2 * expected.mean)
    assert found.high - found.low == pytest.approx(2 * width, rel=0.15)
    # Pairs taken for questions of their own would have one far too narrow.
    each = pd.Series([f"{i}" for i in range(len(low))])
    wrong = bootstrap_pairs(pd.Series(of[low] + of[high]), each, each)
    assert wrong.high - wrong.low < 0.5 * (found.high - found.low)


def test_one_question_has_no_interval() -> None:
    one = pd.Series(["q"] * 3)
    found = bootstrap_pairs(pd.Series([1.0, 2.0, 6.0]), one, one)
    assert (found.mean, found.low, found.high, found.n) == (3, -np.inf, np.inf, 1)
