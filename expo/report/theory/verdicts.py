"""What became of the paper's claims, part by part of the paper: how many hold, hold in part, and fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from expo.report.artefacts import Artefact
from expo.report.picture import Caption, draw_picture, sheet
from expo.report.style import INK, Axes, Figure, legend_outside
from expo.report.theory.ledger_words import COLOURS, MEANS, SYMBOLS, part_title
from expo.report.words import listed
from expo.text import plural
from theory.claim import FIDELITY
from theory.ledger import Entry

COLUMNS = ["part", "outcome", "claims"]
# Verdicts that are drawn as one.
OUTCOMES = {
    "proved": "proved",
    "exact": "holds where tested",
    "sampled": "holds where tested",
    "holds under an added assumption": "holds in part",
    "first order only": "holds in part",
    "depends on the reading": "holds in part",
    "refuted": "fails",
    "contradicted by the paper's own table": "fails",
    "undecided": "undecided",
}
# Outcomes as they are said of several claims, one after another.
_MANY = {"holds where tested": "hold where tested", "holds in part": "in part", "fails": "fail"}


def draw_verdicts(entries: Mapping[str, Entry], out: Path | str) -> Artefact:
    """Write `verdicts`: a bar for each part of the paper, with the number of its claims by outcome."""
    paper = [entry for entry in entries.values() if not entry.claim.ours]
    rows = [(part_title(entry.claim.area), OUTCOMES[entry.verdict], entry.claim.id) for entry in paper]
    numbers = pd.DataFrame(rows, columns=COLUMNS).groupby(COLUMNS[:2], sort=False, as_index=False).count()
    near = Counter(entry.claim.fidelity for entry in paper)
    nearness = listed([f"{near[word]} {word}" for word in FIDELITY if near[word]])
    return draw_picture(
        out,
        "verdicts",
        (),
        numbers,
        _plot,
        heading=_found(numbers),
        notes="Proved: at any size. Where tested: on instances. In part: with an added assumption, to first order or "
        "by one reading. Fails: by a counterexample or the paper's own table. Verdicts are on our statements, "
        f"whose nearness to the paper's sentences is: {nearness}.",
        reading=f"{_found(numbers)}. Verdicts are on our statements of the claims. A reader judged how near these are "
        f"to the paper's sentences: {nearness}. The ledger has each claim with its evidence, and says which rest on "
        f"which. Not drawn: {plural(len(entries) - len(paper), 'claim')} of ours.",
    )


def _counts(numbers: pd.DataFrame) -> dict[str, int]:
    """How many claims have each outcome, in the order of `OUTCOMES`."""
    counts = numbers.groupby("outcome")["claims"].sum()
    return {outcome: int(counts[outcome]) for outcome in dict.fromkeys(OUTCOMES.values()) if outcome in counts}


def _found(numbers: pd.DataFrame) -> str:
    counts = _counts(numbers)
    told = ", ".join(f"{count} {_MANY.get(outcome, outcome)}" for outcome, count in counts.items())
    return f"The paper's {plural(sum(counts.values()), 'claim')}: {told}"


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    parts = list(dict.fromkeys(numbers["part"]))
    figure, ((axes,),) = sheet(1, 1, 0.8 + 0.3 * len(parts), caption)
    for outcome in _counts(numbers):
        _bars(axes, numbers, parts, outcome)
    axes.set_yticks(range(len(parts)), parts, fontsize=9)
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("claims of the paper")
    axes.set_title(" ", pad=6)
    legend_outside(axes, 5)
    return figure


def _bars(axes: Axes, numbers: pd.DataFrame, parts: list[str], outcome: str) -> None:
    """The part of each bar that has this outcome, with its number."""
    verdict = next(verdict for verdict in MEANS if OUTCOMES[verdict] == outcome)
    before = list(OUTCOMES.values()).index(outcome)
    label = f"{SYMBOLS[verdict]} {outcome}"
    for row in numbers[numbers["outcome"] == outcome].to_dict("records"):
        of_part = numbers[numbers["part"] == row["part"]]
        is_left = of_part["outcome"].map(list(OUTCOMES.values()).index) < before
        left, place = of_part.loc[is_left, "claims"].sum(), parts.index(row["part"])
        axes.barh(place, row["claims"], 0.72, left=left, color=COLOURS[verdict], edgecolor="white", label=label)
        axes.text(left + row["claims"] / 2, place, row["claims"], fontsize=9, ha="center", va="center", color=INK)
        label = ""
