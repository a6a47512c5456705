"""`expo report`: records on one HTML page that needs no network and runs only its own script."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from expo.records import RecordError, write_atomic
from expo.report.html.payload import MOST_BYTES, payload
from expo.report.html.provenance import names_of
from expo.report.html.records import Shown, shown_runs
from expo.report.html.tables import dumps
from expo.report.page import scripted_page
from expo.report.toy import MARK
from expo.text import plural, visible

NAME = "report.html"
# In every page, to tell it from a user's own file.
_MADE_BY = '<meta name="generator" content="expo report">'
_SCRIPTS = (
    *("statistics.js", "measure.js", "outcomes.js", "draw.js"),
    *("sections.js", "answers.js", "samples.js", "trainings.js", "numbers.js", "provenance.js", "page.js"),
)


def write_report(folders: Sequence[str | Path], output: str | Path | None = None) -> tuple[Path, list[str]]:
    """Write the page of the runs in these folders.

    Args:
        folders: run folders, or folders that hold run folders.
        output: the file; by default `report.html` in the folder, or in the closest folder that holds all of them.

    Returns:
        The file, and what was left out of it, in sentences.

    Raises:
        RecordError: see `shown_runs`; also if the file exists and is not such a page, if no folder holds all runs, or
            if a page cannot hold that many runs.
    """
    runs, unfinished = shown_runs(folders)
    path = Path(output).expanduser() if output else _place(folders)
    if path.is_dir():
        path = path / NAME
    _check_place(path)
    made, left_out = page(runs, unfinished)
    write_atomic(path, made)
    return path, [*unfinished, *left_out]


def page(runs: Sequence[Shown], unfinished: Sequence[str] = (), most: int = MOST_BYTES) -> tuple[str, list[str]]:
    """The page of these runs, of at most `most` bytes, and sentences on what was left out to stay below that size."""
    script = "\n".join(["'use strict';", _SHARED, *map(_asset, _SCRIPTS)])
    style = _asset("page.css")
    data = payload(runs, unfinished, most - len(script.encode()) - len(style.encode()) - _FRAME)
    names = ", ".join(names_of(runs)[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    title = f"{names}{MARK * any(run.toy for run in runs)}: report"
    body = f"""<header><h1>{html.escape(title)}</h1>
<p>{html.escape(_about(runs))}</p>
<noscript><p>This page needs its script to compute the numbers from the rows that it contains. Without scripts,
repeat the command <code>expo measure</code> of a finished run to print its verdicts again.</p></noscript>
<div id="head"></div></header>
<nav aria-label="Sections"><ul id="contents"></ul></nav>
<form id="filters" aria-label="Filters"></form>
<main id="sections"><p>Computing the numbers ...</p></main>
<script type="application/json" id="data">{dumps(data.content)}</script>
"""
    return scripted_page(title, style, script, body, head=f"{_MADE_BY}\n"), data.left_out


_FRAME = 4_000  # bytes of the rest of the page
_SHARED = """\
const DATA = JSON.parse(document.getElementById("data").textContent);
const GENERATOR = DATA.generator;"""


def _about(runs: Sequence[Shown]) -> str:
    jobs = ", ".join(sorted({run.job for run in runs}))
    return (
        f"{plural(len(runs), 'record')} ({jobs}). This page computes all numbers from the rows that it contains, and "
        "needs no network."
    )


def _asset(name: str) -> str:
    return resources.files("expo.report.html").joinpath(name).read_text(encoding="utf-8")


def _place(folders: Sequence[str | Path]) -> Path:
    if len(folders) == 1:
        return Path(folders[0]) / NAME
    common = Path(os.path.commonpath([Path(folder).resolve() for folder in folders]))
    if common == Path(common.anchor):
        raise RecordError("the runs have no folder in common; name the page's file with --output")
    return common / NAME


def _check_place(path: Path) -> None:
    if path.exists() and _MADE_BY not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise RecordError(f"{visible(str(path))} exists and is not a report; choose another --output, or delete it")
