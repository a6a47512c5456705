"""The ledger's pages: a claim's words are text, and what is not green is named."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from expo.report.theory import ledger_graph
from expo.report.theory.ledger import draw_ledger, read_ledger
from expo.report.theory.ledger_graph import draw_ledger_graph
from theory.claim import Claim
from theory.ledger import Entry


def entries() -> dict[str, Entry]:
    tests = {"holds": ("t.py::a",)}
    a = Claim("A", "line 1", "x < y & <script>alert(1)</script> | *z*", "exact", tests, "exact", area="first")
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
    assert list(numbers["fidelity"].fillna("")) == ["exact", "related", "related", "", ""]
    assert list(numbers["strength"]) == ["exact", "sampled", "exact", "exact", "exact"]
    # Strength stands beside a verdict that does not say it; our own claims have no nearness.
    assert "**first order only (sampled)**" in table
    assert "**exact**" in table
    assert "**undecided**" in table
    assert "first order only (sampled)</span></td>" in page
    assert "| B | line 2 | two | related | **first order only (sampled)** |" in table
    assert "| D | beyond the paper (line 4) | alone |  | **exact** |" in table


def test_the_ledger_says_what_is_not_green() -> None:
    assert read_ledger(entries()) == (
        "3 claims of the paper (2 statements): exact 1, first order only 1, undecided 1; nearness to its sentences: "
        "exact 1, related 2. 2 claims beyond the paper (1 statement): exact 2. Not green: C."
    )
    assert read_ledger({"D": entries()["D"]}) == "1 claim beyond the paper: exact 1."


def test_the_graph_has_an_arrow_for_each_use(tmp_path: Path) -> None:
    artefact = draw_ledger_graph(entries(), tmp_path)
    assert artefact.numbers.to_numpy().tolist() == [["A", "B"], ["B", "C"], ["A", "D"]]
    assert artefact.reading == "3 uses among 4 claims, 3 of the paper and 1 beyond it."


def heading_of(ledger: dict[str, Entry], monkeypatch: pytest.MonkeyPatch) -> str:
    caught: list[str] = []
    monkeypatch.setattr(ledger_graph, "draw_theory", lambda *_, heading, **rest: caught.append(heading))
    draw_ledger_graph(ledger, Path())
    return caught[0]


def test_the_graph_names_the_claim_on_which_most_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    held = entries()
    assert heading_of(held, monkeypatch) == "What rests on what: 3 of 5 claims rest on A, the most on any"
    # However they are ordered; C rests on A by way of B.
    assert "3 of 5 claims rest on A" in heading_of(dict(reversed(held.items())), monkeypatch)
    alone = {name: replace(entry, claim=replace(entry.claim, uses=())) for name, entry in held.items()}
    assert heading_of(alone, monkeypatch) == "What rests on what: no claim uses another"


def test_a_claim_of_another_area_is_drawn_as_a_guest_and_no_areas_overlap(tmp_path: Path) -> None:
    held = entries()
    edges = draw_ledger_graph(held, tmp_path).numbers
    first, second = ledger_graph._blocks(edges, held)
    assert (first.area, first.columns) == ("first", [["A"], ["B"]])
    assert (second.area, second.columns) == ("second", [["B", "A"], ["C", "D"]])
    many = [ledger_graph.Block(str(i), [["x"] * (1 + i % 4)], [1.0 + i % 3]) for i in range(12)]
    corners = ledger_graph._packed(many)
    for (one, (x, y)), (other, (x1, y1)) in combinations(zip(many, corners, strict=True), 2):
        assert x + one.width <= x1 or x1 + other.width <= x or y + one.height <= y1 or y1 + other.height <= y
