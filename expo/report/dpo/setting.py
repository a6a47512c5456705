"""Shared by the tables and pictures of DPO: pass@4, the metrics of a training, and the description of its setting."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from expo.report import paper
from expo.report.accuracy import LEGEND as PASS_AT_K
from expo.report.markdown import markdown_table
from expo.report.toy import beside_paper
from expo.report.training.setting import against, rates, schedule
from expo.report.trainings import EvaluatedRun, by_method
from expo.report.words import listed, method_name, share, spanned

K = 4  # the paper's pass@4
COLUMNS = ["set", "method", "k", "mean", "low", "high", "lowest", "highest", "bases", "problems", "n"]
LEGEND = f"pass@{K} of the test problems, {PASS_AT_K}"
# The number of steps over which a batch's loss is averaged before it is drawn or reported.
SMOOTH = 5


def metric(run: EvaluatedRun, name: str) -> pd.Series:
    """A metric of a training, by step."""
    metrics = run.run.read("metrics")
    return metrics[metrics["name"] == name].set_index("step")["value"].astype(float)


def smooth(values: pd.Series, step: int) -> float:
    """The mean of the last few batches before a step; of the first batch, at step 0."""
    return float(values[(values.index > step - SMOOTH) & (values.index <= max(step, 1))].mean())


def first_round(run: EvaluatedRun) -> pd.DataFrame:
    """The watched pairs of a training's first round, at each measured step."""
    margins = run.run.read("margins")
    return margins[margins["sampled"] == margins["sampled"].min()]


def setting(runs: Sequence[EvaluatedRun]) -> str:
    """How the runs of a table or a picture were trained and evaluated."""
    first = next((run for run in runs if run.is_dpo), runs[0])
    is_one_each = len({(run.method, run.rate) for run in runs}) == len({run.method for run in runs})
    all_rates = listed([f"{rate:g}" for rate in sorted({run.rate for run in runs})])
    return (
        f"Trained on {first.levels}{against(runs)} for {spanned(run.last_step for run in runs)} steps; "
        f"{schedule([first])}; seed {first.seed}. Learning rates: {rates(runs) if is_one_each else all_rates}. "
        f"Evaluated on the split `{first.recipe['eval_split']}` at T = {first.recipe['eval_temperature']:g}."
    )


def pairs_learnt(runs: Sequence[EvaluatedRun]) -> str:
    """How many different pairs each arm learnt, and which kind: the arms do not learn the same pairs."""
    lines = [
        "What each method learnt. A problem without a pair (its winner is also its loser, or it has no winner) is left "
        "out, and the others go round again:",
        "",
    ]
    for method, arm in by_method(run for run in runs if run.is_dpo).items():
        tables = [run.run.read("pairs") for run in arm]
        pairs = pd.concat(tables)
        problems = [table["problem"].nunique() for table in tables]
        places = arm[0].last_step * arm[0].batch
        is_hard = pairs["level"].dropna() >= 4
        hard = f"{share(float(is_hard.mean()))} of the pairs of levels 4 and 5, " if len(is_hard) else ""
        right = float((pairs["loser_status"] == "correct").mean())
        lines.append(
            f"- {method_name(method)}: {spanned(problems)} problems a base for {places} places, {hard}"
            f"right losers in {share(right)}"
        )
    return "\n".join(lines)


def printed_table2(runs: Sequence[EvaluatedRun]) -> str:
    """The paper's Table 2, to be shown below what was measured."""
    about = beside_paper("other models on other tasks", runs)
    symbols = {"explanation": "c̃", "expert": "c_E"}
    heads = ["", *(f"{model}, {when}, {symbols[source]}" for model, when, source in paper.TABLE2_COLUMNS)]
    rows = [
        [task, *(f"**{v}** ⚠" if paper.contradicts(task, i) else v for i, v in enumerate(values))]
        for task, values in paper.TABLE2.items()
    ]
    return (
        f"## The paper's Table 2 ({about}): pass@4, in per cent\n\n"
        f"{markdown_table(heads, rows, ['---', *['--:'] * len(paper.TABLE2_COLUMNS)])}\n\n"
        "⚠ contradicts the caption, by which self-explanations (c̃) are always above expert CoTs (c_E)."
    )
