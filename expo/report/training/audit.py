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
from expo.report.style import Figure
from expo.report.toy import beside_paper, remarked
from expo.report.trainings import EvaluatedRun, count_bases, label
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
    "ours": "as this toolkit grades",
    "exact": "all values of the toy's answer, after its cue",
    "no last number": "ours, but a text must state its answer",
    "boxed only": r"ours, but only `\boxed{}` states one",
    "within 1 %": "ours, and a number may be off by 1 %",
    "last number": "the last number of the text, whatever it states and wherever it was cut",
    "math-verify": "math-verify as its README uses it",
}


def draw_audit(runs: Sequence[EvaluatedRun], out: Path | str) -> tuple[Artefact, Artefact]:
    """Write `audit-<label>` as a picture and `audit-<label>-table` as a page, from the `grades` of these evaluations.

    Several bases are averaged problem by problem.
    """
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
        notes=f"pass@k, unbiased, with bands of 95 % intervals by problem. n = {setting}.",
        reading=reading,
        setting=f"What the graders take: {'; '.join(f'{g}: {GRADERS[g]}' for g in dict.fromkeys(numbers['grader']))}.",
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
    limits = sorted(numbers["limit"].unique())
    figure, grid = sheet(1, len(limits), 3.0, caption)
    top = numbers["high"].max()
    for axes, limit in zip(grid[0], limits, strict=True):
        for grader, rows in numbers[numbers["limit"] == limit].groupby("grader", sort=False):
            colour, marker = _LOOKS[str(grader)]
            axes.fill_between(rows["k"], rows["low"], rows["high"], color=colour, alpha=0.12, lw=0)
            axes.plot(rows["k"], rows["mean"], color=colour, marker=marker, ms=4, lw=1.3, label=grader)
        axes.set_xscale("log", base=2)
        axes.set_xticks(rows["k"].tolist(), [str(k) for k in rows["k"]])
        axes.set_ylim(0, min(1.0, 1.15 * top) or 1.0)
        axes.set_title(f"{limit} tokens, {share(rows['truncated'].iloc[0])} of texts cut")
        axes.set_xlabel("k")
    grid[0][0].set_ylabel("pass@k")
    of_last = numbers[numbers["limit"] == limits[-1]]
    last = of_last[of_last["k"] == of_last["k"].max()]
    ends = [(m, f"{g}\n{share(m)}", _LOOKS[str(g)][0]) for g, m in zip(last["grader"], last["mean"], strict=True)]
    name_ends(grid[0][-1], ends)
    return figure


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
    most = numbers[(numbers["limit"] == numbers["limit"].max()) & (numbers["k"] == numbers["k"].max())]
    low, high = most["mean"].min(), most["mean"].max()
    scores = share(low) if low == high else f"from {share(low)} to {share(high)}, by grader alone"
    return f"the same samples have pass@{most['k'].iloc[0]} {scores}"


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
