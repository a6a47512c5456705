"""Pictures of the theory: their numbers are those of the closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from expo.report.artefacts import read_provenance
from expo.report.picture import Caption
from expo.report.theory import appendix_b, grpo_weight, lemma1_band, lemma2_gap, prompt_radius, t2_over_t1
from expo.report.theory.appendix_b import draw_appendix_b
from expo.report.theory.grpo_weight import draw_grpo_weight
from expo.report.theory.lemma1_band import draw_lemma1_band
from expo.report.theory.lemma2_gap import draw_lemma2_gap
from expo.report.theory.prompt_radius import draw_prompt_radius
from expo.report.theory.t2_over_t1 import draw_t2_over_t1
from theory import grpo, lemma1, lemma2, shifts

from ..captions import two_lines

DRAW = (
    draw_lemma1_band,
    draw_t2_over_t1,
    draw_lemma2_gap,
    draw_prompt_radius,
    draw_appendix_b,
    draw_grpo_weight,
)
NAMES = ["lemma1-band", "t2-over-t1", "lemma2-gap", "prompt-radius", "appendix-b", "grpo-weight"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    for draw in DRAW:
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
    for draw in DRAW:
        draw(tmp_path)
    for path in sorted(drawn.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_captions_have_two_lines_at_most(captions: list[Caption], tmp_path: Path) -> None:
    for draw in DRAW:
        draw(tmp_path)
    assert [two_lines(caption) for caption in captions] == [True] * len(DRAW)
    longer = Caption("heading", captions[0].notes + " And more of it." * 12, toy=False)
    assert not two_lines(longer)


def said(draw: Callable[[Path], object], module: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path) -> dict:
    """The words that a picture is drawn with: `heading`, `notes` and `reading`."""
    caught: list[dict[str, str]] = []
    monkeypatch.setattr(module, "draw_picture", lambda *_, **words: caught.append(words))
    draw(out)
    return caught[0]


def heading(draw: Callable[[Path], object], module: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path) -> str:
    return said(draw, module, monkeypatch, out)["heading"]


def test_headings_say_what_the_numbers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heading(draw_lemma1_band, lemma1_band, monkeypatch, tmp_path) == (
        "Lemma 1's threshold of 1/2 can be off: the true threshold lies between 0.40 and 0.75"
    )
    assert heading(draw_t2_over_t1, t2_over_t1, monkeypatch, tmp_path) == (
        "Equation 6: with one likely rival, T2 overtakes T1 once a right sample is rarer than about 3.6 %"
    )
    assert heading(draw_prompt_radius, prompt_radius, monkeypatch, tmp_path) == (
        "Lemma 2 in one model: a prompt far from Bayes' rule can make explanations worse than own CoTs"
    )
    assert heading(draw_appendix_b, appendix_b, monkeypatch, tmp_path) == (
        "Appendix B: a gradient step on one trajectory raises another in 34 of 105 places; the paper says never"
    )
    assert heading(draw_lemma2_gap, lemma2_gap, monkeypatch, tmp_path) == (
        "Lemma 2: self-explanations drawn by Bayes' rule gain at most their distance from own CoTs"
    )
    assert heading(draw_grpo_weight, grpo_weight, monkeypatch, tmp_path) == (
        "GRPO on hard questions: at p = 1 %, 92 % of groups of 8 give no signal"
    )


def test_headings_of_other_numbers_say_the_opposite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = pd.DataFrame({"panel": ["L = 3"], "x": [0.5], "low": [0.5], "high": [0.5]})
    monkeypatch.setattr(lemma1_band, "_numbers", lambda: printed)
    assert heading(draw_lemma1_band, lemma1_band, monkeypatch, tmp_path).endswith("of 1/2 is the true threshold")
    falls = pd.DataFrame({"case": ["a", "a", "b", "b"], "pi_j": [0.1, 0.001] * 2, "ratio": [0.5, 0.4, 0.1, 0.9]})
    falls = falls.assign(t1=[0.1, 0.02, 0.1, 0.03], gain=[0.1, 0.2, 0.3, 0.4])
    monkeypatch.setattr(t2_over_t1, "_numbers", lambda: falls)
    assert heading(draw_t2_over_t1, t2_over_t1, monkeypatch, tmp_path) == "Equation 6: T1 dominates T2"
    # By logarithms halfway between 0.1 and 0.001.
    monkeypatch.setattr(t2_over_t1, "_numbers", lambda: falls.assign(ratio=[0.5, 0.4, 0.1, 10.0]))
    assert heading(draw_t2_over_t1, t2_over_t1, monkeypatch, tmp_path) == (
        "Equation 6: with b, T2 overtakes T1 once a right sample is rarer than about 1.0 %"
    )
    assert (
        "with b, a sample of probability 0.001 still gains 0.4, of which T1 is 0.03."
        in (said(draw_t2_over_t1, t2_over_t1, monkeypatch, tmp_path)["reading"])
    )
    # Of CoTs that all lead to a* equally often, none is worse than another.
    monkeypatch.setattr(prompt_radius, "X", np.array([0.5, 0.5, 0.5]))
    monkeypatch.setattr(lemma2, "critical_tv", lambda prior, x: 1.0)
    assert "no prompt, however far from Bayes' rule, makes explanations worse" in heading(
        draw_prompt_radius, prompt_radius, monkeypatch, tmp_path
    )
    monkeypatch.setattr(lemma2, "tv", lambda mu, nu: np.zeros(len(mu)))
    assert "can gain more than their distance from own CoTs" in heading(
        draw_lemma2_gap, lemma2_gap, monkeypatch, tmp_path
    )
    monkeypatch.setattr(grpo, "no_signal", lambda p, G: 0 * p + 0.25)
    assert "25 % of groups" in heading(draw_grpo_weight, grpo_weight, monkeypatch, tmp_path)
    monkeypatch.setattr(shifts, "gradient_step", lambda grid, j: shifts.first_order(grid, np.eye(3)[[j] * len(grid)]))
    assert heading(draw_appendix_b, appendix_b, monkeypatch, tmp_path).endswith("raises no other, as the paper says")
