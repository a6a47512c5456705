"""The skeleton of every table: a Markdown page with a title, the warning about a toy, and the content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.runs import FinishedRun
from expo.report.toy import banner, marked


def write_table(
    out: Path | str,
    name: str,
    runs: Sequence[FinishedRun],
    numbers: pd.DataFrame,
    *,
    title: str,
    parts: Sequence[str],
    reading: str,
    about: str = "",
) -> Artefact:
    """Write a Markdown page about these runs, and publish it as `<name>.md` with its numbers in `<name>.csv`.

    Args:
        out: the folder of all artefacts.
        name: of the artefact.
        runs: the runs that are shown.
        numbers: what the page shows.
        title: of the page.
        parts: the paragraphs and tables of the page.
        reading: what the numbers show, in words.
        about: a paragraph that comes even before the warning about a toy.
    """
    page = [f"# {marked(title, runs)}", *filter(None, [about]), *banner(runs), *parts]
    return publish(out, name, runs, numbers, {".md": "\n\n".join(page) + "\n"}, reading)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], rules: Sequence[str] = ()) -> str:
    """A table with these heads, the first of which may be empty; `rules` aligns the columns, by default to the left."""
    lines = ["|" + "".join(f" {head} |" if head else " |" for head in heads)]
    lines.append(f"| {' | '.join(rules or ['---'] * len(heads))} |")
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
