"""Table 1 as a measurement: each kind of positive against the two properties, beside the paper's marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expo.measure.verdict import Comparison, compare, table1, verdict
from expo.report import paper
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.positives.measurements import Group, Measurement
from expo.report.words import MARKS, NAMES, UNITS, interval, listed, share, verdict_mark
from expo.stats import MIN_PROBLEMS, Interval
from expo.tasks import TASKS
from expo.text import plural

COLUMNS = ["run", "source", "property", "quantity", "reference", "difference", "low", "high", "n"]
COLUMNS += ["verdict", "paper"]
_QUANTITIES = ("nll_sum", "nll_per_token", "learning_signal")
_STATUSES = ("correct", "wrong", "unparsed", "timeout")


def draw_table1(group: Group, out: Path | str) -> Artefact:
    """Write `table1-<label>.md` and `.csv`: a block for each run of the group.

    The CSV (`COLUMNS`) has a row for each comparison; `paper` is Table 1's mark, empty where it has none. The
    last rows are those of `section_4_2`.
    """
    blocks, frames, readings = [], [], []
    for run in group.runs:
        comparisons, claims = table1(run.samples), section_4_2(run.samples)
        frames.append(_numbers(run, [*comparisons, *claims]))
        blocks += [f"## {run.title}", _marks(comparisons, run.recipe["sources"])]
        blocks += [part for part in (_claims(claims), _notes(run), _counts(run)) if part]
        readings.append(read_table1(run, comparisons))
    return write_table(
        out,
        f"table1-{group.label}",
        group.runs,
        pd.concat(frames, ignore_index=True),
        title=f"Table 1, measured: {group.label}",
        about=_LEGEND,
        parts=blocks,
        reading="\n\n".join(readings),
    )


def read_table1(run: Measurement, comparisons: Sequence[Comparison]) -> str:
    """The self-explanation's cells in words, whether the two NLLs agree, and where the paper differs."""
    of_explanation = [c for c in comparisons if c.source == "explanation"]
    sentence = "; ".join(map(_read_cell, of_explanation)) or "not measured"
    text = f"{run.subject}, {run.setting}. Self-explanation: {sentence}."
    verdicts = {c.verdict for c in of_explanation if c.quantity in UNITS}
    if verdicts == {"holds", "fails"}:
        text += " Per sequence and per token contradict each other: the two texts differ in length."
    truncated = {source: rows["truncated"] for source, rows in run.samples.groupby("source")}
    cut = [
        f"{share(float(truncated[source].mean()))} of {NAMES[source]}s"
        for source in ("own", "explanation")
        if source in truncated and truncated[source].any()
    ]
    if cut:
        text += f" Cut at the limit of tokens: {listed(cut)}; a cut text's NLL per sequence is that of its beginning."
    return f"{text} {_against_paper(comparisons)}"


def _read_cell(c: Comparison) -> str:
    unit = _unit(c)
    subject = "NLL" if unit else "learning signal"
    return (
        f"its {subject}{unit} is {_side(c.difference)} that of the {NAMES[c.reference]} by "
        f"{interval(_size(c.difference))} nats: {c.property} **{c.verdict}**"
    )


def _against_paper(comparisons: Sequence[Comparison]) -> str:
    agree: list[str] = []
    differ: list[str] = []
    for c in comparisons:
        mark = paper.TABLE1.get(c.source, {}).get(c.property)
        if mark is None or c.verdict == "undecided":
            continue
        (agree if mark == (c.verdict == "holds") else differ).append(f"{NAMES[c.source]}, {c.property}{_unit(c)}")
    total = sum(c.source in paper.TABLE1 for c in comparisons)
    text = f"Of {plural(total, 'cell')} that the paper marks, {len(agree)} agree with it"
    text += f", {len(differ)} differ" + (f" ({'; '.join(differ)})" if differ else "")
    undecided = total - len(agree) - len(differ)
    return text + (f", {undecided} undecided." if undecided else ".")


def _numbers(run: Measurement, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    rows = [
        {
            "run": run.name,
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
        for c in comparisons
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def section_4_2(samples: pd.DataFrame) -> list[Comparison]:
    """What the paper's Section 4.2 claims of the self-explanation beyond Table 1, as far as it was measured."""
    present = set(samples["source"])
    comparisons = []
    for claim, quantity, reference, sign in paper.SECTION_4_2:
        if {"explanation", reference} <= present:
            gap = compare(samples, "explanation", reference, quantity)
            comparisons.append(Comparison(claim, quantity, "explanation", reference, gap, verdict(gap, sign)))
    return comparisons


def _printed(source: str, property: str) -> str:
    mark = paper.TABLE1.get(source, {}).get(property)
    return "" if mark is None else MARKS["holds" if mark else "fails"]


def _claims(claims: Sequence[Comparison]) -> str:
    if not claims:
        return ""
    lines = ["Section 4.2 of the paper also claims of the self-explanation:", ""]
    lines += [f"- {c.property} than the {NAMES[c.reference]}{_unit(c)}: {_cell(c)}" for c in claims]
    return "\n".join(lines)


_HEADS = (
    "positive",
    "in-distribution, per sequence",
    "in-distribution, per token",
    "positive learning signal",
    "paper: in-distribution",
    "paper: learning signal",
)


def _marks(comparisons: Sequence[Comparison], asked: Sequence[str]) -> str:
    """Rows for every source that was asked for, also for those of which there is no sample."""
    cells = {(c.source, c.quantity): c for c in comparisons}
    rows = [
        [
            NAMES[source],
            *(_cell(cells.get((source, quantity))) for quantity in _QUANTITIES),
            *(_printed(source, property) for property in (paper.IN_DISTRIBUTION, paper.LEARNING_SIGNAL)),
        ]
        for source in NAMES
        if source in asked
    ]
    return markdown_table(_HEADS, rows, [*["---"] * 4, ":-:", ":-:"])


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


def _notes(run: Measurement) -> str:
    recipe = run.recipe
    lines = [
        f"{run.setting} of own CoT and self-explanation, {recipe.get('controls', 0)} of each control; "
        f"at most {recipe.get('max_new_tokens', '?')} new tokens."
    ]
    usual = vars(TASKS[recipe["task"]].prompts)
    changed = [name for name, prompt in (recipe.get("prompts") or {}).items() if prompt != usual.get(name)]
    if changed:
        lines.append(f"Prompts changed by the recipe: {listed(changed)}.")
    return "\n".join([*lines, _skips(run)])


def _skips(run: Measurement) -> str:
    """How many rows of the data were skipped, and the three most frequent reasons."""
    if not run.run.has("skips") or not len(skips := run.run.read("skips")):
        return "Skipped: no rows."
    reasons = Counter(zip(skips["field"], skips["reason"], strict=True)).most_common()
    named = [f"{n} for {field} ({reason})" for (field, reason), n in reasons[:3]]
    more = f" and {plural(len(reasons) - 3, 'other reason')}" if len(reasons) > 3 else ""
    return f"Skipped: {plural(len(skips), 'row')}, {', '.join(named)}{more}."


def _counts(run: Measurement) -> str:
    heads = ["samples", "count", "leaks the answer", "truncated", *_STATUSES, "tokens"]
    table = []
    for source in (s for s in NAMES if s in set(run.samples["source"])):
        rows = run.samples[run.samples["source"] == source]
        if source == "expert":
            cells = ["–"] * (2 + len(_STATUSES))
        else:
            cells = [share(float(rows["leak"].mean())), share(float(rows["truncated"].mean()))]
            cells += [str(int((rows["status"] == s).sum())) for s in _STATUSES]
        table.append([NAMES[source], str(len(rows)), *cells, f"{rows['tokens'].mean():.0f}"])
    return f"{markdown_table(heads, table, ['---', *['--:'] * (len(heads) - 1)])}\n\n{_ABOUT_COUNTS}"


_ABOUT_COUNTS = (
    "Correct, wrong, unparsed and timeout grade the answer that the sampled text itself gave, before `a*` took its "
    "place. Tokens are the mean of what is scored: of a text cut at the limit, with the `a*` that closes it."
)


def _unit(c: Comparison) -> str:
    """With a space before it; empty where the quantity is not an NLL."""
    return f" {UNITS[c.quantity]}" if c.quantity in UNITS else ""


def _side(difference: Interval) -> str:
    return "above" if difference.mean > 0 else "below"


def _size(d: Interval) -> Interval:
    """The interval of the size, for a sentence that already says 'above' or 'below'."""
    return d if d.mean > 0 else Interval(-d.mean, -d.high, -d.low, d.n)
