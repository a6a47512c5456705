"""Tables 2 and 4 and Figure 6 of the paper as measured here: what DPO does with each kind of winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report import paper
from expo.report.artefacts import Artefact, png, publish
from expo.report.style import METHOD_COLOURS, Figure, look, sheet
from expo.report.training import Evaluated, by_method, label, levels_of, order, over_bases, spread, untrained
from expo.report.words import METHODS, TOY, listed, number, share
from expo.text import plural

K = 4  # the paper's pass@4
EASY = (1, 2, 3)
TABLE_COLUMNS = ["set", "method", "k", "mean", "low", "high", "lowest", "highest", "bases", "problems", "n"]
CURVE_COLUMNS = ["method", "step", "pass_at_4", "lowest", "highest", "loss", "bases", "problems", "n"]
# Steps over which a batch's loss is averaged before it is drawn or told.
SMOOTH = 5


def draw_table2(runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `table2-<label>.md` and `.csv`: pass@4 by winner, offline and online, in the paper's layout."""
    held = by_method(runs)
    methods = [f"dpo_{kind}{when}" for when in ("", "_online") for kind in ("explanation", "expert")]
    sets: dict[str, Sequence[int] | None] = {"all levels": None}
    if set(EASY) <= set(levels_of(runs)):
        sets["levels 1 to 3"] = EASY
    rows = [_cell(name, m, held[m], levels) for name, levels in sets.items() for m in methods if m in held]
    numbers = pd.DataFrame(rows, columns=TABLE_COLUMNS)
    shown = [run for m in methods for run in held.get(m, [])]
    text = _page(f"Table 2, measured: {label(runs)}", runs, _LEGEND, _table(numbers, methods), _paper2(runs[0]))
    return publish(out, f"table2-{label(runs)}", shown, numbers, {".md": text}, _read_table2(numbers))


def draw_table4(runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `table4-<label>.md` and `.csv`: pass@4 by level of every kind of winner, and of SFT on the same."""
    held = by_method(runs)
    bases = untrained(runs)
    levels = levels_of(runs)
    rows = []
    for m, some, step in [("base", bases, 0), *((m, some, None) for m, some in held.items())]:
        rows += [_cell("all levels", m, some, None, step, k=1)]
        rows += [_cell(f"level {level}", m, some, [level], step) for level in levels]
    numbers = pd.DataFrame(rows, columns=TABLE_COLUMNS)
    note = (
        "The paper's Table 4 prints the numbers of its Table 2 again (beneath). Here it has every arm: accuracy over "
        "all levels (pass@1), and pass@4 by level."
    )
    text = _page(f"Table 4, measured: {label(runs)}", runs, f"{note} {_LEGEND}", _by_level(numbers), _paper2(runs[0]))
    # The last set is that of the hardest level, or of all where there are none.
    last = numbers[numbers["set"] == numbers["set"].iloc[-1]]
    says = [f"{called(r['method'])} {share(r['mean'])}" for _, r in last.iterrows()]
    reading = f"pass@{last['k'].iloc[0]} at {last['set'].iloc[0]}: {listed(says)}."
    return publish(out, f"table4-{label(runs)}", runs, numbers, {".md": text}, reading)


_LEGEND = (
    f"pass@{K} of the test problems, unbiased from n samples a problem: the mean over bases, in brackets the 95 % "
    "bootstrap interval (problems resampled, each with its mean over bases), and the lowest and highest base."
)


def _page(title: str, runs: Sequence[Evaluated], *parts: str) -> str:
    toy = runs[0].is_toy
    head = [f"# {title}{' (toy)' if toy else ''}", *([f"**{TOY}**"] if toy else []), _setting(runs), _learnt(runs)]
    return "\n\n".join([*head, *parts]) + "\n"


def _setting(runs: Sequence[Evaluated]) -> str:
    first = runs[0]
    rates = [f"{called(m)} {some[0].rate:g}" for m, some in by_method(runs).items()]
    return (
        f"Trained on {first.levels} for {first.last_step} steps of {first.batch} pairs, DPO's beta "
        f"{first.beta:g}, seed {first.recipe.get('seed', 42)}; learning rates: {listed(rates)}. "
        f"Evaluated on the split `{first.recipe['eval_split']}` at T = {first.recipe['eval_temperature']:g}."
    )


def _learnt(runs: Sequence[Evaluated]) -> str:
    """How many different pairs each arm learnt, and what they were: winners are compared on these, not on the same."""
    lines = []
    for method, some in by_method(run for run in runs if run.is_dpo).items():
        pairs = pd.concat([run.run.read("pairs") for run in some])
        each = sorted(run.run.read("pairs")["problem"].nunique() for run in some)
        places = some[0].last_step * some[0].batch
        hard = pairs["level"].dropna() >= 4
        share_of_hard = f"{share(float(hard.mean()))} of the pairs of levels 4 and 5, " if len(hard) else ""
        right = float((pairs["loser_status"] == "correct").mean())
        lines.append(
            f"- {called(method)}: {each[0]} to {each[-1]} problems a base for {places} places, {share_of_hard}"
            f"right losers in {share(right)}"
        )
    about = (
        "What was learnt, for a problem without a pair (winner and loser the same, or no winner) is left out, and the "
        "others go round again:"
    )
    return "\n".join([about, "", *lines])


def called(method: object) -> str:
    """A method's name; of a base, that it is not trained."""
    return METHODS.get(str(method), "before training")


def _cell(
    name: str,
    method: str,
    runs: Sequence[Evaluated],
    levels: Sequence[int] | None,
    step: int | None = None,
    k: int = K,
) -> dict[str, Any]:
    found, of_bases = over_bases(runs, step, levels, k), spread(runs, step, levels, k)
    values = [name, method, k, found.mean, found.low, found.high, min(of_bases), max(of_bases)]
    return dict(zip(TABLE_COLUMNS, [*values, len(of_bases), found.n, int(runs[0].evaluation["n"].min())], strict=True))


def _shown(cell: pd.Series) -> str:
    return (
        f"{share(cell['mean'])} [{share(cell['low'])}, {share(cell['high'])}], "
        f"{share(cell['lowest'])} to {share(cell['highest'])}"
    )


def _table(numbers: pd.DataFrame, methods: Sequence[str]) -> str:
    there = [m for m in methods if m in set(numbers["method"])]
    lines = [f"| | {' | '.join(map(called, there))} |", "| --- |" + " --- |" * len(there)]
    for name, rows in numbers.groupby("set", sort=False):
        held, first = rows.set_index("method"), rows.iloc[0]
        size = f"{first['problems']} problems, n = {first['n']}, {plural(first['bases'], 'base')}"
        cells = {str(m): _shown(row) for m, row in held.iterrows()}
        lines.append(f"| {name} ({size}) | {' | '.join(cells[m] for m in there)} |")
    return "\n".join(lines)


def _by_level(numbers: pd.DataFrame) -> str:
    heads = ["accuracy, all levels", *(name for name in dict.fromkeys(numbers["set"]) if name != "all levels")]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for method, rows in numbers.groupby("method", sort=False):
        first = rows.iloc[-1]
        each = " a level" * (len(rows) > 1)
        size = f"{first['problems']} problems{each}, n = {first['n']}, {plural(first['bases'], 'base')}"
        lines.append(f"| {called(method)} ({size}) | {' | '.join(_shown(r) for _, r in rows.iterrows())} |")
    return "\n".join(lines)


def _paper2(run: Evaluated) -> str:
    about = "other models on other tasks; never to be compared with the toy's" if run.is_toy else "as printed"
    names = {"explanation": "c~", "expert": "c_E"}
    heads = [f"{model}, {when}, {names[kind]}" for model, when, kind in paper.TABLE2_COLUMNS]
    lines = [f"## The paper's Table 2 ({about}): pass@4, in per cent", "", f"| | {' | '.join(heads)} |"]
    lines.append("| --- |" + " --: |" * len(heads))
    for task, values in paper.TABLE2.items():
        cells = [f"**{v}** ⚠" if paper.contradicts(task, i) else v for i, v in enumerate(values)]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    lines += ["", "⚠ contradicts the caption, by which self-explanations (c~) are always above expert CoTs (c_E)."]
    return "\n".join(lines)


def _read_table2(numbers: pd.DataFrame) -> str:
    held = {(r["set"], r["method"]): r for _, r in numbers.iterrows()}
    says = []
    for what, a, b in (
        ("Self-explanation against expert CoT, offline", "dpo_explanation", "dpo_expert"),
        ("Self-explanation against expert CoT, online", "dpo_explanation_online", "dpo_expert_online"),
        ("Online against offline, self-explanation", "dpo_explanation_online", "dpo_explanation"),
        ("Online against offline, expert CoT", "dpo_expert_online", "dpo_expert"),
    ):
        if ("all levels", a) in held and ("all levels", b) in held:
            says.append(f"- {what}: {_order(held['all levels', a], held['all levels', b])}.")
    return "On all levels:\n\n" + "\n".join(says)


def _order(a: pd.Series, b: pd.Series) -> str:
    """What two means are, and whether the bases tell them apart."""
    text = f"{share(a['mean'])} against {share(b['mean'])}"
    if min(a["bases"], b["bases"]) < 2:
        return f"{text}; of one base, which shows no order"
    if order(a, b) > 0:
        return f"{text}; every base of the first is above every base of the second"
    if order(a, b) < 0:
        return f"{text}; every base of the first is below every base of the second"
    return f"{text}; the bases overlap, no order is shown"


def draw_fig6(runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `fig6-<label>.png` and `.csv`: pass@4 (solid) and loss (dashed) over steps, for each kind of winner."""
    held = {m: some for m, some in by_method(runs).items() if m in ("dpo_explanation", "dpo_expert", "dpo_answer")}
    rows = []
    for method, some in held.items():
        losses = [metric(run, "loss") for run in some]
        for step in sorted(some[0].evaluation["step"].unique()):
            at = [smooth(loss, int(step)) for loss in losses]
            of_bases = spread(some, int(step), None, K)
            n = int(some[0].evaluation["n"].min())
            problems = len(some[0].accuracies(int(step)))
            ends = [float(np.mean(of_bases)), min(of_bases), max(of_bases)]
            rows.append([method, int(step), *ends, float(np.mean(at)), len(of_bases), problems, n])
    numbers = pd.DataFrame(rows, columns=CURVE_COLUMNS)
    shown = [run for some in held.values() for run in some]
    about = f"Solid: pass@{K}; dashed: DPO's loss, mean of the last {SMOOTH} batches. Both are means over bases."
    with look():
        image = png(_fig6(numbers, f"Loss against accuracy: {label(runs)}", notes(about, shown), runs[0].is_toy))
    return publish(out, f"fig6-{label(runs)}", shown, numbers, {".png": image}, _read_fig6(numbers))


def metric(run: Evaluated, name: str) -> pd.Series:
    """A metric of a training, by step."""
    held = run.run.read("metrics")
    return held[held["name"] == name].set_index("step")["value"].astype(float)


def smooth(values: pd.Series, step: int) -> float:
    """The mean of the last few batches before a step; of the first batch, at step 0."""
    return float(values[(values.index > step - SMOOTH) & (values.index <= max(step, 1))].mean())


def notes(about: str, runs: Sequence[Evaluated]) -> str:
    """The lines beneath a picture: what is drawn, the runs' setting, and that a toy is a toy."""
    first = runs[0]
    bases = len({run.base for run in runs})
    sets = (
        f"{plural(bases, 'base')}, n = {len(first.accuracies(first.last_step))} test problems, "
        f"k = {first.evaluation['n'].min()} samples each at T = {first.recipe['eval_temperature']:g}."
    )
    trained = (
        f"Trained on {first.levels}, {first.batch} pairs a step, beta {first.beta:g}, "
        f"seed {first.recipe.get('seed', 42)}; rates as in Table 2."
    )
    return "\n".join([about, f"{sets} {trained}", *([TOY] if first.is_toy else [])])


def _fig6(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, heading, notes, toy)
    losses = axes.twinx()
    losses.grid(False)
    for method, line in numbers.groupby("method", sort=False):
        colour = METHOD_COLOURS[str(method)]
        axes.plot(line["step"], line["pass_at_4"], color=colour, label=called(method), marker=".", markersize=4)
        losses.plot(line["step"], line["loss"], color=colour, linestyle="--")
    axes.set_xlabel("step")
    axes.set_ylabel(f"pass@{K} (solid)")
    axes.set_ylim(0, 1.1 * float(numbers["pass_at_4"].max()))
    losses.set_ylabel("loss (dashed)")
    losses.set_ylim(0, 1.1 * float(numbers["loss"].max()))
    losses.spines["right"].set_visible(True)
    axes.legend(ncols=3, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _read_fig6(numbers: pd.DataFrame) -> str:
    says = []
    for method, line in numbers.groupby("method", sort=False):
        first, last = line.iloc[0], line.iloc[-1]
        says.append(
            f"- {called(method)}: loss from {number(first['loss'])} to {number(last['loss'])}, pass@{K} from "
            f"{share(first['pass_at_4'])} to {share(last['pass_at_4'])}"
        )
    return "\n".join(says) + f"\n\n{_deceptive(numbers[numbers['step'] == numbers['step'].max()])}"


def _deceptive(ends: pd.DataFrame) -> str:
    """Whether the arm with the lowest loss is also the most accurate, where every base says the same."""
    first, *others = (row for _, row in ends.sort_values("loss").iterrows())
    if not others or ends["bases"].min() < 2:
        return "One arm, or one base, tells nothing of a deceptively low loss."
    best = max(others, key=lambda row: row["pass_at_4"])
    lowest = f"The lowest loss is that of {called(first['method'])}"
    if order(best, first) > 0:
        return (
            f"{lowest}, and every base of {called(best['method'])} is above every base of it: a lower loss does not "
            "tell the better policy (claim O1 of the ledger)."
        )
    if all(order(first, row) > 0 for row in others):
        return f"{lowest}, and every base of it is above those of the others: no deceptively low loss among these."
    highest = max(first, best, key=lambda row: row["pass_at_4"])
    return (
        f"{lowest}, the highest accuracy that of {called(highest['method'])}, but the bases overlap: no order of "
        "accuracy is shown, so neither is whether the low loss is deceptive (claim O1 of the ledger)."
    )
