"""Gradients of positives as measured: their angles, and T1 against T2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.measure.predictors import MIN_RARER, distinct, few, over_pairs
from expo.measure.verdict import Interval
from expo.report.artefacts import Artefact, png, publish
from expo.report.runs import Finished, differing, origin_of, runs_in
from expo.report.style import COLOURS, GREY, Figure, look, sheet
from expo.report.words import NAMES, TOY, interval, number
from expo.text import plural

ANGLE_COLUMNS = ["panel", "source", "other_source", "mean", "low", "high", "questions", "pairs", "lemma"]
TERM_COLUMNS = ["run", "problem", "level", "source", "log10_t1", "t2", "t2_error", "larger", "right", "rollouts"]
# What may differ between runs of one picture.
_OWN = {"policy", "seed", "rows", "device"}


@dataclass(frozen=True)
class Gradients(Finished):
    """A finished run of `expo gradients`."""

    @cached_property
    def alignment(self) -> pd.DataFrame:
        """A row for each positive."""
        return self.run.read("alignment")

    @cached_property
    def gains(self) -> pd.DataFrame:
        """A row for each positive and step."""
        return self.run.read("gains")

    @property
    def policy(self) -> str:
        """What tells policies apart in names; the toy's bases go together, and a training's policy bears its name."""
        given = Path(str(self.recipe["policy"])).resolve()
        if self.run.environment().get("trained_from"):
            return given.parent.name if given.name == "model" else f"{given.parent.parent.name}-{given.name}"
        return "tiny" if self.is_toy else given.name

    @property
    def task(self) -> str:
        """What its questions are of."""
        return Path(self.recipe["data"]).stem if self.recipe.get("data") else str(self.recipe["task"])

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any path of this machine."""
        return {**origin_of(self.run), "policy": Path(str(self.recipe["policy"])).name, "toy": self.is_toy}


def find_gradients(folder: Path | str) -> list[Gradients]:
    """The finished runs of `expo gradients` in a study's folder.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    return [Gradients(run) for run in runs_in(folder, "gradients") if run.has("gradients") and run.has("gains")]


def by_policy(runs: Sequence[Gradients]) -> dict[str, list[Gradients]]:
    """Runs by what their artefacts' names end in; the toy's bases go together.

    Raises:
        ValueError: if runs that would be shown together differ in more than the policy; the fields are named.
    """
    held: dict[str, list[Gradients]] = {}
    for run in runs:
        held.setdefault(f"{run.policy}{'' if run.policy == 'tiny' else f'-{run.task}'}", []).append(run)
    for name, some in held.items():
        policies = {os.path.normpath(str(run.recipe["policy"])) for run in some}
        if name != "tiny" and len(policies) > 1:
            raise ValueError(
                f"gradients of {name}: the runs {', '.join(run.name for run in some)} are of different policies of one "
                "name; rename their folders, or put the runs into folders of their own and draw each (EXPO_RUNS)"
            )
        if differ := sorted(differing(some) - _OWN):
            raise ValueError(
                f"gradients of {name}: the runs {', '.join(run.name for run in some)} differ in {', '.join(differ)}; "
                "put them into folders of their own and draw each (EXPO_RUNS)"
            )
    return held


def draw_angles(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `gradients-<name>.png` and `.csv`: mean cosines of gradients by kind, of one question and of two.

    Beside what Lemma 1's assumptions would have them be: with logit gradients that are orthogonal and of one norm, by
    L1-alg <s_j, s_k> = C (S2 - pi_j - pi_k) and |s_j|^2 = C (S2 + 1 - 2 pi_j), S2 the sum of squared probabilities.
    """
    pairs = pd.concat([_pairs(run) for run in runs], ignore_index=True)
    same = pairs["problem"] == pairs["other_problem"]
    rows: list[list[Any]] = []
    pairs_of_one = pairs[same]
    for panel, held in (("of one question", pairs_of_one), ("of two questions", pairs[~same])):
        kinds = [s for s in COLOURS if s in {*pairs["source"], *pairs["other_source"]}]
        for a in kinds:
            for b in kinds:
                either = {(a, b), (b, a)}
                there = held[[p in either for p in zip(held["source"], held["other_source"], strict=True)]]
                if len(there):
                    found = _over_pairs(there, "cosine")
                    lemma = float(there["lemma"].mean()) if held is pairs_of_one else np.nan
                    rows.append([panel, a, b, found.mean, found.low, found.high, found.n, len(there), lemma])
    numbers = pd.DataFrame(rows, columns=ANGLE_COLUMNS)
    about = (
        "Mean cosine of grad log π(positive|q) of two positives of different text, over all trainable weights, at "
        "temperature 1; below it the 95 % bootstrap interval, questions resampled (pairs of each cell: see the CSV).\n"
        "Lemma 1 has assumptions on the logits' gradients of one question (claims L1-ass, L1-alg of the ledger)."
    )
    with look():
        image = png(_angles(numbers, f"Cosines of gradients: {name}", notes(runs, about), runs[0].is_toy))
    # All kinds at once: a text that two kinds have would count twice.
    once = pairs["once"]
    reading = _read_angles(pairs[same & once], pairs[~same & once])
    return publish(out, f"gradients-{name}", runs, numbers, {".png": image}, reading)


def _pairs(run: Gradients) -> pd.DataFrame:
    """Pairs of positives of different text: cosine, log of the larger norm over the smaller, and both under Lemma 1.

    `once` says that neither has the text of one before it of its question.
    """
    rows = run.alignment
    kept = rows.assign(ids=rows["ids"].map(tuple), first=rows.index.isin(distinct(rows).index))
    kept = kept.set_index(["problem", "source"])
    pairs = run.run.read("gradients")
    one, other = (
        kept.loc[list(zip(pairs[f"{side}problem"], pairs[f"{side}source"], strict=True))].reset_index(drop=True)
        for side in ("", "other_")
    )
    pi, other_pi = (np.exp(-held["nll_sum"].astype(float)) for held in (one, other))
    # S2 is no less than two of its terms; its estimate from repeats among rollouts can be.
    squares = np.maximum(one["repeats"].astype(float), pi**2 + other_pi**2)
    norm, other_norm = squares + 1 - 2 * pi, squares + 1 - 2 * other_pi
    pairs = pairs.assign(
        cosine=(pairs["product"] / (pairs["norm"] * pairs["other_norm"])).astype(float),
        lemma=(squares - pi - other_pi) / np.sqrt(norm * other_norm),
        ratio=np.abs(np.log(pairs["norm"].astype(float) / pairs["other_norm"].astype(float))),
        lemma_ratio=np.abs(np.log(norm / other_norm)) / 2,
        once=one["first"] & other["first"],
    )
    pairs = pairs.assign(beyond=pairs["cosine"] - pairs["lemma"])
    return pairs[one["ids"] != other["ids"]]


def _read_angles(same: pd.DataFrame, two: pd.DataFrame) -> str:
    one, lemma, beyond = (_over_pairs(same, c) for c in ("cosine", "lemma", "beyond"))
    off = _over_pairs(same.assign(beyond=same["beyond"].abs()), "beyond")
    ratio, lemma_ratio = (_over_pairs(same, c) for c in ("ratio", "lemma_ratio"))
    return (
        f"Of one question ({plural(len(same), 'pair')} of different text, {plural(one.n, 'question')}) the mean cosine "
        f"is {interval(one)}; under Lemma 1's assumptions, logit gradients that are orthogonal and of one norm, it "
        f"would be {interval(lemma)} (difference {interval(beyond, sign=True)}); of a pair it is {interval(off)} away "
        f"from that, in the mean. The larger norm of a pair is {_times(ratio)} times the smaller in geometric "
        f"mean; it would be {_times(lemma_ratio)} times. Of two questions, of which the lemma says nothing, the mean "
        f"cosine is {interval(_over_pairs(two, 'cosine'))} and the mean absolute one "
        f"{interval(_over_pairs(two.assign(cosine=two['cosine'].abs()), 'cosine'))} ({plural(len(two), 'pair')})."
    )


def _over_pairs(pairs: pd.DataFrame, column: str) -> Interval:
    return over_pairs(pairs[column], pairs["problem"], pairs["other_problem"])


def _times(log: Interval) -> str:
    mean, low, high = (float(np.exp(x)) for x in (log.mean, log.low, log.high))
    return interval(Interval(mean, low, high, log.n))


def _angles(numbers: pd.DataFrame, heading: str, about: str, toy: bool) -> Figure:
    figure, (row,) = sheet(1, 2, 3.4, heading, about, toy)
    for axes, (panel, held) in zip(row, numbers.groupby("panel", sort=False), strict=False):
        order = [s for s in COLOURS if s in {*held["source"]}]
        table = held.pivot(index="source", columns="other_source", values="mean").reindex(index=order, columns=order)
        axes.imshow(table.to_numpy(float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.grid(False)
        for r in held.to_dict("records"):
            text = f"{r['mean']:.2f}" + (f"\n[{r['low']:.2f}, {r['high']:.2f}]" if r["questions"] > 1 else "")
            place = order.index(r["other_source"]), order.index(r["source"])
            axes.text(*place, text.replace("-", "−"), ha="center", va="center", fontsize=6)
        names = [NAMES[s] for s in order]
        axes.set_xticks(range(len(order)), names, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(range(len(order)), names if axes is row[0] else [""] * len(order), fontsize=8)
        axes.set_title(str(panel))
    return figure


def draw_terms(name: str, runs: Sequence[Gradients], out: Path | str) -> Artefact:
    """Write `t1-t2-<name>.png` and `.csv`: |T2| against T1 of right positives, where some rollouts are right."""
    rows = pd.concat([distinct(run.alignment).assign(run=run.name) for run in runs], ignore_index=True)
    rows = rows[rows["slope_error"].notna() & rows["reward"]]
    t1 = 10.0 ** rows["log10_t1"].astype(float)
    t2, error = rows["slope"].astype(float) - t1, rows["slope_error"].astype(float)
    unknown = few(rows)
    decided = [~unknown & (t2.abs() - 2 * error > t1), ~unknown & (t2.abs() + 2 * error < t1)]
    larger = np.select(decided, ["T2", "T1"], "undecided")
    numbers = rows.assign(t2=t2, t2_error=error, larger=larger)[TERM_COLUMNS]
    about = (
        "A mark a right positive; hollow: T2 is negative; faint: twice T2's standard error over rollouts leaves open "
        f"which is larger, or fewer than {MIN_RARER} rollouts are right, or wrong. On the line they are equal.\n"
        "That T1 dominates is claim E6-dom, which the ledger refutes."
    )
    with look():
        image = png(_terms(numbers, f"T2 against T1: {name}", notes(runs, about), runs[0].is_toy))
    count = numbers["larger"].value_counts()
    negative = int(((numbers["larger"] == "T2") & (t2 < 0)).sum())
    shared = plural(len(rows.groupby(["run", "problem"])), "set")
    median = number(float(numbers["log10_t1"].astype(float).median()))
    reading = (
        f"Of {plural(len(numbers), 'right positive')} (with {shared} of rollouts, right and wrong ones, that those of "
        f"one question share) |T2| is larger in {count.get('T2', 0)}, T1 in {count.get('T1', 0)}, by more than twice "
        f"T2's standard error; {count.get('undecided', 0)} are undecided. Where |T2| is larger it is below 0 in "
        f"{negative}. "
        f"Median log10 T1: {median}."
    )
    return publish(out, f"t1-t2-{name}", runs, numbers, {".png": image}, reading)


def _terms(numbers: pd.DataFrame, heading: str, about: str, toy: bool) -> Figure:
    figure, ((axes,),) = sheet(1, 1, 3.4, heading, about, toy)
    for source, held in numbers.groupby("source", sort=False):
        colour = COLOURS[str(source)]
        size = np.log10(held["t2"].abs().to_numpy(float))
        clear = (held["larger"] != "undecided").to_numpy(bool)
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


def notes(runs: Sequence[Gradients], about: str) -> str:
    """The lines beneath a picture: what is drawn, the runs' setting, and that a toy is a toy."""
    recipe = runs[0].recipe
    questions = {p for run in runs for p in run.alignment["problem"]}
    each = f", each of {plural(len(runs), 'policy', 'policies')}" if len(runs) > 1 else ""
    setting = (
        f"{plural(len(questions), 'question')} of {runs[0].task}{each}, 2 x {recipe['rollouts']} rollouts each at "
        f"T = 1 (half for slopes, half for changes), positives at T = {recipe['temperature']:g}, seed {recipe['seed']}."
    )
    return "\n".join([about, setting, *([TOY] if runs[0].is_toy else [])])
