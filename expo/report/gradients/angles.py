"""The angles between gradients of positives, for one question and for two, beside those that Lemma 1 assumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.gradients.predictors import distinct
from expo.report.artefacts import Artefact
from expo.report.gradients.runs import GradientRun, notes_of
from expo.report.picture import Caption, draw_picture, headline, sheet
from expo.report.style import COLOURS, GREY, LEGEND_PAD, Axes, Figure, legend_outside
from expo.report.words import NAMES, interval
from expo.stats import MIN_PROBLEMS, Interval, bootstrap_pairs
from expo.text import plural

COLUMNS = ["panel", "source", "other_source", "mean", "low", "high", "questions", "pairs"]
COLUMNS += ["lemma", "lemma_low", "lemma_high", "beyond", "beyond_low", "beyond_high", "enough", "differs"]


def draw_angles(name: str, runs: Sequence[GradientRun], out: Path | str) -> Artefact:
    """Write `gradients-<name>.png` and `.csv`: mean cosines between gradients, within one question and across two.

    They are shown beside the values under Lemma 1's assumptions. With logit gradients that are orthogonal and of equal
    norm, L1-alg gives <s_j, s_k> = C (S2 - pi_j - pi_k) and |s_j|^2 = C (S2 + 1 - 2 pi_j), where S2 is the sum of
    squared probabilities.
    """
    pairs = pd.concat([_pairs(run) for run in runs], ignore_index=True)
    is_same = pairs["problem"] == pairs["other_problem"]
    same, different = pairs[is_same], pairs[~is_same]
    # The lemma says nothing about two questions.
    rows = _cells("of one question", same, pairs) + _cells("of two questions", different.assign(lemma=np.nan), pairs)
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    about = (
        "Cosine of the gradients of log π(positive|q) of two positives with different texts: means, and 95 % "
        "intervals by question. Lemma 1's is that of orthogonal logit gradients of one norm. Differs: the interval of "
        f"the paired difference excludes 0. Faint, and not counted: fewer than {MIN_PROBLEMS} questions."
    )
    setting = (
        "Over all trainable weights, at temperature 1. Lemma 1's assumptions are on one question's logits (claims "
        "L1-ass and L1-alg of the ledger). The heading counts the pairs of kinds that were measured on at least "
        f"{MIN_PROBLEMS} questions. The CSV has the number of pairs."
    )
    # For all kinds together: a text that belongs to two kinds would count twice.
    once, once_apart = same[same["once"]], different[different["once"]]
    return draw_picture(
        out,
        f"gradients-{name}",
        runs,
        numbers,
        _plot,
        heading=headline("", runs, _finding(numbers)),
        notes=notes_of(runs, about),
        reading=_read(once, once_apart),
        setting=setting,
    )


def _pairs(run: GradientRun) -> pd.DataFrame:
    """Pairs of positives of different text: cosine, log of the larger norm over the smaller, and both under Lemma 1.

    `once` says that neither has the same text as an earlier positive of its question.
    """
    alignment = run.alignment
    positives = alignment.assign(
        ids=alignment["ids"].map(tuple), first=alignment.index.isin(distinct(alignment).index)
    ).set_index(["problem", "source"])
    pairs = run.run.read("gradients")
    a, b = (
        positives.loc[list(zip(pairs[f"{side}problem"], pairs[f"{side}source"], strict=True))].reset_index(drop=True)
        for side in ("", "other_")
    )
    pi_a, pi_b = (np.exp(-side["nll_sum"].astype(float)) for side in (a, b))
    # S2 is at least the sum of any two of its terms, but its estimate from repeats among rollouts may be smaller.
    squares = np.maximum(a["repeats"].astype(float), pi_a**2 + pi_b**2)
    norm_a, norm_b = squares + 1 - 2 * pi_a, squares + 1 - 2 * pi_b
    pairs = pairs.assign(
        cosine=(pairs["product"] / (pairs["norm"] * pairs["other_norm"])).astype(float),
        lemma=(squares - pi_a - pi_b) / np.sqrt(norm_a * norm_b),
        ratio=np.abs(np.log(pairs["norm"].astype(float) / pairs["other_norm"].astype(float))),
        lemma_ratio=np.abs(np.log(norm_a / norm_b)) / 2,
        once=a["first"] & b["first"],
    )
    pairs = pairs.assign(beyond=pairs["cosine"] - pairs["lemma"])
    return pairs[a["ids"] != b["ids"]]


def _cells(panel: str, pairs: pd.DataFrame, all_pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """One row for each unordered pair of kinds of positives that has pairs in the panel.

    `differs` says whether the measured cosine differs from Lemma 1's, on `enough` questions to say so.
    """
    sources = [s for s in COLOURS if s in {*all_pairs["source"], *all_pairs["other_source"]}]
    kinds = [frozenset(both) for both in zip(pairs["source"], pairs["other_source"], strict=True)]
    rows = []
    for a, b in combinations_with_replacement(sources, 2):
        of_both = pairs[[both == {a, b} for both in kinds]]
        if of_both.empty:
            continue
        cosine, lemma, beyond = (_over_pairs(of_both, column) for column in ("cosine", "lemma", "beyond"))
        row = {"panel": panel, "source": a, "other_source": b, **asdict(cosine), "questions": cosine.n}
        expected = {"lemma": lemma.mean, "lemma_low": lemma.low, "lemma_high": lemma.high}
        expected |= {"beyond": beyond.mean, "beyond_low": beyond.low, "beyond_high": beyond.high}
        enough = cosine.n >= MIN_PROBLEMS
        differs = enough and (beyond.low > 0 or beyond.high < 0)
        rows.append({**row, "pairs": len(of_both), **expected, "enough": enough, "differs": differs})
    return rows


def _plot(numbers: pd.DataFrame, caption: Caption) -> Figure:
    by_panel = [(str(panel), rows.reset_index(drop=True)) for panel, rows in numbers.groupby("panel", sort=False)]
    figure, grid = sheet(len(by_panel), 1, 0.9 + 0.18 * numbers.groupby("panel").size().mean(), caption)
    panels = [axes for (axes,) in grid]
    rows_of = panels[0].get_gridspec()
    assert rows_of is not None
    rows_of.set_height_ratios([len(rows) for _, rows in by_panel])
    for axes, (panel, rows) in zip(panels, by_panel, strict=True):
        _plot_cosines(axes, rows)
        axes.set_title(panel, pad=LEGEND_PAD if axes is panels[0] else None)
        axes.sharex(panels[0])
    panels[-1].set_xlabel("mean cosine")
    legend_outside(panels[0], 3)
    return figure


def _both(source: str, other: str) -> str:
    return f"{NAMES[source]}, twice" if source == other else f"{NAMES[source]} and {NAMES[other]}"


def _plot_cosines(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8)
    lemma, measured = COLOURS["expert"], COLOURS["explanation"]
    for place, row in enumerate(rows.to_dict("records")):
        alpha = 1.0 if row["enough"] else 0.35
        axes.hlines(place - 0.1, row["low"], row["high"], color=measured, linewidth=1.6, alpha=alpha)
        axes.plot(row["mean"], place - 0.1, "o", color=measured, markersize=4.5, alpha=alpha)
        if np.isfinite(row["lemma"]):
            axes.hlines(place + 0.2, row["lemma_low"], row["lemma_high"], color=lemma, linewidth=0.8, alpha=alpha)
            style: dict[str, Any] = {"markersize": 4, "alpha": alpha, "fillstyle": _fill(row["differs"])}
            axes.plot(row["lemma"], place + 0.2, "D", color=lemma, **style)
    if rows["lemma"].notna().any():
        axes.plot([], [], "o", color=measured, markersize=4.5, label="measured")
        for differs, name in ((True, "Lemma 1, differs from measured"), (False, "Lemma 1, not told apart")):
            axes.plot([], [], "D", color=lemma, markersize=4, fillstyle=_fill(differs), label=name)
    kinds = zip(rows["source"], rows["other_source"], strict=True)
    axes.set_yticks(range(len(rows)), [_both(a, b) for a, b in kinds], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _fill(differs: bool) -> Any:
    return "full" if differs else "none"


def _finding(numbers: pd.DataFrame) -> str:
    """For how many pairs of kinds the mean cosine within a question differs from Lemma 1's."""
    compared = numbers[numbers["lemma"].notna() & numbers["enough"]]
    if compared.empty:
        return "too few questions to compare gradients with Lemma 1"
    differing = int(compared["differs"].sum())
    undecided = len(compared) - differing
    others = f"; {plural(undecided, 'is undecided', 'are undecided')}" if undecided else ""
    return (
        f"within a question, cosines of gradients clearly differ from Lemma 1's in {differing} of "
        f"{plural(len(compared), 'pair of kinds', 'pairs of kinds')}{others}"
    )


def _read(same: pd.DataFrame, different: pd.DataFrame) -> str:
    cosine, lemma, beyond = (_over_pairs(same, column) for column in ("cosine", "lemma", "beyond"))
    distance = _over_pairs(same.assign(beyond=same["beyond"].abs()), "beyond")
    ratio, lemma_ratio = (_over_pairs(same, column) for column in ("ratio", "lemma_ratio"))
    of_two = _over_pairs(different, "cosine")
    absolute = _over_pairs(different.assign(cosine=different["cosine"].abs()), "cosine")
    return (
        f"Of one question ({plural(len(same), 'pair')} of different text, {plural(cosine.n, 'question')}) the mean "
        f"cosine is {interval(cosine)}; under Lemma 1's assumptions, logit gradients that are orthogonal and of one "
        f"norm, it would be {interval(lemma)} (difference {interval(beyond, sign=True)}); a pair is on average "
        f"{interval(distance)} away from that. The larger norm of a pair is {_exp(ratio)} times the "
        f"smaller in geometric mean; it would be {_exp(lemma_ratio)} times. Of two questions, of which the lemma says "
        f"nothing, the mean cosine is {interval(of_two)} and the mean absolute one {interval(absolute)} "
        f"({plural(len(different), 'pair')})."
    )


def _over_pairs(pairs: pd.DataFrame, column: str) -> Interval:
    return bootstrap_pairs(pairs[column], pairs["problem"], pairs["other_problem"])


def _exp(log: Interval) -> str:
    """The interval of a ratio, from the interval of its logarithm."""
    mean, low, high = (float(np.exp(x)) for x in (log.mean, log.low, log.high))
    return interval(Interval(mean, low, high, log.n))
