"""Closing a CoT with `a*`: answer cue, answer and end token, at the same token boundaries for every positive."""

from __future__ import annotations

from collections.abc import Sequence

from expo.policies.policy import Policy
from expo.policies.scoring import Sample
from expo.tasks.problem import Problem
from expo.tasks.prompts import fill


def question_ids(policy: Policy, problem: Problem) -> list[int]:
    """The tokens of the plain question, the prompt for sampling own CoTs and for all scoring."""
    return policy.prompt_ids(fill(policy.prompts.question, question=problem.question))


def explain_ids(policy: Policy, problem: Problem, hint: str | None = None) -> list[int]:
    """The tokens of the question with its answer, or another hint, the prompt for sampling explanations."""
    shown = problem.answer if hint is None else hint
    return policy.prompt_ids(fill(policy.prompts.explain, question=problem.question, answer=shown))


def longest(policy: Policy, problem: Problem, max_new_tokens: int) -> int:
    """The maximum tokens of a problem's positive: a sample that is all CoT, closed with `a*`."""
    closed = close(policy, problem, problem.id, ())
    return len(closed.prompt) + max_new_tokens + len(closed.completion)


def close(policy: Policy, problem: Problem, key: str, cot: tuple[int, ...]) -> Sample:
    """A CoT closed with the problem's answer, ready to be scored under the plain question."""
    prompts = policy.prompts
    cot, cue = _join(policy, cot)
    # Encoded separately from the cue, so that the boundary is a token boundary for every kind of positive.
    answer = tuple(policy.encode_on(problem.answer)) + tuple(policy.encode_on(prompts.answer_end))
    end = policy.end if answer[-1] not in policy.eos_ids else ()
    return Sample(key, tuple(question_ids(policy, problem)), cot + cue + answer + end, len(cot), cue, answer)


def _join(policy: Policy, cot: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A CoT and the following answer cue, tokenised as their joined text is.

    If the tokenizer has a single token for the end of a sentence and the line breaks that follow, as Qwen's and Llama
    3's do, the sentence's last token becomes part of the cue.
    """
    cue = policy.prompts.answer_cue
    apart = tuple(policy.encode_on(cue))
    last = policy.decode(cot[-1:])
    # An incomplete character cannot be encoded again.
    if not cot or "\N{REPLACEMENT CHARACTER}" in last:
        return cot, apart
    alone, together = (tuple(policy.encode_on(last.rstrip() + more)) for more in ("", cue))
    if last == last.rstrip() and together == alone + apart:
        return cot, apart
    return cot[:-1], together


def cut(policy: Policy, ids: Sequence[int], text: str, end: int) -> int:
    """The number of leading tokens whose text lies within the first `end` characters, without trailing space."""
    end = len(text[:end].rstrip())
    low, high = 0, len(ids) - (bool(ids) and ids[-1] in policy.eos_ids)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(policy.decode(ids[:middle]).rstrip()) <= end else (low, middle - 1)
    while low and not policy.decode(ids[low - 1 : low]).strip():
        low -= 1
    return low
