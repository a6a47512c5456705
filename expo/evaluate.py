"""Accuracy and pass@k of a policy, by level, from a record of how many samples of each problem were right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from expo.audit import audit
from expo.chunks import Frames, do_chunks
from expo.grading.answers import Status
from expo.policies.engine import Request
from expo.policies.grading_ahead import GradingAhead
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.positives.closing import question_ids
from expo.recipe import EvaluateRecipe
from expo.records import Run
from expo.schema import TABLES, as_frame
from expo.setup import set_up_alone
from expo.shards import chunk_of, in_chunks
from expo.stats import Interval, bootstrap, bootstrap_rate, finite_sample, pass_at_k_of
from expo.tasks import Checker
from expo.tasks.problem import Problem
from expo.workers import is_first


def evaluate(
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    rows: int = 64,
    on_finished: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Sample `samples` completions of each plain question and grade them; returns rows of `completions.parquet`.

    A completion is right if its own final answer is right. A problem's samples do not depend on the other problems,
    except for rounding.

    Raises:
        ContextError: if a problem with its completion does not fit the policy's context.
    """
    requests = [Request(f"{p.id}/evaluation", question_ids(policy, p), samples, max_new_tokens) for p in problems]
    with GradingAhead(checker) as ahead:
        finished = ahead.listen(policy, problems, on_finished)
        done = sample(policy, requests, temperature=temperature, seed=seed, rows=rows, on_finished=finished)
        written = [(p, k, c) for p, group in zip(problems, done, strict=True) for k, c in enumerate(group)]
        texts = [policy.decode(c.ids) for _, _, c in written]
        pairs = [(p, text) for (p, *_), text in zip(written, texts, strict=True)]
        grades = ahead.grades(pairs, [c.truncated for *_, c in written])
    table = []
    for (problem, index, completion), text, grade in zip(written, texts, grades, strict=True):
        steps = checker.steps(problem, text[: checker.cot_end(text)])
        table.append(
            {
                "problem": problem.id,
                "level": problem.level,
                "index": index,
                "question": problem.question,
                "reference": problem.answer,
                "text": text,
                "ends": np.array(policy.token_ends(completion.ids, text), dtype=np.int32),
                "tokens": len(completion.ids),
                "truncated": completion.truncated,
                "answer": grade.extracted,
                "status": grade.status.value,
                "steps": len(steps),
                "steps_true": sum(true for _, true in steps),
                "leak": checker.is_leak(text),
            }
        )
    return as_frame("completions", table)


def count(completions: pd.DataFrame, step: int = 0) -> pd.DataFrame:
    """Count the right completions of each problem; returns rows of `evaluation.parquet`."""
    by_problem = completions["problem"]
    groups = completions.groupby(by_problem, sort=False)
    leaks = completions["leak"].astype("boolean").groupby(by_problem, sort=False)
    verdicts = {s.value: (completions["status"] == s).groupby(by_problem, sort=False) for s in Status}
    table = pd.DataFrame(
        {
            "step": step,
            "level": groups["level"].first(),
            "n": groups.size(),
            **{name: found.sum() for name, found in verdicts.items() if name != Status.WRONG},
            **{name: groups[name].sum() for name in ("truncated", "tokens", "steps", "steps_true")},
            # Missing for a problem if it is missing for one of its samples; sums skip missing values.
            "leaks": leaks.sum().where(leaks.count() == leaks.size()),
            "distinct": groups["text"].nunique(),
        }
    )
    return table.reset_index()[list(TABLES["evaluation"])].astype(TABLES["evaluation"])


def by_level(evaluation: pd.DataFrame, k: int = 1) -> dict[int | None, Interval]:
    """Mean pass@k (k = 1: accuracy) over the problems of each level, and over all under None, for one step's rows.

    The 95 % bootstrap intervals resample problems: they account for the draw of problems, not of samples.
    """
    values = pass_at_k_of(evaluation, k)
    out: dict[int | None, Interval] = {None: bootstrap_rate(values.to_numpy())}
    for level, of_level in values.groupby(evaluation["level"]):
        out[int(level)] = bootstrap_rate(of_level.to_numpy())
    return out


def change_by_level(before: pd.DataFrame, after: pd.DataFrame) -> dict[int | None, tuple[Interval, Interval]]:
    """The change of accuracy between two evaluations, over the problems that both have: by level, and None for all.

    Each level has the mean of the differences by problem, with its bootstrap and finite-sample intervals. Empty if the
    evaluations have no problem in common.
    """
    values = (pass_at_k_of(frame.set_index("problem"), 1) for frame in (before, after))
    paired = pd.concat(values, axis=1, keys=["before", "after"], join="inner")
    differences = paired["after"] - paired["before"]
    levels = after.set_index("problem")["level"].reindex(differences.index)
    groups = [(None, differences), *((int(level), of) for level, of in differences.groupby(levels))]
    return {
        level: (bootstrap(of.to_numpy()), finite_sample(of.to_numpy(), -1.0)) for level, of in groups if len(of) > 0
    }


def evaluate_run(
    recipe: EvaluateRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Evaluate in chunks of problems and write the record; resume where an earlier call stopped.

    Raises:
        DataError, PolicyError, RecordError, FloatingPointError: as documented in their modules.
    """
    with set_up_alone(recipe, folder, ["evaluation", "skips"]) as setup:
        run, task, policy = setup.run, setup.task, setup.policy
        skips = as_frame("skips", map(vars, task.skipped))
        chunks = in_chunks(task.problems, chunk_of(run, recipe.chunk))
        for table in ("skips", "completions", "evaluation"):
            if run.has(table):
                run.read(table)  # name a damaged shard before anything is sampled
        if run.has("evaluation"):
            with nullcontext() if policy else run.writing():
                _complete(run, list(chunks), skips, recipe.limits, progress)
            return run
        # With several processes, each loads the policy itself.
        del policy
        done = run.shards("completions")
        with tqdm(
            desc=recipe.title,
            total=len(task.problems) * recipe.samples_each,
            initial=sum(len(chunks[name]) for name in chunks.keys() & done) * recipe.samples_each,
            unit="sample",
            disable=not (progress and is_first()),
        ) as bar:
            do_chunks(recipe, setup, chunks, _chunk, "completions", lambda: (bar.update(), on_step()))
        _complete(run, list(chunks), skips, recipe.limits, progress)
        return run


def _chunk(
    recipe: EvaluateRecipe,
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    _: Sequence[Problem],
    on_step: Callable[[], object],
) -> Frames:
    completions = evaluate(
        policy,
        checker,
        problems,
        samples=recipe.samples_each,
        temperature=recipe.temperature,
        max_new_tokens=recipe.token_limit,
        seed=recipe.seed,
        rows=recipe.rows,
        on_finished=on_step,
    )
    return {"completions": completions}


def _complete(
    run: Run, chunks: Sequence[str], skips: pd.DataFrame, limits: Sequence[int] | None, progress: bool
) -> None:
    """Join the tables that a run still lacks, and write the grades at these limits."""
    if not run.has("skips"):
        run.write("skips", skips)
    if not run.has("completions") and run.shards("completions") >= set(chunks):
        run.write("completions", pd.concat([run.read("completions", name) for name in chunks], ignore_index=True))
    # The table that marks the run as finished comes last.
    if not run.has("evaluation"):
        run.write("evaluation", count(run.read("completions")))
    if limits and not (run.has("grades") and set(run.read("grades")["limit"]) >= set(limits)):
        audit(run, limits, progress)
