"""What all pictures share: colours that everybody can tell apart, one order, and files whose bytes never vary."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expo.measure.verdict import ORDER
from expo.report.artefacts import PROVENANCE
from expo.report.picture import MOST_SVG, Caption, draw_picture, headline, sheet, svg
from expo.report.style import COLOURS, METHOD_COLOURS, Figure, line_style, look, method_colour
from expo.report.theory.ledger_words import COLOURS as VERDICTS
from expo.report.theory.ledger_words import SYMBOLS
from expo.report.training.audit import _LOOKS
from expo.report.words import METHODS, NAMES

from .colour_vision import VISION, ciede2000, closest, difference
from .records.positives import Make

# CIEDE2000; the names of colours begin to differ at about 5, and pictures have thin lines.
LEAST = 10


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ],
)
def test_differences_are_those_of_the_standard(
    one: tuple[float, ...], other: tuple[float, ...], expected: float
) -> None:
    # From table 1 of Sharma, Wu and Dalal (2005).
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-4)


def test_colours_of_positives_are_told_apart_by_all_eyes() -> None:
    assert closest(COLOURS) >= (LEAST,), closest(COLOURS)
    graders = {grader: colour for grader, (colour, _) in _LOOKS.items() if grader != "exact"}
    assert closest(graders) >= (LEAST,), closest(graders)


def test_methods_are_told_apart_by_colour_or_line() -> None:
    pairs = {m for m in METHODS if m.startswith("dpo_")}
    # Of one picture: trainings on pairs and on positives, or all others.
    for together in (
        {*METHODS} - pairs,
        {m for m in METHODS if m.startswith("sft_")} - {"sft_explanation+none"} | pairs,
    ):
        for a, b in combinations([*sorted(together), "base"], 2):
            apart = min(difference(METHOD_COLOURS[a], METHOD_COLOURS[b], kind) for kind in VISION)
            assert apart >= LEAST or line_style(a) != line_style(b), (a, b, apart)


def test_verdicts_of_different_symbols_are_told_apart() -> None:
    for a, b in combinations(VERDICTS, 2):
        apart = min(difference(VERDICTS[a], VERDICTS[b], kind) for kind in VISION)
        assert apart >= LEAST or SYMBOLS[a] == SYMBOLS[b], (a, b, apart)


def test_control_red_and_green_are_not_told_apart() -> None:
    apart, kind, *names = closest({"red": "#D62728", "green": "#6B8E23", "blue": "#0072B2"})
    assert apart < LEAST
    assert kind in ("protanopia", "deuteranopia")
    assert names == ["red", "green"]
    # To most eyes they are as far apart as can be.
    assert difference("#D62728", "#6B8E23") > 50


def test_kinds_and_methods_have_one_order() -> None:
    assert list(COLOURS) == list(NAMES)
    assert list(ORDER) == [source for source in NAMES if source in ORDER]
    assert [m for m in METHODS if m in NAMES] == [s for s in NAMES if s in METHODS if s != "own"]


def test_a_variant_of_a_method_is_drawn_like_it() -> None:
    assert method_colour("explanation_posterior_4") == COLOURS["explanation"]
    assert [line_style(m) for m in ("explanation", "sft_expert", "dpo_expert", "dpo_expert_online")] == [
        "-",
        ":",
        "-",
        "--",
    ]
    assert line_style("sft_explanation+none") == "-"


def _scatter(numbers: pd.DataFrame, caption: Caption) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 2.0, caption)
    axes.scatter(numbers["x"], numbers["x"] ** 2)
    return figure


def test_a_picture_is_published_in_dots_and_in_lines_always_alike(tmp_path: Path) -> None:
    numbers = pd.DataFrame({"x": range(5)})
    made = [
        draw_picture(tmp_path / place, "squares", [], numbers, _scatter, heading="h", notes="n", reading="r")
        for place in ("a", "b")
    ]
    assert [artefact.shown.suffix for artefact in made] == [".png", ".png"]
    files = ["squares.csv", "squares.png", "squares.svg"]
    for name in (*files, PROVENANCE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    held = json.loads((tmp_path / "a" / PROVENANCE).read_text())
    assert sorted(held["squares"]["files"]) == files
    text = (tmp_path / "a" / "squares.svg").read_text()
    assert "date" not in text.lower()
    assert ">h</text>" in text
    assert "Verdana" in text
    assert "<image" not in text


def test_many_points_become_an_image_in_a_small_svg() -> None:
    with look():
        drawn = svg(_scatter(pd.DataFrame({"x": np.linspace(0, 1, 20_000)}), Caption("h", "n", toy=False)))
        assert b"<image" in drawn
        assert len(drawn) <= MOST_SVG


def test_a_headline_says_where_of_what_and_the_finding(make: Make) -> None:
    toy, stories = make("tiny-0"), make("smollm2-135m", task="stories")
    assert headline("Figure 6 (Appendix C.3)", [toy], "it holds") == "After the paper's Figure 6, on the toy: it holds"
    assert (
        headline("Figure 2", [stories], "it holds") == "After the paper's Figure 2, smollm2-135m on stories: it holds"
    )
    assert headline("", [toy], "it holds") == "On the toy: it holds"
    trained = make("a", policy="runs/x/model")
    path = trained.run.path("environment.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "trained_from": "tiny-0"}))
    assert (
        headline("Figure 2", [trained], "it holds") == "After the paper's Figure 2, on the toy after training: it holds"
    )
    assert "after" not in headline("Figure 2", [toy, trained], "it holds")


def test_a_headline_takes_the_first_wording_that_needs_no_third_line(make: Make) -> None:
    toy, long = make("tiny-0", policy="tiny-0"), "it holds " * 20
    assert headline("", [toy], "it holds", "it does") == "On the toy: it holds"
    assert headline("", [toy], long, "it does", "does it") == "On the toy: it does"
    assert headline("", [toy], long, f"yes, {long}") == f"On the toy: yes, {long}"


def test_a_long_heading_takes_two_lines_and_keeps_the_axes_their_height() -> None:
    with look():
        short, long = (sheet(1, 1, 2.0, Caption(text, "n", toy=True))[0] for text in ("word", "word " * 30))
    assert long.texts[0].get_text().count("\n") == 1
    assert long.get_figheight() > short.get_figheight()
