"""The ledger as an HTML page: every claim is shown without scripts, and scripts add a filter. It loads nothing."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import resources

from expo.report.page import scripted_page
from expo.report.theory.ledger_words import COLOURS, LEGEND, MEANS, SYMBOLS, by_part, part_title, shown_verdict
from theory.claim import FIDELITY
from theory.ledger import Entry

_HEADS = {
    "name": "id and place",
    "claim": "claim, and its evidence",
    "near": "nearness",
    "verdict": "verdict",
    "instead": "what fails, what holds",
    "evidence": "evidence",
}
_SOURCES = {"paper": "the paper's", "ours": "ours, beyond the paper"}


def ledger_page(entries: Mapping[str, Entry], reading: str) -> str:
    """The page. Its address can set the filter, too: `ledger.html#verdict=refuted&near=related&text=gain`.

    The names are text, part, verdict, near and source; all words of the text must be in a claim's row.
    """
    script, style = _asset("ledger_page.js"), _asset("ledger_page.css") + _colours()
    parts = by_part(entries)
    bodies = "\n".join(_part(area, of_area) for area, of_area in parts.items())
    heads = "".join(f'<th scope="col" class="of-{of}">{head}</th>' for of, head in _HEADS.items())
    body = f"""<h1>The paper's claims, tested</h1>
<p>{html.escape(reading)}</p>
<p><a href="#claims">Go to the claims</a></p>
<nav aria-labelledby="parts"><h2 id="parts">Parts</h2><ul>
{_index(parts)}
</ul></nav>
<h2>How to read it</h2>
<p>{html.escape(LEGEND)}</p>
<div class="keys"><section><h2>Verdicts</h2>
{_key("verdict", MEANS, (entry.verdict for entry in entries.values()))}
</section><section><h2>Nearness to the paper's sentence</h2>
{_key("near", FIDELITY, (entry.claim.fidelity for entry in entries.values()))}
</section></div>
<h2 id="claims">Claims</h2>
{_form(entries, parts)}
<table><caption>The claims, part by part</caption><thead><tr>{heads}</tr></thead>
{bodies}
</table>
"""
    return scripted_page("The paper's claims, tested", style, script, body)


def _asset(name: str) -> str:
    return (resources.files("expo.report.theory") / name).read_text(encoding="utf-8")


def _colours() -> str:
    return "\n".join(f".is-{_slug(verdict)} {{ background: {colour} }}" for verdict, colour in COLOURS.items())


def _slug(verdict: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in verdict)


def _word(verdict: str, text: str) -> str:
    symbol = f'<span class="symbol" aria-hidden="true">{SYMBOLS[verdict]}</span>'
    return f'<span class="word is-{_slug(verdict)}">{symbol}{html.escape(text)}</span>'


def _count(of: str, value: str, n: int) -> str:
    return f'<data data-of="{of}" data-is="{html.escape(value)}" value="{n}">{n}</data>'


def _index(parts: Mapping[str, Mapping[str, Entry]]) -> str:
    return "\n".join(
        f'<li><a href="#part-{html.escape(area)}">{html.escape(part_title(area))}</a> '
        f"{_count('part', area, len(of_area))}</li>"
        for area, of_area in parts.items()
    )


def _key(of: str, means: Mapping[str, str], found: Iterable[str]) -> str:
    """What each word means, with the number of claims that have it."""
    numbers = Counter(found)
    plain = '<span class="word">{}</span>'.format
    rows = [
        f"<dt>{_word(word, word) if of == 'verdict' else plain(word)}</dt>"
        f"<dd>{_count(of, word, numbers[word])}</dd><dd>{html.escape(meaning)}</dd>"
        for word, meaning in means.items()
        if numbers[word] or of == "near"
    ]
    return f'<dl class="key">\n{chr(10).join(rows)}\n</dl>'


def _form(entries: Mapping[str, Entry], parts: Iterable[str]) -> str:
    verdicts = {entry.verdict for entry in entries.values()}
    choices = {
        "part": ("Part", {area: part_title(area) for area in parts}),
        "verdict": ("Verdict", {verdict: verdict for verdict in MEANS if verdict in verdicts}),
        "near": ("Nearness", {word: word for word in FIDELITY}),
        "source": ("Whose", _SOURCES),
    }
    fields = "".join(_choice(name, label, options) for name, (label, options) in choices.items())
    return (
        '<form id="filter" role="search" hidden>\n'
        f'<label>Text<input type="search" name="text" autocomplete="off"></label>\n{fields}'
        '<button type="reset">Show all</button>\n<output></output></form>'
    )


def _choice(name: str, label: str, options: Mapping[str, str]) -> str:
    shown = "".join(f'<option value="{html.escape(k)}">{html.escape(v)}</option>' for k, v in options.items())
    return f'<label>{label}<select name="{name}"><option value="">all</option>{shown}</select></label>\n'


def _part(area: str, entries: Mapping[str, Entry]) -> str:
    rows = "\n".join(_row(name, entry) for name, entry in entries.items())
    title = html.escape(part_title(area))
    head = f'<tr class="part"><th colspan="{len(_HEADS)}" scope="rowgroup"><h2>{title}</h2></th></tr>'
    return f'<tbody id="part-{html.escape(area)}">{head}\n{rows}</tbody>'


def _row(name: str, entry: Entry) -> str:
    claim = entry.claim
    name, where, near, area = map(html.escape, (name, claim.where, claim.fidelity, claim.area))
    uses = ", ".join(f'<a href="#{html.escape(used)}">{html.escape(used)}</a>' for used in claim.uses)
    said = [_text(claim.statement), _text(claim.reading, "Read as"), _text("; ".join(claim.assumes), "Assumes")]
    said += [f"<p><b>Uses:</b> {uses}</p>"] if uses else []
    instead = [_text(claim.counterexample, "Fails"), _text(claim.corrected, "Holds"), _text(claim.remark, "Remark")]
    shown = "".join(f"<li>{html.escape(line)}</li>" for line in entry.problems or entry.evidence)
    label = '<span class="label">nearness: </span>' if near else ""
    return (
        f'<tr id="{name}" data-part="{area}" data-verdict="{html.escape(entry.verdict)}" data-near="{near}" '
        f'data-source="{"ours" if claim.ours else "paper"}">'
        f'<th scope="row" class="name"><a href="#{name}">{name}</a> <span class="place">{where}</span></th>'
        f'<td class="claim">{"".join(said)}</td><td class="near">{label}{near}</td>'
        f'<td class="verdict">{_word(entry.verdict, shown_verdict(entry))}</td>'
        f'<td class="instead">{"".join(instead)}</td>'
        f'<td class="evidence">{f"<b>Evidence:</b> <ul>{shown}</ul>" if shown else ""}</td></tr>'
    )


def _text(text: str, label: str = "") -> str:
    """A paragraph, or nothing for no text."""
    head = f"<b>{label}:</b> " if label else ""
    return f"<p>{head}{html.escape(' '.join(text.split()))}</p>" if text.strip() else ""
