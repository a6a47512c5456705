"""What one step along a positive's gradient does to J, predicted and realised; the measurement of `expo gradients`.

For each question: its positives, rollouts of the policy at temperature 1, the slope of J along each positive's gradient
from one half of the rollouts, and the change of J after a step of some length, from the other half and, on the toy,
exactly. Steps are taken from the same weights, which are put back bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from expo.evaluate import within_context
from expo.grading import Checker, checker_for
from expo.measure.alignment import (
    align_positives,
    alignment_rows,
    covariance,
    product_rows,
    rewards_of,
    roll,
    span_of,
)
from expo.measure.enumeration import Success, success
from expo.measure.gradients.direction import Direction, gradient
from expo.measure.gradients.ghost import ghost
from expo.measure.gradients.spans import Span, evaluating
from expo.measure.recipe import GradientRecipe
from expo.measure.run import experts, facts, fitting, load, load_problems, mend, merged
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole
from expo.positives import Positive, from_sample, question_ids
from expo.records import Run, usual
from expo.tables import as_frame
from expo.tasks.problem import Problem, Skip
from expo.workers import threads

# Of the tree by which the toy's J is found.
FLOOR = 1e-5


def measure_gradients(
    recipe: GradientRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Write `alignment`, `gains` and `gradients`, question by question; go on where an earlier call stopped.

    The toy has one thread: with more, they wait for each other longer than they work.

    Raises:
        DataError, PolicyError, RecordError, FloatingPointError: as their modules say.
    """
    measuring = recipe.measuring()
    with closing(checker_for(recipe.task)) as checker:
        task = load_problems(measuring, checker)
        run = Run(folder)
        policy = None if run.has("gradients") else load(measuring)
        # Before anything is written: what is refused leaves no folder.
        sized = within_context(policy, task, recipe.max_new_tokens) if policy else task
        weights = [p.requires_grad * p.numel() for p in policy.model.parameters()] if policy else []
        about = {**facts(measuring, task, policy), "weights_measured": sum(weights) or None}
        run = Run.start(folder, recipe.resolved(), usual(GradientRecipe), **about)
        if policy is None:
            mend(run, ["alignment", "gains"], task.skipped)
            return run
        task = sized
        with run.held(), threads(1 if policy.is_toy else torch.get_num_threads()):
            names = _questions(recipe, run, policy, checker, task.problems, progress, on_step)
            held = merged(run, ["alignment", "gains"], names, task.skipped)
            rows = held["alignment"].to_dict("records")
            held["gradients"] = product_rows(rows, ghost(policy, _spans(policy, rows, task.problems)))
        # All at once: a run with one of its tables is taken for finished, whatever the policy.
        for table, frame in held.items():
            run.write(table, frame)
        return run


def _questions(
    recipe: GradientRecipe,
    run: Run,
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    progress: bool,
    on_step: Callable[[], object],
) -> list[str]:
    """Write the parts of those questions that have none, return the names of all; the progress is in steps."""
    per, done = len(recipe.sources) * len(recipe.sizes), run.parts("gains")
    names = [f"{i:04d}" for i in range(len(problems))]
    with tqdm(
        desc=f"{recipe.policy} on {recipe.task}",
        total=len(names) * per,
        initial=len(done & set(names)) * per,
        unit="step",
        disable=not progress,
    ) as bar:
        for name, problem in zip(names, problems, strict=True):
            if name in done:
                continue
            begun = bar.n
            found = _question(recipe, policy, checker, problem, problems, lambda: (bar.update(), on_step()))
            for table, frame in found.items():
                run.write(table, frame, name)
            # A kind that was left out took no step.
            bar.update(begun + per - bar.n)
    return names


def _spans(policy: Policy, rows: Sequence[dict[Any, Any]], problems: Sequence[Problem]) -> list[Span]:
    """Of the positives in rows of `alignment`."""
    prompts = {p.id: tuple(question_ids(policy, p)) for p in problems}
    return [Span(f"{r['problem']}/{r['source']}", prompts[r["problem"]], tuple(map(int, r["ids"]))) for r in rows]


def _question(
    recipe: GradientRecipe,
    policy: Policy,
    checker: Checker,
    problem: Problem,
    others: Sequence[Problem],
    on_step: Callable[[], object],
) -> dict[str, pd.DataFrame]:
    """Its part of each table; `gains`, which says that the part is done, comes last."""
    positives, skips = _positives(recipe, policy, checker, problem, others)
    if not positives:
        return {"skips": as_frame("skips", skips), "alignment": as_frame("alignment"), "gains": as_frame("gains")}
    half, limit = recipe.rollouts, recipe.max_new_tokens
    rollouts, right = roll(policy, checker, problem, 2 * half, limit, recipe.seed, recipe.rows)
    fit = rewards_of(policy, checker, positives, limit)
    found, _ = align_positives(policy, positives, rollouts[:half], right[:half], fit)
    rows = alignment_rows(policy, positives, found, rollouts[:half])
    prompt = question_ids(policy, problem)
    held_out = [whole(prompt, c.ids, f"{problem.id}/rollout/{half + i}") for i, c in enumerate(rollouts[half:])]
    rewards = np.array(right[half:], dtype=float)

    def log_probs() -> np.ndarray:
        return np.array([-s.nll_sum for s in score(policy, held_out)])

    def exactly() -> Success | None:
        return success(policy, checker, problem, max_new_tokens=limit, floor=FLOOR) if policy.is_toy else None

    before, exact = log_probs(), exactly()
    gains = []
    for p, a in zip(positives, found, strict=True):
        if not a.norm:
            skips.append(vars(Skip(problem.where or problem.id, p.source, "its gradient is 0; no step is taken")))
            continue
        unit = gradient(policy, [span_of(p)], [1 / a.norm])
        for size in recipe.sizes:
            with moved(policy, unit, size):
                after, then = log_probs(), exactly()
            weights = np.exp(after - before)
            # E[reward (weight - 1)]: the weights' mean is 1.
            realised, error = covariance(rewards, weights - 1)
            gains.append(
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
    return {
        "skips": as_frame("skips", skips),
        "alignment": as_frame("alignment", rows),
        "gains": as_frame("gains", gains),
    }


@contextmanager
def moved(policy: Policy, direction: Direction, size: float) -> Iterator[None]:
    """The policy one step of `size` times `direction` away; its weights are put back bit for bit."""
    with evaluating(policy) as weights, torch.no_grad():
        held = {name: weights[name].clone() for name in direction}
        try:
            for name, part in direction.items():
                weights[name].add_(part, alpha=size)
            yield
        finally:
            for name, value in held.items():
                weights[name].copy_(value)


def _positives(
    recipe: GradientRecipe, policy: Policy, checker: Checker, problem: Problem, others: Sequence[Problem]
) -> tuple[list[Positive], list[dict[Any, Any]]]:
    """One of each kind: sampled as `expo measure` samples them, its first; an expert CoT where there is one.

    Also rows of `skips`: what is left out.
    """
    asked, skips = fitting(recipe.measuring(), policy, checker, problem, others)
    if asked is None:
        return [], list(map(vars, skips))
    done = sample(policy, [r for *_, r in asked], temperature=recipe.temperature, seed=recipe.seed, rows=recipe.rows)
    found = [
        from_sample(policy, problem, source, 0, hint, c, checker)
        for (source, hint, _), (c,) in zip(asked, done, strict=True)
    ]
    if "expert" in recipe.sources:
        expert, skipped = experts(policy, [problem], checker)
        found, skips = found + expert, skips + skipped
    return found, list(map(vars, skips))
