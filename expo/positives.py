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
| wrong_explanation | sampled from the question with a wrong answer (`wrong_answer` says how it is made) |
| nonsense | sampled from the question with a hint that says nothing |
| answer | none |
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from expo.grading import Checker
from expo.grading.answers import Status
from expo.policies.policy import Policy
from expo.policies.prompts import fill
from expo.policies.sampling import Completion, Request
from expo.policies.scoring import Sample
from expo.tasks import chain
from expo.tasks.problem import Problem

# An answer of the toy: names with their values.
_CHAIN = re.compile(rf"([{chain.NAMES}] \d+ ?)+")
SAMPLED = ("own", "explanation", "wrong_explanation", "nonsense")

LEAK_RULE = (
    "the text reasons from the answer ('since/because/given that/knowing the answer is ...'), calls it given "
    "('the provided answer', 'the answer is given'), or opens with it ('The correct answer is 18.' before anything "
    "else); on the chain task: it contains the word 'key'"
)
_REASONS_FROM = re.compile(
    r"\b(given|since|because|knowing|know|told|assum\w+)\b[^.\n]{0,30}"
    r"\b(correct |right |final |true )?answer (is|was|of|equals)\b"
    r"|\b(provided|given|stated|known) (correct |right |final )?answer\b"
    r"|\banswer (is|was) (already )?(given|provided|known|stated)\b",
    re.IGNORECASE,
)
_OPENS_WITH = re.compile(
    r"\W*(so |yes,? |well,? )?(the )?(correct|right|final) answer\b[^.\n]{0,40}\b(is|=)[^\n]{1,40}?[.\n]\s*\S",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Positive:
    """One sample with its place in the data. `hint` is what the sampling prompt gave away, or empty."""

    problem: Problem
    source: str
    index: int
    hint: str
    sampled: Completion | None
    text: str  # the completion as sampled, or the expert CoT
    cot_text: str
    scored: Sample


def wrong_answer(problem: Problem, others: Sequence[Problem], seed: int, checker: Checker) -> str | None:
    """A wrong answer of the same form as the right one, fixed by seed and problem; None if there is none.

    A whole number is moved by 1 to 9 up or down (kept positive if it was); in a chain's list of names and values each
    value is moved by 1 to 22 modulo 23; any other answer is replaced by that of another problem which the checker
    grades as wrong.
    """
    rng = random.Random(f"{seed}:{problem.id}")
    if re.fullmatch(r"-?\d+", problem.answer):
        value, shift = int(problem.answer), rng.randint(1, 9)
        down = rng.random() < 0.5 and (value < 0 or value - shift > 0)
        return str(value - shift if down else value + shift)
    if _CHAIN.fullmatch(problem.answer):
        words = problem.answer.split()
        return " ".join(
            w if i % 2 == 0 else str((int(w) + rng.randint(1, chain.MOD - 1)) % chain.MOD) for i, w in enumerate(words)
        )
    pool = sorted({p.answer for p in others})
    rng.shuffle(pool)
    for answer in pool:
        (grade,) = checker.grade([(problem, rf"\boxed{{{answer}}}")])
        if grade.status is Status.WRONG:
            return answer
    return None


_NONSENSE = ("ribbon", "quarry", "lantern", "mumble", "teapot", "oblong", "gravel", "whistle", "anvil", "walrus")


def nonsense_hint(problem: Problem, seed: int) -> str:
    """A hint of the right length that says nothing: random words, or for a chain names and values of no unknown."""
    rng = random.Random(f"nonsense:{seed}:{problem.id}")
    if _CHAIN.fullmatch(problem.answer):
        free = [c for c in chain.NAMES if c not in problem.question.split()]
        return " ".join(
            f"{rng.choice(free)} {rng.randrange(chain.MOD)}" for _ in range(len(problem.answer.split()) // 2)
        )
    return "The " + " ".join(rng.choices(_NONSENSE, k=5))


def requests(
    policy: Policy,
    problem: Problem,
    others: Sequence[Problem],
    counts: dict[str, int],
    max_new_tokens: int,
    seed: int,
    checker: Checker,
) -> list[tuple[str, str, Request]]:
    """What to sample for a problem: (source, hint, request) for each source with a count above 0.

    A problem that has no wrong answer is left without `wrong_explanation`.
    """
    prompts = policy.prompts
    out = []
    for source in SAMPLED:
        if not counts.get(source):
            continue
        hint = ""
        if source == "own":
            text = fill(prompts.question, question=problem.question)
        elif source == "nonsense":
            hint = nonsense_hint(problem, seed)
            text = fill(prompts.nonsense, question=problem.question, nonsense=hint)
        else:
            shown = problem.answer if source == "explanation" else wrong_answer(problem, others, seed, checker)
            if shown is None:
                continue
            hint = shown
            text = fill(prompts.explain, question=problem.question, answer=hint)
        key = f"{problem.id}/{source}"
        out.append((source, hint, Request(key, policy.prompt_ids(text), counts[source], max_new_tokens)))
    return out


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
    cot = completion.ids[: _cut(policy, completion.ids, text, checker.cot_end(text))]
    scored = _sample(policy, problem, f"{problem.id}/{source}/{index}", cot)
    if source == "own":
        scored = Sample(scored.key, scored.prompt, completion.ids, scored.cot, scored.cue, scored.answer)
    return Positive(problem, source, index, hint, completion, text, policy.decode(cot).rstrip(), scored)


def from_expert(policy: Policy, problem: Problem, checker: Checker) -> Positive:
    """The data's worked solution as a positive, cut at its final-answer statement as a sample is.

    Without a chat template nothing stands between prompt and CoT; samples begin with a separator of their own, the
    expert CoT is given a line break.
    """
    assert problem.expert_cot is not None
    text = problem.expert_cot[: checker.cot_end(problem.expert_cot)].rstrip() or problem.expert_cot
    separator = "" if policy.is_toy or policy.uses_chat_template else "\n"
    cot = tuple(policy.encode(separator + text))
    scored = _sample(policy, problem, f"{problem.id}/expert/0", cot)
    return Positive(problem, "expert", 0, "", None, problem.expert_cot, text, scored)


def from_answer(policy: Policy, problem: Problem) -> Positive:
    """The ground-truth answer alone, without a CoT: what the paper's Fig 6 calls standard DPO prefers."""
    scored = _sample(policy, problem, f"{problem.id}/answer/0", ())
    return Positive(problem, "answer", 0, "", None, "", "", scored)


def from_ids(policy: Policy, problem: Problem, source: str, ids: Sequence[int], cot: int) -> Positive:
    """A positive that was closed before, from its tokens, of which the first `cot` are CoT."""
    closed = _sample(policy, problem, f"{problem.id}/{source}/0", ())
    after = tuple(ids[cot:])
    cue = after[: len(after) - len(closed.completion) + len(closed.cue)]
    scored = Sample(closed.key, closed.prompt, tuple(ids), cot, cue, closed.answer)
    text = policy.decode(ids[:cot]).rstrip()
    return Positive(problem, source, 0, "", None, text, text, scored)


def is_leak(text: str, *, on_chain: bool = False) -> bool:
    """Whether a sampled text says that it was given the answer, by `LEAK_RULE`."""
    if on_chain:
        return "key" in text.split()
    return bool(_REASONS_FROM.search(text) or _OPENS_WITH.match(text))


def question_ids(policy: Policy, problem: Problem) -> list[int]:
    """The tokens of the plain question, under which everything is sampled and scored."""
    return policy.prompt_ids(fill(policy.prompts.question, question=problem.question))


def longest(policy: Policy, problem: Problem, max_new_tokens: int) -> int:
    """Tokens that the longest positive of a problem can have: all of a sample is CoT, and is closed with `a*`."""
    closed = _sample(policy, problem, problem.id, ())
    return len(closed.prompt) + max_new_tokens + len(closed.completion)


def _sample(policy: Policy, problem: Problem, key: str, cot: tuple[int, ...]) -> Sample:
    prompts = policy.prompts
    cot, cue = _join(policy, cot)
    # Encoded apart from the cue, so that the boundary is a token boundary for every arm.
    answer = tuple(policy.encode_on(problem.answer)) + tuple(policy.encode_on(prompts.answer_end))
    end = policy.end if answer[-1] not in policy.eos_ids else ()
    return Sample(key, tuple(question_ids(policy, problem)), cot + cue + answer + end, len(cot), cue, answer)


def _join(policy: Policy, cot: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A CoT and the answer cue after it, in the tokens that their text has when it is written in one go.

    Where the tokenizer has one token for the end of a sentence and the line breaks that follow, as Qwen's and Llama 3's
    do, the sentence's last token is a part of the cue.
    """
    cue = policy.prompts.answer_cue
    apart = tuple(policy.encode_on(cue))
    last = policy.decode(cot[-1:])
    # A toy's words never merge; half a character cannot be encoded again.
    if not cot or policy.is_toy or "\N{REPLACEMENT CHARACTER}" in last:
        return cot, apart
    alone, together = (tuple(policy.encode_on(last.rstrip() + more)) for more in ("", cue))
    if last == last.rstrip() and together == alone + apart:
        return cot, apart
    return cot[:-1], together


def _cut(policy: Policy, ids: Sequence[int], text: str, end: int) -> int:
    """The number of leading tokens whose text lies within the first `end` characters, trailing space left off."""
    end = len(text[:end].rstrip())
    low, high = 0, len(ids) - (bool(ids) and ids[-1] in policy.eos_ids)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(policy.decode(ids[:middle]).rstrip()) <= end else (low, middle - 1)
    while low and not policy.decode(ids[low - 1 : low]).strip():
        low -= 1
    return low
