"""Every letter that the claims use is in the table of `theory/README.md`, and the table has no other."""

from __future__ import annotations

import re

from theory.claim import HERE, load

GREEK = (
    "alpha|beta|gamma|delta|epsilon|eps|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|upsilon|phi|chi|psi|"
    "omega|Delta"
)
# A letter by itself or as a subscript, no part of a word or number, of "J's" or of "Table 3B".
LETTER = re.compile(rf"(?<![A-Za-z0-9'])(?:{GREEK}|[A-Za-z])(?![A-Za-z0-9])")
# (a), (b) and so on count readings.
COUNT = re.compile(r"\([a-e]'?\) ")


def letters(text: str) -> set[str]:
    """The Greek and the single letters in a text."""
    return set(LETTER.findall(COUNT.sub("", text)))


def tabled() -> set[str]:
    """Those in the first column of the table."""
    rows = (
        (HERE / "README.md").read_text(encoding="utf-8").partition("## Notation")[2].partition("\n## ")[0].splitlines()
    )
    return letters(" ".join(row.split(" | ")[0] for row in rows if row.startswith("| `")))


def used() -> set[str]:
    """Those of all claims' texts."""
    texts = [
        " ".join([c.statement, c.reading, *c.assumes, c.counterexample, c.corrected, c.remark]) for c in load().values()
    ]
    return letters(" ".join(texts))


def test_the_table_has_the_letters_of_the_claims() -> None:
    assert used() - tabled() == set()
    assert tabled() - used() == set()


def test_control_a_letter_that_is_not_in_the_table() -> None:
    assert letters("(b) J's share b_k of psi, 3B and F7 rose.") - tabled() == {"b", "psi"}
