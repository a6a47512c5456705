"""Positives: own CoT `c`, self-explanation `c~`, expert CoT `c_E`, and the controls.

Every positive but `own` is `(c, a*)`: its CoT, then the answer cue, `a*`, the closing mark and the end token. Its
final answer is `a*` by construction, whatever the sampled text claimed. `own` is scored as it was sampled, with
its own answer. The cue and the format of the answer are the same for all.

| source | CoT |
| --- | --- |
| own | sampled from the question alone |
| explanation | sampled from the question with `a*` (paper, Eq 7) |
| expert | the data's worked solution |
| own_correct | those of `own` whose answer was right |
| wrong_explanation | sampled from the question with a wrong answer (the task makes it: `Checker.wrong_answer`) |
| nonsense | sampled from the question with a hint that says nothing |
| answer | none |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expo.policies.engine import Completion, Request
from expo.policies.policy import Policy
from expo.policies.scoring import Sample
from expo.positives.closing import close, cut, explain_ids, longest, question_ids
from expo.tasks import Checker
from expo.tasks.problem import Problem, Skip
from expo.tasks.prompts import fill

SAMPLED = ("own", "explanation", "wrong_explanation", "nonsense")


@dataclass(frozen=True)
class Positive:
    """One sample with its place in the data. `hint` is what the sampling prompt revealed, or empty."""

    problem: Problem
    source: str
    index: int
    hint: str
    sampled: Completion | None
    text: str  # the completion as sampled, or the expert CoT
    cot_text: str
    scored: Sample


def requests(
    policy: Policy,
    problem: Problem,
    others: Sequence[Problem],
    counts: dict[str, int],
    max_new_tokens: int,
    seed: int,
    checker: Checker,
) -> list[tuple[str, str, Request]]:
    """List what to sample for a problem: (source, hint, request) for each source with a count above 0.

    A problem without a possible wrong answer gets no `wrong_explanation`.
    """
    out = []
    for source in SAMPLED:
        if not counts.get(source):
            continue
        hint: str | None = ""
        if source == "nonsense":
            hint = checker.nonsense(problem, seed)
        elif source == "explanation":
            hint = problem.answer
        elif source == "wrong_explanation":
            hint = checker.wrong_answer(problem, others, seed)
        if hint is None:
            continue
        ids = sampling_prompt(policy, problem, source, hint)
        out.append((source, hint, Request(f"{problem.id}/{source}", ids, counts[source], max_new_tokens)))
    return out


def sampling_prompt(policy: Policy, problem: Problem, source: str, hint: str) -> list[int]:
    """The tokens of the prompt from which a kind of positive is sampled, and the hint it reveals."""
    if source == "own":
        return question_ids(policy, problem)
    if source == "nonsense":
        return policy.prompt_ids(fill(policy.prompts.nonsense, question=problem.question, nonsense=hint))
    return explain_ids(policy, problem, hint)


def from_sample(
    policy: Policy,
    problem: Problem,
    source: str,
    index: int,
    hint: str,
    completion: Completion,
    checker: Checker,
) -> Positive:
    """The positive of a sampled completion: cut at its final-answer statement, closed with `a*` unless it is `own`."""
    text = policy.decode(completion.ids)
    cot = completion.ids[: cut(policy, completion.ids, text, checker.cot_end(text))]
    scored = close(policy, problem, f"{problem.id}/{source}/{index}", cot)
    if source == "own":
        scored = Sample(scored.key, scored.prompt, completion.ids, scored.cot, scored.cue, scored.answer)
    return Positive(problem, source, index, hint, completion, text, policy.decode(cot).rstrip(), scored)


def from_expert(policy: Policy, problem: Problem, checker: Checker) -> Positive:
    """The data's worked solution as a positive."""
    assert problem.expert_cot is not None
    return from_text(policy, problem, "expert", problem.expert_cot, checker)


def from_text(policy: Policy, problem: Problem, source: str, text: str, checker: Checker) -> Positive:
    """An existing text as a positive, cut at its final-answer statement like a sample.

    Without a chat template nothing separates prompt and CoT. Samples start with their own separator; a text without one
    gets a line break.
    """
    cot_text = text[: checker.cot_end(text)].rstrip() or text
    separator = "" if policy.uses_chat_template or cot_text[:1].isspace() else "\n"
    cot = tuple(policy.encode(separator + cot_text))
    scored = close(policy, problem, f"{problem.id}/{source}/0", cot)
    return Positive(problem, source, 0, "", None, text, cot_text, scored)


def from_answer(policy: Policy, problem: Problem) -> Positive:
    """The ground-truth answer alone, without a CoT: what standard DPO prefers in the paper's Fig 6."""
    scored = close(policy, problem, f"{problem.id}/answer/0", ())
    return Positive(problem, "answer", 0, "", None, "", "", scored)


def from_ids(policy: Policy, problem: Problem, source: str, ids: Sequence[int], cot: int) -> Positive:
    """A positive that was already closed, from its tokens, the first `cot` of which are CoT."""
    closed = close(policy, problem, f"{problem.id}/{source}/0", ())
    after = tuple(ids[cot:])
    cue = after[: len(after) - len(closed.completion) + len(closed.cue)]
    scored = Sample(closed.key, closed.prompt, tuple(ids), cot, cue, closed.answer)
    text = policy.decode(ids[:cot]).rstrip()
    return Positive(problem, source, 0, "", None, text, text, scored)


def fitting(
    policy: Policy,
    problem: Problem,
    others: Sequence[Problem],
    counts: dict[str, int],
    max_new_tokens: int,
    seed: int,
    checker: Checker,
) -> tuple[list[tuple[str, str, Request]] | None, list[Skip]]:
    """The requests of a problem (None if they or its positives exceed the context), and the skips."""
    where = problem.where or problem.id
    asked = requests(policy, problem, others, counts, max_new_tokens, seed, checker)
    lengths = [request.tokens for _, _, request in asked]
    needed = max([*lengths, longest(policy, problem, max_new_tokens)]) if asked else 0
    if needed > policy.context:
        room = max_new_tokens - (needed - policy.context)
        fix = f"--max_new_tokens {room} fits" if room > 0 else "no --max_new_tokens fits"
        return None, [Skip(where, "question", f"{needed} tokens, more than the context of {policy.context}; {fix}")]
    if "wrong_explanation" in counts.keys() - {source for source, *_ in asked}:
        return asked, [Skip(where, "answer", "no other answer can serve as a wrong one; measured without that control")]
    return asked, []


def experts(
    policy: Policy, problems: Sequence[Problem], checker: Checker, *, without: str = "", too_long: str = ""
) -> tuple[list[Positive], list[Skip]]:
    """The expert CoTs of problems as positives, and the problems that have none that fits.

    `without` and `too_long` end the reason of a skip: what happens to a problem that has no expert CoT, or none that
    fits the context.
    """
    kept, skips = [], []
    for p in problems:
        if p.expert_cot is None:
            skips.append(Skip(p.where or p.id, "expert_cot", f"none{without}"))
            continue
        positive = from_expert(policy, p, checker)
        tokens = len(positive.scored.prompt) + len(positive.scored.completion)
        if tokens > policy.context:
            reason = f"{tokens} tokens, more than the context of {policy.context}{too_long}"
            skips.append(Skip(p.where or p.id, "expert_cot", reason))
        else:
            kept.append(positive)
    return kept, skips
