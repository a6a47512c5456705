"""The positives that are learnt in addition to the policy's own samples, made from some state of the policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from expo.grading.answers import Grade, Status
from expo.measure.choice import Chosen, Graded, choose, mask_tokens
from expo.policies.engine import Completion
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.positives.kinds import Positive, experts, from_answer, from_sample, requests
from expo.schema import as_frame
from expo.tasks import Checker
from expo.tasks.problem import Problem, Skip
from expo.tasks.prompts import fill


def as_prompt(policy: Policy, problem: Problem) -> Any:
    """A problem's plain question in TRL's format of prompts: a user turn, or text if there is no chat template."""
    text = fill(policy.prompts.question, question=problem.question)
    return [{"role": "user", "content": text}] if policy.uses_chat_template else text


def make(
    policy: Policy,
    checker: Checker,
    problems: Sequence[Problem],
    others: Sequence[Problem],
    kind: str,
    *,
    tries: int,
    choice: str = "first",
    tokens: str = "all",
    must_be: Sequence[str] = (),
    temperature: float,
    max_new_tokens: int,
    seed: int,
    step: int = 0,
    rows: int = 64,
    on_finished: Callable[[int, Completion], object] | None = None,
) -> tuple[pd.DataFrame, list[Skip]]:
    """Make positives, (c, a*) closed as in `expo.positives`: rows of `positives.parquet`, and skips.

    A sample of the `tries` is acceptable if it ended by itself and meets `must_be`, and for own CoTs if its answer was
    right; `choice` says which acceptable sample is used, and `tokens` which of its tokens are learnt. A text cut at the
    token limit is not acceptable: closed with a*, it would teach the policy to break off mid-sentence.
    """
    if kind == "none":
        return as_frame("positives"), []
    chosen: list[Chosen]
    missing: list[Skip] = []
    if kind == "answer":
        chosen = [Chosen(from_answer(policy, p), None) for p in problems]
    elif kind == "expert":
        positives, missing = experts(policy, problems, checker, without=": no positive", too_long=": no positive")
        chosen = [Chosen(p, None) for p in positives]
    else:
        source = "own" if kind == "own_correct" else kind
        asked = [
            (p, hint, r)
            for p in problems
            for _, hint, r in requests(policy, p, others, {source: tries}, max_new_tokens, seed, checker)
        ]
        wanted = [(p, hint, r) for p, hint, r in asked if r.tokens <= policy.context]
        done = sample(
            policy,
            [r for _, _, r in wanted],
            temperature=temperature,
            seed=seed + step,
            rows=rows,
            on_finished=on_finished,
        )
        fit, missing = _acceptable(policy, checker, kind, must_be, [(p, h) for p, h, _ in wanted], done)
        chosen = choose(policy, fit, choice, seed + step)
        missing += [
            Skip(
                p.where or p.id,
                kind,
                f"up to {r.tokens} tokens with its prompt, more than the context of {policy.context}: no positive",
            )
            for p, _, r in asked
            if r.tokens > policy.context
        ]
        missing += [
            Skip(p.where or p.id, "answer", "no other answer can serve as a wrong one: no positive")
            for p in problems
            if p.id not in {q.id for q, _, _ in asked}
        ]
    masks = mask_tokens(policy, [c.positive for c in chosen], tokens)
    table = [{**row_of(policy, checker, kind, step, c), "mask": mask} for c, mask in zip(chosen, masks, strict=True)]
    return as_frame("positives", table), missing


def _acceptable(
    policy: Policy,
    checker: Checker,
    kind: str,
    must_be: Sequence[str],
    asked: Sequence[tuple[Problem, str]],
    done: Sequence[Sequence[Completion]],
) -> tuple[list[list[Graded]], list[Skip]]:
    """The acceptable samples of each problem, and the problems without one."""
    built = [
        [from_sample(policy, p, kind, k, hint, c, checker) for k, c in enumerate(group)]
        for (p, hint), group in zip(asked, done, strict=True)
    ]
    truncated = [c.truncated for group in done for c in group]
    grades = iter(checker.grade([(p.problem, p.text) for group in built for p in group], truncated))
    acceptable: list[list[Graded]] = []
    missing = []
    for group in built:
        graded = [(p, next(grades)) for p in group]
        must = all_of(kind, must_be)
        fit: list[Graded] = [
            (p, g) for p, g in graded if p.sampled and not p.sampled.truncated and fits(checker, p, g, must)
        ]
        if fit:
            acceptable.append(fit)
            continue
        problem = group[0].problem
        why = "was right" if kind == "own_correct" else "ended before the token limit"
        why += f" and passed the filter ({', '.join(must_be)})" if must_be else ""
        tried = "its only sample never" if len(group) == 1 else f"none of its {len(group)} samples"
        fix = "more positive_tries may find one"
        if all(p.sampled and p.sampled.truncated for p in group):
            fix = f"raise max_completion_length; or {fix}"
        missing.append(Skip(problem.where or problem.id, kind, f"{tried} {why}: no positive; {fix}"))
    return acceptable, missing


def all_of(kind: str, must_be: Sequence[str]) -> list[str]:
    """Everything a positive of this kind must meet: an own correct CoT must also be right."""
    return [*must_be, *(["right"] if kind == "own_correct" else [])]


def fits(checker: Checker, positive: Positive, grade: Grade | None, must_be: Sequence[str]) -> bool:
    """Whether a positive meets all these conditions, named as in `positive_filter`."""
    return all(
        {
            "right": lambda: grade is not None and grade.status is Status.CORRECT,
            "no_leak": lambda: not checker.is_leak(positive.text),
            "true_steps": lambda: all(true for _, true in checker.steps(positive.problem, positive.cot_text)),
        }[name]()
        for name in must_be
    )


def row_of(policy: Policy, checker: Checker, kind: str, step: int, chosen: Chosen) -> dict[str, object]:
    """A row of `positives.parquet`."""
    p, grade = chosen.positive, chosen.grade
    steps = checker.steps(p.problem, p.cot_text)
    return {
        "step": step,
        "problem": p.problem.id,
        "level": p.problem.level,
        "source": kind,
        "hint": p.hint,
        "text": policy.decode(p.scored.completion),
        "ids": list(p.scored.completion),
        "cot_tokens": p.scored.cot,
        "status": grade.status.value if grade else "",
        "leak": checker.is_leak(p.text) if kind not in ("expert", "answer") else False,
        "steps": len(steps),
        "steps_true": sum(true for _, true in steps),
        "candidates": chosen.candidates,
        "place": chosen.place,
        "first_text": chosen.first_text,
        "effective_samples": chosen.effective_samples,
        "weight_entropy": chosen.weight_entropy,
        "mask": None,
        "weight": chosen.weight,
    }
