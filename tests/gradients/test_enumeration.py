"""Exact success on a question against samples of it, and what is cut away against what is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from expo.evaluate import evaluate
from expo.gradients.alignment import sample_rollouts
from expo.gradients.enumeration import Success, success
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.policies.sampling import ContextError
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.tasks.problem import Problem


@pytest.fixture(scope="module")
def toy() -> Policy:
    return load_policy("tiny-0", CHAIN)


@pytest.fixture(scope="module")
def found_of(toy: Policy) -> dict[int, tuple[Problem, Success]]:
    """By level, a problem and how often the toy solves it."""
    problems = {level: chain.load("test", 3, levels=[level]).problems[0] for level in (2, 4)}
    return {
        level: (p, success(toy, ChainChecker(), p, max_new_tokens=100, floor=1e-5)) for level, p in problems.items()
    }


@pytest.mark.parametrize("level", [2, 4])
def test_it_is_the_share_of_right_samples(
    toy: Policy, found_of: dict[int, tuple[Problem, Success]], level: int
) -> None:
    problem, found = found_of[level]
    assert found.lost < 0.05
    n = 512
    completions = evaluate(
        toy, ChainChecker(), [problem], samples=n, temperature=1.0, max_new_tokens=100, seed=0, rows=256
    )
    share = (completions["status"] == "correct").mean()
    error = 4 * np.sqrt(max(found.right * (1 - found.right), 1 / n) / n)
    assert found.right - error <= share <= found.right + found.lost + error


def test_what_is_cut_away_is_reported(toy: Policy, found_of: dict[int, tuple[Problem, Success]]) -> None:
    problem, whole = found_of[4]
    for less in (
        success(toy, ChainChecker(), problem, max_new_tokens=100, floor=1e-2),
        success(toy, ChainChecker(), problem, max_new_tokens=100, most=2),
    ):
        assert less.lost > whole.lost
        assert less.right <= whole.right + 1e-9
        assert less.right + less.lost >= whole.right - 1e-9


def test_a_completion_that_meets_the_limit_is_graded(toy: Policy) -> None:
    problem = chain.load("test", 3, levels=[2]).problems[0]

    def within(limit: int) -> Success:
        return success(toy, ChainChecker(), problem, max_new_tokens=limit, floor=1e-4)

    # The shortest limit at which any is right cuts the end token off, which no grade needs.
    first = next(limit for limit in range(3, 60) if within(limit).right > 0.1)
    (completion,), _ = sample_rollouts(toy, ChainChecker(), problem, 1, 100, 0, 1)
    assert first == len(completion.ids) - 1
    assert within(3).right == 0
    assert within(3).lost < 0.01


def test_a_limit_beyond_the_context_is_refused(toy: Policy) -> None:
    problem = chain.load("test", 3, levels=[2]).problems[0]
    with pytest.raises(ContextError, match="and 250 new ones exceed the context of 256"):
        success(toy, ChainChecker(), problem, max_new_tokens=250)
