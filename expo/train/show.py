"""A training or an evaluation in the terminal, and some of its completions to be read."""

from __future__ import annotations

import pandas as pd
import yaml

from expo.evaluate import by_level
from expo.measure.predictors import over_questions, unit_slopes
from expo.measure.show import NAMES, skipped
from expo.records import Run
from expo.text import fenced, plural, visible


def show(run: Run) -> str:
    """Accuracy and pass@k by level with 95 % intervals, for the first and the last step of the record."""
    evaluation, recipe, environment = run.read("evaluation"), run.recipe(), run.environment()
    toy = " (a toy: it shows a mechanism, no effect size)" if environment.get("toy") else ""
    n = int(evaluation["n"].min())
    each = f"{plural(n, 'sample')} a problem"
    lines = ["", f"{recipe['policy']} on {recipe['task']}{toy}: {each}, seed {environment['seed']}", ""]
    trained = evaluation["step"].max() > 0
    for step in sorted({evaluation["step"].min(), evaluation["step"].max()}):
        held = evaluation[evaluation["step"] == step]
        cut, unread = (held[name].sum() / held["n"].sum() for name in ("truncated", "unparsed"))
        when = f"step {step}: " if trained else ""
        lines.append(f"{when}{cut:.0%} of samples met the token limit, {unread:.0%} gave no answer")
        for level, accuracy in by_level(held).items():
            wide = f"   pass@{n} {by_level(held, n)[level]}" if n > 1 else ""
            lines.append(f"  {_level(level):<11} {accuracy.n:>5} problems   accuracy {accuracy}{wide}")
    if run.has("groups") and len(groups := run.read("groups")):
        lines += ["", "groups of own samples while training, from which GRPO learns nothing:"]
        for level, (held, none, full) in without_signal(groups).items():
            lines.append(
                f"  {_level(level):<11} {held:>5} groups     {none:.0%} without a right sample, {full:.0%} all right"
            )
    if run.has("pairs"):
        lines += ["", *_pairs(run.read("pairs")), *_ended_early(run, int(evaluation["step"].max()))]
    if run.has("alignment"):
        lines += ["", *_slopes(run.read("alignment"))]
    if run.path("completions.md").exists():
        lines += ["", f"some completions to read: {run.path('completions.md')}"]
    return "\n".join([*lines, "", *skipped(run), f"record: {run.folder}/"])


def _pairs(pairs: pd.DataFrame) -> list[str]:
    """How many pairs each round had, and how many of their losers were right; those without a pair are skips."""
    lines = []
    for step, held in pairs.groupby("step"):
        right = int((held["loser_status"] == "correct").sum())
        lines.append(f"pairs sampled at step {step}: {len(held)}, of which {right} have a right loser")
    return lines


def _ended_early(run: Run, last: int) -> list[str]:
    """That a training by DPO had no pair for one of its rounds, and so ended before it."""
    wanted = yaml.safe_load(run.path("trl.yaml").read_text(encoding="utf-8"))["max_steps"]
    return [f"ended after step {last} of {wanted}: no problem of the next round had a pair"] if last < wanted else []


def _slopes(alignment: pd.DataFrame) -> list[str]:
    """How J rises along the gradients of the questions watched, at the first step and the last."""
    lines = ["slope of J per unit of step along the gradient, some questions trained on, first step and last:"]
    rows = alignment.assign(unit=unit_slopes(alignment)).set_index("problem")
    for source, held in rows.groupby("source", sort=False):
        steps = held["step"].min(), held["step"].max()
        first, last = (over_questions(held.loc[held["step"] == step, "unit"]) for step in steps)
        lines.append(f"  {NAMES[str(source)]:<31} {first}   {last}, n = {last.n}")
    return lines


def _level(level: int | None) -> str:
    return "all levels" if level is None else f"level {level}"


def without_signal(groups: pd.DataFrame) -> dict[int | None, tuple[int, float, float]]:
    """How many groups, and the shares of them with no right sample and with right samples only, by level; all: None."""

    def of(held: pd.DataFrame) -> tuple[int, float, float]:
        return len(held), float((held["correct"] == 0).mean()), float((held["correct"] == held["n"]).mean())

    levels = sorted(groups["level"].dropna().unique())
    return {None: of(groups), **{int(level): of(groups[groups["level"] == level]) for level in levels}}


def completions(run: Run, problems: int = 3) -> str:
    """What some of the watched training problems were answered at each step measured, as Markdown.

    Beside each own sample stand its grade and the NLL (nats per token) of the positive under the policy of the time.
    """
    probes = run.read("probes")
    toy = " (toy)" if run.environment().get("toy") else ""
    lines = [f"# Completions of training problems{toy}", "", "As sampled while training, whole."]
    for i, problem in enumerate(list(dict.fromkeys(probes["problem"]))[:problems], 1):
        held = probes[probes["problem"] == problem]
        first = held.iloc[0]
        lines += [
            "",
            f"## Problem {i}",
            "",
            fenced(visible(f"{problem}\n\n{first['question']}\n\n{first['reference']}")),
        ]
        for step, at in held.groupby("step"):
            own, learnt = at[at["source"] == "own"].iloc[0], at[at["source"] != "own"]
            after = "".join(
                f"; its positive ({r['source']}): {r['nll_per_token']:.3g} nats per token" for _, r in learnt.iterrows()
            )
            lines += ["", f"**step {step}**: {own['status']}{after}", "", fenced(visible(str(own["text"])))]
        for _, r in held[held["source"] != "own"].drop_duplicates("text").iterrows():
            lines += [
                "",
                f"**positive** ({r['source']}), seen at step {r['step']}",
                "",
                fenced(visible(str(r["text"]))),
            ]
    return "\n".join(lines) + "\n"
