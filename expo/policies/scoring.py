"""NLL and learning signal of a sample, from one pass over its tokens.

The prompts of a batch are run once each and shared by their samples. A sample whose own answer is not `a*` gets its
learning signal from a short branch on the same cache: the tokens after the CoT are replaced by the answer cue and `a*`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expo.policies.kv_cache import RowCache, forward, prefill, right_padded
from expo.policies.policy import Policy
from expo.policies.products import fast_linear_layers

# Logits take tokens x vocabulary x 4 bytes: 1,024 tokens of a 49k vocabulary are 0.2 GB. On a CPU larger batches are
# also slower, because they leave the cache.
MAX_TOKENS = 1024
# Keys and values of prompts, held while their samples are scored: about 0.05 MB per token at 135M parameters.
MAX_PROMPT_TOKENS = 8192


@dataclass(frozen=True)
class Sample:
    """A sample to score: `completion` after `prompt`, and `answer` after prompt, `completion[:cot]` and `cue`.

    `prompt` is the plain question prompt. `completion` is (c, a) with its end token; `cot` is the number of its
    tokens that are CoT. `answer` is `a*` with its closing mark.
    """

    key: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    cot: int
    cue: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def inline(self) -> bool:
        """Whether the completion itself continues with cue and answer, so that no branch is needed."""
        tail = self.cue + self.answer
        return self.completion[self.cot : self.cot + len(tail)] == tail


@dataclass(frozen=True)
class Score:
    """Log-probabilities in nats at temperature 1: of each completion token, and of each answer token."""

    completion: np.ndarray
    answer: np.ndarray

    @property
    def nll_sum(self) -> float:
        """-log pi(c, a|q), nats per sequence."""
        return float(-self.completion.sum())

    @property
    def nll_per_token(self) -> float:
        """-log pi(c, a|q) / |c, a|, nats per token."""
        return float(-self.completion.mean())

    @property
    def learning_signal(self) -> float:
        """log pi(a*|q, c), nats per sequence."""
        return float(self.answer.sum())


def whole(prompt: Sequence[int], completion: Sequence[int], key: str) -> Sample:
    """A sample scored only for the log-probability of its completion: its last token serves as the answer."""
    ids = tuple(int(i) for i in completion)
    return Sample(key, tuple(prompt), ids, len(ids) - 1, (), ids[-1:])


@torch.inference_mode()
def score(
    policy: Policy, samples: Sequence[Sample], *, on_scored: Callable[[Sample], object] | None = None
) -> list[Score]:
    """Score samples; results are in the given order. Batches are formed by length and change a score only by rounding.

    Raises:
        ValueError: for an empty prompt, completion or answer, or a sample longer than the policy's context.
        FloatingPointError: for a NaN or infinite log-probability; the message names the sample's key.
    """
    for s in samples:
        _check(policy, s)
    out: dict[int, Score] = {}
    with fast_linear_layers(policy.model):
        for i, result in _scored(policy, samples):
            out[i] = result
            if on_scored:
                on_scored(samples[i])
    return [out[i] for i in range(len(samples))]


def _scored(policy: Policy, samples: Sequence[Sample]) -> Iterator[tuple[int, Score]]:
    for prompts, indices in _groups(samples):
        shared = prefill(policy.model, [[p] for p in prompts])
        row_of = {p: i for i, p in enumerate(prompts)}
        for batch in _batches(samples, indices):
            chosen = [samples[i] for i in batch]
            cache = shared.take(torch.tensor([row_of[s.prompt] for s in chosen], device=policy.device))
            yield from zip(batch, _score_batch(policy, chosen, cache), strict=True)


def _check(policy: Policy, s: Sample) -> None:
    if not (s.prompt and s.completion and s.answer):
        raise ValueError(f"{s.key}: prompt, completion and answer must each have at least one token")
    longest = len(s.prompt) + max(len(s.completion), s.cot + len(s.cue) + len(s.answer))
    if longest > policy.context:
        raise ValueError(f"{s.key}: {longest} tokens, more than the context of {policy.name} ({policy.context})")


def _groups(samples: Sequence[Sample]) -> list[tuple[list[tuple[int, ...]], list[int]]]:
    """Prompts of similar length whose keys and values are held at once, with their samples."""
    owned: dict[tuple[int, ...], list[int]] = {}
    for i, s in enumerate(samples):
        owned.setdefault(s.prompt, []).append(i)
    groups: list[tuple[list[tuple[int, ...]], list[int]]] = []
    for prompt in sorted(owned, key=len, reverse=True):
        if not groups or (len(groups[-1][0]) + 1) * len(groups[-1][0][0]) > MAX_PROMPT_TOKENS:
            groups.append(([], []))
        groups[-1][0].append(prompt)
        groups[-1][1].extend(owned[prompt])
    return groups


def _batches(samples: Sequence[Sample], indices: list[int]) -> list[list[int]]:
    batches: list[list[int]] = []
    for i in sorted(indices, key=lambda i: len(samples[i].completion), reverse=True):
        if not batches or (len(batches[-1]) + 1) * len(samples[batches[-1][0]].completion) > MAX_TOKENS:
            batches.append([])
        batches[-1].append(i)
    return batches


def _score_batch(policy: Policy, samples: list[Sample], cache: RowCache) -> list[Score]:
    """`cache` holds each sample's prompt without its last token, which is read with the completion."""
    before = cache.mask.shape[1]
    inputs = [[s.prompt[-1], *s.completion[:-1]] for s in samples]
    completion = _log_probs(policy, inputs, [s.completion for s in samples], cache)
    answer: list[Tensor | None] = [
        c[s.cot + len(s.cue) :][: len(s.answer)] if s.inline else None for s, c in zip(samples, completion, strict=True)
    ]
    branched = [i for i, a in enumerate(answer) if a is None]
    if branched:
        context = torch.ones_like(cache.mask)
        for i, s in enumerate(samples):
            context[i, before + s.cot :] = False
        cache.keep(context)
        cache.select(torch.tensor(branched, device=policy.device))
        tails = [samples[i].cue + samples[i].answer for i in branched]
        last = [(samples[i].prompt + samples[i].completion[: samples[i].cot])[-1] for i in branched]
        inputs = [[first, *tail[:-1]] for first, tail in zip(last, tails, strict=True)]
        for i, log_probs in zip(branched, _log_probs(policy, inputs, tails, cache), strict=True):
            answer[i] = log_probs[len(samples[i].cue) :]
    return [_finished(s, c, a) for s, c, a in zip(samples, completion, answer, strict=True)]


def _log_probs(
    policy: Policy, inputs: list[list[int]], targets: Sequence[Sequence[int]], cache: RowCache
) -> list[Tensor]:
    """Log-probability of each target token, as one 1-D tensor per row."""
    ids, mask = right_padded(inputs, 0, policy.device)
    logits = forward(policy.model, ids, mask, cache)
    # Row by row, so that no second tensor of the size of the logits is created.
    return [
        -torch.nn.functional.cross_entropy(
            row[: len(t)].float() if row.dtype != torch.float64 else row[: len(t)],
            torch.tensor(t, device=row.device),
            reduction="none",
        ).cpu()
        for row, t in zip(logits, targets, strict=True)
    ]


def _finished(s: Sample, completion: Tensor, answer: Tensor | None) -> Score:
    assert answer is not None
    if not bool(torch.isfinite(completion).all() and torch.isfinite(answer).all()):
        raise FloatingPointError(
            f"{s.key}: a log-probability is NaN or infinite, so no mean can be computed; check the policy's "
            "weights and dtype"
        )
    return Score(completion.double().numpy(), answer.double().numpy())
