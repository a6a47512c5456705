"""What docs/TRAINING.md says of the theory: every claim that it names is one, and every claim on training is named."""

from __future__ import annotations

import re
from pathlib import Path

from theory import combined
from theory.ledger import load

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "TRAINING.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## What the theory means for a training run\n")[2].partition("\n## ")[0]


def named(section: str) -> set[str]:
    """What the sentences give as the claims that they rest on."""
    lists = re.findall(r"^- \*.*?\* \((`.*?`)\):", section, re.M | re.S)
    return {name for text in lists for name in re.findall(r"`([^`]+)`", text)}


def wrong(section: str) -> set[str]:
    """Claims that there are not, and claims on practice and on weights that are not named."""
    return named(section) ^ {name for name, claim in load().items() if claim.area in ("practice", "weights")}


def test_it_names_the_claims_on_practice() -> None:
    assert len(named(SECTION)) > 10
    assert wrong(SECTION) == set()
    assert wrong(SECTION.replace("`NAT-table`", "`NAT-chair`")) == {"NAT-chair", "NAT-table"}


def test_its_numbers_are_those_of_the_theory() -> None:
    shares = combined.reach([1, 0.1], 8, ddof=1)
    found = [int(x) for x in re.findall(r"in\s+less\s+than\s+(\d+)\s+%", SECTION)]
    assert found == [round(100 * share) for share in shares]
    assert found != [round(100 * share) for share in combined.reach([1, 0.1], 8)]
    assert combined.reach(2.5, 8, ddof=1) == 1
    assert combined.reach(2.4, 8, ddof=1) < 1
    assert combined.reach_unscaled(0.35, 8) == 0.35 * 8 / 7
