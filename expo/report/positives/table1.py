"""Table 1 as a measurement: each kind of positive against the two properties, beside the paper's marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expo.measure.verdict import HANGS, PROBABILITY, Comparison, compare, hangs_on, own_answers, table1, worth
from expo.report import paper
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.positives.measurements import Group, Measurement, cut_texts
from expo.report.words import MARKS, NAMES, UNITS, interval, listed, share, verdict_mark
from expo.stats import MIN_PROBLEMS, Interval
from expo.tasks import TASKS
from expo.text import in_markdown, plural

COLUMNS = ["run", "source", "property", "quantity", "reference", "difference", "low", "high"]
COLUMNS += ["finite_sample_low", "finite_sample_high", "n", "verdict", "paper", "largest", "largest_share"]
_QUANTITIES = ("nll_sum", "nll_per_token", "learning_signal", PROBABILITY)
_SUBJECTS = {
    "nll_sum": "NLL per sequence",
    "nll_per_token": "NLL per token",
    "learning_signal": "learning signal",
    PROBABILITY: r"π(a\*∣q, c)",
}
_STATUSES = ("correct", "wrong", "unparsed", "timeout")


def draw_table1(group: Group, out: Path | str) -> Artefact:
    """Write `table1-<label>.md` and `.csv`: one block per run of the group.

    The CSV (`COLUMNS`) has one row per comparison; `paper` is Table 1's mark, or empty if it has none. `largest` is
    the problem with the largest share of the sum. The last rows are those of `section_4_2` and of `own_answers`.
    """
    blocks, frames, readings = [], [], []
    for run in group.runs:
        comparisons, claims, own = table1(run.samples), section_4_2(run.samples), own_answers(run.samples)
        frames.append(_numbers(run, [*comparisons, *claims, *own]))
        blocks += [f"## {run.title}", _marks(comparisons, run.recipe["sources"]), worth(run.problems)]
        blocks += [part for part in (_claims(claims), _own(own), _notes(run), _counts(run)) if part]
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
    verdicts = {c.verdict for c in of_explanation if c.property == paper.IN_DISTRIBUTION}
    if verdicts == {"holds", "fails"}:
        text += " Per sequence and per token contradict each other: the two texts differ in length."
    if cut := cut_texts([run]):
        text += f" Cut at the token limit: {cut}; a cut text's NLL per sequence is that of its beginning."
    return f"{text} {_against_paper(comparisons)}"


def _read_cell(c: Comparison) -> str:
    size = interval(_size(c.difference), finite_sample=c.finite_sample and _size(c.finite_sample))
    return (
        f"its {_SUBJECTS[c.quantity]} is {_side(c.difference)} that of the {NAMES[c.reference]} by "
        f"{size}{'' if c.finite_sample else ' nats'}: {c.property} **{c.verdict}**{_hangs(c)}"
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
    counts = [plural(len(agree), "agrees with it", "agree with it"), plural(len(differ), "differs", "differ")]
    counts[1] += f" ({'; '.join(differ)})" if differ else ""
    if undecided := total - len(agree) - len(differ):
        counts.append(plural(undecided, "is undecided", "are undecided"))
    return f"Of {plural(total, 'cell')} that the paper marks, {listed(counts)}."


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
            "finite_sample_low": c.finite_sample.low if c.finite_sample else None,
            "finite_sample_high": c.finite_sample.high if c.finite_sample else None,
            "n": c.difference.n,
            "verdict": c.verdict,
            "paper": _printed(c.source, c.property),
            "largest": c.largest,
            "largest_share": c.share,
        }
        for c in comparisons
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def section_4_2(samples: pd.DataFrame) -> list[Comparison]:
    """What Section 4.2 of the paper claims about the self-explanation beyond Table 1, as far as it was measured."""
    present = set(samples["source"])
    return [
        compare(samples, "explanation", reference, quantity, sign, claim)
        for claim, quantity, reference, sign in paper.SECTION_4_2
        if {"explanation", reference} <= present
    ]


def _printed(source: str, property: str) -> str:
    mark = paper.TABLE1.get(source, {}).get(property)
    return "" if mark is None else MARKS["holds" if mark else "fails"]


def _claims(claims: Sequence[Comparison]) -> str:
    if not claims:
        return ""
    lines = ["Section 4.2 of the paper also claims of the self-explanation:", ""]
    lines += [f"- {c.property} than the {NAMES[c.reference]}{_unit(c)}: {_cell(c)}" for c in claims]
    return "\n".join(lines)


def _own(own: Sequence[Comparison]) -> str:
    return "\n".join(
        f"Beyond the paper: its own answer is right more often than the {NAMES[c.reference]}'s: {_cell(c)}" for c in own
    )


_HEADS = (
    "positive",
    "in-distribution, per sequence",
    "in-distribution, per token",
    "positive learning signal",
    "positive learning signal, as a probability",
    "paper: in-distribution",
    "paper: learning signal",
)


def _marks(comparisons: Sequence[Comparison], asked: Sequence[str]) -> str:
    """Rows for every requested source, even if it has no samples."""
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
    return markdown_table(_HEADS, rows, [*["---"] * 5, ":-:", ":-:"])


def _cell(c: Comparison | None) -> str:
    if c is None:
        return "not measured"
    numbers = interval(c.difference, sign=True, finite_sample=c.finite_sample)
    return f"{verdict_mark(c.verdict)}: {numbers}, n = {c.difference.n}{_hangs(c)}"


def _hangs(c: Comparison) -> str:
    hangs = hangs_on(c.verdict, in_markdown(c.largest), c.share)
    return hangs and f"; {hangs}"


_LEGEND = f"""\
Each cell: verdict, difference of means in nats with its 95 % bootstrap interval (problems resampled), and
the number of problems that have both sides. `holds` and `fails` mean that the whole interval lies on one side
of 0; `undecided` that it does not, or that there are fewer than {MIN_PROBLEMS} problems. A probability or a share
has a second, finite-sample interval, which gives its verdict: its 95 % hold at every number of problems, whatever
their distribution, which those of the bootstrap do not. A problem is named where it is {100 * HANGS:.0f} % or more
of a mean that is told from 0.

- In-distribution: `-log pi(c, a*|q)` against that of the expert CoT, and the expert CoT's against the own
  CoT's. Lower is better. The own CoT is scored with its own answer.
- Positive learning signal: `log pi(a*|q, c)` against that of the own CoT, and the own CoT's against the
  self-explanation's. Higher is better. As a probability: the same of `pi(a*|q, c)`, from -1 to 1, not in nats.

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
    """The unit with a leading space; empty if the quantity is not an NLL."""
    return f" {UNITS[c.quantity]}" if c.quantity in UNITS else ""


def _side(difference: Interval) -> str:
    return "above" if difference.mean > 0 else "below"


def _size(d: Interval) -> Interval:
    """The interval of the absolute size, for a sentence that already says 'above' or 'below'."""
    return d if d.mean > 0 else Interval(-d.mean, -d.high, -d.low, d.n)
