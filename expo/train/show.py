"""A training run or an evaluation in the terminal."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
import yaml

from expo.audit import pass_rate, sizes
from expo.evaluate import by_level, change_by_level
from expo.gradients.predictors import unit_slopes
from expo.records import RecordError, Run, identity
from expo.stats import bootstrap, bootstrap_questions
from expo.terminal import NAMES, TOY, sampled_in, skipped
from expo.text import plural

PAIRED = ", paired by problem (mean, 95 % bootstrap interval, finite-sample interval):"
# Fields in which two evaluations may differ when they are compared on their common problems.
_OTHERS = ("policy", "revision", "problems", "levels", "data", "samples")


def show(run: Run) -> str:
    """Accuracy and pass@k by level with 95 % intervals, for the first and the last step of the record."""
    evaluation, recipe, environment = run.read("evaluation"), run.recipe(), run.environment()
    toy = TOY if environment.get("toy") else ""
    n = int(evaluation["n"].min())
    each = f"{plural(n, 'sample')} per problem"
    head = f"{recipe['policy']} on {recipe['task']}{toy}: {each}, seed {environment['seed']}"
    lines = ["", head, *sampled_in(run), ""]
    lines += _accuracies(evaluation, n)
    if run.has("groups") and len(groups := run.read("groups")):
        heading = "share of training groups that give GRPO no gradient:"
        # This depends on the reward's values, which are not in the table.
        own = "training groups by their answers (GRPO learns from your own reward):"
        lines += ["", own if recipe.get("reward") else heading]
        for level, (count, none, full) in without_signal(groups).items():
            shown = f"{count:>5} {'group ' if count == 1 else 'groups'}"
            lines.append(f"  {_level(level):<11} {shown}     {none:.0%} with no right sample, {full:.0%} all right")
    if recipe.get("reward"):
        lines += _without_reward(run.read("metrics"))
    if run.has("positives") and len(positives := run.read("positives")):
        first = positives[positives["step"] == positives["step"].min()]
        lines += ["", f"{plural(first['problem'].nunique(), 'problem')} had a positive at the start"]
    if recipe.get("positive_choice", "first") != "first":
        lines += ["", *_chosen(run.read("positives"), recipe)]
    if run.has("pairs"):
        lines += ["", *_pairs(run.read("pairs")), *_ended_early(run, int(evaluation["step"].max()))]
    if run.has("alignment"):
        lines += ["", *_slopes(run.read("alignment"))]
    if run.path("completions.md").exists():
        lines += ["", f"some completions to read: {run.path('completions.md')}"]
    return "\n".join([*lines, "", *skipped(run)])


def _accuracies(evaluation: pd.DataFrame, n: int) -> list[str]:
    """Accuracy and pass@k at the first and the last step, and the change of accuracy between them."""
    first, last = (evaluation[evaluation["step"] == step] for step in evaluation["step"].agg(["min", "max"]))
    begun, done = (int(at["step"].iloc[0]) for at in (first, last))
    if begun == done:
        return _at(last, n, "")
    heading = f"change from step {begun} to step {done}{PAIRED}"
    return [*_at(first, n, f"step {begun}: "), *_at(last, n, f"step {done}: "), "", heading, *_changes(first, last)]


def _at(evaluation: pd.DataFrame, n: int, when: str) -> list[str]:
    """Accuracy and pass@k of one step."""
    cut, unread = (evaluation[name].sum() / evaluation["n"].sum() for name in ("truncated", "unparsed"))
    lines = [f"{when}{cut:.0%} of samples reached the token limit, {unread:.0%} gave no answer"]
    for level, accuracy in by_level(evaluation).items():
        wide = f"   pass@{n} {by_level(evaluation, n)[level]}" if n > 1 else ""
        lines.append(f"{_problems(level, accuracy.n)}   accuracy {accuracy}{wide}")
    return lines + _passes(evaluation, n)


def _problems(level: int | None, n: int) -> str:
    return f"  {_level(level):<11} {n:>5} {'problem ' if n == 1 else 'problems'}"


def _passes(evaluation: pd.DataFrame, n: int) -> list[str]:
    """Over all levels, pass@k for the values of k between 1 and n, which are shown above."""
    between = [f"pass@{k} {pass_rate(evaluation, k)}" for k in sizes(n) if 1 < k < n]
    return textwrap.wrap(f"all levels: {', '.join(between)}", 110, initial_indent="  ") if between else []


def _changes(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    return [
        f"{_problems(level, mean.n)}   accuracy {mean}, finite-sample {bounded.brackets}"
        for level, (mean, bounded) in change_by_level(before, after).items()
    ]


def show_change(before: Run, after: Run) -> str:
    """How much accuracy has changed since an earlier evaluation, over their common problems, as text.

    Raises:
        RecordError: if they have none in common.
    """
    runs = (before, after)
    asked = [run.read("completions").drop_duplicates("problem").set_index("problem") for run in runs]
    texts = [of[["question", "reference"]].agg(tuple, axis=1) for of in asked]
    both = pd.concat(texts, axis=1, join="inner")
    same = both.index[both[0] == both[1]]
    if same.empty:
        raise RecordError(f"--before {before.folder} has no problem in common with {after.folder}; name another run")
    first, last = (frame[frame["problem"].isin(same)] for frame in (run.read("evaluation") for run in runs))
    old, new = (identity(run.recipe()) for run in runs)
    other = sorted(name for name in old | new if old.get(name) != new.get(name) and name not in _OTHERS)
    warned = [f"(not only the policy has changed, but also {', '.join(other)})"] if other else []
    return "\n".join([f"change since {before.folder}{PAIRED}", *_changes(first, last), *warned])


def _without_reward(metrics: pd.DataFrame) -> list[str]:
    """A line with the number of steps at which a user's reward applied to no completion, if any."""
    rewards = metrics[metrics["name"] == "reward"]["value"]
    if not rewards.isna().any():
        return []
    return ["", f"at {rewards.isna().sum()} of {len(rewards)} steps the reward was None for every completion"]


def _chosen(positives: pd.DataFrame, recipe: dict[str, Any]) -> list[str]:
    """How positives were chosen among their candidates, each time they were sampled; means over problems."""
    choice, tries = recipe["positive_choice"], recipe["positive_tries"]
    how = (
        f"all of {tries} samples learnt with weights"
        if choice == "weighted"
        else f"chosen by {choice} of {tries} samples"
    )
    lines = [f"positives {how}:"]
    for step, of_round in positives.groupby("step"):
        each = of_round.drop_duplicates("problem")
        said = f"  step {step}: n = {len(each)} problems, {each['candidates'].mean():.1f} acceptable samples each; "
        said += f"{_moved(of_round, choice)} of problems"
        if each["effective_samples"].notna().any():
            worth, entropy = (
                bootstrap(each[name].to_numpy(dtype=float)) for name in ("effective_samples", "weight_entropy")
            )
            said += f"; effective sample size {worth}, entropy of the weights {entropy} nats"
        lines.append(said)
    return lines


def _moved(positives: pd.DataFrame, choice: str) -> str:
    """The share of problems whose choice (for weighted: the text with the largest weight) is not the first text."""
    if choice != "weighted":
        if positives["first_text"].isna().all():  # a record of an older version
            return f"a sample other than the first in {(positives['place'] > 0).mean():.0%}"
        return f"a text other than the first in {(~positives['first_text'].astype(bool)).mean():.0%}"
    texts = positives.assign(ids=positives["ids"].map(tuple)).groupby(["step", "problem", "ids"], as_index=False)
    by_text = texts.agg({"weight": "sum", "place": "min"}).sort_values(["weight", "place"], ascending=[False, True])
    heaviest = by_text.drop_duplicates(["step", "problem"])
    return f"the text with the largest weight differs from the first sample in {(heaviest['place'] > 0).mean():.0%}"


def _pairs(pairs: pd.DataFrame) -> list[str]:
    """The number of pairs in each round, and of right losers among them; problems without a pair are in the skips."""
    lines = []
    for step, of_round in pairs.groupby("step"):
        right = int((of_round["loser_status"] == "correct").sum())
        lines.append(f"pairs sampled at step {step}: {len(of_round)}, of which {right} have a right loser")
    return lines


def _ended_early(run: Run, last: int) -> list[str]:
    """A note that a DPO run ended early because a round had no pair."""
    wanted = yaml.safe_load(run.path("trl.yaml").read_text(encoding="utf-8"))["max_steps"]
    return [f"ended after step {last} of {wanted}: no problem of the next round had a pair"] if last < wanted else []


def _slopes(alignment: pd.DataFrame) -> list[str]:
    """The slope of J along the gradients of watched questions, at the first and the last step."""
    lines = ["slope of J per unit step along the gradient, for some training questions, at the first and last step:"]
    rows = alignment.assign(unit=unit_slopes(alignment)).set_index("problem")
    for source, of_source in rows.groupby("source", sort=False):
        steps = of_source["step"].min(), of_source["step"].max()
        first, last = (bootstrap_questions(of_source.loc[of_source["step"] == step, "unit"]) for step in steps)
        lines.append(f"  {NAMES[str(source)]:<31} {first}   {last}, n = {last.n}")
    return lines


def _level(level: int | None) -> str:
    return "all levels" if level is None else f"level {level}"


def without_signal(groups: pd.DataFrame) -> dict[int | None, tuple[int, float, float]]:
    """The number of groups and the shares with no right and only right samples, by level; all levels under None."""

    def of(rows: pd.DataFrame) -> tuple[int, float, float]:
        return len(rows), float((rows["correct"] == 0).mean()), float((rows["correct"] == rows["n"]).mean())

    levels = sorted(groups["level"].dropna().unique())
    return {None: of(groups), **{int(level): of(groups[groups["level"] == level]) for level in levels}}
