"""Verdicts on records whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from expo.measure.verdict import compare, summary, table1, verdict
from expo.stats import MIN_PROBLEMS, Interval, bootstrap

MEANS = {
    # source: nll_sum, nll_per_token, learning_signal; a world in which the paper's Table 1 holds
    "own": (60.0, 0.5, -8.0),
    "explanation": (70.0, 0.6, -2.0),
    "expert": (130.0, 1.4, -1.0),
}


def record(
    means: dict[str, tuple[float, float, float]] = MEANS, n: int = 40, k: int = 2, noise: float = 0.1
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for source, values in means.items():
        for problem in range(n):
            for index in range(1 if source == "expert" else k):
                a, b, c = (v * (1 + noise * rng.standard_normal()) for v in values)
                rows.append(
                    {
                        "problem": f"p{problem}",
                        "source": source,
                        "index": index,
                        "nll_sum": a,
                        "nll_per_token": b,
                        "nll_cot": a,
                        "learning_signal": c,
                        "tokens": 100,
                        "truncated": False,
                        "leak": False,
                        "correct": None,
                    }
                )
    return pd.DataFrame(rows)


def verdicts(samples: pd.DataFrame) -> dict[tuple[str, str], str]:
    return {(c.source, c.quantity): c.verdict for c in table1(samples)}


def test_the_papers_table_is_found_where_it_holds() -> None:
    got = verdicts(record())
    assert got[("explanation", "nll_sum")] == got[("explanation", "nll_per_token")] == "holds"
    assert got[("expert", "nll_sum")] == "fails"
    assert got[("own", "nll_sum")] == "holds"
    assert got[("explanation", "learning_signal")] == got[("expert", "learning_signal")] == "holds"
    assert got[("own", "learning_signal")] == "fails"


def test_a_reversed_world_gives_the_reversed_table() -> None:
    reversed_ = {"own": MEANS["own"], "explanation": (150.0, 1.6, -9.9), "expert": MEANS["expert"]}
    got = verdicts(record(reversed_))
    assert got[("explanation", "nll_sum")] == got[("explanation", "nll_per_token")] == "fails"
    assert got[("explanation", "learning_signal")] == "fails"


def test_no_difference_is_undecided() -> None:
    same = {"own": MEANS["own"], "explanation": MEANS["own"], "expert": MEANS["own"]}
    assert set(verdicts(record(same)).values()) == {"undecided"}


def test_sequence_and_token_can_disagree() -> None:
    got = verdicts(record({**MEANS, "explanation": (200.0, 0.6, -2.0)}))
    assert got[("explanation", "nll_sum")] == "fails"
    assert got[("explanation", "nll_per_token")] == "holds"


def test_differences_are_paired_and_problems_are_the_unit() -> None:
    samples = record(noise=0)
    samples.loc[samples["problem"] == "p0", "nll_sum"] += 1000.0
    got = compare(samples, "explanation", "expert", "nll_sum")
    assert got == Interval(-60.0, -60.0, -60.0, 40)
    doubled = pd.concat([record(), record().assign(index=9)])
    assert compare(doubled, "explanation", "expert", "nll_sum") == compare(record(), "explanation", "expert", "nll_sum")


def test_a_problem_without_a_pair_is_left_out() -> None:
    samples = record(n=10)
    samples = samples[~((samples["source"] == "expert") & (samples["problem"] == "p3"))]
    assert compare(samples, "explanation", "expert", "nll_sum").n == 9


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for i in range(300):
        got = bootstrap(rng.standard_normal(60) + 5.0, seed=i)
        inside += got.low <= 5.0 <= got.high
    # The percentile bootstrap at n = 60 covers 93 to 95 %; over 300 trials that deviates by 1.4 %.
    assert 0.89 < inside / 300 < 0.985


@pytest.mark.parametrize("n", [0, 1, 2, MIN_PROBLEMS - 1])
def test_too_few_problems_decide_nothing(n: int) -> None:
    assert verdict(bootstrap(np.full(n, -3.0)), -1) == "undecided"
    assert verdict(bootstrap(np.full(MIN_PROBLEMS, -3.0)), -1) == "holds"


def test_a_summary_has_means_intervals_and_counts() -> None:
    metrics = summary(record()).set_index("name")["value"]
    assert metrics["own/problems"] == 40
    assert metrics["own/samples"] == 80
    assert metrics["own/nll_sum/low"] < metrics["own/nll_sum"] < metrics["own/nll_sum/high"]
    assert "own/correct" not in metrics
