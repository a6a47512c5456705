"""One direction against many samples: <grad log pi(completion | prompt), direction>, without each gradient."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from expo.gradients.batches import Batch, make_batches
from expo.gradients.examples import Example, check, check_finite, evaluating
from expo.gradients.passes import accumulation_dtype
from expo.policies.policy import Policy, PolicyError

# Fewer than other routes run at once: here the logits of a batch are held in full.
BATCH_TOKENS = 1024

Direction = dict[str, Tensor]


def gradient(
    policy: Policy, examples: Sequence[Example], weights: Sequence[float], *, batch_tokens: int = BATCH_TOKENS
) -> Direction:
    """The weighted sum over examples of grad log pi(completion | prompt), by name of the trainable parameter.

    Summed in float32, or in float64 for a float64 policy.

    Raises:
        ValueError, PolicyError: see `examples.check`; ValueError also for a wrong number of weights, or a weight that
            is NaN or infinite.
        FloatingPointError: for a NaN or infinite gradient; the message names the examples of the batch and the weight.
    """
    check(policy, examples)
    if len(weights) != len(examples):
        raise ValueError(f"{len(examples)} examples need the same number of weights, got {len(weights)}")
    factors = torch.tensor(list(weights), dtype=torch.float64)
    if not torch.isfinite(factors).all():
        raise ValueError(f"weights must be finite, got {list(weights)}")
    with evaluating(policy) as parameters:
        total = {name: torch.zeros_like(p, dtype=accumulation_dtype(p.dtype)) for name, p in parameters.items()}
        for batch in make_batches(policy, examples, batch_tokens):
            scaled = _log_probs(policy, dict(parameters), batch) * factors[batch.members].to(policy.device)
            parts = torch.autograd.grad(scaled.sum(), list(parameters.values()), materialize_grads=True)
            keys = ", ".join(examples[i].key for i in batch.members)
            check_finite(keys, dict(zip(parameters, parts, strict=True)))
            for sum_of, part in zip(total.values(), parts, strict=True):
                sum_of.add_(part)
    return total


def derivatives(
    policy: Policy,
    examples: Sequence[Example],
    direction: Direction,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> np.ndarray:
    """<grad log pi(completion | prompt), direction> of each example, shape (N,), nats per unit of the direction.

    Uses forward mode, which is exact up to rounding (also of the direction, to the parameters' dtype), at about three
    times the cost of a forward pass. Parameters that the direction does not name are kept fixed. For rollouts with
    rewards, `alignment.covariance(rewards, derivatives(...))` is <grad J, direction> with its standard error.

    Raises:
        ValueError: see `examples.check`; also for an empty direction, unknown parameters, or a wrong shape.
        PolicyError: if forward mode does not support an operation of the policy.
        FloatingPointError: for a derivative that is NaN or infinite; the message names its example.
    """
    check(policy, examples)
    out = np.zeros(len(examples))
    with evaluating(policy) as parameters, torch.no_grad():
        moved = {name: parameters[name].detach() for name in _fitting(policy, direction, parameters)}
        tangent = {name: direction[name].to(p) for name, p in moved.items()}
        for batch in make_batches(policy, examples, batch_tokens):

            def log_probs(weights: Direction, batch: Batch = batch) -> Tensor:
                return _log_probs(policy, weights, batch)

            try:
                with _quiet():
                    along: Tensor = jvp(log_probs, (moved,), (tangent,))[1]
            except NotImplementedError as error:
                raise PolicyError(
                    f"policy {policy.name!r}: forward mode does not support one of its operations: {error}"
                ) from error
            out[batch.members] = along.double().cpu().numpy()
    if not np.isfinite(out).all():
        bad = examples[int(np.flatnonzero(~np.isfinite(out))[0])]
        raise FloatingPointError(f"{bad.key}: its derivative is NaN or infinite")
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's internal warnings on the first use of forward mode."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        yield


def _fitting(policy: Policy, direction: Direction, parameters: dict[str, torch.nn.Parameter]) -> list[str]:
    if not direction:
        raise ValueError("direction: give at least one parameter")
    for name, value in direction.items():
        if name not in parameters:
            raise ValueError(f"direction: {name} is not a trainable parameter of {policy.name}")
        if value.shape != parameters[name].shape:
            raise ValueError(
                f"direction: {name} has shape {tuple(value.shape)}, but the parameter has "
                f"{tuple(parameters[name].shape)}"
            )
    return list(direction)


def _log_probs(policy: Policy, weights: Direction, batch: Batch) -> Tensor:
    """log pi(completion | prompt) of a batch's examples under these weights, shape (n,)."""
    # Padding is on the right and reaches nothing, so no mask is needed. Eager attention supports both modes.
    with sdpa_kernel(SDPBackend.MATH):
        logits = functional_call(policy.model, weights, (batch.ids,), {"use_cache": False}).logits
    rows = torch.arange(len(batch.ids), device=logits.device)[:, None]
    at = logits[rows, batch.at]
    at = at if at.dtype == torch.float64 else at.float()
    there = batch.targets >= 0
    of_targets = at.log_softmax(-1).gather(-1, batch.targets.clamp(min=0)[..., None])[..., 0]
    return (of_targets * there).sum(-1)
