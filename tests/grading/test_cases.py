"""The labelled cases by kind, and the attacks: right answers made wrong, and right answers written otherwise."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from expo.grading.answers import extract
from expo.grading.compare import settle
from expo.grading.compare_values import Ruling
from tests.grading.attacks import Attack, equal, wrong

HERE = Path(__file__).parent
CASES = [json.loads(line) for line in (HERE / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
VERDICTS = {True: "correct", False: "wrong", None: "unparsed"}


def golds() -> list[str]:
    """Golds of all kinds, of the stories that are shipped, and of MATH where `EXPO_DATA` has it."""
    found = (HERE / "golds.txt").read_text(encoding="utf-8").splitlines()
    shipped = Path(__file__).parents[2] / "expo" / "tasks" / "sums.jsonl"
    found += [str(json.loads(line)["answer"]) for line in shipped.read_text(encoding="utf-8").splitlines()]
    math = Path(os.environ.get("EXPO_DATA", "")) / "math" / "test.jsonl"
    if "EXPO_DATA" in os.environ and math.is_file():
        rows = map(json.loads, math.read_text(encoding="utf-8").splitlines())
        found += [answer[0] for row in rows if (answer := extract(row["solution"]))]
    return list(dict.fromkeys(found))


def test_there_are_enough_cases_and_none_twice() -> None:
    golden = (HERE / "golden_answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(CASES) + len(golden) >= 1500
    assert len({(row["gold"], row["completion"]) for row in CASES}) == len(CASES)
    assert len({row["kind"] for row in CASES}) >= 80
    counts = Counter(row["expected"] for row in CASES)
    assert min(counts["correct"], counts["wrong"]) > 400


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in CASES}))
def test_every_case_has_its_verdict(kind: str) -> None:
    failed = []
    for row in CASES:
        if row["kind"] == kind:
            found = extract(row["completion"])
            ruling = settle(row["gold"], found[0]) if found else Ruling(None, "no answer")
            if VERDICTS[ruling.right] != row["expected"]:
                failed.append((row, found, ruling))
    assert failed == []


def ruled(gold: str, answer: str) -> Ruling:
    found = extract(rf"\boxed{{{answer}}}")
    return settle(gold, found[0]) if found else Ruling(None, "no answer")


def pairs(attack: Callable[[str], Iterator[Attack]]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((gold, answer, name) for gold in golds() for name, answer in attack(gold)))


def test_no_right_answer_made_wrong_is_accepted() -> None:
    attacks = pairs(wrong)
    assert len(attacks) >= (10_000 if "EXPO_DATA" in os.environ else 2_500)
    assert [(g, a, name, r) for g, a, name in attacks if (r := ruled(g, a)).right] == []


def test_right_answers_written_otherwise_are_accepted() -> None:
    attacks = pairs(equal)
    assert len(attacks) >= (10_000 if "EXPO_DATA" in os.environ else 2_500)
    rejected = [(g, a, name, r) for g, a, name in attacks if not (r := ruled(g, a)).right]
    assert len(rejected) <= 0.005 * len(attacks), rejected


@pytest.mark.parametrize("gold", [r"\frac{3}{4}", "2xy", "(2,12)", r"5 \text{ cm}", "x^2-5"])
def test_the_attacks_would_find_a_hole(gold: str) -> None:
    """Graders with a hole each: by the letters aside, by the digits as a set, by what a gold begins with."""
    holes: list[Callable[[str, str], bool]] = [
        lambda g, a: sorted(filter(str.isdigit, g)) == sorted(filter(str.isdigit, a)),
        lambda g, a: a.startswith(g[:3]),
    ]
    for accepts in holes:
        assert any(accepts(gold, answer) for _, answer in wrong(gold))
    assert not all(gold == answer for _, answer in equal(gold))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 12. So we see", "12"),
        ("The answer is $12$. So we", "12"),
        (r"That makes \boxed{12}, as", "12"),
        ("<answer>7</answer> which", "7"),
        ("**Answer: 18** is what", "18"),
        ("#### 18\nIt is", "18"),
        ("答案是18。所以", "18"),
        # What may go on is no answer yet.
        ("The answer is 12", None),
        ("The answer is 12.", None),
        ("She has 9 * 2 = 18 and so", None),
        (r"The answer is 3^{2} \cdot 5", None),
        ("The answer is x^{2}+3x", None),
        (r"#### \frac{1}{2}\pi", None),
        (r"The answer is \{1,2\} \cup \{3", None),
        (r"The answer is (\sqrt{2}, 3", None),
        ("The answer is approx. 18", None),
        (r"So \boxed{1", None),
    ],
)
def test_a_text_cut_at_its_limit_must_have_stated_its_answer(text: str, answer: str | None) -> None:
    found = extract(text, truncated=True)
    assert (found and found[0]) == answer
    # The same text is read otherwise where it ended by itself.
    assert extract(text) is not None or text.endswith("{1")


def test_what_prose_does_to_a_number_costs_few_right_answers() -> None:
    """Sentences as worked solutions end with: the last number is the answer, whatever words stand around it."""
    sentences = {
        "So he is 180-135=45 miles away from home": "45",
        "10 times their medals is 39*10=390 medals": "390",
        "The third house needs 100 cases of shingles.": "100",
        "She has $10 left over because 40 - 30 = 10": "10",
        "the house is 1200+1000+960=3160 square feet": "3160",
        "Raphael spent a total of $6 + $8 + $20 = $34 for the supplies.": "34",
        "Seth is twice as old as Brooke, so Seth is 8 x 2 = 16.": "16",
    }
    for sentence, gold in sentences.items():
        # After a cue a clause ends where another begins.
        for text in (sentence, *([f"The answer is that {sentence}"] if ", so" not in sentence else [])):
            found = extract(text)
            assert found is not None, text
            assert settle(gold, found[0]).right, (text, found)
    for sentence in (
        "It is not 45.",
        "It is either 5 or 45.",
        "The answer is twice 45.",
        "The answer is the sum of 5 and 45.",
    ):
        found = extract(sentence)
        assert not (found and settle("45", found[0]).right), sentence
