"""`measure`: takes problems, writes a record of scored positives; can resume at every chunk of problems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from expo.chunks import Frames, do_chunks
from expo.grading.answers import Grade, Status
from expo.measure.acts import mentions_by_problem, share_metrics
from expo.measure.prompted import score_prompted, token_row
from expo.measure.samples import sample_row
from expo.measure.verdict import summary
from expo.measure.weights import posterior_metrics
from expo.policies.grading_ahead import GradingAhead
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import score
from expo.positives.kinds import Positive, experts, fitting, from_sample
from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.schema import as_frame
from expo.setup import set_up_alone
from expo.shards import chunk_of, in_chunks, join_shards, restore_tables
from expo.tasks import Checker
from expo.tasks.columns import USUAL
from expo.tasks.problem import Problem, Skip, Task
from expo.workers import is_first


def measure(
    recipe: MeasureRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Sample, build, grade and score positives, and write the record; resume where an earlier call stopped.

    Each chunk of problems is a fixed function of the recipe, so a resumed run has the same numbers as an uninterrupted
    one.

    Raises:
        DataError, PolicyError, RecordError, FloatingPointError: as documented in their modules.
    """
    with set_up_alone(recipe, folder, ["samples"], leave_out_too_long=False) as setup:
        run, task, policy = setup.run, setup.task, setup.policy
        names = ["samples", *(["tokens"] if recipe.token_scores else [])]
        if policy is None:
            restore_tables(run, names, task.skipped)
            if not run.has("metrics"):
                tokens = run.read("tokens") if run.has("tokens") else None
                run.write("metrics", _metrics(recipe, run.read("samples"), tokens))
            return run
        _tell_missing(recipe, task)
        chunks = in_chunks(task.problems, chunk_of(run, recipe.chunk))
        # With several processes, each loads the policy itself.
        del policy
        done = run.shards("samples")
        steps = _steps(recipe, task.problems)
        with tqdm(
            desc=recipe.title,
            total=steps,
            initial=sum(_steps(recipe, chunks[name]) for name in chunks.keys() & done),
            unit=" step",
            disable=not (progress and is_first()),
        ) as bar:
            do_chunks(recipe, setup, chunks, _chunk, "samples", lambda: (bar.update(), on_step()))
            # Problems that exceed the context take no steps.
            bar.update(steps - bar.n)
        tables = join_shards(run, names, list(chunks), task.skipped)
        # `samples`, which marks the run as finished, comes last.
        tables["metrics"] = _metrics(recipe, tables["samples"], tables.get("tokens"))
        for table in (*tables.keys() - {"samples"}, "samples"):
            run.write(table, tables[table])
        return run


def _steps(recipe: MeasureRecipe, problems: Sequence[Problem]) -> int:
    """The steps of a bar: each sample is drawn and scored, each expert CoT only scored."""
    experts = sum(p.expert_cot is not None for p in problems) if "expert" in recipe.sources else 0
    return 2 * sum(recipe.counts.values()) * len(problems) + experts


def _tell_missing(recipe: MeasureRecipe, task: Task) -> None:
    """Say before hours of sampling that nothing will be compared with an expert CoT, if the problems have none."""
    if "expert" in recipe.sources and is_first() and not any(p.expert_cot for p in task.problems):
        columns = " or ".join(USUAL["expert_cot"][:3])
        tqdm.write(
            f"{task.source}: no problem has an expert CoT, so Property 1 is not measured; a column of --data can hold "
            f"it ({columns}, or name it by --columns expert_cot=ITS_NAME)",
            file=sys.stderr,
        )


def _metrics(recipe: MeasureRecipe, samples: pd.DataFrame, tokens: pd.DataFrame | None) -> pd.DataFrame:
    """Means over the record; those of the weights only if the samples have them, at temperature 1."""
    parts = [summary(samples)]
    if recipe.temperature == 1:
        parts.append(posterior_metrics(samples))
    if tokens is not None:
        parts.append(share_metrics(tokens, mentions_by_problem(recipe.task, samples)))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _chunk(
    recipe: MeasureRecipe,
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    others: Sequence[Problem],
    on_step: Callable[[], object],
) -> Frames:
    """Do everything for some problems: sample them together, grade, and score them together."""
    skips: list[Skip] = []
    kept, wanted = [], []
    for p in problems:
        asked, left_out = fitting(policy, p, others, recipe.counts, recipe.token_limit, recipe.seed, checker)
        skips += left_out
        if asked is not None:
            kept.append(p)
            wanted += [(p, *a) for a in asked]
    with GradingAhead(checker) as ahead:
        completions = sample(
            policy,
            [request for *_, request in wanted],
            temperature=recipe.temperature,
            seed=recipe.seed,
            rows=recipe.rows,
            on_finished=ahead.listen(policy, [p for p, *_ in wanted], on_step),
        )
        positives = [
            from_sample(policy, problem, source, k, hint, completion, checker)
            for (problem, source, hint, _), group in zip(wanted, completions, strict=True)
            for k, completion in enumerate(group)
        ]
        truncated = [c.truncated for group in completions for c in group]
        grades = ahead.grades([(p.problem, p.text) for p in positives], truncated)
    rows: list[tuple[Positive, Grade | None]] = list(zip(positives, grades, strict=True))
    if "own_correct" in recipe.sources:
        rows += [
            (_as_own_correct(policy, p, checker), g)
            for p, g in zip(positives, grades, strict=True)
            if p.source == "own" and g.status == Status.CORRECT
        ]
    if "expert" in recipe.sources:
        of_experts, skipped = experts(policy, kept, checker, without="; the problem is measured without it")
        rows += [(p, None) for p in of_experts]
        skips += skipped
    # These do not count as steps: their number is not known in advance.
    again = {p.scored.key for p, _ in rows if p.source == "own_correct"}
    scores = score(policy, [p.scored for p, _ in rows], on_scored=lambda s: s.key in again or on_step())
    prompted = score_prompted(policy, [p for p, _ in rows])
    scored = [(p, g, s, prompted.get(p.scored.key)) for (p, g), s in zip(rows, scores, strict=True)]
    frames = {"skips": as_frame("skips", map(vars, skips))}
    if recipe.token_scores:
        by_token = (token_row(policy, p, s, hinted) for p, _, s, hinted in scored if hinted is not None)
        frames["tokens"] = as_frame("tokens", by_token)
    # The table that marks the chunk as done comes last.
    return {**frames, "samples": as_frame("samples", (sample_row(policy, checker, *row) for row in scored))}


def _as_own_correct(policy: Policy, p: Positive, checker: Checker) -> Positive:
    assert p.sampled is not None
    return from_sample(policy, p.problem, "own_correct", p.index, "", p.sampled, checker)
