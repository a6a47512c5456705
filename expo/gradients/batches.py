"""Examples that the per-example Gram runs together, and what its passes leave for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from expo.gradients.examples import Example
from expo.gradients.graphs import Call
from expo.policies.policy import Policy


@dataclass
class Batch:
    """Examples that run together, padded on the right, and what the passes leave for them."""

    members: list[int]
    ids: Tensor  # (n, T)
    lengths: list[int]
    at: Tensor  # (n, C): positions that predict a completion's tokens
    targets: Tensor  # (n, C), -1 at padding
    there: Tensor  # (2, M): positions of targets that are not padding
    calls: list[Call] = field(default_factory=list)  # of each segment
    hidden: Tensor = field(default_factory=lambda: torch.empty(0))  # input of the output matrix, (n, C, d)
    norm: Tensor = field(default_factory=lambda: torch.empty(0))  # log normaliser, (n, C); infinite at padding
    upstream: Tensor = field(default_factory=lambda: torch.empty(0))  # gradient at the current segment's output


def make_batches(policy: Policy, examples: Sequence[Example], batch_tokens: int) -> list[Batch]:
    """Group examples of similar length, at most `batch_tokens` tokens per batch including padding, longest first."""
    groups: list[list[int]] = []
    length = [len(s.prompt) + len(s.completion) for s in examples]
    for i in sorted(range(len(examples)), key=lambda i: length[i], reverse=True):
        if not groups or (len(groups[-1]) + 1) * length[groups[-1][0]] > batch_tokens:
            groups.append([])
        groups[-1].append(i)
    return [_batch(policy, [examples[i] for i in g], g) for g in groups]


def _batch(policy: Policy, examples: list[Example], members: list[int]) -> Batch:
    lengths = [len(s.prompt) + len(s.completion) for s in examples]
    ids = torch.zeros(len(examples), max(lengths), dtype=torch.long)
    targets = torch.full((len(examples), max(len(s.completion) for s in examples)), -1)
    at = torch.zeros_like(targets)
    for i, s in enumerate(examples):
        ids[i, : lengths[i]] = torch.tensor(s.prompt + s.completion)
        targets[i, : len(s.completion)] = torch.tensor(s.completion)
        at[i, : len(s.completion)] = torch.arange(len(s.prompt) - 1, lengths[i] - 1)
    there = torch.stack((targets >= 0).nonzero(as_tuple=True))
    ids, at, targets, there = (t.to(policy.device) for t in (ids, at, targets, there))
    return Batch(members, ids, lengths, at, targets, there)
