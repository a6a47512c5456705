"""The graph of the paper's claims: which claim rests on which, coloured by verdict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, sheet
from expo.report.style import GREY, INK, Axes, Figure
from expo.report.theory.drawing import draw_theory
from expo.report.theory.ledger_words import COLOURS
from expo.text import plural
from theory.ledger import Entry

Places = dict[str, tuple[int, int]]


def draw_ledger_graph(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `ledger-graph`: a line from each claim, on the left, to those that use it, coloured by verdict."""
    places = _places(entries)
    edges = [(used, name) for name, entry in entries.items() for used in entry.claim.uses]
    paper = sum(not entries[name].claim.ours for name in places)
    return draw_theory(
        out,
        "ledger-graph",
        pd.DataFrame(edges, columns=["claim", "used_by"]),
        partial(_plot, entries=entries, places=places),
        heading="What rests on what",
        notes=f"Left to right: a claim stands after all that it uses. Ours are in italics. "
        f"{plural(len(entries) - len(places), 'claim')} that neither use another nor are used are left out.",
        reading=f"{plural(len(edges), 'use')} among {plural(len(places), 'claim')}, {paper} of the paper and "
        f"{len(places) - paper} beyond it.",
    )


def _places(entries: Mapping[str, Entry]) -> Places:
    """Column and row of each claim that uses another or is used: the column is its depth."""
    used = {name for entry in entries.values() for name in entry.claim.uses}

    def depth(name: str) -> int:
        return 1 + max(map(depth, entries[name].claim.uses), default=-1)

    columns: dict[int, list[str]] = {}
    for name, entry in entries.items():
        if entry.claim.uses or name in used:
            columns.setdefault(depth(name), []).append(name)
    places: Places = {}
    for x, names in sorted(columns.items()):
        # Near what they use, so that few lines cross.
        names.sort(key=lambda n: sum(places[u][1] for u in entries[n].claim.uses) / max(1, len(entries[n].claim.uses)))
        places |= {name: (x, y) for y, name in enumerate(names)}
    return places


def _plot(edges: pd.DataFrame, caption: Caption, *, entries: Mapping[str, Entry], places: Places) -> Figure:
    tallest = max(y for _, y in places.values()) + 1
    figure, ((axes,),) = sheet(1, 1, max(3.0, 0.24 * tallest), caption)
    for claim, used_by in zip(edges["claim"], edges["used_by"], strict=True):
        axes.plot(*zip(places[claim], places[used_by], strict=True), color=GREY, lw=0.6, zorder=0)
    for name, (x, y) in places.items():
        style = "italic" if entries[name].claim.ours else "normal"
        _write(axes, x, y, name, entries[name].verdict, ha="center", color=INK, style=style)
    found = {entry.verdict for entry in entries.values()}
    for i, verdict in enumerate(verdict for verdict in COLOURS if verdict in found):
        _write(axes, 0, -1.2 - 0.9 * i, verdict, verdict, ha="left")
    axes.set(xlim=(-0.4, max(x for x, _ in places.values()) + 0.4), ylim=(tallest, -8))
    axes.axis("off")
    return figure


def _write(axes: Axes, x: float, y: float, text: str, verdict: str, **style: Any) -> None:
    """Write a text on the colour of a verdict."""
    box = {"boxstyle": "round,pad=0.25", "facecolor": COLOURS[verdict], "edgecolor": "none"}
    axes.text(x, y, text, fontsize=7.5, va="center", bbox=box, **style)
