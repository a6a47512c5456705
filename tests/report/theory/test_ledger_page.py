"""The ledger's page: all of it without scripts, and in a browser the filter shows what Python counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from expo.report.theory import ledger_page
from expo.report.theory.ledger_words import COLOURS, MEANS, SYMBOLS, part_title
from tests.browser import dump, needs_chromium
from theory.claim import VERDICTS, load
from theory.ledger import Entry

Picked = Callable[[Entry], bool]


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    """All claims as if their tests had shown what is expected."""
    return {name: Entry(c, c.expected, ("holds: exact, 1,000 instances",)) for name, c in load().items()}


@dataclass
class Seen(HTMLParser):
    """The claims of a page that are shown, what its counts say, and the tags that would load something."""

    shown: list[str] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    output: str = ""
    is_output: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.is_output = tag == "output"
        if tag == "tr" and "id" in of and "hidden" not in of:
            self.shown.append(str(of["id"]))
        if tag == "data":
            self.counts[str(of["data-of"]), str(of["data-is"])] = int(str(of["value"]))
        if "src" in of or tag == "link" or any(name.startswith("on") or name == "style" for name in of):
            self.loads.append(tag)

    def handle_data(self, data: str) -> None:
        self.output += data if self.is_output else ""

    def handle_endtag(self, tag: str) -> None:
        self.is_output = False


def seen(page: str) -> Seen:
    parser = Seen()
    parser.feed(page)
    return parser


def counted(entries: dict[str, Entry], picked: Picked) -> Iterator[tuple[tuple[str, str], int]]:
    """What the page's counts are for the claims that are picked."""
    of = [entry for entry in entries.values() if picked(entry)]
    for verdict in {entry.verdict for entry in entries.values()}:
        yield ("verdict", verdict), sum(entry.verdict == verdict for entry in of)
    for near in ("verbatim", "equivalent", "related"):
        yield ("near", near), sum(entry.claim.fidelity == near for entry in of)
    for area in {entry.claim.area for entry in entries.values()}:
        yield ("part", area), sum(entry.claim.area == area for entry in of)


def test_the_page_shows_all_without_scripts_and_loads_nothing(entries: dict[str, Entry]) -> None:
    page = ledger_page.ledger_page(entries, "all")
    found = seen(page)
    assert found.shown == list(entries)
    assert found.counts == dict(counted(entries, lambda _: True))
    assert not found.loads
    assert seen('<tr id="A" hidden></tr><img src="x"><p onclick="f()"></p>').loads == ["img", "p"]
    # Only the form, which needs the script, is hidden.
    assert page.count(" hidden") == page.count('<form id="filter" role="search" hidden>') == 1
    assert "'unsafe-inline'" not in page
    assert page.count("<script") == 1


FILTERS: dict[str, Picked] = {
    "": lambda _: True,
    "verdict=refuted": lambda e: e.verdict == "refuted",
    "verdict=contradicted+by+the+paper%27s+own+table&source=paper": lambda e: (
        e.verdict.startswith("contradicted") and not e.claim.ours
    ),
    "near=equivalent": lambda e: e.claim.fidelity == "equivalent",
    "part=lemma1&source=ours": lambda e: e.claim.area == "lemma1" and e.claim.ours,
    "text=COSINE%20%20score": lambda e: all(word in said(e) for word in ("cosine", "score")),
    "text=%3Cs_j": lambda e: "<s_j" in said(e),
    "text=no+such+words": lambda _: False,
    # What is no choice is none, and the place of a claim is no filter.
    "verdict=nonsense&other=1": lambda _: True,
    "L1-b": lambda _: True,
}


def said(entry: Entry) -> str:
    c = entry.claim
    parts = (c.id, c.where, c.statement, c.reading, *c.assumes, *c.uses, c.counterexample, c.corrected, c.remark)
    return "\n".join(" ".join(part.split()) for part in parts).lower()


@needs_chromium
@pytest.mark.parametrize("fragment", FILTERS)
def test_the_filter_shows_and_counts_what_python_does(entries: dict[str, Entry], tmp_path: Path, fragment: str) -> None:
    page = tmp_path / "ledger.html"
    page.write_text(ledger_page.ledger_page(entries, "all"))
    found, picked = seen(dump(page, fragment)), FILTERS[fragment]
    expected = [name for name, entry in entries.items() if picked(entry)]
    assert found.shown == expected
    assert found.output == f"{len(expected)} of {len(entries)} claims"
    assert found.counts == dict(counted(entries, picked))


@needs_chromium
def test_a_filter_that_takes_any_word_is_told_from_ours(
    entries: dict[str, Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = ledger_page._asset
    monkeypatch.setattr(ledger_page, "_asset", lambda name: asset(name).replace("every((word)", "some((word)"))
    page, fragment = tmp_path / "ledger.html", "text=COSINE%20%20score"
    page.write_text(ledger_page.ledger_page(entries, "all"))
    expected = [name for name, entry in entries.items() if FILTERS[fragment](entry)]
    assert len(seen(dump(page, fragment)).shown) > len(expected) > 0


@needs_chromium
def test_a_script_that_is_not_the_pages_own_does_not_run(entries: dict[str, Entry], tmp_path: Path) -> None:
    page = tmp_path / "ledger.html"
    page.write_text(ledger_page.ledger_page(entries, "all").replace("'use strict';", "'use strict'; "))
    with pytest.raises(AssertionError, match="Executing inline script violates"):
        dump(page)


def test_every_verdict_has_its_words_and_every_part_its_title() -> None:
    assert list(MEANS) == list(COLOURS) == list(SYMBOLS) == [*VERDICTS, "undecided"]
    for area in {claim.area for claim in load().values()}:
        assert part_title(area) != area, f"title the part {area} in expo/report/theory/ledger_words.py"


# Machado, Oliveira and Fernandes (2009): what a reader without one kind of cone sees, in linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, sight: str) -> np.ndarray:
    """CIE L*a*b* of a hexadecimal colour, as it is seen."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(SIGHT[sight]) @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def luminance(colour: str, sight: str) -> float:
    return float(((lab(colour, sight)[0] + 16) / 116) ** 3)


def least_difference(colours: dict[str, str], sight: str) -> float:
    """The least distance in L*a*b* between the colours of two verdicts with different symbols."""
    pairs = [(a, b) for a, b in combinations(colours, 2) if SYMBOLS[a] != SYMBOLS[b]]
    return min(float(np.linalg.norm(lab(colours[a], sight) - lab(colours[b], sight))) for a, b in pairs)


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_what_holds_and_fails_differ_to_every_reader(sight: str) -> None:
    assert least_difference(COLOURS, sight) > 15
    # The page's ink on each has a contrast of 4.5 to 1 or more.
    for colour in COLOURS.values():
        assert (luminance(colour, sight) + 0.05) / (luminance("#1c1c1c", sight) + 0.05) > 4.5
    # A green and a grey that readers without red or green cones take for each other.
    green = {**COLOURS, **dict.fromkeys(("proved", "exact", "sampled"), "#A9DFCB"), "undecided": "#CCCCCC"}
    assert (least_difference(green, sight) < 15) == (sight in ("protanopia", "deuteranopia"))
