"""The skeleton of a picture."""

from __future__ import annotations

import pytest

from expo.report import picture
from expo.report.picture import Caption, sheet
from expo.report.style import look

# A line breaks within the formula.
LONG = f"{'word ' * (picture.NOTE_WIDTH // 5 - 2)}and $\\pi_j < 1/2$, so {'word ' * 12}"


def notes_of(caption: Caption) -> str:
    with look():
        figure, _ = sheet(1, 1, 2.0, caption)
        figure.draw_without_rendering()
        return figure.texts[1].get_text()


def test_a_formula_is_not_broken_over_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    caption = Caption("A heading", LONG, toy=False)
    assert all(line.count("$") % 2 == 0 for line in notes_of(caption).split("\n"))
    # The check can fail: a note that is wrapped as it is breaks the formula.
    monkeypatch.setattr(picture, "_whole_formulas", lambda line: line)
    assert any(line.count("$") % 2 for line in notes_of(caption).split("\n"))


def test_no_word_stands_alone_on_a_last_line() -> None:
    lines = notes_of(Caption("A heading", f"{'word ' * (picture.NOTE_WIDTH // 5)}alone", toy=False)).split("\n")
    assert len(lines) == 2
    assert len(lines[1]) > picture.NOTE_WIDTH // 4
    assert notes_of(Caption("A heading", "Short.\n", toy=False)) == "Short.\n"
