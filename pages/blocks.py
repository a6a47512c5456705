"""What takes several lines of a page: pictures, Table 1, a question with both CoTs, and the output of the first run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from expo.report.artefacts import read_provenance
from expo.report.toy import MARK
from expo.report.words import MARKS, NAMES, interval
from expo.stats import Interval
from pages.fill import PageError, read
from pages.tables import FIGURES, ROOT, row, table

FIRST_RUN = Path(__file__).parent / "first-run.txt"
HEADS = {
    "nll_sum": "NLL per sequence",
    "nll_per_token": "NLL per token",
    "learning_signal": "learning signal, nats",
    "answer_probability": "as a probability",
}


def picture(name: str, alt: str, folder: str = "../figures") -> str:
    """A picture of figures/, which says so if it is of a toy."""
    entry = read_provenance(FIGURES)[name]
    if f"{name}.png" not in entry["files"]:
        raise PageError(f"{name} is no picture")
    toy = MARK * any(run.get("toy") for run in entry["runs"])
    return f"![{alt}{toy}]({folder}/{name}.png)"


def table1(label: str, *quantities: str) -> str:
    """Quantities of table1-<label>, compared as in the paper's Table 1: a row for each kind of positive.

    A cell has the mark of its verdict, and the interval that decides it: the finite-sample one, if there is one.
    """
    lines = [["positive", *(HEADS[q] for q in quantities), "paper"], ["---", *("---" for _ in quantities), ":-:"]]
    for source in dict.fromkeys(table(f"table1-{label}")["source"]):
        found = [row(f"table1-{label}", source=source, quantity=q, reference=_other(source, q)) for q in quantities]
        lines.append([NAMES[source], *map(_judged, found), found[0]["paper"]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def judged(label: str, source: str, quantity: str, reference: str) -> str:
    """A difference of table1-<label>, or of one run, `label/run`, as a cell of `table1`."""
    name, _, run = label.partition("/")
    where = {"source": source, "quantity": quantity, "reference": reference} | ({"run": run} if run else {})
    return _judged(row(f"table1-{name}", **where))


def _other(source: str, quantity: str) -> str:
    """What Table 1 compares a kind of positive with."""
    first, second = ("expert", "own") if quantity.startswith("nll") else ("own", "explanation")
    return second if source == first else first


def _judged(cell: pd.Series) -> str:
    side = "finite_sample_" if cell["finite_sample_low"] else ""
    mean, low, high = (float(cell[name]) for name in ("difference", f"{side}low", f"{side}high"))
    return f"{MARKS[cell['verdict']]} {interval(Interval(mean, low, high, 0), sign=True)}"


def picture_if(name: str, alt: str) -> str:
    """`picture`, if it has been drawn; else nothing."""
    return picture(name, alt) if _is_drawn(name) else ""


def link_if(name: str, text: str) -> str:
    """The text with a link to a picture, if it has been drawn; else nothing."""
    return f"{text}(../figures/{name}.png)" if _is_drawn(name) else ""


def text_if(path: str, text: str) -> str:
    """The text, if the repository has a file; else nothing."""
    return text if (ROOT / path).is_file() else ""


def _is_drawn(name: str) -> bool:
    return f"{name}.png" in read_provenance(FIGURES).get(name, {"files": {}})["files"]


def both_cots(page: str) -> str:
    """The question of a page of `Example 1`, its answer, and both CoTs side by side."""
    question, cots = re.findall(r"^```text\n(.*?)^```$", read(FIGURES / f"{page}.md"), re.M | re.S)[:2]
    asked, _, answer = question.strip().partition("\n\n")
    return f"```text\n{asked}    a*: {answer}\n\n{cots.rstrip()}\n```"


def first_run(*parts: str) -> str:
    """Parts of the first run, `begin..end`: lines are named by how they begin, and the last one is included."""
    lines = [line.rstrip() for line in read(FIRST_RUN).splitlines()]

    def place(begin: str, after: int) -> int:
        found = next((n for n, line in enumerate(lines) if n >= after and line.strip().startswith(begin)), None)
        if found is None:
            raise PageError(f"{FIRST_RUN.name} has no line {begin!r}")
        return found

    shown: list[str] = []
    end = -1
    for part in parts:
        begin, _, last = part.partition("..")
        start = place(begin, end + 1)
        shown += ["..."] * bool(shown) + lines[start : (end := place(last, start)) + 1]
    return "\n".join(shown)


def file(path: str) -> str:
    """Another text of the repository."""
    return read(ROOT / path).strip()
