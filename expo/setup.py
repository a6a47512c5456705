"""What every job needs at its start: its problems, its policy, what fits the context, and the facts of its record."""

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

# Problems of which a sample is compared, where an engine or another dtype samples.
_CHECKED = 4
_COMPARED = 64  # tokens of each
_PATIENCE = 3600  # seconds
Facts = Callable[[Policy | None], dict[str, Any]]


@dataclass
class Setup:
    """A job that may begin: its record, checker and policy, which is None if the run is finished, and its problems.

    A training has `held_out` problems, too, on which it is evaluated.
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
    """Everything that a job needs, for as long as it runs.

    Args:
        recipe: of the job.
        folder: of the run.
        finished_by: tables of a finished run, whose policy is not loaded.
        facts: what `environment.json` is to say beside what it says of every run.
        device: of the policy.
        room: the name and size of the token limit that each problem needs in the policy's context; problems that do
            not have it are left out. None leaves out none.
        held_out: of a training, the fields of the recipe that are others for the problems it is evaluated on.
        starting: what the record is begun in.

    Raises:
        DataError, PolicyError, RecordError: as their modules say.
    """
    with closing(recipe.checker()) as checker:
        tasks = [load_problems(recipe, checker)]
        if held_out is not None:
            tasks.append(load_problems(recipe, checker, **held_out))
        run = Run(folder)
        policy = None if all(run.has(table) for table in finished_by) else load(recipe, device)
        about = {**_facts(tasks, policy), "grader": checker.grader, "seed": recipe.seed, **facts(policy)}
        # Before anything is written: what is refused leaves no folder.
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
            # A job that lets go of its policy frees the memory.
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
    """`set_up` for a job that samples and trains nothing: no other command writes to its run meanwhile.

    With `leave_out_too_long`, problems are left out that do not fit the policy's context with a completion. Of the
    processes that a launcher has started the first begins the record and finishes it.

    Raises:
        DataError, PolicyError, RecordError: as their modules say.
        SystemExit: in a launcher's process but the first, if nothing is left to be sampled.
    """
    rank, world = launched()
    device = recipe.device
    if world > 1 and device == "auto" and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if rank and all(Run(folder).has(table) for table in finished_by):
        raise SystemExit(0)
    room = ("max_new_tokens", recipe.token_limit) if leave_out_too_long else None

    def more(policy: Policy | None) -> dict[str, Any]:
        """Device and dtype as they turned out."""
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
    """Once a launcher's first process has begun the record; if that one fails, the launcher ends this one."""
    for _ in range(10 * _PATIENCE):
        if Run(folder).path("recipe.yaml").exists():
            yield
            return
        time.sleep(0.1)
    raise RecordError(f"{folder}: the launcher's first process did not begin the record in {_PATIENCE // 60} minutes")


def load_problems(recipe: BaseRecipe, checker: Checker, **other: Any) -> Task:
    """The recipe's problems, those left out that the checker cannot check.

    `other` replaces fields of the recipe, as those do on which a training is evaluated.

    Raises:
        DataError: as `load_task` says.
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
    """The task without some problems.

    Raises:
        DataError: if none is left.
    """
    kept = tuple(p for p in task.problems if p.id not in ids)
    if not kept:
        raise DataError(f"{task.source or task.name}: no problem is left: {skips[0]}")
    return replace(task, problems=kept, skipped=(*task.skipped, *skips))


def fit(policy: Policy, task: Task) -> Task:
    """The task without the problems that it says are none for this policy's tokenizer.

    Raises:
        DataError: if none is left.
    """
    skips = TASKS[task.name].unfit(task, policy.encode)
    return without(task, list(skips.values()), skips)


def load(recipe: BaseRecipe, device: str) -> Policy:
    """The recipe's policy.

    Raises:
        PolicyError: if it cannot be loaded, or knows the words of another task alone.
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
                f"policy {recipe.policy!r} and task {recipe.task!r} do not fit: tiny knows only the words of {name}, "
                f"and only {name} is written in them"
            )
    return policy


def vllm_of(policy: Policy, recipe: BaseRecipe) -> VLLM:
    """A vLLM for the policy, in the dtype that the recipe samples in; it starts with the first sample."""
    dtype = DTYPES[recipe.samples_in] if recipe.samples_in else policy.model.dtype
    return VLLM(policy, dtype, trust_remote_code=recipe.trust_remote_code)


def check_engine_on(policy: Policy, problems: Sequence[Problem]) -> None:
    """That the policy's engine computes what the policy does, on a sample of each of a few problems.

    Raises:
        PolicyError: as `check_engine` says.
    """
    check_engine(policy, [question_ids(policy, p) for p in problems[:_CHECKED]])


@contextmanager
def checked_engine(policy: Policy | None, problems: Sequence[Problem]) -> Iterator[dict[str, Any]]:
    """What the record says of a policy's engine, which computes what the policy does; it is closed at the end.

    Of a policy that samples in another dtype without an engine it says how far that is from the policy that scores.

    Raises:
        PolicyError: as `check_engine` says.
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
    """How far the log-probabilities of a policy in its sampling dtype are from its own, on samples of a few problems.

    Returns:
        `tokens` says how many tokens were compared; `mean` and `max` are of the absolute differences in nats per token,
        and are left out where no problem fits the policy's context.
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
    """The task without texts that the policy would read as control tokens, such as one that ends a turn.

    A problem whose question or answer has one is left out; an expert CoT is.

    Raises:
        DataError: if no problem is left.
    """
    names = {str(t) for t in policy.tokenizer.added_tokens_decoder.values() if t.special and str(t).strip()}
    # The longest first, so that it is named.
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
        rooms = [policy.context - longest(policy, p, 0) for p in task.problems]
        fix = f"--{name} {min(rooms)} fits all" if min(rooms) > 0 else f"some fit with a lower --{name}, but not all"
        if max(rooms) <= 0:
            fix = "the questions alone fill it: shorten them, or take a policy with a longer context"
        raise DataError(
            f"{task.source or task.name}: no problem ({len(skips)} tried) fits the policy's context of "
            f"{policy.context} tokens with {name} {max_new_tokens}; {fix}"
        )
    return replace(task, problems=tuple(kept), skipped=(*task.skipped, *skips))


def _distinct(task: Task) -> Task:
    """The task with each question once: a prompt has one positive."""
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
    """What `environment.json` says of the inputs; of `tasks` the first is measured or trained on."""
    task = tasks[0]
    return {
        "task": task.source or task.name,
        "toy": task.is_toy,
        "problems": len(task.problems),
        **({"eval_problems": len(tasks[1].problems)} if tasks[1:] else {}),
        "data_sha256": "".join(map(digest, tasks)),
        "weights": policy.source if policy else None,
        "chat_template": policy.template_in_words if policy else None,
    }


def digest(task: Task) -> str:
    """Of what is asked and answered, wherever it was read from."""
    content = [(p.id, p.question, p.answer, p.level, p.expert_cot) for p in task.problems]
    return hashlib.sha256(repr(content).encode()).hexdigest()
