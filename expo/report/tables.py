"""Table 1 as a measurement: each kind of positive against the two properties, beside the paper's marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expo.measure.verdict import MIN_PROBLEMS, Comparison, Interval, compare, table1, verdict
from expo.policies.prompts import prompts_for
from expo.report import paper
from expo.report.artefacts import Artefact, publish
from expo.report.runs import Group, Record
from expo.report.words import MARKS, NAMES, TOY, UNITS, interval, listed, share, verdict_mark
from expo.text import plural

COLUMNS = ["run", "source", "property", "quantity", "reference", "difference", "low", "high", "n"]
COLUMNS += ["verdict", "paper"]
_CELLS = ("nll_sum", "nll_per_token", "learning_signal")
_STATUSES = ("correct", "wrong", "unparsed", "timeout")


def draw_table1(group: Group, out: Path | str) -> Artefact:
    """Write `table1-<label>.md` and `.csv`: a block for each run of the group.

    The CSV (`COLUMNS`) has a row for each comparison; `paper` is Table 1's mark, empty where it has none. The
    last rows are those of `section_4_2`.
    """
    blocks, frames, readings = [], [], []
    for record in group.runs:
        found, also = table1(record.samples), section_4_2(record.samples)
        frames.append(_numbers(record, [*found, *also]))
        parts = [[f"## {record.title}"], _marks(found, record.recipe["sources"]), _claims(also), _notes(record)]
        blocks += ["\n".join(lines) for lines in (*parts, _counts(record)) if lines]
        readings.append(read_table1(record, found))
    head = [f"# Table 1, measured: {group.label}{' (toy)' if group.is_toy else ''}", _LEGEND]
    if group.is_toy:
        head.append(f"**{TOY}**")
    text = "\n\n".join([*head, *blocks]) + "\n"
    numbers = pd.concat(frames, ignore_index=True)
    reading = "\n\n".join(readings)
    return publish(out, f"table1-{group.label}", group.runs, numbers, {".md": text}, reading)


def read_table1(record: Record, found: Sequence[Comparison]) -> str:
    """The self-explanation's cells in words, whether the two NLLs agree, and where the paper differs."""
    says = []
    for c in (c for c in found if c.source == "explanation"):
        unit = _unit(c)
        subject = "NLL" if unit else "learning signal"
        says.append(
            f"its {subject}{unit} is {_side(c.difference)} that of the {NAMES[c.reference]} by "
            f"{interval(_size(c.difference))} nats: {c.property} **{c.verdict}**"
        )
    text = f"{record.called}, {record.setting}. Self-explanation: {'; '.join(says) or 'not measured'}."
    lengths = {c.verdict for c in found if c.source == "explanation" and c.quantity in UNITS}
    if lengths == {"holds", "fails"}:
        text += " Per sequence and per token contradict each other: the two texts differ in length."
    cut = {
        s: float(rows["truncated"].mean()) for s, rows in record.samples.groupby("source") if rows["truncated"].any()
    }
    if said := [f"{share(cut[s])} of {NAMES[s]}s" for s in ("own", "explanation") if s in cut]:
        text += f" Cut at the limit of tokens: {listed(said)}; a cut text's NLL per sequence is that of its beginning."
    return f"{text} {_against_paper(found)}"


def _against_paper(found: Sequence[Comparison]) -> str:
    agree: list[str] = []
    differ: list[str] = []
    for c in found:
        mark = paper.TABLE1.get(c.source, {}).get(c.property)
        if mark is None or c.verdict == "undecided":
            continue
        (agree if mark == (c.verdict == "holds") else differ).append(f"{NAMES[c.source]}, {c.property}{_unit(c)}")
    total = sum(c.source in paper.TABLE1 for c in found)
    text = f"Of {plural(total, 'cell')} that the paper marks, {len(agree)} agree with it"
    text += f", {len(differ)} differ" + (f" ({'; '.join(differ)})" if differ else "")
    undecided = total - len(agree) - len(differ)
    return text + (f", {undecided} undecided." if undecided else ".")


def _numbers(record: Record, found: Sequence[Comparison]) -> pd.DataFrame:
    rows = [
        {
            "run": record.name,
            "source": c.source,
            "property": c.property,
            "quantity": c.quantity,
            "reference": c.reference,
            "difference": c.difference.mean,
            "low": c.difference.low,
            "high": c.difference.high,
            "n": c.difference.n,
            "verdict": c.verdict,
            "paper": _printed(c.source, c.property),
        }
        for c in found
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def section_4_2(samples: pd.DataFrame) -> list[Comparison]:
    """What the paper's Section 4.2 claims of the self-explanation beyond Table 1, as far as it was measured."""
    present = set(samples["source"])
    found = []
    for claim, quantity, reference, sign in paper.SECTION_4_2:
        if {"explanation", reference} <= present:
            gap = compare(samples, "explanation", reference, quantity)
            found.append(Comparison(claim, quantity, "explanation", reference, gap, verdict(gap, sign)))
    return found


def _printed(source: str, property: str) -> str:
    mark = paper.TABLE1.get(source, {}).get(property)
    return "" if mark is None else MARKS["holds" if mark else "fails"]


def _claims(found: Sequence[Comparison]) -> list[str]:
    if not found:
        return []
    lines = ["Section 4.2 of the paper also claims of the self-explanation:", ""]
    for c in found:
        lines.append(f"- {c.property} than the {NAMES[c.reference]}{_unit(c)}: {_cell(c)}")
    return lines


def _marks(found: Sequence[Comparison], asked: Sequence[str]) -> list[str]:
    """Rows for every source that was asked for, also for those of which there is no sample."""
    lines = [
        "| positive | in-distribution, per sequence | in-distribution, per token | positive learning signal "
        "| paper: in-distribution | paper: learning signal |",
        "| --- | --- | --- | --- | :-: | :-: |",
    ]
    cells = {(c.source, c.quantity): c for c in found}
    for source in (s for s in NAMES if s in asked):
        measured = [_cell(cells.get((source, quantity))) for quantity in _CELLS]
        marks = [_printed(source, p) for p in (paper.IN_DISTRIBUTION, paper.LEARNING_SIGNAL)]
        lines.append("| " + " | ".join([NAMES[source], *measured, *marks]) + " |")
    return lines


def _cell(c: Comparison | None) -> str:
    if c is None:
        return "not measured"
    return f"{verdict_mark(c.verdict)}: {interval(c.difference, sign=True)}, n = {c.difference.n}"


_LEGEND = f"""\
Each cell: verdict, difference of means in nats with its 95 % bootstrap interval (problems resampled), and
the number of problems that have both sides. `holds` and `fails` mean that the whole interval lies on one side
of 0; `undecided` that it does not, or that there are fewer than {MIN_PROBLEMS} problems.

- In-distribution: `-log pi(c, a*|q)` against that of the expert CoT, and the expert CoT's against the own
  CoT's. Lower is better. The own CoT is scored with its own answer.
- Positive learning signal: `log pi(a*|q, c)` against that of the own CoT, and the own CoT's against the
  self-explanation's. Higher is better.

All scores are at temperature 1 under the plain question prompt. The paper prints marks without numbers (its
Table 1), and none for the controls."""


def _notes(record: Record) -> list[str]:
    recipe = record.recipe
    lines = [
        f"{record.setting} of own CoT and self-explanation, {recipe.get('controls', 0)} of each control; "
        f"at most {recipe.get('max_new_tokens', '?')} new tokens."
    ]
    changed = [k for k, v in (recipe.get("prompts") or {}).items() if v != _usual_prompts(record).get(k)]
    if changed:
        lines.append(f"Prompts changed by the recipe: {listed(changed)}.")
    if record.run.has("skips") and len(skips := record.run.read("skips")):
        why = Counter(zip(skips["field"], skips["reason"], strict=True)).most_common()
        named = [f"{n} for {field} ({reason})" for (field, reason), n in why[:3]]
        more = f" and {plural(len(why) - 3, 'other reason')}" if len(why) > 3 else ""
        lines.append(f"Skipped: {plural(len(skips), 'row')}, {', '.join(named)}{more}.")
    else:
        lines.append("Skipped: no rows.")
    return lines


def _usual_prompts(record: Record) -> dict[str, object]:
    return vars(prompts_for(record.recipe["task"]))


def _counts(record: Record) -> list[str]:
    lines = [
        "| samples | count | leaks the answer | truncated | " + " | ".join(_STATUSES) + " | tokens |",
        "| --- |" + " --: |" * (4 + len(_STATUSES)),
    ]
    for source in (s for s in NAMES if s in set(record.samples["source"])):
        rows = record.samples[record.samples["source"] == source]
        if source == "expert":
            cells = ["–"] * (2 + len(_STATUSES))
        else:
            cells = [share(float(rows["leak"].mean())), share(float(rows["truncated"].mean()))]
            cells += [str(int((rows["status"] == s).sum())) for s in _STATUSES]
        lines.append(f"| {NAMES[source]} | {len(rows)} | {' | '.join(cells)} | {rows['tokens'].mean():.0f} |")
    return [
        *lines,
        "",
        "Correct, wrong, unparsed and timeout grade the answer that the sampled text itself gave, before `a*` took its "
        "place. Tokens are the mean of what is scored: of a text cut at the limit, with the `a*` that closes it.",
    ]


def _unit(c: Comparison) -> str:
    """With a space before it; empty where the quantity is not an NLL."""
    return f" {UNITS[c.quantity]}" if c.quantity in UNITS else ""


def _side(difference: Interval) -> str:
    return "above" if difference.mean > 0 else "below"


def _size(d: Interval) -> Interval:
    """The interval of the size, for a sentence that already says 'above' or 'below'."""
    return d if d.mean > 0 else Interval(-d.mean, -d.high, -d.low, d.n)
