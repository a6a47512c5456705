"""Figures 1, 4, 5 and 9 and Table 3 of the paper as measured here: what training with each positive does, by level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report import paper
from expo.report.artefacts import Artefact, png, publish
from expo.report.style import GREY, INK, METHOD_COLOURS, Figure, line_style, look, sheet
from expo.report.training import (
    LEVELS,
    Evaluated,
    by_method,
    label,
    levels_of,
    order,
    over_bases,
    per_base,
    spread,
    untrained,
)
from expo.report.words import METHODS, TOY, listed, number, share

CURVE_COLUMNS = ["method", "k", "step", "mean", "std", "lowest", "highest", "bases", "problems", "samples"]
BAR_COLUMNS = ["panel", "method", "level", "kind", "mean", "low", "high", "lowest", "highest", "bases", "n"]
TABLE3_COLUMNS = ["method", "k", "level", "mean", "low", "high", "lowest", "highest", "bases", "problems", "n"]
NAMES = {**METHODS, "base": "base"}


def draw_curves(
    name: str, runs: Sequence[Evaluated], levels: Sequence[int] | None, heading: str, out: Path | str, k: int = 1
) -> Artefact:
    """Write `<name>-<label>.png` and `.csv`: pass@k on these levels (None: all) over steps, by method.

    The line is the mean over bases, thin lines are the lowest and highest base of each step; up to three lines have a
    band, one standard deviation over bases (the paper's is over seeds).
    """
    rows = []
    for method, held in by_method(runs).items():
        for step in sorted(held[0].evaluation["step"].unique()):
            of_bases = spread(held, int(step), levels, k)
            rows.append(
                {
                    "method": method,
                    "k": k,
                    "step": int(step),
                    "mean": float(np.mean(of_bases)),
                    "std": float(np.std(of_bases, ddof=1)) if len(of_bases) > 1 else float("nan"),
                    "lowest": min(of_bases),
                    "highest": max(of_bases),
                    "bases": len(of_bases),
                    "problems": len(held[0].accuracies(int(step), levels)),
                    "samples": int(held[0].evaluation["n"].iloc[0]),
                }
            )
    numbers = pd.DataFrame(rows, columns=CURVE_COLUMNS)
    toy = runs[0].is_toy
    with look():
        image = png(_curves(numbers, heading, _notes(runs, numbers), toy))
    return publish(out, f"{name}-{label(runs)}", runs, numbers, {".png": image}, _read_curves(numbers, toy))


def _curves(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.2, heading, notes, toy)
    for method, line in numbers.groupby("method", sort=False):
        colour = METHOD_COLOURS[str(method)]
        style = line_style(str(method))
        axes.plot(line["step"], line["mean"], style, color=colour, label=NAMES[str(method)], marker=".", markersize=4)
        if _has_bands(numbers):
            edges = line["mean"] - line["std"], line["mean"] + line["std"]
            axes.fill_between(line["step"], *edges, color=colour, alpha=0.15, linewidth=0)
        for edge in ("lowest", "highest"):
            axes.plot(line["step"], line[edge], style, color=colour, linewidth=0.6, alpha=0.7)
    axes.set_xlabel("step")
    axes.set_ylabel(_quantity(numbers).lower())
    lowest = float(numbers["lowest"].min())
    axes.set_ylim(0 if lowest < 0.4 else lowest - 0.05, min(axes.get_ylim()[1], 1.0))
    axes.legend(ncols=3, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _has_bands(numbers: pd.DataFrame) -> bool:
    """More than three would hide each other."""
    return numbers["method"].nunique() <= 3


def _quantity(numbers: pd.DataFrame) -> str:
    return "Accuracy" if (k := int(numbers["k"].iloc[0])) == 1 else f"Pass@{k}"


def _notes(runs: Sequence[Evaluated], numbers: pd.DataFrame) -> str:
    recipe = runs[0].recipe
    band = "; thin: lowest and highest base" if "step" in numbers else ""
    if band and _has_bands(numbers):
        band = f"; band: one standard deviation over them{band}"
    first = numbers.iloc[0]
    lines = [
        f"Mean over {numbers['bases'].max()} bases{band}. n = {first['problems']} test problems, "
        f"k = {first['samples']} samples each at T = {recipe['eval_temperature']:g}, seed {recipe.get('seed', 42)}.",
        f"Trained on {runs[0].levels}; {_how(runs)}.",
        f"Learning rates: {listed(_rates(runs))}.",
    ]
    if "step" in numbers and float(numbers["mean"].min()) > 0.97:
        lines.append("Saturated: nearly everything is solved from the beginning, and nothing can be told apart.")
    return "\n".join([*lines, TOY] if runs[0].is_toy else lines)


def _rates(runs: Sequence[Evaluated]) -> list[str]:
    return [f"{NAMES[method]} {held[0].rate:g}" for method, held in by_method(runs).items()]


def _how(runs: Sequence[Evaluated]) -> str:
    recipe = runs[0].recipe
    if runs[0].is_dpo:
        return f"{runs[0].batch} pairs a step, beta {runs[0].beta:g}"
    return (
        f"{runs[0].batch} samples a step, G = {recipe.get('num_generations', 8)}, weight of the added term "
        f"{listed(_betas(runs))}"
    )


def _betas(runs: Sequence[Evaluated]) -> list[str]:
    return [f"{beta:g}" for beta in sorted({run.beta for run in runs if run.beta})]


def _read_curves(numbers: pd.DataFrame, toy: bool) -> str:
    ends = numbers[numbers["step"] == numbers["step"].max()].set_index("method")
    start = numbers[numbers["step"] == 0]["mean"].mean()
    says = [
        f"{NAMES[str(m)]} {number(row['mean'])} (bases {number(row['lowest'])} to {number(row['highest'])})"
        for m, row in ends.iterrows()
    ]
    text = f"{_quantity(numbers)} before training {number(start)}; after step {numbers['step'].max()}: {listed(says)}."
    if {"explanation", "none"} <= set(ends.index):
        text += " " + _above(numbers)
    return f"{text} Toy." if toy else text


def _above(numbers: pd.DataFrame) -> str:
    """Whether every base ends higher with one of ExP-GRPO and GRPO than any does with the other."""
    ends = numbers[numbers["step"] == numbers["step"].max()].set_index("method")
    a, b = ends.loc["explanation"], ends.loc["none"]
    if order(a, b) > 0:
        return "Every base ends higher with ExP-GRPO than any with GRPO."
    if order(a, b) < 0:
        return "Every base ends lower with ExP-GRPO than any with GRPO."
    return "ExP-GRPO and GRPO overlap between bases: no order is shown."


def draw_table3(runs: Sequence[Evaluated], bases: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `table3-<label>.md` and `.csv`: pass@k by level in the paper's layout, the paper's numbers beneath."""
    rows: list[dict[str, Any]] = []
    for method, held in by_method(runs).items():
        rows += [_cell(method, held, 4, level) for level in LEVELS]
    for k in (64, 128):
        able = [run for run in bases if _as(runs[0], run) and int(run.evaluation["n"].min()) >= k]
        if able:
            rows += [_cell("base", able, k, level) for level in LEVELS]
    numbers = pd.DataFrame(rows, columns=TABLE3_COLUMNS)
    toy = runs[0].is_toy
    title = f"# Table 3, measured: {label(runs)}{' (toy)' if toy else ''}"
    recipe = runs[0].recipe
    setting = (
        f"Trained for {runs[0].last_step} steps on {runs[0].levels}; learning rates: {listed(_rates(runs))}; "
        f"{_how(runs)}. Sampled at T = {recipe['eval_temperature']:g}, at most "
        f"{recipe.get('max_completion_length')} tokens."
    )
    toys = [f"**{TOY}**"] if toy else []
    text = "\n\n".join([title, *toys, _LEGEND, setting, _table3(numbers), _paper3(runs[0])]) + "\n"
    reading = _read_table3(numbers)
    return publish(out, f"table3-{label(runs)}", [*runs, *bases], numbers, {".md": text}, reading)


def _as(trained: Evaluated, base: Evaluated) -> bool:
    """Whether a base was evaluated on its own as it was at the training's step 0, on fewer problems perhaps."""
    mine, its = trained.recipe, base.recipe
    alike = [("eval_split", "split"), ("eval_temperature", "temperature")]
    if trained.limit != base.limit:
        return False
    same_data = (mine.get("eval_data") or mine.get("data")) == its.get("data") and mine["task"] == its["task"]
    return same_data and label([trained]) == label([base]) and all(mine.get(a) == its.get(b) for a, b in alike)


_LEGEND = (
    "pass@k by level of the test problems, unbiased from n samples a problem: the mean over bases, in brackets the "
    "95 % bootstrap interval (problems resampled, each with its mean over bases), and the lowest and highest base."
)


def _cell(method: str, runs: Sequence[Evaluated], k: int, level: int) -> dict[str, Any]:
    found, of_bases = over_bases(runs, levels=[level], k=k), spread(runs, levels=[level], k=k)
    return {
        "method": method,
        "k": k,
        "level": level,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "lowest": min(of_bases),
        "highest": max(of_bases),
        "bases": len(of_bases),
        "problems": found.n,
        "n": int(runs[0].evaluation["n"].min()),
    }


def _table3(numbers: pd.DataFrame) -> str:
    lines = [f"| | {' | '.join(f'level {level}' for level in LEVELS)} |", "| --- |" + " --- |" * len(LEVELS)]
    for (method, k), row in numbers.groupby(["method", "k"], sort=False):
        cells = [
            f"{share(c['mean'])} [{share(c['low'])}, {share(c['high'])}], {share(c['lowest'])} to {share(c['highest'])}"
            for _, c in row.iterrows()
        ]
        first, problems = row.iloc[0], sorted({row["problems"].min(), row["problems"].max()})
        size = f"n = {first['n']}, {' to '.join(map(str, problems))} problems a level, {first['bases']} bases"
        head = f"{NAMES[str(method)]} pass@{k} ({size})"
        lines.append(f"| {head} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _paper3(run: Evaluated) -> str:
    about = "another model on another task; never to be compared with the toy's" if run.is_toy else "as printed"
    lines = [
        f"## The paper's Table 3 ({about}): Qwen2.5-3B-Instruct on MATH",
        "",
        f"| | {' | '.join(f'level {level}' for level in LEVELS)} |",
        "| --- |" + " --- |" * len(LEVELS),
        f"| test problems | {' | '.join(map(str, paper.TABLE3_PROBLEMS))} |",
    ]
    for (method, k), values in paper.TABLE3.items():
        lines.append(f"| {NAMES[method]} pass@{k} | {' | '.join(f'{v} %' for v in values)} |")
    return "\n".join(lines)


def _read_table3(numbers: pd.DataFrame) -> str:
    hardest = numbers[numbers["level"] == max(LEVELS)]
    says = [
        f"{NAMES[c['method']]} pass@{c['k']} {share(c['mean'])} [{share(c['low'])}, {share(c['high'])}]"
        for _, c in hardest.iterrows()
    ]
    return f"At level {max(LEVELS)}: {listed(says)}."


def draw_fig1(runs: Sequence[Evaluated], out: Path | str) -> Artefact:
    """Write `fig1-<label>.png` and `.csv`: accuracy by level; right and wrong samples of a group at levels 4 and 5."""
    rows = []
    held = by_method(runs)
    every = [run for some in held.values() for run in some]
    for method, some, step in [("base", untrained(every), 0), *((m, r, None) for m, r in held.items())]:
        for level in LEVELS:
            found, of_bases = over_bases(some, step, [level]), spread(some, step, [level])
            rows.append(
                _bar("accuracy", method, level, "accuracy", (found.mean, found.low, found.high), of_bases, found.n)
            )
    for method, some in held.items():
        for level in (4, 5):
            for kind, values in _per_group(some, level).items():
                mean = (float(np.mean(values)), float("nan"), float("nan"))
                rows.append(_bar("samples", method, level, kind, mean, values, len(values)))
    numbers = pd.DataFrame(rows, columns=BAR_COLUMNS)
    toy = runs[0].is_toy
    about = (
        "Left: bars are means over bases at the last step, lines the lowest and highest base. Right, for the two "
        "levels that the paper shows: mean number of right (filled, upwards) and wrong (pale, downwards) samples "
        "in a group of G while training, and the positive added (hatched)."
    )
    lines = _notes(runs, _sizes(runs)).split("\n")
    each = rows[0]["n"]
    notes = "\n".join([about, lines[0].replace("test problems", f"test problems, {each} a level"), *lines[1:]])
    with look():
        image = png(_fig1(numbers, f"Accuracy and samples by level: {label(runs)}", notes, toy))
    return publish(out, f"fig1-{label(runs)}", runs, numbers, {".png": image}, _read_fig1(numbers))


def _sizes(runs: Sequence[Evaluated]) -> pd.DataFrame:
    evaluation = runs[0].evaluation
    bases = len({run.base for run in runs})
    problems = evaluation["problem"].nunique()
    return pd.DataFrame({"bases": [bases], "problems": [problems], "samples": [evaluation["n"].iloc[0]]})


def _bar(
    panel: str, method: str, level: int, kind: str, mean: tuple[float, float, float], bases: list[float], n: int
) -> dict[str, Any]:
    values = [panel, method, level, kind, *mean, min(bases), max(bases), len(bases), n]
    return dict(zip(BAR_COLUMNS, values, strict=True))


def _per_group(runs: Sequence[Evaluated], level: int) -> dict[str, list[float]]:
    """Right, wrong and added positives of a mean group of the level, one number a base; NaN without such a group."""

    def of(run: Evaluated) -> tuple[float, float, float]:
        groups = run.run.read("groups")
        groups = groups[groups["level"] == level].astype({"correct": float, "n": float})
        right = float(groups["correct"].mean())
        return right, float(groups["n"].mean()) - right, float(_added(run, groups).mean())

    counted = {run.name: of(run) for run in runs}
    return {
        "right": per_base(runs, lambda run: counted[run.name][0]),
        "wrong": per_base(runs, lambda run: counted[run.name][1]),
        "added": per_base(runs, lambda run: counted[run.name][2]),
    }


def _added(run: Evaluated, groups: pd.DataFrame) -> pd.Series:
    """Whether a positive came to each group: its problem had one at that step, and was not solved where that counts."""
    if run.method == "none":
        return pd.Series(0.0, index=groups.index)
    positives = run.run.read("positives")
    every = run.recipe.get("refresh_steps")
    held = set(zip(positives["step"], positives["problem"], strict=True))
    in_force = groups["step"] - groups["step"] % every if every else groups["step"] * 0
    has = [pair in held for pair in zip(in_force, groups["problem"], strict=True)]
    if run.recipe.get("sft_failed_groups_only"):
        has = [h and not solved for h, solved in zip(has, groups["correct"] > 0, strict=True)]
    return pd.Series(has, index=groups.index, dtype=float)


def _fig1(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((left, right),) = sheet(1, 2, 3.0, heading, notes, toy)
    bars = numbers[numbers["panel"] == "accuracy"]
    methods = list(dict.fromkeys(bars["method"]))
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        rows = bars[bars["method"] == method]
        at = rows["level"] + (i - (len(methods) - 1) / 2) * width
        left.bar(at, rows["mean"], width, color=METHOD_COLOURS[method], label=NAMES[method])
        # Seen on dark bars and on white.
        left.vlines(at, rows["lowest"], rows["highest"], color="white", linewidth=2.6)
        left.vlines(at, rows["lowest"], rows["highest"], color=INK, linewidth=1)
        hardest = rows[rows["level"] == max(LEVELS)].iloc[0]
        place = (max(LEVELS) + (i - (len(methods) - 1) / 2) * width, hardest["highest"] + 0.02)
        # Bars of a level that is hardly ever solved cannot be read.
        left.text(*place, f"{hardest['mean']:.3f}".lstrip("0"), fontsize=7, ha="center", va="bottom", rotation=90)
    left.set_xticks(LEVELS)
    left.set_xlabel("level")
    left.set_ylabel("accuracy")
    left.legend(ncols=2, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    samples = numbers[numbers["panel"] == "samples"]
    trained = [m for m in methods if m != "base"]
    for j, level in enumerate((4, 5)):
        for i, method in enumerate(trained):
            at = j * (len(methods) + 0.5) + i
            held = samples[(samples["level"] == level) & (samples["method"] == method)].set_index("kind")["mean"]
            colour = METHOD_COLOURS[method]
            right.bar(at, held["right"], 0.8, color=colour)
            right.bar(at, held["added"], 0.8, bottom=held["right"], color="white", edgecolor=colour, hatch="////")
            right.bar(at, -held["wrong"], 0.8, color=colour, alpha=0.25)
    right.axhline(0, color=GREY, linewidth=0.8)
    middle = (len(trained) - 1) / 2
    right.set_xticks([middle, middle + len(methods) + 0.5], ["level 4", "level 5"])
    right.set_ylabel("samples in a group")
    right.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    return figure


def _read_fig1(numbers: pd.DataFrame) -> str:
    bars = numbers[(numbers["panel"] == "accuracy") & (numbers["level"] == max(LEVELS))]
    says = [
        f"{NAMES[r['method']]} {number(r['mean'])} [{number(r['low'])}, {number(r['high'])}]"
        for _, r in bars.iterrows()
    ]
    kinds = numbers[(numbers["panel"] == "samples") & (numbers["level"] == max(LEVELS)) & (numbers["kind"] == "right")]
    right = [f"{NAMES[r['method']]} {number(r['mean'])}" for _, r in kinds.dropna(subset="mean").iterrows()]
    text = f"Accuracy at level {max(LEVELS)}: {listed(says)}. "
    return f"{text}Right samples in a group there, while training: {listed(right) if right else 'no group'}."


def what_changed(runs: Sequence[Evaluated]) -> str:
    """In words: what each method did to the levels trained on and to the others, and on how many bases."""
    on = runs[0].trained_levels
    others = [level for level in levels_of(runs) if on and level not in on]
    lines = [f"Trained on {runs[0].levels}, first step to last{' (toy)' if runs[0].is_toy else ''}:", ""]
    for method, held in by_method(runs).items():
        parts = [f"accuracy there {_change(held, on)}"]
        if others:
            parts.append(f"on the other levels {_change(held, others)}")
        lines.append(f"- {NAMES[method]}: {'; '.join(parts)}.")
    return "\n".join(lines)


def _change(runs: Sequence[Evaluated], levels: Sequence[int] | None) -> str:
    before, after = spread(runs, 0, levels), spread(runs, None, levels)
    rose, fell = (sum(sign * (b - a) > 0 for a, b in zip(before, after, strict=True)) for sign in (1, -1))
    means = f"from {number(float(np.mean(before)))} to {number(float(np.mean(after)))}"
    return f"{means} (rose on {rose}, fell on {fell} of {len(before)} bases)"
