"""Example 1 of the paper as measured here: one question, own CoT and self-explanation, each step judged.

A model may write anything, including markup. In Markdown its text is in a block with a fence longer than any run of
backticks in it. In HTML every special character is escaped. Characters that would be invisible or reorder the line are
written out.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.artefacts import Artefact, publish
from expo.report.page import page
from expo.report.positives.measurements import Group, Measurement
from expo.report.toy import marked, warned
from expo.report.words import MARKS, NAMES
from expo.tasks import Checker, checker_of
from expo.tasks.problem import Problem
from expo.text import fenced, plural, visible

COLUMNS = ["run", "problem", "source", "index", "part", "text", "true"]
RULE = (
    "the first problem by id whose own CoT with index 0 ends in a wrong answer and whose self-explanation "
    "with index 0 has more true steps"
)
FALLBACK = "the first problem by id that has both, for no problem fits the rule"
SOURCES = ("own", "explanation")
COLUMN = 50  # characters of each side in Markdown

Part = tuple[str, bool | None]


@dataclass(frozen=True)
class Side:
    """One of the two CoTs: its row of the table `samples`, and its parts."""

    row: dict[str, Any]
    parts: list[Part]

    @property
    def source(self) -> str:
        """Whose CoT it is."""
        return str(self.row["source"])

    @property
    def shown(self) -> list[Part]:
        """The parts as displayed: steps with only white space between them are on separate lines."""
        return [("\n" if true is None and text.isspace() else visible(text), true) for text, true in self.parts]

    @property
    def marked_text(self) -> str:
        """The parts as one text; each step is followed by the mark of its truth."""
        return "".join(text if true is None else f"{text} [{_mark(true)}]" for text, true in self.shown)

    @property
    def score(self) -> str:
        """How many of its steps are true, and how it ends."""
        row = self.row
        steps = f"{row['steps_true']} of {plural(int(row['steps']), 'step')} true" if row["steps"] else "no step found"
        answer = "" if pd.isna(row["answer"]) else visible(str(row["answer"])).replace("\n", " ")
        end = ", cut at the limit of tokens" if row["truncated"] else ""
        return f"{steps}, answered {answer or 'nothing'}: {row['status']}{end}"


def draw_example1(group: Group, out: Path | str) -> Artefact:
    """Write `example1-<label>.md`, `.html` and `.csv`: a question from the group's first run, chosen by `RULE`.

    The CSV (`COLUMNS`) has one row per part of the two CoTs, in order: a step and whether it is true, or the text
    between steps with `true` empty. The joined parts of a side are its CoT.

    Raises:
        ValueError: if no problem has an own CoT and a self-explanation.
    """
    run = group.runs[0]
    rows, why = choose(run.samples)
    checker = checker_of(run.recipe)
    sides = [Side(row, parts(checker, row)) for row in rows]
    numbers = pd.DataFrame(
        [
            (run.name, side.row["problem"], side.source, side.row["index"], i, text, true)
            for side in sides
            for i, (text, true) in enumerate(side.parts)
        ],
        columns=COLUMNS,
    ).astype({"true": "boolean"})
    title = marked(f"Example 1, measured: {group.label}", group.runs)
    about = warned(
        f"{run.title}, {run.setting}. The problem is chosen, not typical: {why}. Shown is each CoT up to where its "
        f"text states the final answer. ✓ and ✗ are the step checker's. It judges {checker.judged} only, and a true "
        "step need not lead anywhere.",
        group.runs,
        " ",
    )
    shown: dict[str, str | bytes] = {".md": _markdown(title, about, sides), ".html": _page(title, about, sides)}
    return publish(out, f"example1-{group.label}", [run], numbers, shown, _read(run, rows, why))


def choose(samples: pd.DataFrame) -> tuple[list[dict[str, Any]], str]:
    """The own row and the explanation's row of the chosen problem, and the rule by which it was chosen.

    Raises:
        ValueError: if no problem has both.
    """
    first = samples[samples["index"] == 0].set_index("problem").sort_index()
    own, explanation = (first[first["source"] == source] for source in SOURCES)
    both = own.assign(explained=explanation["steps_true"]).dropna(subset="explained")
    if both.empty:
        raise ValueError("example1: no problem has an own CoT and a self-explanation with index 0")
    fits = both[(both["status"] == "wrong") & (both["explained"] > both["steps_true"])]
    problem = (both if fits.empty else fits).index[0]
    rows: list[Any] = [side.loc[[problem]].reset_index().to_dict("records")[0] for side in (own, explanation)]
    return rows, FALLBACK if fits.empty else RULE


def parts(checker: Checker, row: dict[str, Any]) -> list[Part]:
    """A row's CoT cut into its steps, each with its truth, and the text between them (None).

    If a step begins inside the one before, only the rest of it is shown; a step that does not occur in the text as the
    checker gives it is put at the end.
    """
    level = None if pd.isna(row["level"]) else int(row["level"])
    problem = Problem(str(row["problem"]), str(row["question"]), str(row["reference"]), level)
    cot = str(row["cot"])
    in_order: list[Part] = []
    elsewhere: list[Part] = []
    begin, end = -1, 0
    for step, true in checker.steps(problem, cot):
        start = cot.find(step, begin + 1)
        if start < 0 or start + len(step) <= end:
            elsewhere.append((step, true))
            continue
        in_order += [(cot[end:start], None), (cot[max(end, start) : start + len(step)], true)]
        begin, end = start, start + len(step)
    return [part for part in [*in_order, (cot[end:], None), *elsewhere] if part[0]]


def _mark(true: bool) -> str:
    return MARKS["holds" if true else "fails"]


def _read(run: Measurement, rows: Sequence[dict[str, Any]], why: str) -> str:
    own, explanation = rows
    return (
        f"{run.subject}, a chosen example ({why}): the own CoT has {_told(own)}; the self-explanation has "
        f"{_told(explanation)}."
    )


_ANSWERS = {"correct": "the right answer", "wrong": "a wrong answer", "unparsed": "no answer that could be read"}


def _told(row: dict[str, Any]) -> str:
    """Its steps, and how it ends."""
    steps = (
        f"{row['steps_true']} of {plural(int(row['steps']), 'step')} true"
        if row["steps"]
        else "no step that the checker found"
    )
    return f"{steps} and {_ANSWERS.get(row['status'], 'an answer that took too long to grade')}"


def _markdown(title: str, about: str, sides: Sequence[Side]) -> str:
    columns = []
    for side in sides:
        columns.append((_wrap(f"{NAMES[side.source].upper()}: {side.score}"), _wrap(side.marked_text)))
    heads, bodies = zip(*columns, strict=True)
    rule = ["-" * COLUMN] * 2
    pairs = [*zip_longest(*heads, fillvalue=""), rule, *zip_longest(*bodies, fillvalue="")]
    lines = [f"{a:<{COLUMN}} | {b}".rstrip() for a, b in pairs]
    row = sides[0].row
    question = "\n".join(_wrap(visible(str(row["question"])), 2 * COLUMN))
    answer = visible(str(row["reference"]))
    blocks = [f"# {title}", about, "Question, and its answer `a*`:", fenced(f"{question}\n\n{answer}")]
    return "\n\n".join([*blocks, fenced("\n".join(lines))]) + "\n"


def _wrap(text: str, width: int = COLUMN) -> list[str]:
    return [line for each in text.split("\n") for line in textwrap.wrap(each, width) or [""]]


_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto }
pre { font: 14px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem }
.own { border-top: 4px solid #444444 }
.explanation { border-top: 4px solid #0072b2 }
.true { background: #cce5f6 }
.false { background: #fadccb }"""


def _page(title: str, about: str, sides: Sequence[Side]) -> str:
    columns = []
    for side in sides:
        body = "".join(_span(text, true) for text, true in side.shown)
        score = html.escape(side.score)
        columns.append(f'<div class="{side.source}"><b>{NAMES[side.source]}</b>, {score}<pre>{body}</pre></div>')
    question, answer = (html.escape(visible(str(sides[0].row[field]))) for field in ("question", "reference"))
    body = f"""<pre>{question}</pre><p>Answer:</p><pre>{answer}</pre>
<div class="sides">
{"".join(columns)}
</div>"""
    return page(title, about, _STYLE, body)


def _span(text: str, true: bool | None) -> str:
    safe = html.escape(text)
    if true is None:
        return safe
    return f'<span class="{str(true).lower()}">{safe} {_mark(true)}</span>'
