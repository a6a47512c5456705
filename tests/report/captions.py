"""How long a picture's caption is."""

from __future__ import annotations

from expo.report.picture import Caption, sheet
from expo.report.style import look
from expo.report.toy import TOY


def two_lines(caption: Caption) -> bool:
    """Whether heading and notes, as they are set, have two lines each at most, beside what is said of a toy."""
    with look():
        figure, _ = sheet(1, 1, 2.0, Caption(caption.heading, caption.notes.removesuffix(f"\n{TOY}"), caption.toy))
    heading, notes, *_ = (text.get_text() for text in figure.texts)
    return heading.count("\n") < 2 and notes.count("\n") < 2
