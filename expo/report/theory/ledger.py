"""The ledger of the paper's claims: a table in Markdown, and a page with a filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.markdown import markdown_table
from expo.report.theory.ledger_page import ledger_page
from expo.report.theory.ledger_words import LEGEND, MEANS, by_part, part_title, shown_verdict
from expo.text import in_markdown, plural
from theory.claim import FIDELITY
from theory.ledger import Entry, counts

COLUMNS = ["claim", "area", "source", "where", "fidelity", "statement", "reading", "assumes", "verdict", "strength"]
COLUMNS += ["evidence", "counterexample", "corrected", "uses", "remark"]
_HEADS = ("id", "where", "claim", "nearness", "verdict", "evidence", "what fails, what holds")


def draw_ledger(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `ledger.md`, `.html` and `.csv`: one row per claim (`COLUMNS`)."""
    numbers = pd.DataFrame([_row(entry) for entry in entries.values()], columns=COLUMNS)
    reading = read_ledger(entries)
    shown: dict[str, str | bytes] = {".md": _markdown(entries, reading), ".html": ledger_page(entries, reading)}
    return publish(out, "ledger", (), numbers, shown, reading)


def read_ledger(entries: Mapping[str, Entry]) -> str:
    """The number of claims with each verdict, separately for the paper's and ours."""
    texts = []
    for whose, of in counts(entries).items():
        if not of["claims"]:
            continue
        statements = f" ({plural(of['statements'], 'statement')})" if of["statements"] < of["claims"] else ""
        near = f"; nearness to its sentences: {_numbers(of['fidelity'], FIDELITY)}" if of["fidelity"] else ""
        texts.append(f"{plural(of['claims'], 'claim')} {whose}{statements}: {_numbers(of['verdicts'], MEANS)}{near}.")
    broken = [name for name, entry in entries.items() if not entry.green]
    return " ".join([*texts, f"Not as expected: {', '.join(broken)}."] if broken else texts)


def _numbers(found: Mapping[str, int], words: Iterable[str]) -> str:
    return ", ".join(f"{found[word]} {word}" for word in words if word in found)


def _row(entry: Entry) -> list[str]:
    claim = entry.claim
    assumes, evidence, uses = ("; ".join(parts) for parts in (claim.assumes, entry.evidence, claim.uses))
    source = "ours" if claim.ours else "the paper"
    texts = [claim.id, claim.area, source, claim.where, claim.fidelity, claim.statement, claim.reading, assumes]
    texts += [entry.verdict, entry.strength, evidence, claim.counterexample, claim.corrected, uses, claim.remark]
    return [" ".join(str(text).split()) for text in texts]


def _cells(entry: Entry) -> tuple[str, str, str]:
    """Claim, evidence, and what fails or holds instead: plain text."""
    row = dict(zip(COLUMNS, _row(entry), strict=True))
    claim = row["statement"]
    claim += f" Read as: {row['reading']}" if row["reading"] else ""
    claim += f" Assumes: {row['assumes']}." if row["assumes"] else ""
    instead = [f"Fails: {row['counterexample']}" if row["counterexample"] else ""]
    instead += [f"Holds: {row['corrected']}" if row["corrected"] else "", row["remark"]]
    return claim, "; ".join(entry.problems) or row["evidence"], " ".join(filter(None, instead))


def _markdown(entries: Mapping[str, Entry], reading: str) -> str:
    blocks = ["# The paper's claims, tested", reading, LEGEND, "Verdicts:", _key(MEANS)]
    blocks += ["Nearness to the paper's sentence:", _key(FIDELITY)]
    for area, of_area in by_part(entries).items():
        rows = []
        for name, entry in of_area.items():
            claim, evidence, instead = map(in_markdown, _cells(entry))
            where, near = in_markdown(entry.claim.where), entry.claim.fidelity
            rows.append([name, where, claim, near, f"**{shown_verdict(entry)}**", evidence, instead])
        blocks += [f"## {part_title(area)}", markdown_table(_HEADS, rows)]
    return "\n\n".join(blocks) + "\n"


def _key(means: Mapping[str, str]) -> str:
    return "\n".join(f"- *{word}*: {meaning}" for word, meaning in means.items())
