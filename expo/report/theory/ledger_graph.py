"""The graph of the paper's claims: which claim rests on which, by area, coloured by verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import WIDTH, Caption, sheet
from expo.report.style import GREY, INK, Axes, Figure, LineCollection
from expo.report.theory.drawing import draw_theory
from expo.report.theory.ledger_words import COLOURS, SYMBOLS, part_title
from expo.text import plural
from theory.ledger import Entry

# Inches: of a row, between columns, between areas, of a letter, of a box around a word, above the first area.
_ROW, _GAP, _APART, _LETTER, _BOX, _TOP, _LEFT = 0.2, 0.22, 0.3, 0.063, 0.1, 0.75, 0.1


class Block(NamedTuple):
    """An area's claims in columns, each after all that it uses; those of other areas that it uses are guests."""

    area: str
    columns: list[list[str]]
    widths: list[float]  # of the columns, in inches

    @property
    def width(self) -> float:
        """In inches."""
        return max(sum(self.widths) + _GAP * (len(self.widths) - 1), _width(part_title(self.area)))

    @property
    def height(self) -> float:
        """In inches, with the area's name."""
        return _ROW * (1.2 + max(map(len, self.columns)))


def draw_ledger_graph(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `ledger-graph`: by area a line from each claim to those that use it, coloured by verdict."""
    edges = [(used, name) for name, entry in entries.items() for used in entry.claim.uses]
    shown = {name for edge in edges for name in edge}
    paper = sum(not entries[name].claim.ours for name in shown)
    return draw_theory(
        out,
        "ledger-graph",
        pd.DataFrame(edges, columns=["claim", "used_by"]),
        partial(_plot, entries=entries),
        heading=_found(edges, len(entries)),
        notes="Left to right: a claim stands after all that it uses. Ours are in italics. White: a claim of another "
        f"area.\n{plural(len(entries) - len(shown), 'claim')} that neither use another nor are used are left out. The "
        "ledger says what each of them is.",
        reading=f"{plural(len(edges), 'use')} among {plural(len(shown), 'claim')}, {paper} of the paper and "
        f"{len(shown) - paper} beyond it.",
    )


def _found(edges: Sequence[tuple[str, str]], claims: int) -> str:
    """The claim on which most others rest, by way of others too."""
    users: dict[str, list[str]] = {}
    for used, name in edges:
        users.setdefault(used, []).append(name)

    def resting_on(name: str) -> set[str]:
        direct = users.get(name, ())
        return {*direct}.union(*map(resting_on, direct))

    counts = {name: len(resting_on(name)) for name in users}
    if not counts:
        return "What rests on what: no claim uses another"
    most = max(counts, key=lambda name: counts[name])
    return f"What rests on what: {counts[most]} of {claims} claims rest on {most}, the most on any"


def _blocks(edges: pd.DataFrame, entries: Mapping[str, Entry]) -> list[Block]:
    uses: dict[str, list[str]] = {name: [] for name in entries}
    for claim, used_by in zip(edges["claim"], edges["used_by"], strict=True):
        uses[used_by].append(claim)
    linked = {*edges["claim"], *edges["used_by"]}
    areas: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if name in linked:
            areas.setdefault(entry.claim.area, []).append(name)
    return [_block(area, names, uses) for area, names in areas.items()]


def _block(area: str, names: Sequence[str], uses: Mapping[str, Sequence[str]]) -> Block:
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = 1 + max(map(depth, uses[name]), default=-1) if name in names else 0
        return depths[name]

    columns: dict[int, list[str]] = {}
    for name in names:
        depth(name)
    for name, at in depths.items():
        columns.setdefault(at, []).append(name)
    rows: dict[str, int] = {}
    ordered = [columns[at] for at in sorted(columns)]
    for column in ordered:
        # Near what they use, so that few lines cross.
        near = {name: [rows[used] for used in uses[name] if used in rows] for name in column}
        column.sort(key=lambda name: sum(near[name]) / max(1, len(near[name])))
        rows |= {name: row for row, name in enumerate(column)}
    return Block(area, ordered, [max(map(_width, column)) for column in ordered])


def _width(text: str) -> float:
    return _LETTER * (len(text) + 2) + _BOX


def _packed(blocks: Sequence[Block]) -> list[tuple[float, float]]:
    """The left upper corner of each block: as high as there is room for it, then as far left."""
    taken: list[tuple[float, float, float, float]] = []
    for block in blocks:
        xs = [_LEFT, *(right for _, _, right, _ in taken)]
        ys = [_TOP, *(bottom for *_, bottom in taken)]
        y, x = min((y, x) for x in xs for y in ys if _is_free(x, y, block, taken))
        taken.append((x, y, x + block.width + _APART, y + block.height + _APART))
    return [(x, y) for x, y, *_ in taken]


def _is_free(x: float, y: float, block: Block, taken: Sequence[tuple[float, float, float, float]]) -> bool:
    right, bottom = x + block.width, y + block.height
    fits = x == _LEFT or right <= WIDTH
    return fits and all(right <= x0 or x >= x1 or bottom <= y0 or y >= y1 for x0, y0, x1, y1 in taken)


def _plot(edges: pd.DataFrame, caption: Caption, *, entries: Mapping[str, Entry]) -> Figure:
    blocks = _blocks(edges, entries)
    corners = _packed(blocks)
    total = max((y + block.height for block, (_, y) in zip(blocks, corners, strict=True)), default=1.0) + 0.1
    figure, ((axes,),) = sheet(1, 1, total, caption)
    axes.set(xlim=(0, WIDTH), ylim=(total, 0))
    axes.axis("off")
    _legend(axes, {entry.verdict for entry in entries.values()})
    for block, corner in zip(blocks, corners, strict=True):
        _draw(axes, block, corner, edges, entries)
    return figure


def _legend(axes: Axes, found: set[str]) -> None:
    x, y = _LEFT, 0.1
    for verdict in (verdict for verdict in COLOURS if verdict in found):
        if x + _width(verdict) > WIDTH:
            x, y = _LEFT, y + _ROW * 1.2
        _write(axes, (x, y), _marked(verdict, verdict), verdict)
        x += _width(verdict) + _GAP


def _draw(
    axes: Axes, block: Block, corner: tuple[float, float], edges: pd.DataFrame, entries: Mapping[str, Entry]
) -> None:
    x, y = corner
    axes.text(x - 0.03, y, part_title(block.area), fontsize=9.5, fontweight="bold", va="center")
    places: dict[str, tuple[float, float]] = {}
    for column, width in zip(block.columns, block.widths, strict=True):
        places |= {name: (x, y + _ROW * (row + 1.2)) for row, name in enumerate(column)}
        x += width + _GAP
    lines = [
        [(places[claim][0] + 0.6 * _width(claim), places[claim][1]), places[used_by]]
        for claim, used_by in zip(edges["claim"], edges["used_by"], strict=True)
        if claim in places and used_by in places and entries[used_by].claim.area == block.area
    ]
    axes.add_collection(LineCollection(lines, colors=GREY, linewidths=0.6, zorder=0))
    for name, at in places.items():
        entry = entries[name]
        style = {"style": "italic" if entry.claim.ours else "normal", "color": INK}
        verdict = entry.verdict if entry.claim.area == block.area else ""
        _write(axes, at, _marked(name, verdict), verdict, **style)


def _marked(text: str, verdict: str) -> str:
    """A text with the symbol of its verdict, for eyes that cannot tell the colour."""
    return f"{SYMBOLS[verdict]} {text}" if verdict else text


def _write(axes: Axes, at: tuple[float, float], text: str, verdict: str, **style: Any) -> None:
    """Write a text on the colour of a verdict; without one, in a frame."""
    colours = {"facecolor": COLOURS[verdict], "edgecolor": "none"} if verdict else {"facecolor": "w", "edgecolor": GREY}
    box = {"boxstyle": "square,pad=0.25", "lw": 0.6, **colours}
    axes.text(*at, text, fontsize=7.5, va="center", bbox=box, **style)
