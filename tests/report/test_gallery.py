"""The page of all artefacts: the paper's order, every link leads somewhere, and nothing is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from expo.report.gallery import FIRST, gallery

ROOT = Path(__file__).resolve().parents[2]


def entry(name: str, *suffixes: str, toy: bool = False, heading: str = "") -> dict[str, Any]:
    files = {f"{name}{suffix}": "0" for suffix in suffixes}
    found = {"heading": heading} if heading else {}
    return {"files": files, "runs": [{"toy": toy}], **found, "reading": f"Read of {name}."}


def broken_anchors(page: str) -> set[str]:
    """Links into the page that no heading of it answers to, and headings that answer to the same."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    places = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    twice = {place for place in places if places.count(place) > 1}
    return (set(re.findall(r"\]\(#([^)]+)\)", page)) - set(places)) | twice


def test_artefacts_stand_in_the_papers_order_whatever_their_names() -> None:
    names = [
        "audit-a",
        "example1-a",
        "fig1-a",
        "fig10x",
        "fig2-a",
        "lemma1-band",
        "fig4-long-a",
        "slopes-a",
        "table1-a",
    ]
    page = gallery({name: entry(name, ".png", ".svg", ".csv") for name in names})
    shown = re.findall(r"^#### (.+)$", page, re.MULTILINE)
    assert shown == [
        *("table1-a", "fig1-a", "fig2-a", "example1-a", "fig4-long-a", "slopes-a", "lemma1-band", "audit-a", "fig10x"),
    ]
    # What no heading is for is not lost, and what is empty has no heading.
    assert page.index("## Others") < page.index("#### fig10x")
    assert "Figure 5" not in page


def test_an_artefact_has_its_picture_its_links_and_its_reading() -> None:
    page = gallery(
        {
            "fig2-a": entry("fig2-a", ".png", ".svg", ".csv", toy=True),
            "example1-a": entry("example1-a", ".html", ".md", ".csv"),
        }
    )
    assert "#### fig2-a (toy)\n\n![fig2-a](fig2-a.png)\n\n[SVG](fig2-a.svg) · [numbers (CSV)](fig2-a.csv)" in page
    assert "[**The table**](example1-a.md)\n\n[page](example1-a.html) · [numbers (CSV)](example1-a.csv)" in page
    assert "Read of fig2-a." in page
    assert "[fig2-a (toy)](#fig2-a-toy)" in page
    assert broken_anchors(page) == set()
    # The control: a link to a heading that is not there.
    assert broken_anchors(page.replace("#### fig2-a (toy)", "#### fig2-a")) == {"fig2-a-toy"}


def test_a_pictures_finding_is_its_line_of_the_contents_and_its_alternative_text() -> None:
    heading = "After the paper's Figure 2, on the toy: likelier by 3 [2, 4] nats"
    page = gallery({"fig2-a": entry("fig2-a", ".png", toy=True, heading=heading), "table1-a": entry("table1-a", ".md")})
    assert r"    - [On the toy: likelier by 3 \[2, 4\] nats](#fig2-a-toy)" in page
    # Brackets within would end the text early.
    assert "![After the paper's Figure 2, on the toy: likelier by 3 2, 4 nats](fig2-a.png)" in page
    assert "    - [table1-a](#table1-a)\n" in page


def test_the_page_begins_with_few_pictures_and_shows_real_models_before_toys() -> None:
    toy, real = entry("fig1-a", ".png", toy=True), entry("fig1-b", ".png")
    ledger = {"fig1-a": toy, "fig1-b": real, FIRST[0]: entry(FIRST[0], ".png")}
    page = gallery(ledger)
    assert page.index("#### fig1-b") < page.index("#### fig1-a (toy)")
    assert page.index(f"[![{FIRST[0]}]({FIRST[0]}.png)](#{FIRST[0]})") < page.index("## Contents")
    assert broken_anchors(page) == set()
    # A folder of one's own has none of them.
    assert "## Begin here" not in gallery({"fig1-a": toy})


def test_the_committed_artefacts_all_have_a_heading_of_their_own() -> None:
    ledger = json.loads((ROOT / "figures" / "provenance.json").read_text(encoding="utf-8"))
    page = gallery(ledger)
    assert broken_anchors(page) == set()
    assert page.count("\n#### ") == len(ledger)
    assert "## Others" not in page
