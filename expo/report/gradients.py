"""Gradients of positives as measured: their angles, T1 against T2, and what a step was predicted to do and did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.predictors import PREDICTORS, joined, rank_correlations
from expo.measure.verdict import Interval
from expo.report.artefacts import Artefact, png, publish
from expo.report.runs import Finished, origin_of, runs_in
from expo.report.style import COLOURS, GREY, INK, Figure, look, sheet
from expo.report.words import NAMES, TOY, interval, number
from expo.text import plural

ANGLE_COLUMNS = ["panel", "source", "other_source", "mean", "pairs"]
TERM_COLUMNS = ["run", "problem", "level", "source", "log10_t1", "t2", "t2_error", "right", "rollouts"]
GAIN_COLUMNS = ["run", "problem", "level", "source", "size", "predicted", "predicted_error", "change", "exact"]
RANK_COLUMNS = ["size", "predictor", "mean", "low", "high", "n"]


@dataclass(frozen=True)
class Gradients(Finished):
    """A finished run of `expo gradients`."""

    @cached_property
    def alignment(self) -> pd.DataFrame:
        """A row for each positive; `run` tells runs apart."""
        return self.run.read("alignment").assign(run=self.name)

    @cached_property
    def gains(self) -> pd.DataFrame:
        """A row for each positive and step."""
        return self.run.read("gains").assign(run=self.name)

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any path of this machine."""
        return {**origin_of(self.run, "gains"), "policy": Path(str(self.recipe["policy"])).name, "toy": self.is_toy}


def find_gradients(folder: Path | str) -> list[Gradients]:
    """The finished runs of `expo gradients` in a study's folder.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    return [Gradients(run) for run in runs_in(folder, "gradients") if run.has("gradients") and run.has("gains")]


def by_policy(runs: Sequence[Gradients]) -> dict[str, list[Gradients]]:
    """Runs by what their artefacts' names end in; the toy's bases go together."""
    held: dict[str, list[Gradients]] = {}
    for run in runs:
        held.setdefault("tiny" if run.is_toy else Path(str(run.recipe["policy"])).name, []).append(run)
    return held


def draw_angles(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `gradients-<name>.png` and `.csv`: mean cosines of gradients by kind, of one question and of two.

    Lemma 1 assumes trajectories whose gradients are orthogonal and of one norm; this is how far they are from it.
    """
    pairs = pd.concat([run.run.read("gradients") for run in runs], ignore_index=True)
    apart = pairs[(pairs["problem"] != pairs["other_problem"]) | (pairs["source"] != pairs["other_source"])]
    cosine = (apart["product"] / (apart["norm"] * apart["other_norm"])).astype(float)
    same = apart["problem"] == apart["other_problem"]
    rows: list[list[Any]] = []
    for panel, held in (("of one question", same), ("of two questions", ~same)):
        kinds = [s for s in COLOURS if s in set(apart["source"])]
        for a in kinds:
            for b in kinds:
                there = held & (
                    ((apart["source"] == a) & (apart["other_source"] == b))
                    | ((apart["source"] == b) & (apart["other_source"] == a))
                )
                if there.any():
                    rows.append([panel, a, b, float(cosine[there].mean()), int(there.sum())])
    numbers = pd.DataFrame(rows, columns=ANGLE_COLUMNS)
    norms = pd.concat([run.alignment for run in runs])["norm"].astype(float)
    with look():
        image = png(_angles(numbers, f"Cosines of gradients: {name}", _notes(runs, _ABOUT_ANGLES), runs[0].is_toy))
    reading = (
        f"Lemma 1 assumes gradients that are orthogonal and of one norm. Mean absolute cosine: "
        f"{number(float(cosine[same].abs().mean()))} of one question ({plural(int(same.sum()), 'pair')}), "
        f"{number(float(cosine[~same].abs().mean()))} of two ({plural(int((~same).sum()), 'pair')}). Norms differ by a "
        f"factor of {number(float(norms.quantile(0.9) / norms.quantile(0.1)))} between their 10th and 90th percentile."
    )
    return publish(out, f"gradients-{name}", runs, numbers, {".png": image}, reading)


_ABOUT_ANGLES = "Mean cosine of grad log pi(c, a|q) of two positives, over all trainable weights, at temperature 1."


def _angles(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, (row,) = sheet(1, 2, 3.4, heading, notes, toy)
    for axes, (panel, held) in zip(row, numbers.groupby("panel", sort=False), strict=False):
        table = held.pivot(index="source", columns="other_source", values="mean")
        order = [s for s in COLOURS if s in table.index]
        table = table.reindex(index=order, columns=order)
        axes.imshow(table.to_numpy(float), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.grid(False)
        for i in range(len(order)):
            for j in range(len(order)):
                if not np.isnan(value := float(table.to_numpy(float)[i, j])):
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7.5)
        names = [NAMES[s] for s in order]
        axes.set_xticks(range(len(order)), names, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(range(len(order)), names if axes is row[0] else [""] * len(order), fontsize=8)
        axes.set_title(str(panel))
    return figure


def draw_terms(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `t1-t2-<name>.png` and `.csv`: |T2| against T1 of each positive, of questions with a right rollout."""
    rows = pd.concat([run.alignment for run in runs], ignore_index=True)
    rows = rows[rows["slope_error"].notna()]
    t1 = 10.0 ** rows["log10_t1"].astype(float)
    numbers = rows.assign(t2=rows["slope"].astype(float) - t1, t2_error=rows["slope_error"])[TERM_COLUMNS]
    about = (
        "A mark a positive; hollow: T2 is negative; faint: |T2| is below twice its standard error over rollouts.\n"
        "On the line they are equal; the paper's Section 3.2 says that T1 dominates (claim E6-dom of the ledger)."
    )
    with look():
        image = png(_terms(numbers, f"T2 against T1: {name}", _notes(runs, about), runs[0].is_toy))
    clear = numbers[numbers["t2"].abs() > 2 * numbers["t2_error"]]
    over = int((np.log10(clear["t2"].abs().astype(float)) > clear["log10_t1"]).sum())
    negative = int((clear["t2"] < 0).sum())
    reading = (
        f"Of {plural(len(numbers), 'positive')} of questions with right and wrong rollouts, {len(clear)} have a T2 "
        f"that is told from 0 (twice its standard error); in {over} of these |T2| exceeds T1, and in {negative} T2 is "
        f"negative. Median log10 T1: {number(float(numbers['log10_t1'].median()))}."
    )
    return publish(out, f"t1-t2-{name}", runs, numbers, {".png": image}, reading)


def _terms(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.4, heading, notes, toy)
    for source, held in numbers.groupby("source", sort=False):
        colour = COLOURS[str(source)]
        size = np.log10(held["t2"].abs().to_numpy(float))
        clear = (held["t2"].abs() > 2 * held["t2_error"]).to_numpy(bool)
        faces = np.where(held["t2"] < 0, "white", colour)
        for shown, alpha in ((clear, 1.0), (~clear, 0.3)):
            x, y = held["log10_t1"].to_numpy(float)[shown], size[shown]
            axes.scatter(x, y, s=20, edgecolors=colour, c=faces[shown], alpha=alpha, linewidths=1)
        axes.scatter([], [], s=20, color=colour, label=NAMES[str(source)])
    low, high = axes.get_ylim()
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    axes.set_xlabel("log10 T1")
    axes.set_ylabel("log10 |T2|")
    axes.legend(ncols=3, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def draw_gains(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `predicted-<name>.png` and `.csv`: the change of J after one step against its prediction, by length."""
    rows = pd.concat([joined(r.alignment.drop(columns="run"), r.gains, s) for r in runs for s in r.recipe["sizes"]])
    rows = rows[rows["predicted_error"].notna()]
    numbers = rows.rename(columns={"realised_change": "change"}).assign(exact=rows["exact_after"].notna())[GAIN_COLUMNS]
    how = "by enumeration" if numbers["exact"].all() else "estimated from other rollouts than the prediction"
    about = f"Change of J {how}, against length x slope; lines: one standard error of the prediction, over rollouts."
    with look():
        image = png(_gains(numbers, f"One step, predicted and realised: {name}", _notes(runs, about), runs[0].is_toy))
    says = []
    for size, held in numbers.groupby("size"):
        told = held[held["predicted"].abs() > 2 * held["predicted_error"]]
        right = int((np.sign(told["predicted"]) == np.sign(told["change"])).sum())
        rank = float(held["predicted"].astype(float).corr(held["change"].astype(float), "spearman"))
        says.append(
            f"- length {size:g}: rank correlation {number(rank)} over {plural(len(held), 'positive')}; the sign is "
            f"right in {right} of {len(told)} whose prediction is told from 0"
        )
    return publish(out, f"predicted-{name}", runs, numbers, {".png": image}, "\n".join(says))


def _gains(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    sizes = sorted(numbers["size"].unique())
    figure, (row,) = sheet(1, len(sizes), 2.6, heading, notes, toy)
    for axes, size in zip(row, sizes, strict=True):
        at = numbers[numbers["size"] == size]
        for source, held in at.groupby("source", sort=False):
            colour = COLOURS[str(source)]
            x, y = held["predicted"].astype(float), held["change"].astype(float)
            axes.hlines(y, x - held["predicted_error"], x + held["predicted_error"], color=colour, linewidth=0.6)
            axes.plot(x, y, "o", color=colour, markersize=3.5, label=NAMES[str(source)])
        most = float(at["change"].abs().max()) or 1.0
        axes.plot([-most, most], [-most, most], color=GREY, linewidth=0.8)
        axes.set_xlim(-2.5 * most, 2.5 * most)
        axes.set_ylim(-1.15 * most, 1.15 * most)
        axes.set_title(f"length {size:g}", pad=20)
        axes.set_xlabel("predicted")
        axes.tick_params(labelsize=7)
    row[0].set_ylabel("realised change of J")
    handles, names = row[0].get_legend_handles_labels()
    legend = row[0].legend(handles, names, ncols=5, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99))
    legend.set_in_layout(False)
    return figure


def draw_predictors(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `predictors-<name>.png` and `.csv`: which number of a positive ranks the gains of a question's own."""
    tables = []
    for size in sorted({s for run in runs for s in run.recipe["sizes"]}):
        rows = pd.concat([joined(run.alignment.drop(columns="run"), run.gains, size) for run in runs])
        # A question of one base is not that of another.
        tables.append(rank_correlations(rows.assign(problem=rows["run"] + "/" + rows["problem"])).assign(size=size))
    numbers = pd.concat(tables, ignore_index=True)[RANK_COLUMNS]
    about = (
        "Spearman's rank correlation with the realised change of J over the positives of a question, mean over\n"
        "questions; lines: 95 % bootstrap intervals, questions resampled. 1: it ranks them as their gains do."
    )
    with look():
        image = png(_predictors(numbers, f"What tells a step's gain: {name}", _notes(runs, about), runs[0].is_toy))
    says = []
    for size in numbers["size"].unique():
        held = numbers[numbers["size"] == size].sort_values("mean", ascending=False).to_dict("records")
        told = [
            f"{PREDICTORS[str(r['predictor'])]} {interval(Interval(r['mean'], r['low'], r['high'], r['n']))}"
            for r in held
        ]
        says.append(f"- length {size:g}, n = {held[0]['n']} questions: {'; '.join(told)}.")
    return publish(out, f"predictors-{name}", runs, numbers, {".png": image}, "\n".join(says))


def _predictors(numbers: pd.DataFrame, heading: str, notes: str, toy: bool) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.0, heading, notes, toy)
    sizes = sorted(numbers["size"].unique())
    shades = np.linspace(0.25, 1.0, len(sizes))
    for i, size in enumerate(sizes):
        held = numbers[numbers["size"] == size].set_index("predictor").loc[list(PREDICTORS)]
        at = np.arange(len(held)) + 0.15 * (i - (len(sizes) - 1) / 2)
        style: dict[str, Any] = {"color": COLOURS["explanation"], "alpha": shades[i]}
        axes.hlines(at, held["low"], held["high"], linewidth=1.2, **style)
        axes.plot(held["mean"], at, "o", markersize=4, label=f"length {size:g}", **style)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(PREDICTORS)), list(PREDICTORS.values()), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(-1, 1)
    axes.set_xlabel("rank correlation with the gain")
    axes.legend(ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _notes(runs: Sequence[Gradients], about: str) -> str:
    recipe = runs[0].recipe
    problems = sum(run.alignment["problem"].nunique() for run in runs)
    setting = (
        f"{plural(problems, 'question')} of {recipe['task']}, {plural(len(runs), 'policy', 'policies')}, "
        f"2 x {recipe['rollouts']} rollouts each at T = 1, positives at T = {recipe['temperature']:g}, "
        f"seed {recipe['seed']}."
    )
    return "\n".join([about, setting, *([TOY] if runs[0].is_toy else [])])
