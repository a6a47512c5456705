"""The audit of a baseline: pass@k of the same samples by grader and token limit, beside published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.audit import sizes
from expo.report import paper
from expo.report.accuracy import with_interval
from expo.report.artefacts import Artefact
from expo.report.lines import name_ends
from expo.report.markdown import markdown_table, write_table
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.runs import check_alike
from expo.report.style import Figure
from expo.report.toy import beside_paper, remarked
from expo.report.trainings import EvaluatedRun, check_comparable, count_bases, label
from expo.report.words import listed, share
from expo.stats import bootstrap_rate, pass_at_k_of

COLUMNS = ["grader", "limit", "k", "mean", "low", "high", "problems", "bases", "n", "unparsed", "truncated"]
# From Okabe and Ito (2008), each with a marker: lines of different graders may coincide.
_LOOKS = {
    "ours": ("#0072B2", "o"),
    "exact": ("#0072B2", "o"),
    "no last number": ("#56B4E9", "v"),
    "boxed only": ("#009E73", "s"),
    "within 1 %": ("#CC79A7", "^"),
    "last number": ("#D55E00", "D"),
    "math-verify": ("#444444", "x"),
}
GRADERS = {
    "ours": "the answer that a text states, else its last number, as this toolkit grades",
    "exact": "all values of the toy's answer, after its cue",
    "no last number": "ours, but a text must state its answer",
    "boxed only": "ours, but only a boxed answer",
    "within 1 %": "ours, but a number may be off by 1 %",
    "last number": "the last number of the text, even where it was cut",
    "math-verify": "what math-verify accepts, used as in its README",
}


def draw_audit(runs: Sequence[EvaluatedRun], out: Path | str) -> tuple[Artefact, Artefact]:
    """Write `audit-<label>` as a picture and `audit-<label>-table` as a page, from the `grades` of these evaluations.

    Several bases are averaged problem by problem.

    Raises:
        ValueError: if they were not evaluated in the same way, such as at different temperatures.
    """
    check_alike("evaluations by several graders", runs, set())
    check_comparable(runs)
    numbers = pd.DataFrame(_rows(runs), columns=COLUMNS)
    first, name = runs[0], label(runs)
    setting = (
        f"{numbers['problems'].iloc[0]} problems, {numbers['n'].iloc[0]} samples each at "
        f"T = {first.recipe['temperature']:g}, seed {first.recipe['seed']}, {_bases(runs)}"
    )
    reading = remarked(_read(numbers), runs)
    picture = draw_picture(
        out,
        f"audit-{name}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers)),
        notes=(
            f"pass@k of n = {setting}; vertical lines: 95 % intervals by problem (bootstrap, exact at 0 % and 100 %).\n"
            f"What each grader accepts: {'; '.join(f'{g} – {GRADERS[g]}' for g in dict.fromkeys(numbers['grader']))}."
        ),
        reading=reading,
    )
    table = write_table(
        out,
        f"audit-{name}-table",
        runs,
        numbers,
        title=f"The same samples, graded by several graders: {name}",
        parts=[
            f"pass@k with 95 % bootstrap intervals, problems resampled. {setting}.",
            _table(numbers),
            "What each grader accepts:",
            "\n".join(f"- *{g}*: {GRADERS[g]}" for g in dict.fromkeys(numbers["grader"])),
            _printed(runs),
        ],
        reading=reading,
    )
    return picture, table


def _bases(runs: Sequence[EvaluatedRun]) -> str:
    n = count_bases(runs)
    return runs[0].policy_name if n == 1 else f"mean over {n} bases"


def _rows(runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    grades = [run.run.read("grades") for run in runs]
    rows = []
    for (grader, limit), first in grades[0].groupby(["grader", "limit"], sort=False):
        here = [g[(g["grader"] == grader) & (g["limit"] == limit)] for g in grades]
        n = int(first["n"].min())
        total = sum(int(g["n"].sum()) for g in here)
        shares = {name: sum(int(g[name].sum()) for g in here) / total for name in ("unparsed", "truncated")}
        for k in sizes(n):
            by_base = [pass_at_k_of(g.set_index("problem"), k) for g in here]
            rate = bootstrap_rate(pd.concat(by_base, axis=1).mean(axis=1).to_numpy())
            about = {"grader": grader, "limit": limit, "k": k, "mean": rate.mean, "low": rate.low, "high": rate.high}
            rows.append({**about, "problems": rate.n, "bases": count_bases(runs), "n": n, **shares})
    return rows


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    limits, graders = sorted(numbers["limit"].unique()), list(dict.fromkeys(numbers["grader"]))
    ks = sorted(numbers["k"].unique())
    figure, grid = sheet(1, len(limits), 3.0, caption)
    # Side by side at each k, or those that are equal would hide each other.
    apart = 0.6 / len(graders)
    for axes, limit in zip(grid[0], limits, strict=True):
        for i, grader in enumerate(graders):
            rows = numbers[(numbers["limit"] == limit) & (numbers["grader"] == grader)].sort_values("k")
            colour, marker = _LOOKS[grader]
            places = [ks.index(k) + apart * (i - (len(graders) - 1) / 2) for k in rows["k"]]
            axes.vlines(places, rows["low"], rows["high"], color=colour, alpha=0.45, lw=1.5)
            axes.plot(places, rows["mean"], color=colour, marker=marker, ms=4, lw=0.8)
        axes.set_xticks(range(len(ks)), [str(k) for k in ks])
        axes.set_ylim(-0.03 * numbers["high"].max(), min(1.03, 1.05 * numbers["high"].max()) or 1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.grid(axis="x", visible=False)
        axes.set_title(f"{limit} tokens, {share(rows['truncated'].iloc[0])} of texts cut")
        axes.set_xlabel("k")
    grid[0][0].set_ylabel("pass@k")
    last = _highest(numbers)
    ends = [(m, f"{g}\n{share(m)}", _LOOKS[str(g)][0]) for g, m in zip(last["grader"], last["mean"], strict=True)]
    name_ends(grid[0][-1], ends)
    return figure


def _highest(numbers: pd.DataFrame) -> pd.DataFrame:
    """The rows of the highest token limit and k."""
    return numbers[(numbers["limit"] == numbers["limit"].max()) & (numbers["k"] == numbers["k"].max())]


def _table(numbers: pd.DataFrame) -> str:
    n = int(numbers["n"].iloc[0])
    ks = sorted({1, 4, 64, n} & set(numbers["k"]))
    rows = []
    for (grader, limit), of_one in numbers.groupby(["grader", "limit"], sort=False):
        by_k = {int(row["k"]): row for row in of_one.to_dict("records")}
        cells = [with_interval(by_k[k]) for k in ks]
        first = by_k[1]
        rows.append([str(grader), str(limit), *cells, share(first["unparsed"]), share(first["truncated"])])
    return markdown_table(["grader", "token limit", *(f"pass@{k}" for k in ks), "no answer", "cut"], rows)


def _printed(runs: Sequence[EvaluatedRun]) -> str:
    rows = [[p.model, p.task, p.measure, p.value, p.where] for p in paper.printed_baselines()]
    about = beside_paper("other protocols, graders and token limits", runs)
    heads = ["policy", "task", "measure", "printed", "where"]
    return (
        f"## Printed elsewhere ({about})\n\n{markdown_table(heads, rows)}\n\n"
        "Of the same samples, pass@128 cannot be below pass@1. Where a printed pass@128 is below a printed pass@1, the "
        "grader, the prompt or the token limit must have differed."
    )


def _finding(numbers: pd.DataFrame) -> str:
    """How far apart the graders are at the highest limit and k."""
    most = _highest(numbers)
    low, high = share(most["mean"].min()), share(most["mean"].max())
    at = f" at a limit of {most['limit'].iloc[0]} tokens" if numbers["limit"].nunique() > 1 else ""
    given = f"give a pass@{most['k'].iloc[0]}"
    if len(most) == 1:
        return f"the samples {given} of {low}{at}"
    if low == high:
        return f"the same samples {given} of {low} with every grader{at}"
    return f"the same samples {given} from {low} to {high}{at}, depending on the grader"


def _read(numbers: pd.DataFrame) -> str:
    most = numbers["limit"].max()
    parts = []
    for k in sorted({1, int(numbers["n"].iloc[0])}):
        at = numbers[(numbers["limit"] == most) & (numbers["k"] == k)].sort_values("mean")
        rates = [f"{r['grader']} {with_interval(r)}" for _, r in at.iterrows()]
        parts.append(f"pass@{k} of the same samples at {most} tokens: {listed(rates)}.")
    grader = str(numbers["grader"].iloc[0])
    ours = numbers[(numbers["grader"] == grader) & (numbers["k"] == 1)]
    by_limit = [f"{share(mean)} at {limit}" for limit, mean in zip(ours["limit"], ours["mean"], strict=True)]
    return " ".join([*parts, f"By token limit, {grader}, pass@1: {listed(by_limit)}."])
