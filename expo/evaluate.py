"""Accuracy and pass@k of a policy, by level, from a record of how many of each problem's samples were right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from expo.grading import Checker, checker_for
from expo.grading.answers import Status
from expo.measure.recipe import EvaluateRecipe
from expo.measure.run import facts, load, load_problems
from expo.measure.verdict import Interval, bootstrap
from expo.policies.policy import Policy
from expo.policies.sampling import Completion, Request, sample
from expo.positives import longest, question_ids
from expo.records import Run, usual
from expo.tables import as_frame
from expo.tasks import Task
from expo.tasks.problem import DataError, Problem, Skip


def evaluate(
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    step: int = 0,
    rows: int = 64,
    on_finished: Callable[[Completion], object] | None = None,
) -> pd.DataFrame:
    """Sample `samples` completions of each plain question and grade them: the rows of `evaluation.parquet`.

    A completion is right if its own final answer is; one that met the token limit is counted as truncated and graded
    all the same. The samples of a problem do not depend on the other problems, up to rounding.

    Raises:
        ContextError: for a problem that does not fit the policy's context with its completion.
    """
    requests = [Request(f"{p.id}/evaluation", question_ids(policy, p), samples, max_new_tokens) for p in problems]
    done = sample(policy, requests, temperature=temperature, seed=seed, rows=rows, on_finished=on_finished)
    texts = [[policy.decode(c.ids) for c in group] for group in done]
    grades = iter(checker.grade([(p, t) for p, group in zip(problems, texts, strict=True) for t in group]))
    table = []
    for problem, group, written in zip(problems, done, texts, strict=True):
        statuses = [next(grades).status for _ in group]
        steps = [checker.steps(problem, text[: checker.cot_end(text)]) for text in written]
        table.append(
            {
                "step": step,
                "problem": problem.id,
                "level": problem.level,
                "n": len(group),
                "correct": statuses.count(Status.CORRECT),
                "unparsed": statuses.count(Status.UNPARSED),
                "timeout": statuses.count(Status.TIMEOUT),
                "truncated": sum(c.truncated for c in group),
                "tokens": sum(len(c.ids) for c in group),
                "steps": sum(map(len, steps)),
                "steps_true": sum(true for of_one in steps for _, true in of_one),
            }
        )
    return as_frame("evaluation", table)


def within_context(policy: Policy, task: Task, max_new_tokens: int, name: str = "max_new_tokens") -> Task:
    """The task without the problems that have no room in the policy's context; these are skips.

    Room is for the question, a completion of `max_new_tokens`, and the answer that it is closed with to be scored.

    Raises:
        DataError: if none is left; it says what limit, called `name`, would leave room for all.
    """
    kept, skips = [], []
    for p in task.problems:
        tokens = longest(policy, p, max_new_tokens)
        if tokens <= policy.context:
            kept.append(p)
        else:
            reason = f"up to {tokens} tokens with its completion exceed the context of {policy.context}; left out"
            skips.append(Skip(p.where or p.id, "question", reason))
    if not kept:
        room = policy.context - max(longest(policy, p, 0) for p in task.problems)
        mend = f"--{name} {room} fits all" if room > 0 else f"some fit with a lower --{name}, but not all"
        raise DataError(
            f"{task.source or task.name}: none of {len(skips)} problems fits the policy's context of {policy.context} "
            f"tokens with {name} {max_new_tokens}; {mend}"
        )
    return replace(task, problems=tuple(kept), skipped=(*task.skipped, *skips))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): unbiased from n samples of which c are right (ledger: PASSK).

    As a product of k factors below 1, so that no binomial overflows.

    Raises:
        ValueError: unless 1 <= k <= n and 0 <= correct <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem, and k at least 1; there are {n}")
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be from 0 to {n}, got {correct}")
    if n - correct < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - correct + 1, n + 1)))


def by_level(evaluation: pd.DataFrame, k: int = 1) -> dict[int | None, Interval]:
    """Mean pass@k (k = 1: accuracy) over the problems of each level, and of all under None, for one step's rows.

    With 95 % bootstrap intervals, problems resampled: what another draw of problems would give, not of samples.
    """
    values = pd.Series(
        [pass_at_k(int(n), int(c), k) for n, c in zip(evaluation["n"], evaluation["correct"], strict=True)],
        index=evaluation.index,
        dtype=float,
    )
    out: dict[int | None, Interval] = {None: bootstrap(values.to_numpy())}
    for level, held in values.groupby(evaluation["level"]):
        out[int(level)] = bootstrap(held.to_numpy())
    return out


def evaluate_run(
    recipe: EvaluateRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Evaluate, chunk by chunk of problems, and write the record; go on where an earlier call stopped."""
    measuring = recipe.measuring()
    with closing(checker_for(recipe.task)) as checker, ExitStack() as stack:
        task = load_problems(measuring, checker)
        run = Run(folder)
        policy = None if run.has("evaluation") and run.has("skips") else load(measuring)
        # Before anything is written: what is refused leaves no folder.
        fitting = within_context(policy, task, recipe.max_new_tokens) if policy else task
        run = Run.start(folder, recipe.resolved(), usual(EvaluateRecipe), **facts(measuring, task, policy))
        if policy is None:
            return run
        stack.enter_context(run.held())
        task = fitting
        if run.has("evaluation"):
            run.write("skips", as_frame("skips", map(vars, task.skipped)))
            return run
        chunks = [task.problems[i : i + recipe.chunk] for i in range(0, len(task.problems), recipe.chunk)]
        done = run.parts("evaluation")
        with tqdm(
            desc=f"{recipe.policy} on {task.name}",
            total=len(task.problems) * recipe.samples,
            initial=sum(len(c) for i, c in enumerate(chunks) if f"{i:04d}" in done) * recipe.samples,
            unit="sample",
            disable=not progress,
        ) as bar:
            for i, problems in enumerate(chunks):
                if f"{i:04d}" in done:
                    continue
                frame = evaluate(
                    policy,
                    checker,
                    problems,
                    samples=recipe.samples,
                    temperature=recipe.temperature,
                    max_new_tokens=recipe.max_new_tokens,
                    seed=recipe.seed,
                    rows=recipe.rows,
                    on_finished=lambda _: (bar.update(), on_step()),
                )
                run.write("evaluation", frame, f"{i:04d}")
        parts = [run.read("evaluation", f"{i:04d}") for i in range(len(chunks))]
        run.write("skips", as_frame("skips", map(vars, task.skipped)))
        run.write("evaluation", pd.concat(parts, ignore_index=True))
        return run
