"""The slow reference: one backward pass per example, with every gradient held in full in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from expo.gradients.examples import Example, Gradients, check, check_finite, counts, evaluating
from expo.policies.policy import Policy


def dense(policy: Policy, examples: Sequence[Example]) -> Gradients:
    """Gradients from a loop of backward passes: holds N x P numbers, so only for tiny models and tests.

    Raises:
        ValueError, PolicyError: see `check`.
        FloatingPointError: for a NaN or infinite gradient; the message names example and weight.
    """
    check(policy, examples)
    rows, log_probs = [], []
    with evaluating(policy) as weights:
        for example in examples:
            log_prob = _log_prob(policy, example)
            grads = torch.autograd.grad(log_prob, list(weights.values()), materialize_grads=True)
            check_finite(example.key, dict(zip(weights, grads, strict=True)))
            rows.append(torch.cat([g.flatten().double() for g in grads]))
            log_probs.append(log_prob.item())
        parameters, frozen = counts(policy, weights)
    stacked = torch.stack(rows)
    gram = (stacked @ stacked.T).cpu().numpy()
    return Gradients(tuple(s.key for s in examples), gram, np.array(log_probs), parameters, frozen)


def _log_prob(policy: Policy, example: Example) -> torch.Tensor:
    ids = torch.tensor([example.prompt + example.completion], device=policy.device)
    logits = policy.model(ids, use_cache=False).logits[0, len(example.prompt) - 1 : -1]
    if logits.dtype != torch.float64:
        logits = logits.float()
    targets = torch.tensor(example.completion, device=policy.device)
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
