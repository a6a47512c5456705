"""Where in a self-explanation the answer acts: tokens coloured by how much a prompt with a* favours them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from expo.measure.acts import KINDS, differences, kinds_of, mentions_by_problem, mentions_of, shares
from expo.report.artefacts import Artefact, publish
from expo.report.markdown import markdown_table
from expo.report.page import page
from expo.report.positives.measurements import Group, Measurement
from expo.report.toy import marked, warned
from expo.report.words import interval
from expo.stats import Interval, bootstrap
from expo.text import fenced, plural, visible

COLUMNS = ["part", "kind", "mean", "low", "high", "n", "place", "text", "plain", "prompted", "difference"]
RULE = "the first problem by id whose self-explanation with index 0 was right"
FALLBACK = "the first problem by id, for none was right"
MOST = 10  # tokens listed in Markdown
_FULL = 3.0  # nats at which a colour is strongest


def has_tokens(run: Measurement) -> bool:
    """Whether the run recorded self-explanations token by token."""
    return run.run.has("tokens") and bool((run.run.read("tokens")["source"] == "explanation").any())


def draw_where_answer_acts(group: Group, out: Path | str) -> Artefact:
    """Write `where-the-answer-acts-<label>.html`, `.md` and `.csv` for the group's first run that has tokens.

    Shares of |log mu(t|q, a*, ...) - log pi(t|q, ...)| by kind of token, means over problems with intervals,
    beside the shares of tokens (rows of the CSV with `part` difference and tokens); and one text, token by token
    (`part` text).
    """
    run = next(run for run in group.runs if has_tokens(run))
    row, why = _choose(run)
    numbers = pd.concat([_shares(run), _text(row, run.recipe["task"])], ignore_index=True)[COLUMNS]
    title = marked(f"Where the answer acts: {group.label}", group.runs)
    about = warned(
        f"{run.title}, {run.setting}. Shown is the difference log μ(t|q, a*, …) − log π(t|q, …) of each token t of a "
        "self-explanation, in nats at temperature 1. It is above 0 where the prompt with the answer makes the token "
        "likelier. Its sum over a text is the pointwise mutual information of text and answer. Shares are of its "
        f"absolute value: means over problems with 95 % bootstrap intervals. The text is chosen, not typical: {why}.",
        group.runs,
        " ",
    )
    pages: dict[str, str | bytes] = {
        ".html": _page(title, about, numbers, row),
        ".md": _markdown(title, about, numbers, row),
    }
    return publish(out, f"where-the-answer-acts-{group.label}", [run], numbers, pages, _read(run, numbers))


def _choose(run: Measurement) -> tuple[pd.Series, str]:
    """A row of `tokens` with its problem's `question` and `reference`, and the rule by which it was chosen."""
    samples = run.samples[(run.samples["source"] == "explanation") & (run.samples["index"] == 0)]
    tokens = run.run.read("tokens")
    tokens = tokens[(tokens["source"] == "explanation") & (tokens["index"] == 0)]
    told = samples[["problem", "question", "reference", "status"]]
    both = tokens.merge(told, on="problem").sort_values("problem")
    right = both[both["status"] == "correct"]
    return (both.iloc[0], FALLBACK) if right.empty else (right.iloc[0], RULE)


def _shares(run: Measurement) -> pd.DataFrame:
    found = shares(run.run.read("tokens"), mentions_by_problem(run.recipe["task"], run.samples))
    return pd.DataFrame(
        [
            {"part": part, "kind": kind, **asdict(bootstrap(found[f"{kind}/{part}"].to_numpy()))}
            for kind in KINDS
            for part in ("difference", "tokens")
        ]
    )


def _text(row: pd.Series, task: str) -> pd.DataFrame:
    texts = list(row["texts"])
    return pd.DataFrame(
        {
            "part": "text",
            "kind": kinds_of(texts, mentions_of(task, str(row["reference"]))),
            "place": range(len(texts)),
            "text": texts,
            "plain": np.asarray(row["plain"], dtype=float),
            "prompted": np.asarray(row["prompted"], dtype=float),
            "difference": differences(row),
        }
    )


def _table(numbers: pd.DataFrame) -> list[list[str]]:
    """For each kind of token, its share of the difference and of the tokens."""
    rows = []
    for kind, name in KINDS.items():
        cells = []
        for part in ("difference", "tokens"):
            held = numbers[(numbers["kind"] == kind) & (numbers["part"] == part)].iloc[0]
            cells.append(interval(Interval(held["mean"], held["low"], held["high"], int(held["n"]))))
        rows.append([name, *cells])
    return rows


_HEADS = ["tokens", "share of the difference", "share of the tokens"]


def _markdown(title: str, about: str, numbers: pd.DataFrame, row: pd.Series) -> str:
    text = numbers[numbers["part"] == "text"]
    most = text.reindex(text["difference"].abs().sort_values(ascending=False, kind="stable").index).head(MOST)
    lines = [f"{r['difference']:+7.2f}  {visible(str(r['text'])).replace(chr(10), '⏎')}" for _, r in most.iterrows()]
    asked = fenced(f"{visible(str(row['question']))}\n\nanswer: {visible(str(row['reference']))}")
    blocks = [
        *(f"# {title}", about, markdown_table(_HEADS, _table(numbers), ["---", "--:", "--:"])),
        *("The question of the text:", asked, "The text:", fenced(visible("".join(text["text"])))),
        *(f"Its {len(most)} tokens with the largest differences, in nats:", fenced("\n".join(lines))),
    ]
    return "\n\n".join(blocks) + "\n"


_STYLE = """\
body { font: 15px/1.6 system-ui, sans-serif; color: #222; max-width: 52rem; margin: 2rem auto }
pre { font: 15px/1.8 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
td, th { padding: 0 1rem 0 0; text-align: left }"""


def _page(title: str, about: str, numbers: pd.DataFrame, row: pd.Series) -> str:
    text = numbers[numbers["part"] == "text"]
    tokens = "".join(_span(str(r["text"]), float(r["difference"])) for _, r in text.iterrows())
    question, answer = (html.escape(visible(str(row[field]))) for field in ("question", "reference"))
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>" for cells in _table(numbers)
    )
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    scale = "".join(_span(f" {d:+g} ", d) for d in (-_FULL, -1.0, -0.3, 0.3, 1.0, _FULL))
    body = f"""<table><tr>{heads}</tr>{rows}</table>
<p>Question:</p><pre>{question}</pre><p>Answer:</p><pre>{answer}</pre>
<p>Blue tokens are likelier with the answer in the prompt, orange ones less likely; in nats: {scale}</p>
<pre>{tokens}</pre>
"""
    return page(title, about, _STYLE, body)


def _span(text: str, difference: float) -> str:
    colour = "0,114,178" if difference > 0 else "213,94,0"
    strength = min(abs(difference) / _FULL, 1.0) ** 0.5 * 0.7
    return (
        f'<span style="background:rgba({colour},{strength:.2f})" title="{difference:+.2f} nats">'
        f"{html.escape(visible(text))}</span>"
    )


def _read(run: Measurement, numbers: pd.DataFrame) -> str:
    said = [
        f"{name} have {difference} of it and are {tokens} of the tokens" for name, difference, tokens in _table(numbers)
    ]
    problems = plural(int(numbers["n"].max()), "problem")
    return (
        f"{run.subject}: how |log μ − log π| is shared among the tokens of self-explanations, over {problems}: "
        f"{'; '.join(said)}."
    )


def runs_with_tokens(groups: Sequence[Group]) -> list[Group]:
    """The groups that have something to show."""
    return [group for group in groups if any(has_tokens(run) for run in group.runs)]
