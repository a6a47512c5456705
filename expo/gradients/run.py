"""The effect of one step along a positive's gradient on J, predicted and measured; the job of `expo gradients`.

For each question: its positives, rollouts of the policy at temperature 1, the slope of J along each positive's gradient
from one half of the rollouts, and the change of J after a step of some length from the other half and, for a policy
with few words, exactly. Every step starts from the same weights, which are restored bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from expo.chunks import Frames, do_chunks
from expo.gradients.alignment import (
    align_positives,
    alignment_rows,
    covariance,
    example_of,
    product_rows,
    rewards_of,
    sample_rollouts,
)
from expo.gradients.direction import Direction, gradient
from expo.gradients.enumeration import Success, success
from expo.gradients.examples import Example, evaluating
from expo.gradients.gram import per_example_gram
from expo.grading.answers import Status
from expo.measure.choice import choose
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole
from expo.positives.closing import question_ids
from expo.positives.kinds import Positive, experts, fitting, from_sample
from expo.recipe import GradientRecipe
from expo.records import Run
from expo.schema import as_frame
from expo.setup import Setup, load, set_up_alone
from expo.shards import in_chunks, join_shards, restore_tables
from expo.tasks import TASKS, Checker
from expo.tasks.problem import Problem, Skip
from expo.workers import is_first, threads

# Limits of the tree by which J is computed for tasks whose policies know few words.
FLOOR = 1e-5
# A policy with fewer weights than this gets one thread.
MIN_WEIGHTS = 1 << 20


def measure_gradients(
    recipe: GradientRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Write `alignment`, `gains` and `gradients`, question by question; resume where an earlier call stopped.

    A small policy gets one thread: with more, the threads wait for each other longer than they work.

    Raises:
        DataError, PolicyError, RecordError, FloatingPointError: as documented in their modules.
    """
    with set_up_alone(recipe, folder, ["gradients"], _weights_measured) as setup:
        run, task, policy = setup.run, setup.task, setup.policy
        if policy is None:
            restore_tables(run, ["alignment", "gains"], task.skipped)
            return run
        few = _weights(policy) < MIN_WEIGHTS
        # With several processes, each loads the policy itself.
        del policy
        with threads(1 if few else torch.get_num_threads()):
            names = _questions(recipe, setup, progress, on_step)
            tables = join_shards(run, ["alignment", "gains"], names, task.skipped)
            rows = tables["alignment"].to_dict("records")
            policy = setup.policy or load(recipe, recipe.device)
            gradients = per_example_gram(policy, _examples(policy, rows, task.problems))
            tables["gradients"] = product_rows(rows, gradients)
        # All at once: a run with one of its tables counts as finished, whatever the policy.
        for table, frame in tables.items():
            run.write(table, frame)
        return run


def _weights(policy: Policy) -> int:
    return sum(p.requires_grad * p.numel() for p in policy.model.parameters())


def _weights_measured(policy: Policy | None) -> dict[str, Any]:
    return {"weights_measured": _weights(policy) or None if policy else None}


def _questions(recipe: GradientRecipe, setup: Setup, progress: bool, on_step: Callable[[], object]) -> list[str]:
    """Write the missing shards of questions; returns the names of all shards. Progress is counted in steps."""
    per = _steps_each(recipe)
    chunks = in_chunks(setup.task.problems, 1)
    with tqdm(
        desc=recipe.title,
        total=len(chunks) * per,
        initial=len(setup.run.shards("gains") & chunks.keys()) * per,
        unit=" step",
        disable=not (progress and is_first()),
    ) as bar:
        # On a CPU a single question keeps all threads busy.
        do_chunks(recipe, setup, chunks, _question, "gains", lambda: (bar.update(), on_step()), on_cpu=False)
    return list(chunks)


def _steps_each(recipe: GradientRecipe) -> int:
    return (len(recipe.sources) + len(recipe.choices)) * len(recipe.sizes)


def _examples(policy: Policy, rows: Sequence[dict[Any, Any]], problems: Sequence[Problem]) -> list[Example]:
    """The inner products for the positives in rows of `alignment`."""
    prompts = {p.id: tuple(question_ids(policy, p)) for p in problems}
    return [Example(f"{r['problem']}/{r['source']}", prompts[r["problem"]], tuple(map(int, r["ids"]))) for r in rows]


def _question(
    recipe: GradientRecipe,
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    others: Sequence[Problem],
    on_step: Callable[[], object],
) -> Frames:
    """The shard of each table for one question; `gains`, which marks the shard as done, comes last."""
    (problem,) = problems
    positives, skips = _positives(recipe, policy, checker, problem, others)
    if not positives:
        for _ in range(_steps_each(recipe)):
            on_step()
        return {"skips": as_frame("skips", skips), "alignment": as_frame("alignment"), "gains": as_frame("gains")}
    half, limit = recipe.rollouts, recipe.token_limit
    rollouts, right = sample_rollouts(policy, checker, problem, 2 * half, limit, recipe.seed, recipe.rows)
    fit = rewards_of(policy, checker, positives, limit)
    alignments, _ = align_positives(policy, positives, rollouts[:half], right[:half], fit)
    rows = alignment_rows(policy, positives, alignments, rollouts[:half])
    prompt = question_ids(policy, problem)
    held_out = [whole(prompt, c.ids, f"{problem.id}/rollout/{half + i}") for i, c in enumerate(rollouts[half:])]
    rewards = np.array(right[half:], dtype=float)

    def log_probs() -> np.ndarray:
        return np.array([-s.nll_sum for s in score(policy, held_out)])

    def exactly() -> Success | None:
        has_few_words = TASKS[recipe.task].vocabulary is not None
        return success(policy, checker, problem, max_new_tokens=limit, floor=FLOOR) if has_few_words else None

    before, exact = log_probs(), exactly()
    changes = []
    for p, a in zip(positives, alignments, strict=True):
        if not a.norm:
            skips.append(vars(Skip(problem.where or problem.id, p.source, "its gradient is 0, so no step is taken")))
            continue
        unit = gradient(policy, [example_of(p)], [1 / a.norm])
        for size in recipe.sizes:
            with moved(policy, unit, size):
                after, then = log_probs(), exactly()
            weights = np.exp(after - before)
            # E[reward (weight - 1)], since the mean of the weights is 1.
            realised, error = covariance(rewards, weights - 1)
            changes.append(
                {
                    "problem": problem.id,
                    "level": problem.level,
                    "source": p.source,
                    "size": size,
                    "predicted": a.slope / a.norm * size,
                    "predicted_error": a.error / a.norm * size,
                    "realised": realised,
                    "realised_error": error,
                    "realised_right": int(rewards.sum()),
                    "effective": weights.sum() ** 2 / (weights**2).sum(),
                    "exact_before": exact.right if exact else None,
                    "exact_after": then.right if then else None,
                    "lost": max(exact.lost, then.lost) if exact and then else None,
                }
            )
            on_step()
    # No step is taken for a kind that was left out.
    for _ in range(_steps_each(recipe) - len(changes)):
        on_step()
    return {
        "skips": as_frame("skips", skips),
        "alignment": as_frame("alignment", rows),
        "gains": as_frame("gains", changes),
    }


@contextmanager
def moved(policy: Policy, direction: Direction, size: float) -> Iterator[None]:
    """The policy moved by `size` times `direction` within the context; its weights are restored bit for bit."""
    with evaluating(policy) as weights, torch.no_grad():
        before = {name: weights[name].clone() for name in direction}
        try:
            for name, part in direction.items():
                weights[name].add_(part, alpha=size)
            yield
        finally:
            for name, value in before.items():
                weights[name].copy_(value)


def _positives(
    recipe: GradientRecipe, policy: Policy, checker: Checker, problem: Problem, others: Sequence[Problem]
) -> tuple[list[Positive], list[dict[Any, Any]]]:
    """One positive of each kind: the first sample (as in `expo measure`), then the recipe's choices, and an expert CoT.

    Together with choices, the self-explanation is the first that ended, if one did, since choices are made only among
    such samples, and `expo train` learns only those. Also returns rows of `skips`: what is left out.
    """
    asked, skips = fitting(policy, problem, others, recipe.counts, recipe.token_limit, recipe.seed, checker)
    if asked is None:
        return [], list(map(vars, skips))
    done = sample(policy, [r for *_, r in asked], temperature=recipe.temperature, seed=recipe.seed, rows=recipe.rows)
    tried = [
        [from_sample(policy, problem, source, k, hint, c, checker) for k, c in enumerate(completions)]
        for (source, hint, _), completions in zip(asked, done, strict=True)
    ]
    positives = [_first(group) if recipe.choices else group[0] for group in tried]
    if recipe.choices:
        (explanations,) = [group for group in tried if group[0].source == "explanation"]
        chosen, none = _chosen(recipe, policy, checker, explanations)
        positives, skips = positives + chosen, skips + none
    if "expert" in recipe.sources:
        expert, skipped = experts(policy, [problem], checker, without="; the problem is measured without it")
        positives, skips = positives + expert, skips + skipped
    return positives, list(map(vars, skips))


def _first(tried: Sequence[Positive]) -> Positive:
    """The self-explanation that the choices are compared with; other kinds have one sample."""
    return next((p for p in tried if p.sampled and not p.sampled.truncated), tried[0])


def _chosen(
    recipe: GradientRecipe, policy: Policy, checker: Checker, tried: Sequence[Positive]
) -> tuple[list[Positive], list[Skip]]:
    """One of a question's self-explanations for each choice, named after it, among those that ended by themselves."""
    ended = [p for p in tried if p.sampled and not p.sampled.truncated]
    grades = checker.grade([(p.problem, p.text) for p in ended], [False] * len(ended))
    positives, skips = [], []
    for how in recipe.choices:
        graded = [(p, g) for p, g in zip(ended, grades, strict=True) if how != "right" or g.status is Status.CORRECT]
        if not graded:
            what = "was right" if how == "right" else "ended before the token limit"
            problem = tried[0].problem
            skips.append(Skip(problem.where or problem.id, how, f"none of its {len(tried)} self-explanations {what}"))
            continue
        (found,) = choose(policy, [graded], "first" if how == "right" else how, recipe.seed)
        scored = replace(found.positive.scored, key=f"{found.positive.problem.id}/{how}/{found.positive.index}")
        positives.append(replace(found.positive, source=how, scored=scored))
    return positives, skips
