"""The ledger's pages: a claim's words are text, and what is not green is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from expo.report.theory.ledger import draw_ledger, read_ledger
from expo.report.theory.ledger_graph import draw_ledger_graph
from theory.ledger import Claim, Entry


def entries() -> dict[str, Entry]:
    tests = {"holds": ("t.py::a",)}
    a = Claim("A", "line 1", "x < y & <script>alert(1)</script> | *z*", "exact", tests, area="first")
    b = Claim("B", "line 2", "two", "refuted", tests, area="first", uses=("A",), counterexample="(1/2, 1/2)")
    c = Claim("C", "line 3", "three", "exact", tests, area="second", uses=("B",), corrected="four")
    d = Claim("D", "line 4", "alone", "exact", tests, area="second")
    return {
        "A": Entry(a, "exact", ("holds: exact, 1,000 instances",)),
        "B": Entry(b, "refuted"),
        "C": Entry(c, "undecided", (), ("t.py::a failed",)),
        "D": Entry(d, "exact"),
    }


def test_the_ledger_escapes_what_claims_say(tmp_path: Path) -> None:
    draw_ledger(entries(), tmp_path)
    page, table = ((tmp_path / f"ledger.{suffix}").read_text() for suffix in ("html", "md"))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert '<a href="#A">A</a>' in page
    assert r"\<script\>alert(1)\</script\> \| \*z\*" in table
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {7}
    assert list(pd.read_csv(tmp_path / "ledger.csv")["verdict"]) == ["exact", "refuted", "undecided", "exact"]


def test_the_ledger_says_what_is_not_green() -> None:
    assert read_ledger(entries()) == "4 claims: 2 exact, 1 refuted and 1 undecided. Not green: C."


def test_the_graph_has_an_arrow_for_each_use(tmp_path: Path) -> None:
    artefact = draw_ledger_graph(entries(), tmp_path)
    assert artefact.numbers.to_numpy().tolist() == [["A", "B"], ["B", "C"]]
    assert artefact.reading == "2 uses among 3 claims."
