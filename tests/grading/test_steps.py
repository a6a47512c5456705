"""The step checker: what counts as a statement, what is true, and what experts' solutions score."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expo.grading.steps import Step, check_steps

TRUE = [
    "3 * 4 = 12",
    "3 × $4 = $12",
    "3 x 4 = 12",
    "3x4=12",
    r"3 \times 4 = 12",
    r"$3 \cdot 4 = 12$",
    "5 times 3 = 15",
    "5 plus 3 equals 8",
    "20% of 50 = 10",
    "1/2 of the 50 eggs = 25 eggs",
    "1/2 * 8 = 4",
    r"\frac{1}{2} \times 8 = 4",
    r"\frac12 + \frac12 = 1",
    "1 1/2 * 4 = 6",
    r"2\frac{1}{2} + \frac{1}{2} = 3",
    "25 / 1/5 = 125",
    "80,000 * 1.5 = 120,000",
    "(2 + 3) * 4 = 20",
    "2(3 + 4) = 14",
    "10 - 5 × 2 = 0",
    "5 - -3 = 8",
    "2^3 = 8",
    "2**3 = 8",
    "4² + 3² = 25",
    r"\sqrt{16} + 1 = 5",
    "10/3 = 3.33",
    "1/3 = 0.333...",
    "2/3 = 0.67",
    "0.1 + 0.2 = 0.3",
    "10/3 ≈ 3",
    "1234 + 4 ≈ 1240",
    "100% - 20% = 80%",
    "100 - 20 = 80%",
    "5/20 = 25%",
    "7 / 28 * 100% = 25",
    "25 + 10% = 27.5",
    "25 + 25 = 50 cents",
    "$1 / 2 = 50 cents",
    "32 / 2 = 16 million",
    "5 million + 3 million = 8 million",
    "$2/egg * 9 eggs = $18 per day",
    "25 roses/bush * 3 bushes = 75 roses",
    "180° - 60° = 120°",
    r"3 * 4 = \boxed{12}",
    "**3 + 4 = 7**",
    "3 + 4\n= 7",
    "3 + 5 = 8!",
    "12 = 3 * 4",
    "3 * 2 = 6 times",
]

FALSE = [
    "3 * 4 = 13",
    "3 × $4 = $13",
    "20% of 50 = 1000",
    "1/2 * 8 = 16",
    r"\frac{1}{2} \times 8 = 5",
    r"\frac12 + \frac12 = 2",
    "1 1/2 * 4 = 4",
    "10 - 5 × 2 = 10",
    "2^3 = 6",
    r"\sqrt{16} + 1 = 17",
    "10/3 = 3",
    "10/3 = 3.34",
    "2/3 = 0.66",
    "10/3 ≈ 4",
    "100% - 20% = 20%",
    "25 + 10% = 28",
    "25 + 25 = 60 cents",
    "32 / 2 = 17 million",
    "25 roses/bush * 3 bushes = 70 roses",
    "80,000 * 1.5 = 12,000",
    "5 - -3 = 2",
    "12 = 3 * 5",
]

# No arithmetic, or arithmetic with something unknown in it.
NONE = [
    "x = 5",
    "y = 3x",
    "2x = 10",
    "2ab = 4 - 1",
    "y + 3 = 7 + 1",
    "7 = 3 + y",
    r"2\pi + 3 = 9",
    r"11_5 - 4_5 = 2_5",
    "half of 50 + 10 = 35",
    "twice 5 + 3 = 13",
    "25 classmates + his 1 teacher = 26",
    "5:30 + 45 = 6:15",
    "17 / 5 = 3 remainder 2",
    "1/2 hour = 30 minutes",
    "Drop 8 degrees = 2 - 8",
    "Monday - 5 * 3 = 15",
    "16,0000/10 = 16000",
    "f(2 + 3) = 5",
    "3 + 4 > 5, 3 + 4 != 8, 3 + 4 >= 7",
    "3 / 0 = 0",
    "2^(10^10) = 5",
    r"\sqrt{2} * 2 = 3",
    r"\sqrt[3]{8} + 1 = 3",
    r"4/37 = 0.\overline{108}",
    "5 = 5",
    "",
]

SEVERAL = [
    ("2+3=5+1=6", [("2+3=5+1", False), ("5+1=6", True)]),
    ("x = 10/2 = 5", [("10/2 = 5", True)]),
    ("48/2 = <<48/2=24>>24 clips", [("48/2 = <<48/2=24>>24", True)]),
    ("He runs <<3*3=9>>9 times", [("3*3=9", True)]),
    ("She has 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\nSo 9 * 2 = $<<9*2=18>>18.", [(None, True), (None, True)]),
    ("5 eggs + 3 eggs = 8 eggs - 2 eggs = 6 eggs", [(None, True), ("8 eggs - 2 eggs = 6", True)]),
    ("The rest is 12 - 5 = 7, then 7 * 2 = 15.", [("12 - 5 = 7", True), ("7 * 2 = 15", False)]),
    (
        "Step 1: 5 * 2 = 10\n- 10 + 3 = 13\n2. 13 - 1 = 11",
        [("5 * 2 = 10", True), ("10 + 3 = 13", True), ("13 - 1 = 11", False)],
    ),
    ("In 3 days she lays 5 + 3 = 8 eggs and 2 more.", [("5 + 3 = 8", True)]),
    (r"\frac{4}{4}=1 \qquad \frac{4}{8}=\frac{1}{2}", [(None, True), (None, True)]),
]


def verdicts(text: str) -> list[bool]:
    return [step.true for step in check_steps(text)]


@pytest.mark.parametrize("text", TRUE)
def test_true(text):
    assert verdicts(text) == [True]
    assert verdicts(f"First, some words. So {text} and so on.") == [True]


@pytest.mark.parametrize("text", FALSE)
def test_false(text):
    assert verdicts(text) == [False]


@pytest.mark.parametrize("text", NONE)
def test_no_statement(text):
    assert check_steps(text) == []


@pytest.mark.parametrize(("text", "expected"), SEVERAL)
def test_several(text, expected):
    steps = check_steps(text)
    assert [step.true for step in steps] == [true for _, true in expected]
    assert all(step.text == wanted for step, (wanted, _) in zip(steps, expected, strict=True) if wanted)


def test_step_says_where():
    text = "She has 5 + 3 = 8 eggs."
    assert check_steps(text) == [Step(8, 17, "5 + 3 = 8", True)]
    assert text[8:17] == "5 + 3 = 8"


@given(st.integers(-999, 999), st.sampled_from("+-*"), st.integers(0, 999), st.integers(-3, 3))
def test_integer_arithmetic_agrees_with_python(a, sign, b, error):
    right = {"+": a + b, "-": a - b, "*": a * b}[sign] + error
    assert verdicts(f"{a} {sign} {b} = {right}") == [error == 0]


@given(st.integers(0, 10**4), st.integers(1, 999), st.integers(1, 4))
def test_rounded_quotients_are_true_and_the_next_digit_is_not(a, b, places):
    unit = 10**places
    digits = (2 * a * unit + b) // (2 * b)
    for shift in (0, 1):
        text = f"{a} / {b} = {(digits + shift) // unit}.{(digits + shift) % unit:0{places}d}"
        exact_tie = (2 * a * unit + b) % (2 * b) == 0
        assert verdicts(text) == [shift == 0 or (exact_tie and 2 * a * unit == (2 * digits + 1) * b)]


@given(st.text(alphabet="0123456789+-*/^=().,%$x \n\\{}frac sqrt of a<>", max_size=80))
def test_any_text_is_read(text):
    for step in check_steps(text):
        assert step.text == text[step.start : step.end]
        assert "=" in step.text


@pytest.mark.parametrize("seed", ["1+", "1+1=", "(", "= ", "1 ", "a ", "-", "= <<", "\\text{", "1,", "2^", "((1)"])
def test_repetitive_texts_in_linear_time(seed):
    # Quadratic work at this length would take many minutes.
    check_steps(seed * (30_000 // len(seed)))


def test_long_texts():
    assert verdicts("word " * 20_000 + "3 + 4 = 7" + " word" * 2_000) == [True]
    assert check_steps("9" * 100_000 + " + 1 = 2") == []


# Real data


@pytest.fixture(scope="module")
def solutions():
    if "EXPO_DATA" not in os.environ:
        pytest.skip("EXPO_DATA is unset: no folder with gsm8k/test.jsonl")
    lines = (Path(os.environ["EXPO_DATA"]) / "gsm8k" / "test.jsonl").read_text().splitlines()
    return [json.loads(line)["answer"] for line in lines]


def test_expert_solutions_are_true(solutions):
    steps = [step for text in solutions for step in check_steps(text)]
    assert len(steps) > 4000
    assert sum(step.true for step in steps) / len(steps) > 0.995


def test_planted_errors_are_found(solutions):
    """Each calculator result and the number that repeats it, off by one."""

    def off_by_one(match: re.Match[str]) -> str:
        wrong = str(int(match[2]) + 1)
        return f"{match[1]}{wrong}>>{wrong}"

    pairs = []
    for text in solutions:
        planted = re.sub(r"(<<[^<>=]*[-+*/][^<>=]*=)(\d+)>>\2(?![\d.,%])", off_by_one, text)
        pairs += [
            (old, new) for old, new in zip(check_steps(text), check_steps(planted), strict=True) if old.text != new.text
        ]
    assert len(pairs) > 2000
    assert sum(old.true for old, _ in pairs) / len(pairs) > 0.995
    assert not any(new.true for _, new in pairs)
