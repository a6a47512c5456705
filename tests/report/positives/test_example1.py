from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expo.records import Run
from expo.report.positives.example1 import FALLBACK, RULE, choose, draw_example1, parts
from expo.report.positives.measurements import Measurement, group_by_label
from expo.tasks.chain_task import ChainChecker
from expo.tasks.checker import TextChecker
from expo.text import fenced, visible

from ..records.positives import Make

EVIL = (
    "</pre><script>alert(1)</script> | ``` \n```\n# heading\n<img src=x> $x$ @someone [a](http://b)\n"
    "&amp; \u202e\x1b[31m\x00"
)


def rewrite(record: Measurement, change: Any) -> Measurement:
    """The record with its samples changed in place."""
    table = record.run.read("samples")
    change(table)
    record.run.write("samples", table)
    return Measurement(Run(record.run.folder))


def wrong(table: pd.DataFrame) -> None:
    table.loc[table["source"] == "own", "status"] = "wrong"


def test_the_first_fitting_problem_is_chosen(make: Make):
    record = rewrite(make("tiny-0"), wrong)
    rows, why = choose(record.samples)
    first = sorted(record.samples["problem"].unique())[0]
    assert why == RULE
    assert [(r["problem"], r["source"], r["index"]) for r in rows] == [
        (first, "own", 0),
        (first, "explanation", 0),
    ]
    # The order of the record's rows has no say.
    assert choose(record.samples.sample(frac=1, random_state=0))[0] == rows


def test_the_fallback_says_that_it_is_one(make: Make, tmp_path: Path):
    record = rewrite(make("tiny-0", reverse=True), wrong)
    rows, why = choose(record.samples)
    assert why == FALLBACK
    assert rows[0]["problem"] == sorted(record.samples["problem"].unique())[0]
    made = draw_example1(*group_by_label([record]), tmp_path)
    assert FALLBACK in made.reading
    assert FALLBACK in made.shown.read_text()


def test_nothing_to_compare_is_an_error(make: Make):
    samples = make("tiny-0").samples
    with pytest.raises(ValueError, match="no problem has an own CoT and a self-explanation"):
        choose(samples[samples["source"] != "explanation"])


def test_example_shows_every_step_with_the_checkers_mark(make: Make, tmp_path: Path):
    record = rewrite(make("tiny-0"), wrong)
    made = draw_example1(*group_by_label([record]), tmp_path)
    held = pd.read_csv(tmp_path / "example1-tiny.csv", keep_default_na=False, dtype=str)
    rows, _ = choose(record.samples)
    for row in rows:
        side = held[held["source"] == row["source"]]
        assert "".join(side["text"]) == row["cot"]
        marks = side.loc[side["true"] != "", "true"]
        assert len(marks) == row["steps"]
        assert (marks == "True").sum() == row["steps_true"]
    text = made.shown.read_text()
    assert text.count("[✗]") == 1  # the planted step, which this problem's other steps do not share
    assert "toy" in text
    assert "The problem is chosen, not typical" in text
    own, explanation = rows
    assert f"the own CoT has {own['steps_true']} of {own['steps']} step true and a wrong answer" in made.reading
    assert f"has {explanation['steps']} of {explanation['steps']} step true and the right answer." in made.reading
    # Side by side: every line of the second block has both columns.
    block = text.split("```text\n")[2].split("\n```")[0].splitlines()
    assert all(" | " in f"{line} " or line.endswith("|") for line in block)


def test_free_text_keeps_what_stands_between_the_steps():
    row = {"problem": "p", "question": "q", "reference": "12", "level": pd.NA}
    cot = "First 3 * 4 = 12 eggs.\nThen 12 + 1 = 14, so we say 3 * 4 = 12."
    found = parts(TextChecker(), {**row, "cot": cot})
    assert "".join(text for text, _ in found) == cot
    assert [true for _, true in found if true is not None] == [True, False, True]


def test_a_chain_of_equalities_holds_overlapping_steps():
    row = {"problem": "p", "question": "q", "reference": "6", "level": 1, "cot": "So 2 + 3 = 5 + 1 = 6."}
    found = parts(TextChecker(), row)
    assert "".join(text for text, _ in found) == row["cot"]
    assert [(text, true) for text, true in found if true is not None] == [
        ("2 + 3 = 5 + 1", False),
        (" = 6", True),
    ]


def test_a_step_that_is_not_in_the_text_is_not_lost():
    # The chain checker normalises spaces.
    row = {"problem": "p", "question": "Q h = 4 ; a = h + 8 * 16 ; ?", "reference": "a 8", "level": 1}
    found = parts(ChainChecker(), {**row, "cot": "4 +  8 = 12 * 16 get a 8 ;"})
    assert found == [("4 +  8 = 12 * 16 get a 8 ;", None), ("4 + 8 = 12 * 16 get a 8 ;", True)]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)


def test_model_text_cannot_become_markup(make: Make, tmp_path: Path):
    plain = draw_example1(*group_by_label([make("smollm2-135m", task="stories")]), tmp_path / "plain")

    def poison(table: pd.DataFrame) -> None:
        for column in ("cot", "answer", "question", "reference"):
            table[column] = EVIL

    evil = rewrite(make("evil", policy="smollm2-135m", task="stories"), poison)
    made = draw_example1(*group_by_label([evil]), tmp_path / "evil")
    tags = []
    for each in (plain, made):
        parser = Tags()
        parser.feed(each.shown.with_suffix(".html").read_text())
        tags.append([t for t in parser.tags if t != "span"])
    assert tags[0] == tags[1]
    text = made.shown.read_text()
    assert "\u202e" not in text
    assert "\x1b" not in text
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    for trace in ("script", "heading", "@someone", "img"):
        assert trace in text
        assert trace not in outside


def test_the_escape_check_itself_can_fail():
    parser = Tags()
    parser.feed(f"<pre>{EVIL}</pre>")
    assert "script" in parser.tags


def test_fences_outgrow_the_text():
    assert fenced("a").startswith("```text\n")
    assert fenced("`````").startswith("``````text\n")


def test_visible_keeps_text_and_shows_controls():
    assert visible("é ✓ 数\n") == "é ✓ 数\n"
    assert visible("\u202e\x07\ud800") == "\\u202e\\x07\\ud800"
