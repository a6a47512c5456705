"""`measure`: problems in, a record of scored positives out, resumable at every chunk of problems."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import multiprocessing
from tqdm import tqdm

from expo.grading import Checker, TextChecker, checker_for
from expo.grading.answers import Grade, Status
from expo.measure.recipe import MeasureRecipe
from expo.measure.verdict import summary
from expo.policies.policy import Policy, PolicyError, load_policy
from expo.policies.sampling import Request, sample
from expo.policies.scoring import Score, score
from expo.positives import Positive, from_expert, from_sample, is_leak, longest, requests
from expo.records import Run, begun_from, usual
from expo.tables import as_frame
from expo.tasks import Task, load_task
from expo.tasks.problem import DataError, Problem, Skip
from expo.workers import spread

# A model of more weights than this keeps two threads busy; and each process holds them.
MAX_BYTES = 2 << 30
MIN_ROWS = 32

Frames = dict[str, pd.DataFrame]


def measure(
    recipe: MeasureRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Sample, build, grade and score positives; write the record; go on where an earlier call stopped.

    Each chunk of problems is a fixed function of the recipe, so a resumed run holds the numbers of one that was
    not interrupted.

    Raises:
        DataError, PolicyError, RecordError, FloatingPointError: as their modules say.
    """
    checker = checker_for(recipe.task)
    with closing(checker), ExitStack() as stack:
        task = load_problems(recipe, checker)
        chunks = [task.problems[i : i + recipe.chunk] for i in range(0, len(task.problems), recipe.chunk)]
        names = [f"{i:04d}" for i in range(len(chunks))]
        run = Run(folder)
        # A finished run is returned as it is, without loading the policy; `start` checks that it is this recipe's.
        policy = None if run.has("samples") else load(recipe)
        run = Run.start(folder, recipe.resolved(), usual(MeasureRecipe), **facts(recipe, task, policy))
        if policy is None:
            mend(run, ["samples"], task.skipped)
            if not run.has("metrics"):
                run.write("metrics", summary(run.read("samples")))
            return run
        stack.enter_context(run.held())
        processes = processes_for(policy, recipe.rows, len(chunks))
        work = ChunkWork(recipe, run, task.problems, policy, checker)
        if processes > 1:  # each loads its own
            work.policy = policy = None
        done = run.parts("samples")
        per_problem = 2 * sum(recipe.counts.values()) + ("expert" in recipe.sources)
        with tqdm(
            desc=f"{recipe.policy} on {task.name}",
            total=len(task.problems) * per_problem,
            initial=sum(len(c) for c, n in zip(chunks, names, strict=True) if n in done) * per_problem,
            unit="step",
            disable=not progress,
        ) as bar:
            todo = [job for job in zip(names, chunks, strict=True) if job[0] not in done]
            spread(work, todo, processes, lambda: (bar.update(), on_step()))
        found = merged(run, ["samples"], names, task.skipped)
        # `samples`, which says that the run is finished, comes last.
        for table, frame in {"metrics": summary(found["samples"]), **found}.items():
            run.write(table, frame)
        return run


def processes_for(policy: Policy, rows: int, jobs: int) -> int:
    """How many processes share the work: on a CPU, for a small model, one for 32 rows or more and each thread.

    A run that goes on with as many threads and rows as before computes as before, to the last bit.
    """
    small = sum(p.numel() * p.element_size() for p in policy.model.parameters()) < MAX_BYTES
    # One of several runs that are done side by side has its share of the threads already, and may start no process.
    if policy.device.type != "cpu" or policy.is_toy or not small or multiprocessing.current_process().daemon:
        return 1
    return max(1, min(torch.get_num_threads(), rows // MIN_ROWS, jobs))


@dataclass
class ChunkWork:
    """Everything about one chunk of problems, as a job of any process: each opens policy and checker for itself."""

    recipe: MeasureRecipe
    run: Run
    others: Sequence[Problem]
    policy: Policy | None = None
    checker: Checker | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "policy": None, "checker": None}

    def __call__(self, job: tuple[str, Sequence[Problem]], on_step: Callable[[], object], processes: int) -> None:
        """Measure the problems of `job` and write them as the part of its name."""
        self.policy = self.policy or load(self.recipe)
        self.checker = self.checker or checker_for(self.recipe.task)
        name, problems = job
        recipe = replace(self.recipe, rows=self.recipe.rows // processes)
        frames = _chunk(recipe, self.policy, self.checker, problems, self.others, on_step)
        # The table that says a part is done comes last.
        self.run.write("skips", frames["skips"], name)
        self.run.write("samples", frames["samples"], name)


def load(recipe: MeasureRecipe) -> Policy:
    """The recipe's policy.

    Raises:
        PolicyError: if a toy policy is asked to read text, or another policy the toy task.
    """
    policy = load_policy(
        recipe.policy,
        recipe.resolved_prompts(),
        device=recipe.device,
        dtype=recipe.dtype,
        trust_remote_code=recipe.trust_remote_code,
    )
    if policy.is_toy != (recipe.task == "chain"):
        raise PolicyError(
            f"policy {recipe.policy!r} and task {recipe.task!r} do not fit: tiny knows the words of chain only, "
            "and chain is written in them"
        )
    return policy


def load_problems(recipe: MeasureRecipe, checker: Checker) -> Task:
    """The recipe's problems, those left out whose answer nothing can parse."""
    can_parse = checker.can_parse if isinstance(checker, TextChecker) else None
    return load_task(
        recipe.task,
        data=recipe.data,
        split=recipe.split,
        problems=recipe.problems,
        levels=recipe.levels,
        seed=recipe.seed,
        can_parse=can_parse,
    )


def facts(recipe: MeasureRecipe, task: Task, policy: Policy | None) -> dict[str, object]:
    """What `environment.json` says of the inputs; device and dtype as they turned out."""
    return {
        "seed": recipe.seed,
        "task": task.source or task.name,
        "toy": task.is_toy,
        "problems": len(task.problems),
        "data_sha256": digest(task),
        "weights": policy.source if policy else None,
        "device": str(policy.device) if policy else None,
        "dtype": str(policy.model.dtype).removeprefix("torch.") if policy else None,
        "trained_from": begun_from(recipe.policy),
    }


def digest(task: Task) -> str:
    """Of what is asked and answered, wherever it was read from."""
    content = [(p.id, p.question, p.answer, p.level, p.expert_cot) for p in task.problems]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _chunk(
    recipe: MeasureRecipe,
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    others: Sequence[Problem],
    on_step: Callable[[], object],
) -> Frames:
    """Everything about some problems: sampled together, graded, scored together."""
    skips: list[Skip] = []
    kept, wanted = [], []
    for p in problems:
        asked, left_out = fitting(recipe, policy, checker, p, others)
        skips += left_out
        if asked is not None:
            kept.append(p)
            wanted += [(p, *a) for a in asked]
    completions = sample(
        policy,
        [request for *_, request in wanted],
        temperature=recipe.temperature,
        seed=recipe.seed,
        rows=recipe.rows,
        on_finished=lambda _: on_step(),
    )
    positives = [
        from_sample(policy, problem, source, k, hint, completion, checker)
        for (problem, source, hint, _), group in zip(wanted, completions, strict=True)
        for k, completion in enumerate(group)
    ]
    grades = checker.grade([(p.problem, p.text) for p in positives])
    rows: list[tuple[Positive, Grade | None]] = list(zip(positives, grades, strict=True))
    if "own_correct" in recipe.sources:
        rows += [
            (_as_own_correct(policy, p, checker), g)
            for p, g in zip(positives, grades, strict=True)
            if p.source == "own" and g.status == Status.CORRECT
        ]
    if "expert" in recipe.sources:
        found, skipped = experts(policy, kept, checker)
        rows += [(p, None) for p in found]
        skips += skipped
    scores = score(policy, [p.scored for p, _ in rows], on_scored=lambda _: on_step())
    table = [row(policy, checker, p, g, s) for (p, g), s in zip(rows, scores, strict=True)]
    return {"samples": as_frame("samples", table), "skips": as_frame("skips", map(vars, skips))}


def fitting(
    recipe: MeasureRecipe, policy: Policy, checker: Checker, problem: Problem, others: Sequence[Problem]
) -> tuple[list[tuple[str, str, Request]] | None, list[Skip]]:
    """The requests of a problem, None where they or its positives exceed the context, and what is left out."""
    where = problem.where or problem.id
    asked = requests(policy, problem, others, recipe.counts, recipe.max_new_tokens, recipe.seed, checker)
    lengths = [len(r.prompt_ids) + r.max_new_tokens for _, _, r in asked]
    needed = max([*lengths, longest(policy, problem, recipe.max_new_tokens)]) if asked else 0
    if needed > policy.context:
        return None, [Skip(where, "question", f"{needed} tokens exceed the context of {policy.context}")]
    if "wrong_explanation" in recipe.counts.keys() - {source for source, *_ in asked}:
        return asked, [Skip(where, "answer", "no other answer to serve as a wrong one; measured without that control")]
    return asked, []


def _as_own_correct(policy: Policy, p: Positive, checker: Checker) -> Positive:
    assert p.sampled is not None
    return from_sample(policy, p.problem, "own_correct", p.index, "", p.sampled, checker)


def experts(policy: Policy, problems: Sequence[Problem], checker: Checker) -> tuple[list[Positive], list[Skip]]:
    """The expert CoTs of problems as positives, and which have none that fits."""
    kept, skips = [], []
    for p in problems:
        if p.expert_cot is None:
            skips.append(Skip(p.where or p.id, "expert_cot", "none; the problem is measured without it"))
            continue
        positive = from_expert(policy, p, checker)
        tokens = len(positive.scored.prompt) + len(positive.scored.completion)
        if tokens > policy.context:
            skips.append(Skip(p.where or p.id, "expert_cot", f"{tokens} tokens exceed the context of {policy.context}"))
        else:
            kept.append(positive)
    return kept, skips


def row(policy: Policy, checker: Checker, p: Positive, grade: Grade | None, s: Score) -> dict[str, object]:
    """One row of `samples.parquet`."""
    steps = checker.steps(p.problem, p.cot_text)
    return {
        "problem": p.problem.id,
        "level": p.problem.level,
        "source": p.source,
        "index": p.index,
        "question": p.problem.question,
        "reference": p.problem.answer,
        "hint": p.hint,
        "text": policy.decode(p.scored.completion),
        "cot": p.cot_text,
        "answer": grade.extracted if grade else None,
        "tokens": len(p.scored.completion),
        "cot_tokens": p.scored.cot,
        "answer_tokens": len(p.scored.answer),
        "nll_sum": s.nll_sum,
        "nll_per_token": s.nll_per_token,
        "nll_cot": float(-s.completion[: p.scored.cot].sum()),
        "learning_signal": s.learning_signal,
        "status": grade.status.value if grade else "",
        "correct": grade.status == Status.CORRECT if grade else None,
        "truncated": p.sampled.truncated if p.sampled else False,
        "leak": is_leak(p.text, on_chain=policy.is_toy) if p.sampled else False,
        "steps": len(steps),
        "steps_true": sum(true for _, true in steps),
    }


def mend(run: Run, tables: Sequence[str], skipped: Sequence[Skip]) -> None:
    """Write those of these tables and `skips` that a finished run lacks, if all parts are there."""
    names = sorted(run.parts(tables[0]))
    if not run.lacks_a_table() or any(run.parts(t) != set(names) for t in (*tables, "skips")):
        return
    for table, frame in merged(run, tables, names, skipped).items():
        if not run.has(table):
            run.write(table, frame)


def merged(run: Run, tables: Sequence[str], names: Sequence[str], skipped: Sequence[Skip]) -> dict[str, pd.DataFrame]:
    """The parts of these tables as one each, and `skips`, which has what the data lacks too.

    Raises:
        DataError: if no part of the first table has a row.
    """
    found = {t: pd.concat([run.read(t, n) for n in names], ignore_index=True) for t in tables}
    skips = pd.concat([as_frame("skips", map(vars, skipped)), *(run.read("skips", n) for n in names)])
    # Of an expert CoT that cannot be used the data's row has said why.
    skips = skips.drop_duplicates(["where", "field"], ignore_index=True)
    if found[tables[0]].empty:
        first = "".join(f"\n  {s.where}: {s.field}: {s.reason}" for s in skips.head(3).itertuples())
        raise DataError(f"no problem could be measured: all are skipped; a lower --max_new_tokens may help:{first}")
    return {"skips": skips, **found}
