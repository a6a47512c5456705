from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from expo.measure.winrate import pair_scores, step_wins


def frame(*rows: tuple[str, int | None, str, int, int, int]) -> pd.DataFrame:
    """Rows of (problem, level, source, index, steps, steps_true)."""
    made = pd.DataFrame(rows, columns=["problem", "level", "source", "index", "steps", "steps_true"])
    return made.astype({"level": "Int64", "index": "Int64", "steps": "Int64", "steps_true": "Int64"})


def record(n: int, seed: int, explanation: tuple[int, int], own: tuple[int, int]) -> pd.DataFrame:
    """`n` problems, two samples each, with steps and true steps near what is given."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        for source, (steps, true) in (("explanation", explanation), ("own", own)):
            for k in range(2):
                shift = int(rng.integers(0, 2))
                rows.append((f"p{i}", 1 + i % 2, source, k, steps + shift, true + shift))
    return frame(*rows)


def test_pairs_meet_by_index_and_score_by_both_rules():
    samples = frame(
        # The explanation wins by count and loses by share.
        ("a", 1, "explanation", 0, 10, 4),
        ("a", 1, "own", 0, 3, 3),
        # Tied by both.
        ("a", 1, "explanation", 1, 2, 1),
        ("a", 1, "own", 1, 2, 1),
        # Loses by count, and by share.
        ("b", 2, "own", 0, 4, 3),
        ("b", 2, "explanation", 0, 4, 1),
    )
    pairs = pair_scores(samples).set_index(["problem", "index"])
    assert pairs["count"].to_dict() == {("a", 0): 1.0, ("a", 1): 0.5, ("b", 0): 0.0}
    assert pairs["share"].to_dict() == {("a", 0): 0.0, ("a", 1): 0.5, ("b", 0): 0.0}
    count, share, *levels = step_wins(samples)
    assert (count.wins, count.ties, count.losses, count.left_out) == (1, 1, 1, 0)
    # Averaged by problem first: (0.75 + 0) / 2, not the 0.5 of three pairs.
    assert count.rate.mean == pytest.approx(0.375)
    assert share.rate.mean == pytest.approx(0.125)
    assert count.rate.n == 2
    assert [(w.rule, w.level, w.rate.n) for w in levels] == [
        ("count", 1, 1), ("share", 1, 1), ("count", 2, 1), ("share", 2, 1),
    ]  # fmt: skip


def test_a_cot_without_steps_has_no_share_and_is_counted():
    samples = frame(
        ("a", None, "explanation", 0, 0, 0),
        ("a", None, "own", 0, 2, 2),
        ("b", None, "explanation", 0, 2, 2),
        ("b", None, "own", 0, 2, 1),
    )
    count, share = step_wins(samples)
    assert (count.wins, count.losses, count.left_out, count.pairs) == (1, 1, 0, 2)
    assert (share.wins, share.losses, share.left_out, share.rate.n) == (1, 0, 1, 1)


def test_one_problem_gives_the_widest_interval_of_a_rate():
    count, _ = step_wins(frame(("a", None, "explanation", 0, 3, 3), ("a", None, "own", 0, 3, 0)))
    assert (count.rate.mean, count.rate.low, count.rate.high, count.rate.n) == (1, 0, 1, 1)


def test_samples_without_a_partner_are_no_pair():
    samples = frame(("a", 1, "explanation", 1, 3, 3), ("a", 1, "own", 0, 3, 0), ("b", 1, "own", 0, 1, 1))
    assert pair_scores(samples).empty
    count, share = step_wins(samples)
    assert np.isnan(count.rate.mean)
    assert count.rate.n == share.rate.n == 0


def test_a_sample_that_stands_twice_is_refused():
    row = ("a", 1, "explanation", 0, 3, 3)
    with pytest.raises(pd.errors.MergeError):
        pair_scores(frame(row, row, ("a", 1, "own", 0, 3, 0)))


def test_the_reversed_record_gives_the_reversed_rate():
    better, worse = (6, 5), (5, 2)
    forward = step_wins(record(40, 0, better, worse))
    backward = step_wins(record(40, 0, worse, better))
    for one, other in zip(forward, backward, strict=True):
        assert one.rate.low > 0.5 > other.rate.high
    swapped = record(40, 0, better, worse)
    swapped["source"] = swapped["source"].map({"own": "explanation", "explanation": "own"})
    for one, other in zip(forward, step_wins(swapped), strict=True):
        assert one.rate.mean == pytest.approx(1 - other.rate.mean)
        assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)


def test_length_alone_wins_by_count_and_not_by_share():
    longer = record(60, 1, explanation=(12, 6), own=(6, 3))
    count, share, *_ = step_wins(longer)
    assert count.rate.low > 0.9
    assert share.rate.low < 0.6


def test_equal_texts_tie():
    same = record(10, 2, (4, 2), (4, 2))
    same[["steps", "steps_true"]] = 4
    for wins in step_wins(same):
        assert (wins.rate.mean, wins.rate.low, wins.rate.high) == (0.5, 0.5, 0.5)
        assert wins.ties == wins.pairs
