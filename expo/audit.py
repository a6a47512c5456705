"""Audit a baseline: the same samples, cut at several token limits and graded by several graders.

What a policy "can do" depends on the grader and on the token limit. An evaluation keeps its samples, so both can be
changed afterwards: `expo grade --run FOLDER`, or an evaluation with `--limits`, writes `grades.parquet` next to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import pandas as pd
from tqdm import tqdm

from expo.grade import graders
from expo.grading.answers import Grade, Status
from expo.grading.last_number import last_number
from expo.records import RecordError, Run
from expo.schema import as_frame
from expo.stats import Interval, bootstrap_rate, pass_at_k_of
from expo.tasks import TASKS, checker_of, rules_of
from expo.tasks.problem import Problem
from expo.text import plural

# Grades a problem's completion, given whether it was cut at its token limit.
Grader = Callable[[Problem, str, bool], Grade]


def audit(run: Run, limits: Sequence[int] = (), progress: bool = True) -> pd.DataFrame:
    """Grade the samples of a finished evaluation and write `grades.parquet`, replacing an earlier one.

    Args:
        run: a record written by `expo evaluate`.
        limits: token limits, at most the evaluation's own, which is always included; the default adds half and a
            quarter of it.
        progress: whether to show a progress bar.

    Raises:
        RecordError: for a run without completions, or a limit out of range.
    """
    if not run.has("completions"):
        if run.has("samples"):
            raise RecordError(
                f"{run.folder} is a record of `expo measure`; the audit needs a record of `expo evaluate`"
            )
        if not run.has("evaluation") and run.path("recipe.yaml").exists():
            raise RecordError(f"{run.folder} holds an unfinished run: repeat the command of its evaluation")
        raise RecordError(
            f"{run.folder} has no completions.parquet; run `expo evaluate` again with this version, which writes one"
        )
    recipe, completions = run.recipe(), run.read("completions")
    most = int(recipe["max_new_tokens"])
    chosen = sorted({most, *(limits or (max(1, most // 2), max(1, most // 4)))})
    if not 1 <= chosen[0] <= chosen[-1] <= most:
        raise RecordError(f"limits must be between 1 and {most}, the token limit of {run.folder}; got {list(limits)}")
    rows = []
    with ExitStack() as stack:
        by_name = _graders(recipe, stack)
        total = len(chosen) * len(by_name) * len(completions)
        bar = stack.enter_context(tqdm(total=total, desc="grading", unit="grade", disable=not progress))
        samples = completions.to_dict("records")
        for limit in chosen:
            texts = [_cut(row, limit) for row in samples]
            for name, grader in by_name.items():
                rows += _count(completions, texts, limit, name, grader, bar.update)
        grades = as_frame("grades", rows)
        run.write("grades", grades)
    return grades


def _graders(recipe: dict[str, Any], stack: ExitStack) -> dict[str, Grader]:
    """The graders of a task: for texts, those for mathematics; else its exact grader, and one more for the toy."""
    if not TASKS[recipe["task"]].checker and recipe.get("grader", "math") == "math":
        by_name = graders(stack, rules_of(recipe))
        return {name: _of_answer(grader) for name, grader in by_name.items()}
    checker = stack.enter_context(closing(checker_of(recipe)))
    exact: dict[str, Grader] = {"exact": lambda problem, text, _: checker.grade([(problem, text)])[0]}
    return {**exact, "last number": _last_value} if TASKS[recipe["task"]].vocabulary else exact


def _of_answer(grader: Callable[[str, str, bool], Grade]) -> Grader:
    return lambda problem, text, truncated: grader(problem.answer, text, truncated)


def _last_value(problem: Problem, text: str, _: bool) -> Grade:
    """Whether the text's last number is the last number of the answer; the cue and other values are ignored."""
    number = last_number(text)
    if number is None:
        return Grade(Status.UNPARSED, None)
    return Grade(Status.CORRECT if number == problem.answer.split()[-1] else Status.WRONG, number)


def _cut(row: dict[Any, Any], limit: int) -> tuple[str, bool]:
    """Cut a completion at a lower token limit; returns the text and whether it was cut."""
    if row["tokens"] <= limit:
        return str(row["text"]), bool(row["truncated"])
    return str(row["text"])[: int(row["ends"][limit - 1])], True


def _count(
    completions: pd.DataFrame,
    texts: Sequence[tuple[str, bool]],
    limit: int,
    name: str,
    grader: Grader,
    on_graded: Callable[[], object],
) -> list[dict[str, Any]]:
    """Count the texts of each problem that one grader accepts as right."""
    known: dict[tuple[Problem, str, bool], Status] = {}
    statuses = []
    asked = completions[["problem", "question", "reference"]].itertuples(index=False)
    for (name_of, question, answer), (text, truncated) in zip(asked, texts, strict=True):
        key = (Problem(name_of, question, answer), text, truncated)
        if key not in known:
            known[key] = grader(*key).status
        statuses.append(known[key])
        on_graded()
    graded = completions.assign(status=statuses, cut=[truncated for _, truncated in texts])
    return [
        {
            "grader": name,
            "limit": limit,
            "problem": problem,
            "level": rows["level"].iloc[0],
            "n": len(rows),
            **{s.value: int((rows["status"] == s).sum()) for s in Status if s is not Status.WRONG},
            "truncated": int(rows["cut"].sum()),
        }
        for problem, rows in graded.groupby("problem", sort=False)
    ]


def sizes(n: int) -> list[int]:
    """The values of k shown for pass@k with n samples per problem: the powers of two below n, and n itself."""
    return sorted({n, *(2**i for i in range(n.bit_length()) if 2**i <= n)})


def pass_rate(grades: pd.DataFrame, k: int) -> Interval:
    """Mean pass@k over the problems of one grader and limit, with its interval."""
    return bootstrap_rate(pass_at_k_of(grades, k).to_numpy())


def show(grades: pd.DataFrame) -> str:
    """The grades as a table for the terminal: pass@1 and pass@n for each grader and limit."""
    n = int(grades["n"].min())
    ks = sorted({1, n})
    heads = "".join(f"{f'pass@{k} [95 % interval]':<28}" for k in ks)
    lines = [f"{'grader':<16}{'tokens':>7}  {heads}{'unparsed':>9}{'cut':>6}"]
    for (name, limit), rows in grades.groupby(["grader", "limit"], sort=False):
        rates = [pass_rate(rows, k) for k in ks]
        cells = "".join(f"{f'{r.mean:.3f} [{r.low:.3f}, {r.high:.3f}]':<28}" for r in rates)
        shares = [rows[column].sum() / rows["n"].sum() for column in ("unparsed", "truncated")]
        lines.append(f"{name:<16}{limit:>7}  {cells}{shares[0]:>9.0%}{shares[1]:>6.0%}")
    return "\n".join([*lines, f"n = {plural(grades['problem'].nunique(), 'problem')}, {plural(int(n), 'sample')} each"])
