"""What every job needs at its start: its problems, its policy, the context check, and the record's facts."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from expo.launcher import forget, reporting
from expo.policies.engine import Request
from expo.policies.load import DTYPES, load_policy
from expo.policies.names import public
from expo.policies.policy import Policy, PolicyError
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole
from expo.policies.vllm import VLLM, check_engine
from expo.positives.closing import longest, question_ids
from expo.recipe import BaseRecipe, SamplingRecipe
from expo.records import RecordError, Run, defaults_of
from expo.tasks import TASKS, Checker, Task, load_task
from expo.tasks.problem import DataError, Problem, Skip
from expo.tasks.prompts import Prompts
from expo.workers import launched

# Problems on which a sample is compared if an engine or another dtype samples.
_CHECKED = 4
_COMPARED = 64  # tokens of each
_PATIENCE = 3600  # seconds
Facts = Callable[[Policy | None], dict[str, Any]]


@dataclass
class Setup:
    """A job that is ready to run: its record, checker, policy (None if the run is finished) and problems.

    A training also has `held_out` problems, on which it is evaluated.
    """

    run: Run
    checker: Checker
    policy: Policy | None
    task: Task
    held_out: Task | None = None


@contextmanager
def set_up(
    recipe: BaseRecipe,
    folder: Path | str,
    finished_by: Sequence[str],
    facts: Facts,
    *,
    device: str,
    room: tuple[str, int] | None,
    held_out: dict[str, Any] | None = None,
    starting: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Setup]:
    """Provide everything that a job needs, for as long as it runs.

    Args:
        recipe: the job's recipe.
        folder: the run folder.
        finished_by: tables that mark the run as finished; the policy of a finished run is not loaded.
        facts: facts for `environment.json` in addition to those of every run.
        device: the policy's device.
        room: the name and size of the token limit that each problem must fit in the policy's context; problems that do
            not fit are left out. None keeps all problems.
        held_out: for a training, the recipe fields that differ for the problems it is evaluated on.
        starting: the context in which the record is started.

    Raises:
        DataError, PolicyError, RecordError: as documented in their modules.
    """
    with closing(recipe.checker()) as checker:
        tasks = [load_problems(recipe, checker)]
        if held_out is not None:
            tasks.append(load_problems(recipe, checker, **held_out))
        run = Run(folder)
        policy = None if all(run.has(table) for table in finished_by) else load(recipe, device)
        about = {**_facts(tasks, policy), "grader": checker.grader, "seed": recipe.seed, **facts(policy)}
        # Before anything is written: a rejected request leaves no folder.
        if policy and held_out is not None:
            tasks[0] = _distinct(tasks[0])
        if policy:
            tasks = [fit(policy, without_control_tokens(policy, task)) for task in tasks]
        if policy and room:
            tasks = [within_context(policy, task, *room) for task in tasks]
        with checked_engine(policy, tasks[0].problems) as engine:
            with starting():
                run = Run.start(folder, recipe.resolved(), defaults_of(type(recipe)), **about, **engine)
            setup = Setup(run, checker, policy, *tasks)
            # A job that drops its policy frees the memory.
            del policy
            yield setup


@contextmanager
def set_up_alone(
    recipe: SamplingRecipe,
    folder: Path | str,
    finished_by: Sequence[str],
    facts: Facts = lambda _: {},
    *,
    leave_out_too_long: bool = True,
) -> Iterator[Setup]:
    """Set up a job that samples but does not train; no other command writes to its run meanwhile.

    With `leave_out_too_long`, problems that do not fit the policy's context together with a completion are left out.
    Under a launcher, the first process starts the record and finishes it.

    Raises:
        DataError, PolicyError, RecordError: as documented in their modules.
        SystemExit: in every process but the launcher's first, if nothing is left to sample.
    """
    rank, world = launched()
    device = recipe.device
    if world > 1 and device == "auto" and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if rank and all(Run(folder).has(table) for table in finished_by):
        raise SystemExit(0)
    room = ("max_new_tokens", recipe.token_limit) if leave_out_too_long else None

    def more(policy: Policy | None) -> dict[str, Any]:
        """The device and dtype actually used."""
        dtype = str(policy.model.dtype).removeprefix("torch.") if policy else None
        return {"device": policy.device.type if policy else None, "dtype": dtype, **facts(policy)}

    if rank == 0:
        forget(Run(folder))
    starting = partial(_after_the_first, folder) if rank else nullcontext
    with (
        reporting(Run(folder), rank, world) if rank else nullcontext(),
        set_up(recipe, folder, finished_by, more, device=device, room=room, starting=starting) as setup,
        ExitStack() as stack,
    ):
        if setup.policy and not rank:
            stack.enter_context(setup.run.writing())
        yield setup


@contextmanager
def _after_the_first(folder: Path | str) -> Iterator[None]:
    """Wait until the launcher's first process has started the record; if it fails, the launcher ends this process."""
    for _ in range(10 * _PATIENCE):
        if Run(folder).path("recipe.yaml").exists():
            yield
            return
        time.sleep(0.1)
    raise RecordError(
        f"{folder}: the launcher's first process did not start the record within {_PATIENCE // 60} minutes; see "
        "its output for the reason"
    )


def load_problems(recipe: BaseRecipe, checker: Checker, **other: Any) -> Task:
    """Load the recipe's problems, without those that the checker cannot check.

    `other` replaces fields of the recipe, such as those for the problems on which a training is evaluated.

    Raises:
        DataError: see `load_task`.
    """
    fields = {name: getattr(recipe, name) for name in ("data", "columns", "split", "problems", "levels")}
    try:
        task = load_task(recipe.task, **{**fields, **other}, seed=recipe.seed, can_parse=checker.can_parse)
    except DataError as error:
        if not other:
            raise
        raise DataError(f"for the evaluation (eval_data, eval_split, eval_levels, eval_problems): {error}") from error
    faults = [(p, fault) for p in task.problems if (fault := checker.fault(p))]
    return without(task, [Skip(p.where or p.id, *fault) for p, fault in faults], {p.id for p, _ in faults})


def without(task: Task, skips: Sequence[Skip], ids: Container[str]) -> Task:
    """Remove some problems from the task.

    Raises:
        DataError: if no problem is left.
    """
    kept = tuple(p for p in task.problems if p.id not in ids)
    if not kept:
        raise DataError(f"{task.source or task.name}: no usable problems; the first: {skips[0]}")
    return replace(task, problems=kept, skipped=(*task.skipped, *skips))


def fit(policy: Policy, task: Task) -> Task:
    """Remove the problems that the task declares unusable with this policy's tokenizer.

    Raises:
        DataError: if no problem is left.
    """
    skips = TASKS[task.name].unfit(task, policy.encode)
    return without(task, list(skips.values()), skips)


def load(recipe: BaseRecipe, device: str) -> Policy:
    """Load the recipe's policy.

    Raises:
        PolicyError: if it cannot be loaded, or knows only the words of another task.
    """
    policy = load_policy(
        recipe.policy,
        Prompts(**cast(dict[str, Any], recipe.prompts)),
        device=device,
        dtype=recipe.dtype,
        revision=recipe.revision,
        attn_implementation=recipe.attn_implementation,
        trust_remote_code=recipe.trust_remote_code,
    )
    if recipe.engine == "vllm":
        policy.engine = vllm_of(policy, recipe)
    elif isinstance(recipe, SamplingRecipe) and recipe.sampling_dtype:
        policy.sampling_dtype = DTYPES[recipe.sampling_dtype]
    words = set(policy.tokenizer.get_vocab())
    for name, task in TASKS.items():
        if task.vocabulary and (words == task.vocabulary) != (name == recipe.task):
            raise PolicyError(
                f"policy {recipe.policy!r} does not fit task {recipe.task!r}: tiny knows only the words of "
                f"{name}, and only {name} uses them; choose another policy or task"
            )
    return policy


def vllm_of(policy: Policy, recipe: BaseRecipe) -> VLLM:
    """A vLLM engine for the policy, in the recipe's sampling dtype; it starts with the first sample."""
    dtype = DTYPES[recipe.samples_in] if recipe.samples_in else policy.model.dtype
    return VLLM(policy, dtype, trust_remote_code=recipe.trust_remote_code)


def check_engine_on(policy: Policy, problems: Sequence[Problem]) -> None:
    """Check the policy's engine against the policy on one sample of each of a few problems.

    Raises:
        PolicyError: see `check_engine`.
    """
    check_engine(policy, [question_ids(policy, p) for p in problems[:_CHECKED]])


@contextmanager
def checked_engine(policy: Policy | None, problems: Sequence[Problem]) -> Iterator[dict[str, Any]]:
    """Provide the record's facts about a policy's engine, after checking it against the policy; close it at the end.

    If a policy samples in another dtype without an engine, the facts say how far that differs from the policy that
    scores.

    Raises:
        PolicyError: see `check_engine`.
    """
    engine = policy.engine if policy else None
    if policy is None or engine is None:
        found = {"sampling_error": sampling_error(policy, problems)} if policy and policy.sampling_dtype else {}
        del policy
        yield found
        return
    try:
        check_engine_on(policy, problems)
        del policy
        yield {"engine": engine.version}
    finally:
        engine.close()


def sampling_error(policy: Policy, problems: Sequence[Problem]) -> dict[str, float]:
    """Compare a policy's log-probabilities in its sampling dtype with those in its own, on samples of a few problems.

    Returns:
        `tokens` is the number of tokens compared; `mean` and `max` are those of the absolute differences in nats per
            token, left out if no problem fits the policy's context.
    """
    requests = [Request(p.id, question_ids(policy, p), 1, _COMPARED) for p in problems[:_CHECKED]]
    requests = [r for r in requests if r.tokens <= policy.context]
    done = sample(policy, requests, temperature=1.0, seed=0)
    texts = [whole(r.prompt_ids, c.ids, r.key) for r, (c,) in zip(requests, done, strict=True)]
    both = zip(score(policy, texts), score(policy.as_sampled(), texts), strict=True)
    apart = np.abs(np.concatenate([[], *(own.completion - sampled.completion for own, sampled in both)]))
    found = {"mean": float(apart.mean()), "max": float(apart.max())} if len(apart) else {}
    return {"tokens": len(apart), **found}


def without_control_tokens(policy: Policy, task: Task) -> Task:
    """Remove texts that the policy would read as control tokens, such as one that ends a turn.

    A problem is left out if its question or answer has one; an expert CoT is left out on its own.

    Raises:
        DataError: if no problem is left.
    """
    names = {str(t) for t in policy.tokenizer.added_tokens_decoder.values() if t.special and str(t).strip()}
    # The longest first, so that the message names it.
    pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")
    problems, skips, left_out = [], [], set()
    for p in task.problems:
        found = {field: pattern.search(getattr(p, field) or "") for field in ("question", "answer", "expert_cot")}
        for field, token in found.items():
            if token:
                reason = f"contains {token[0]!r}, which the policy reads as a control token; left out"
                skips.append(Skip(p.where or p.id, field, reason))
        if found["question"] or found["answer"]:
            left_out.add(p.id)
        problems.append(replace(p, expert_cot=None) if found["expert_cot"] else p)
    return without(replace(task, problems=tuple(problems)), skips, left_out)


def within_context(policy: Policy, task: Task, name: str, max_new_tokens: int) -> Task:
    """Remove problems that do not fit the policy's context; they are recorded as skips.

    The context must fit the question, a completion of `max_new_tokens`, and the answer that closes the completion for
    scoring.

    Raises:
        DataError: if no problem is left; the message gives a limit, called `name`, that fits all of them.
    """
    kept, skips = [], []
    for p in task.problems:
        tokens = longest(policy, p, max_new_tokens)
        if tokens <= policy.context:
            kept.append(p)
        else:
            reason = f"up to {tokens} tokens with its completion, more than the context of {policy.context}; left out"
            skips.append(Skip(p.where or p.id, "question", reason))
    if not kept:
        rooms = [policy.context - longest(policy, p, 0) for p in task.problems]
        fix = (
            f"--{name} {min(rooms)} fits all of them"
            if min(rooms) > 0
            else f"a lower --{name} fits some of them, but not all"
        )
        if max(rooms) <= 0:
            fix = "the questions alone fill it: shorten them, or take a policy with a longer context"
        raise DataError(
            f"{task.source or task.name}: no problem ({len(skips)} tried) fits the policy's context of "
            f"{policy.context} tokens with {name} {max_new_tokens}; {fix}"
        )
    return replace(task, problems=tuple(kept), skipped=(*task.skipped, *skips))


def _distinct(task: Task) -> Task:
    """Keep each question once, since a prompt has one positive."""
    first: dict[str, Problem] = {}
    for p in task.problems:
        first.setdefault(p.question, p)
    skips = [
        Skip(p.where or p.id, "question", f"the same as {first[p.question].where or first[p.question].id}; left out")
        for p in task.problems
        if first[p.question] is not p
    ]
    return replace(task, problems=tuple(first.values()), skipped=(*task.skipped, *skips))


def _facts(tasks: Sequence[Task], policy: Policy | None) -> dict[str, Any]:
    """The facts about the inputs for `environment.json`; the first of `tasks` is the one measured or trained on."""
    task = tasks[0]
    return {
        "task": public(task.source or task.name),
        "toy": task.is_toy,
        "problems": len(task.problems),
        **({"eval_problems": len(tasks[1].problems)} if tasks[1:] else {}),
        "data_sha256": "".join(map(digest, tasks)),
        "weights": policy.source if policy else None,
        "chat_template": policy.template_in_words if policy else None,
    }


def digest(task: Task) -> str:
    """A digest of questions and answers, independent of where they were read from."""
    content = [(p.id, p.question, p.answer, p.level, p.expert_cot) for p in task.problems]
    return hashlib.sha256(repr(content).encode()).hexdigest()
