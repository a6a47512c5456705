"""The ledger of the paper's claims as pages: a table, a page with colours, and the graph of what rests on what."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, png, publish
from expo.report.style import GREY, INK, look, sheet
from expo.report.words import listed
from expo.text import plural
from theory.ledger import Entry

COLUMNS = ["claim", "area", "where", "statement", "reading", "assumes", "verdict", "evidence", "counterexample"]
COLUMNS += ["corrected", "uses", "remark"]
# Okabe and Ito's colours, light enough to be written on.
COLOURS = {
    "proved": "#7FCDB0",
    "exact": "#A9DFCB",
    "sampled": "#D4EFE5",
    "holds under an added assumption": "#F5EE9E",
    "first order only": "#F5EE9E",
    "ambiguous by reading": "#F5EE9E",
    "refuted": "#F0B27A",
    "contradicted by the paper's own table": "#E59866",
    "undecided": "#CCCCCC",
}
_LEGEND = (
    "Verdicts are computed from the tests that ran. *Proved*: by z3 or sympy for the size given, from the claims that "
    "it uses. *Exact*: in rational arithmetic on all instances given. *Sampled*: in floating point within a derived "
    "tolerance. A claim of several parts is as strong as its weakest. Where a printed claim fails and a corrected one "
    "holds, the verdict says how they differ, which is a reader's judgement. Each claim that is said to hold has a "
    "false twin, which a checker of the same kind refuted. A claim is green only if all that it uses is. Claims "
    "'beyond the paper' are ours."
)


def draw_ledger(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `ledger.md`, `.html` and `.csv`: a row for each claim (`COLUMNS`)."""
    numbers = pd.DataFrame([_row(e) for e in entries.values()], columns=COLUMNS)
    reading = read_ledger(entries)
    shown: dict[str, str | bytes] = {".md": _markdown(entries, reading), ".html": _page(entries, reading)}
    return publish(out, "ledger", (), numbers, shown, reading)


def read_ledger(entries: Mapping[str, Entry]) -> str:
    """How many claims came out how."""
    counts = Counter(e.verdict for e in entries.values())
    ordered = [f"{counts[v]} {v}" for v in COLOURS if counts[v]]
    broken = [name for name, e in entries.items() if not e.green]
    words = f"{plural(len(entries), 'claim')}: {listed(ordered)}."
    return f"{words} Not green: {', '.join(broken)}." if broken else words


def _row(e: Entry) -> list[str]:
    c = e.claim
    lists = (c.assumes, e.evidence, c.uses)
    assumes, evidence, uses = ("; ".join(x) for x in lists)
    texts = [c.id, c.area, c.where, c.statement, c.reading, assumes, e.verdict, evidence, c.counterexample]
    return [" ".join(str(t).split()) for t in (*texts, c.corrected, uses, c.remark)]


def _cells(e: Entry) -> tuple[str, str, str, str]:
    """Claim, where, verdict with evidence, and what fails or holds instead: plain text."""
    row = dict(zip(COLUMNS, _row(e), strict=True))
    claim = row["statement"]
    claim += f" Read as: {row['reading']}" if row["reading"] else ""
    claim += f" Assumes: {row['assumes']}." if row["assumes"] else ""
    instead = [f"Fails: {row['counterexample']}" if row["counterexample"] else ""]
    instead += [f"Holds: {row['corrected']}" if row["corrected"] else "", row["remark"]]
    problems = "; ".join(e.problems)
    return claim, row["where"], problems or row["evidence"], " ".join(filter(None, instead))


def _markdown(entries: Mapping[str, Entry], reading: str) -> str:
    lines = ["# The paper's claims, tested", reading, _LEGEND]
    for area in dict.fromkeys(e.claim.area for e in entries.values()):
        rows = ["| id | where | claim | verdict | evidence | what fails, what holds |"]
        rows.append("| --- | --- | --- | --- | --- | --- |")
        for name, e in entries.items():
            if e.claim.area == area:
                claim, where, evidence, instead = map(_escaped, _cells(e))
                rows.append(f"| {name} | {where} | {claim} | **{e.verdict}** | {evidence} | {instead} |")
        lines += [f"## {area}", "\n".join(rows)]
    return "\n\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    for c in "\\|*_<>[]":
        text = text.replace(c, f"\\{c}")
    return text


_STYLE = """\
body { font: 14px/1.45 system-ui, sans-serif; color: #222; margin: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid #ddd }
td.verdict { font-weight: 600 }
td.small { font-size: 12px; color: #444 }"""


def _page(entries: Mapping[str, Entry], reading: str) -> str:
    rows = []
    for area in dict.fromkeys(e.claim.area for e in entries.values()):
        rows.append(f'<tr><th colspan="6"><h2>{html.escape(area)}</h2></th></tr>')
        for name, e in entries.items():
            if e.claim.area != area:
                continue
            claim, where, evidence, instead = map(html.escape, _cells(e))
            uses = ", ".join(f'<a href="#{html.escape(u)}">{html.escape(u)}</a>' for u in e.claim.uses)
            rows.append(
                f'<tr id="{html.escape(name)}"><td>{html.escape(name)}</td><td class="small">{where}</td>'
                f"<td>{claim}{f'<br>Uses {uses}.' if uses else ''}</td>"
                f'<td class="verdict" style="background:{COLOURS[e.verdict]}">{html.escape(e.verdict)}</td>'
                f'<td class="small">{evidence}</td><td class="small">{instead}</td></tr>'
            )
    head = "".join(f"<th>{h}</th>" for h in ("id", "where", "claim", "verdict", "evidence", "what fails, what holds"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>The paper's claims, tested</title><style>
{_STYLE}
</style></head><body>
<h1>The paper's claims, tested</h1>
<p>{html.escape(reading)}</p><p>{html.escape(_LEGEND.replace("*", ""))}</p>
<table><thead><tr>{head}</tr></thead><tbody>
{chr(10).join(rows)}
</tbody></table></body></html>
"""


def draw_graph(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `ledger-graph`: a line from each claim, on the left, to those that use it, coloured by verdict."""
    place = _places(entries)
    edges = [(u, name) for name, e in entries.items() for u in e.claim.uses]
    numbers = pd.DataFrame(edges, columns=["claim", "used_by"])
    tallest = max(y for _, y in place.values()) + 1
    with look():
        notes = (
            f"Left to right: a claim stands after all that it uses. {plural(len(entries) - len(place), 'claim')} that "
            "neither use another nor are used are left out."
        )
        figure, ((axes,),) = sheet(1, 1, max(3.0, 0.24 * tallest), "What rests on what", notes, False)
        for a, b in edges:
            axes.plot(*zip(place[a], place[b], strict=True), color=GREY, lw=0.6, zorder=0)
        for name, (x, y) in place.items():
            box = {"boxstyle": "round,pad=0.25", "facecolor": COLOURS[entries[name].verdict], "edgecolor": "none"}
            axes.text(x, y, name, ha="center", va="center", fontsize=7.5, color=INK, bbox=box)
        for i, verdict in enumerate(v for v in COLOURS if any(e.verdict == v for e in entries.values())):
            axes.text(
                0,
                -1.2 - 0.9 * i,
                verdict,
                fontsize=7.5,
                ha="left",
                va="center",
                bbox={"boxstyle": "round,pad=0.25", "facecolor": COLOURS[verdict], "edgecolor": "none"},
            )
        axes.set(xlim=(-0.4, max(x for x, _ in place.values()) + 0.4), ylim=(tallest, -8))
        axes.axis("off")
    reading = f"{plural(len(edges), 'use')} among {plural(len(place), 'claim')}."
    return publish(out, "ledger-graph", (), numbers, {".png": png(figure)}, reading)


def _places(entries: Mapping[str, Entry]) -> dict[str, tuple[int, int]]:
    """Column and row of each claim that uses another or is used: the column is its depth."""
    used = {u for e in entries.values() for u in e.claim.uses}

    def depth(name: str) -> int:
        return 1 + max(map(depth, entries[name].claim.uses), default=-1)

    columns: dict[int, list[str]] = {}
    for name, e in entries.items():
        if e.claim.uses or name in used:
            columns.setdefault(depth(name), []).append(name)
    places: dict[str, tuple[int, int]] = {}
    for x, names in sorted(columns.items()):
        # Near what they use, so that few lines cross.
        names.sort(key=lambda n: sum(places[u][1] for u in entries[n].claim.uses) / max(1, len(entries[n].claim.uses)))
        places |= {name: (x, y) for y, name in enumerate(names)}
    return places
