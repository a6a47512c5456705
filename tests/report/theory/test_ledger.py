"""The ledger's pages: a claim's words are text, and what is not as expected is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from expo.report.picture import Caption
from expo.report.style import look
from expo.report.theory import verdicts
from expo.report.theory.ledger import draw_ledger, read_ledger
from expo.report.theory.ledger_words import MEANS
from expo.report.theory.verdicts import OUTCOMES, draw_verdicts
from theory.claim import Claim
from theory.ledger import Entry


def entries() -> dict[str, Entry]:
    tests = {"holds": ("t.py::a",)}
    a = Claim("A", "line 1", "x < y & <script>alert(1)</script> | *z*", "exact", tests, "verbatim", area="first")
    b = Claim("B", "line 2", "two", "refuted", tests, "related", "first", uses=("A",), counterexample="(1/2, 1/2)")
    c = Claim("C", "line 3", "two", "exact", tests, "related", "second", uses=("B",), corrected="four")
    d = Claim("D", "beyond the paper (line 4)", "alone", "exact", tests, area="second", uses=("A",))
    return {
        "A": Entry(a, "exact", ("holds: exact, 1,000 instances",), strength="exact"),
        "B": Entry(b, "first order only", strength="sampled"),
        "C": Entry(c, "undecided", (), ("t.py::a failed",), "exact"),
        "D": Entry(d, "exact", strength="exact"),
        "E": Entry(replace(d, id="E", uses=()), "exact", strength="exact"),
    }


def test_the_ledger_escapes_what_claims_say(tmp_path: Path) -> None:
    draw_ledger(entries(), tmp_path)
    page, table = ((tmp_path / f"ledger.{suffix}").read_text() for suffix in ("html", "md"))
    assert "<script>alert" not in page
    assert "x &lt; y &amp; &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert '<a href="#A">A</a>' in page
    assert r"\<script\>alert(1)\</script\> \| \*z\*" in table
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {8}
    numbers = pd.read_csv(tmp_path / "ledger.csv")
    assert list(numbers["verdict"]) == ["exact", "first order only", "undecided", "exact", "exact"]
    assert list(numbers["source"]) == ["the paper"] * 3 + ["ours"] * 2
    assert list(numbers["fidelity"].fillna("")) == ["verbatim", "related", "related", "", ""]
    assert list(numbers["strength"]) == ["exact", "sampled", "exact", "exact", "exact"]
    # Strength stands beside a verdict that does not say it; our own claims have no nearness.
    assert "**first order only (sampled)**" in table
    assert "**exact**" in table
    assert "**undecided**" in table
    assert "first order only (sampled)</span></td>" in page
    assert "| B | line 2 | two | related | **first order only (sampled)** |" in table
    assert "| D | beyond the paper (line 4) | alone |  | **exact** |" in table


def test_the_ledger_says_what_is_not_as_expected() -> None:
    assert read_ledger(entries()) == (
        "3 claims of the paper (2 statements): 1 exact, 1 first order only, 1 undecided; nearness to its sentences: "
        "1 verbatim, 2 related. 2 claims beyond the paper (1 statement): 2 exact. Not as expected: C."
    )
    assert read_ledger({"D": entries()["D"]}) == "1 claim beyond the paper: 1 exact."


def test_each_part_has_the_numbers_of_the_papers_claims_by_outcome(tmp_path: Path) -> None:
    made = draw_verdicts(entries(), tmp_path)
    rows = [["first", "holds where tested", 1], ["first", "holds in part", 1], ["second", "undecided", 1]]
    # D and E are ours.
    assert made.numbers.to_numpy().tolist() == rows
    assert made.reading.startswith("The paper's 3 claims: 1 hold where tested, 1 in part, 1 undecided.")
    assert "near these are to the paper's sentences: 1 verbatim and 2 related." in made.reading
    assert "Not drawn: 2 claims of ours." in made.reading
    as_paper = {n: replace(e, claim=replace(e.claim, where="line 9")) for n, e in entries().items()}
    assert ["second", "holds where tested", 2] in draw_verdicts(as_paper, tmp_path).numbers.to_numpy().tolist()


def heading_of(ledger: dict[str, Entry], monkeypatch: pytest.MonkeyPatch) -> str:
    caught: list[str] = []
    monkeypatch.setattr(verdicts, "draw_picture", lambda *_, heading, **rest: caught.append(heading))
    draw_verdicts(ledger, Path())
    return caught[0]


def test_the_heading_counts_the_papers_claims_by_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    held = entries()
    found = "The paper's 3 claims: 1 hold where tested, 1 in part, 1 undecided"
    assert heading_of(held, monkeypatch) == found
    refuted = held | {"C": replace(held["C"], verdict="refuted"), "A": replace(held["A"], verdict="proved")}
    assert heading_of(refuted, monkeypatch) == "The paper's 3 claims: 1 proved, 1 in part, 1 fail"


def test_the_bars_of_a_part_stand_end_to_end(tmp_path: Path) -> None:
    numbers = draw_verdicts(entries(), tmp_path).numbers
    with look():
        (axes,) = verdicts._plot(numbers, Caption("heading", "notes", toy=False)).axes
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars == [(0, 0, 1), (0, 1, 1), (1, 0, 1)]


def test_each_verdict_has_an_outcome() -> None:
    assert set(OUTCOMES) == set(MEANS)
