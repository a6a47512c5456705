from __future__ import annotations

import pytest

from expo.report.style import method_colour
from expo.report.words import (
    METHODS,
    interval,
    is_method,
    listed,
    method_name,
    method_order,
    number,
    share,
    signed,
    spanned,
)
from expo.stats import Interval
from expo.text import plural


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (66.84, "66.8"),
        (-66.84, "−66.8"),
        (1.2949, "1.29"),
        (0.99951, "1.00"),
        (0.0804, "0.0804"),
        (12345.6, "12346"),
        (2.55e-5, "2.55e-05"),
        (3e7, "3.00e+07"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (float("nan"), "–"),
    ],
)
def test_number(value: float, text: str):
    assert number(value) == text


def test_signs_and_intervals():
    assert (signed(1.0), signed(-1.0), signed(0.0)) == ("+1.00", "−1.00", "0")
    assert interval(Interval(-1.0, -2.0, 0.5, 3), sign=True) == "−1.00 [−2.00, +0.500]"
    assert interval(Interval(1.0, float("-inf"), float("inf"), 1)) == "1.00 [of one problem]"


def test_shares_and_lists():
    assert [share(x) for x in (0.0, 0.004, 0.5, 1.0, float("nan"))] == ["0 %", "0.4 %", "50 %", "100 %", "–"]
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("none", "a", "a, b and c")
    assert (plural(1, "run"), plural(0, "run")) == ("1 run", "0 runs")


@pytest.mark.parametrize(("counts", "text"), [([6, 27, 6], "6 to 27"), ([27, 6], "6 to 27"), ([40, 40], "40")])
def test_spanned(counts: list[int], text: str):
    assert spanned(counts) == text


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("explanation", "ExP-GRPO"),
        ("explanation_weighted_6", "ExP-GRPO (all by weight of 6)"),
        ("explanation_weighted_4_most_moved", "ExP-GRPO (all by weight of 4; tokens that the answer moves most)"),
        ("own_correct_best_joint_4", "GRPO + own correct CoT (likeliest of 4)"),
        ("explanation_failed", "ExP-GRPO (only where no sample is right)"),
        ("explanation_best_signal_16_right", "ExP-GRPO (best learning signal of 16; explanations with a right answer)"),
        ("sft_explanation_posterior_3", "SFT on explanations (drawn by weight of 3)"),
        ("dpo_explanation_best_joint_4_online", "online ExP-DPO (likeliest of 4)"),
        ("sft_explanation+none", "GRPO after SFT on explanations"),
        ("base", "before training"),
        ("", "before training"),
    ],
)
def test_every_variant_of_a_method_has_a_name(method: str, name: str) -> None:
    assert method_name(method) == name
    assert is_method(method) == (name != "before training")
    assert name == "before training" or method_colour(method).startswith("#")


def test_no_name_of_a_method_breaks_a_list() -> None:
    variants = [*METHODS, "explanation_weighted_4_most_moved_failed_right", "dpo_expert_best_joint_4_online"]
    assert not [name for name in map(method_name, variants) if "," in name]


def test_methods_stand_in_one_order() -> None:
    ordered = [
        "base",
        "explanation",
        "explanation_posterior_4",
        "explanation_posterior_8",
        "explanation_best_joint_2",
        "explanation_right",
        "expert",
        "none",
        "own_correct_best_joint_4",
    ]
    assert sorted([*ordered[4:], *ordered[:4]], key=method_order) == ordered
