"""The ledger of the paper's claims as pages: a table in Markdown, and a page with colours."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.markdown import markdown_table
from expo.report.words import listed
from expo.text import in_markdown, plural
from theory.claim import FIDELITY
from theory.ledger import STRENGTHS, Entry, counts

COLUMNS = ["claim", "area", "source", "where", "fidelity", "statement", "reading", "assumes", "verdict", "strength"]
COLUMNS += ["evidence", "counterexample", "corrected", "uses", "remark"]
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
_HEADS = ("id", "where", "claim", "verdict", "evidence", "what fails, what holds")
_LEGEND = (
    "Verdicts are computed from the tests that ran. *Proved*: by z3 or sympy for any size that the claim is about. "
    "*Exact*: in rational arithmetic on all instances given, or by a proof for the sizes given. *Sampled*: in floating "
    "point within a derived tolerance. A claim is as strong as the weakest of its tests and of the claims that it "
    "uses; beside any other verdict the strength of what holds stands in brackets. Where a printed claim fails and a "
    "corrected one holds, the verdict says how they differ, which is a reader's judgement. A counterexample is the "
    "smallest that a search of its domain finds. Each claim that is said to hold has a negative control, which a "
    "checker of the same kind refuted. A claim is green only if all that it uses is. Claims 'beyond the paper' are "
    "ours. Beside the place of the others stands how near the claim is to the sentence, a reader's judgement again: "
    + "; ".join(f"*{word}*: {what}" for word, what in FIDELITY.items())
    + "."
)


def draw_ledger(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `ledger.md`, `.html` and `.csv`: a row for each claim (`COLUMNS`)."""
    numbers = pd.DataFrame([_row(entry) for entry in entries.values()], columns=COLUMNS)
    reading = read_ledger(entries)
    shown: dict[str, str | bytes] = {".md": _markdown(entries, reading), ".html": _page(entries, reading)}
    return publish(out, "ledger", (), numbers, shown, reading)


def read_ledger(entries: Mapping[str, Entry]) -> str:
    """How many claims came out how, the paper's and ours apart."""
    texts = []
    for whose, of in counts(entries).items():
        if not of["claims"]:
            continue
        near = [f"{of['fidelity'][word]} {word}" for word in FIDELITY if word in of["fidelity"]]
        notes = [plural(of["statements"], "statement")] if of["statements"] < of["claims"] else []
        notes += [f"to its words {listed(near)}"] if near else []
        found = [f"{of['verdicts'][verdict]} {verdict}" for verdict in COLOURS if verdict in of["verdicts"]]
        told = f" ({'; '.join(notes)})" if notes else ""
        texts.append(f"{plural(of['claims'], 'claim')} {whose}{told}: {listed(found)}.")
    broken = [name for name, entry in entries.items() if not entry.green]
    return " ".join([*texts, f"Not green: {', '.join(broken)}."] if broken else texts)


def _row(entry: Entry) -> list[str]:
    claim = entry.claim
    assumes, evidence, uses = ("; ".join(parts) for parts in (claim.assumes, entry.evidence, claim.uses))
    source = "ours" if claim.ours else "the paper"
    texts = [claim.id, claim.area, source, claim.where, claim.fidelity, claim.statement, claim.reading, assumes]
    texts += [entry.verdict, entry.strength, evidence, claim.counterexample, claim.corrected, uses, claim.remark]
    return [" ".join(str(text).split()) for text in texts]


def _cells(entry: Entry) -> tuple[str, str, str, str]:
    """Claim, where with how near to the paper, evidence, and what fails or holds instead: plain text."""
    row = dict(zip(COLUMNS, _row(entry), strict=True))
    claim = row["statement"]
    claim += f" Read as: {row['reading']}" if row["reading"] else ""
    claim += f" Assumes: {row['assumes']}." if row["assumes"] else ""
    instead = [f"Fails: {row['counterexample']}" if row["counterexample"] else ""]
    instead += [f"Holds: {row['corrected']}" if row["corrected"] else "", row["remark"]]
    problems = "; ".join(entry.problems)
    where = f"{row['where']} ({row['fidelity']})" if row["fidelity"] else row["where"]
    return claim, where, problems or row["evidence"], " ".join(filter(None, instead))


def _verdict(entry: Entry) -> str:
    """The verdict, and how strong what holds is where the verdict does not say that."""
    silent = entry.strength and entry.green and entry.verdict not in STRENGTHS
    return f"{entry.verdict} ({entry.strength})" if silent else entry.verdict


def _by_area(entries: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    areas: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        areas.setdefault(entry.claim.area, {})[name] = entry
    return areas


def _markdown(entries: Mapping[str, Entry], reading: str) -> str:
    blocks = ["# The paper's claims, tested", reading, _LEGEND]
    for area, of_area in _by_area(entries).items():
        rows = []
        for name, entry in of_area.items():
            claim, where, evidence, instead = map(in_markdown, _cells(entry))
            rows.append([name, where, claim, f"**{_verdict(entry)}**", evidence, instead])
        blocks += [f"## {area}", markdown_table(_HEADS, rows)]
    return "\n\n".join(blocks) + "\n"


_STYLE = """\
body { font: 14px/1.45 system-ui, sans-serif; color: #222; margin: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid #ddd }
td.verdict { font-weight: 600 }
td.small { font-size: 12px; color: #444 }"""


def _page(entries: Mapping[str, Entry], reading: str) -> str:
    rows = []
    for area, of_area in _by_area(entries).items():
        rows.append(f'<tr><th colspan="6"><h2>{html.escape(area)}</h2></th></tr>')
        rows += [_html_row(name, entry) for name, entry in of_area.items()]
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>The paper's claims, tested</title><style>
{_STYLE}
</style></head><body>
<h1>The paper's claims, tested</h1>
<p>{html.escape(reading)}</p><p>{html.escape(_LEGEND.replace("*", ""))}</p>
<table><thead><tr>{heads}</tr></thead><tbody>
{chr(10).join(rows)}
</tbody></table></body></html>
"""


def _html_row(name: str, entry: Entry) -> str:
    name = html.escape(name)
    claim, where, evidence, instead = map(html.escape, _cells(entry))
    uses = ", ".join(f'<a href="#{html.escape(used)}">{html.escape(used)}</a>' for used in entry.claim.uses)
    return (
        f'<tr id="{name}"><td>{name}</td><td class="small">{where}</td>'
        f"<td>{claim}{f'<br>Uses {uses}.' if uses else ''}</td>"
        f'<td class="verdict" style="background:{COLOURS[entry.verdict]}">{html.escape(_verdict(entry))}</td>'
        f'<td class="small">{evidence}</td><td class="small">{instead}</td></tr>'
    )
