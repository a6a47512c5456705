"""What every job needs at its start: its problems, its policy, what fits the context, and the facts of its record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expo.policies.policy import Policy, load_policy
from expo.policies.resolve import PolicyError
from expo.positives.closing import longest
from expo.recipe import BaseRecipe, SamplingRecipe
from expo.records import Run, begun_from, defaults_of
from expo.tasks import TASKS, Checker, Task, checker_for, load_task
from expo.tasks.problem import DataError, Skip


@dataclass
class Setup:
    """A job that may begin: its record, its problems, their checker, and its policy; None if the run is finished."""

    run: Run
    task: Task
    checker: Checker
    policy: Policy | None


@contextmanager
def set_up(
    recipe: SamplingRecipe,
    folder: Path | str,
    finished_by: Sequence[str],
    *,
    whole_problems: bool = True,
    more_facts: Callable[[Policy | None], dict[str, Any]] = lambda _: {},
) -> Iterator[Setup]:
    """Everything that a job without a training needs, as long as it runs.

    A run that has the tables `finished_by` is finished: its policy is not loaded, and nobody else is kept from its
    folder. With `whole_problems` those are left out that do not fit the policy's context.

    Raises:
        DataError, PolicyError, RecordError: as their modules say.
    """
    with closing(checker_for(recipe.task)) as checker, ExitStack() as stack:
        task = load_problems(recipe, checker, seed=recipe.seed)
        run = Run(folder)
        finished = all(run.has(table) for table in finished_by)
        policy = None if finished else load(recipe, device=recipe.device, trust_remote_code=recipe.trust_remote_code)
        # Before anything is written: what is refused leaves no folder.
        fits = within_context(policy, task, recipe.max_new_tokens) if policy and whole_problems else task
        facts = {**facts_of(recipe, [task], policy, seed=recipe.seed), **_device_of(policy), **more_facts(policy)}
        run = Run.start(folder, recipe.resolved(), defaults_of(type(recipe)), **facts)
        if policy:
            stack.enter_context(run.writing())
        setup = Setup(run, fits, checker, policy)
        # A job that lets go of its policy frees the memory.
        del policy
        yield setup


def load_problems(
    recipe: BaseRecipe,
    checker: Checker,
    *,
    seed: int,
    **other: Any,
) -> Task:
    """The recipe's problems, those left out whose answer nothing can parse. `other` replaces fields of the recipe.

    Raises:
        DataError: as `load_task` says.
    """
    asked = {name: getattr(recipe, name) for name in ("data", "split", "problems", "levels")}
    return load_task(recipe.task, **{**asked, **other}, seed=seed, can_parse=checker.can_parse)


def load(recipe: BaseRecipe, *, device: str, trust_remote_code: bool) -> Policy:
    """The recipe's policy.

    Raises:
        PolicyError: if it cannot be loaded, or knows the words of another task alone.
    """
    policy = load_policy(
        recipe.policy,
        recipe.resolved_prompts(),
        device=device,
        dtype=recipe.dtype,
        trust_remote_code=trust_remote_code,
    )
    words = set(policy.tokenizer.get_vocab())
    for name, task in TASKS.items():
        if task.vocabulary and (words == task.vocabulary) != (name == recipe.task):
            raise PolicyError(
                f"policy {recipe.policy!r} and task {recipe.task!r} do not fit: tiny knows the words of {name} only, "
                f"and {name} is written in them"
            )
    return policy


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
        fix = f"--{name} {room} fits all" if room > 0 else f"some fit with a lower --{name}, but not all"
        raise DataError(
            f"{task.source or task.name}: none of {len(skips)} problems fits the policy's context of {policy.context} "
            f"tokens with {name} {max_new_tokens}; {fix}"
        )
    return replace(task, problems=tuple(kept), skipped=(*task.skipped, *skips))


def facts_of(recipe: BaseRecipe, tasks: Sequence[Task], policy: Policy | None, *, seed: int) -> dict[str, Any]:
    """What `environment.json` says of the inputs; of `tasks` the first is measured or trained on."""
    task = tasks[0]
    return {
        "seed": seed,
        "task": task.source or task.name,
        "toy": task.is_toy,
        "problems": len(task.problems),
        "data_sha256": "".join(map(digest, tasks)),
        "weights": policy.source if policy else None,
        "trained_from": begun_from(recipe.policy),
    }


def _device_of(policy: Policy | None) -> dict[str, Any]:
    """Device and dtype as they turned out."""
    return {
        "device": str(policy.device) if policy else None,
        "dtype": str(policy.model.dtype).removeprefix("torch.") if policy else None,
    }


def digest(task: Task) -> str:
    """Of what is asked and answered, wherever it was read from."""
    content = [(p.id, p.question, p.answer, p.level, p.expert_cot) for p in task.problems]
    return hashlib.sha256(repr(content).encode()).hexdigest()
