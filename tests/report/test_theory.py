"""Pictures and pages of the theory: their numbers are those of the closed forms, and a claim's words are text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expo.report import theory as pictures
from expo.report.artefacts import read_provenance
from expo.report.ledger import draw_graph, draw_ledger, read_ledger
from theory import lemma1
from theory.ledger import Claim, Entry

NAMES = ["lemma1-band", "t2-over-t1", "lemma2-gap", "prompt-radius", "appendix-b", "grpo-weight"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    for draw in pictures.PICTURES:
        draw(out)
    return out


def test_each_picture_has_its_numbers(drawn: Path) -> None:
    assert sorted(read_provenance(drawn)) == sorted(NAMES)
    for name in NAMES:
        assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len(pd.read_csv(drawn / f"{name}.csv")) > 100


def test_the_band_is_that_of_the_lemma(drawn: Path) -> None:
    numbers = pd.read_csv(drawn / "lemma1-band.csv")
    three, band = (numbers[numbers["panel"] == panel] for panel in ("L = 3", "all L"))
    # Away from the ends the threshold is where the derivative along the logit changes sign.
    for row in three.iloc[20:180:20].itertuples():
        for x, falls in ((row.low - 0.01, True), (row.low + 0.01, False)):
            pi = np.array([x, row.x * (1 - x), (1 - row.x) * (1 - x)])
            assert (lemma1.derivative(pi, 0, 1, lemma1.donors_proportional(pi, 0)) < 0) == falls
    assert band["low"].iloc[0] == band["high"].iloc[0] == 0.5
    assert band["low"].iloc[-1] == pytest.approx((3 - 2**0.5) / 4, abs=1e-3)
    assert band["high"].iloc[-1] == 0.75


def test_t2_outweighs_t1_where_the_picture_says_so(drawn: Path) -> None:
    numbers = pd.read_csv(drawn / "t2-over-t1.csv")
    rarest = numbers.loc[numbers.groupby("case")["pi_j"].idxmin()].sort_values("ratio")
    diffuse, one, many = rarest["ratio"]
    assert diffuse == pytest.approx(0.1, rel=1e-6)
    assert 1 < one < 100
    assert many > 1e15
    assert rarest["gain"].max() == pytest.approx(0.072, abs=1e-6)


def test_the_gap_is_variance_over_j(drawn: Path) -> None:
    numbers = pd.read_csv(drawn / "lemma2-gap.csv")
    assert numbers["gap"].to_numpy() == pytest.approx((numbers["variance"] / numbers["J"]).to_numpy(), abs=1e-12)
    assert (numbers["gap"] <= numbers["tv"] + 1e-12).all()


def test_the_pictures_are_the_same_twice(drawn: Path, tmp_path: Path) -> None:
    for draw in pictures.PICTURES:
        draw(tmp_path)
    for path in sorted(drawn.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


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
    artefact = draw_graph(entries(), tmp_path)
    assert artefact.numbers.to_numpy().tolist() == [["A", "B"], ["B", "C"]]
    assert artefact.reading == "2 uses among 3 claims."
