"""The input and output of the gradient routes: examples, and the Gram matrix of their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from expo.policies.policy import Policy, PolicyError
from expo.policies.products import fast_linear_layers

# Dtypes of weights whose gradients can be computed.
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Example:
    """Tokens whose gradient is computed: of log pi(completion | prompt), nats per sequence.

    With the plain question as prompt and (c, a) as completion this gives the gradient of the NLL (negated); with (q, c,
    answer cue) as prompt and `a*` as completion, that of the learning signal.
    """

    key: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True)
class Gradients:
    """Inner products of the gradients g_i of N examples, in the given order.

    Attributes:
        keys: keys of the examples.
        gram: <g_i, g_j>, shape (N, N), float64; nats squared, over the trainable weights at temperature 1.
        log_probs: log pi(completion | prompt), shape (N,), nats per sequence.
        parameters: the number of weights that the gradients cover: all trainable ones.
        frozen: the number of the policy's other weights.
        errors: the standard error of `gram`, shape (N, N); None if it is exact up to rounding.
    """

    keys: tuple[str, ...]
    gram: np.ndarray
    log_probs: np.ndarray
    parameters: int
    frozen: int
    errors: np.ndarray | None = None

    @property
    def norms(self) -> np.ndarray:
        """||g_i||, shape (N,)."""
        norms: np.ndarray = np.sqrt(self.gram.diagonal())
        return norms

    @property
    def cosines(self) -> np.ndarray:
        """Cosines of the angles between gradients, shape (N, N); NaN where a gradient is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines: np.ndarray = self.gram / np.outer(self.norms, self.norms)
        return cosines

    def of(self, places: Sequence[int]) -> Gradients:
        """The subset at these indices, in that order."""
        chosen, among = list(places), np.ix_(places, places)
        errors = None if self.errors is None else self.errors[among]
        keys = tuple(self.keys[i] for i in chosen)
        return replace(self, keys=keys, gram=self.gram[among], log_probs=self.log_probs[chosen], errors=errors)


def check(policy: Policy, examples: Sequence[Example]) -> None:
    """Reject examples or policies without a gradient.

    Raises:
        ValueError: if there are no examples; for an empty prompt or completion, an unknown token, or an example longer
            than the policy's context.
        PolicyError: if no weight is trainable, or a trainable weight has a dtype in which the device cannot compute
            gradients.
        FloatingPointError: if a weight is NaN or infinite.
    """
    if not examples:
        raise ValueError("no examples to compute gradients of")
    known = policy.model.get_input_embeddings().num_embeddings
    for s in examples:
        if not (s.prompt and s.completion):
            raise ValueError(f"{s.key}: prompt and completion must each have at least one token")
        if len(s.prompt) + len(s.completion) > policy.context:
            raise ValueError(
                f"{s.key}: {len(s.prompt) + len(s.completion)} tokens, more than the context of "
                f"{policy.name} ({policy.context})"
            )
        if unknown := [i for i in s.prompt + s.completion if not 0 <= i < known]:
            raise ValueError(f"{s.key}: token {unknown[0]} is not one of the {known} of {policy.name}")
    if not any(p.requires_grad for p in policy.model.parameters()):
        raise PolicyError(f"policy {policy.name!r}: none of its weights is trainable; call model.requires_grad_(True)")
    _check_weights(policy)


def dtypes_of(device: torch.device) -> tuple[torch.dtype, ...]:
    """The dtypes of weights whose gradients the device can compute."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return tuple(kind for kind in DTYPES if kind != torch.bfloat16)
    return DTYPES


def _check_weights(policy: Policy) -> None:
    known = dtypes_of(policy.device)
    finite = {}
    for name, p in policy.model.named_parameters():
        if p.requires_grad and p.dtype not in known:
            good = ", ".join(str(kind).removeprefix("torch.") for kind in known)
            raise PolicyError(
                f"policy {policy.name!r}: cannot compute the gradient of weight {name} on {policy.device} "
                f"in {p.dtype}; load the policy in another dtype ({good}), or freeze the weight "
                "(requires_grad_(False))"
            )
        if p.dtype in DTYPES:
            finite[name] = torch.isfinite(p).all()
    # Checked for all at once, since each check waits for the GPU.
    for name, is_finite in zip(finite, torch.stack(list(finite.values())).tolist(), strict=True):
        if not is_finite:
            raise FloatingPointError(f"policy {policy.name!r}: its weight {name} is NaN or infinite")


def check_finite(key: str, gradients: Mapping[str, Tensor]) -> None:
    """Raise FloatingPointError for a gradient that is not finite; the message names what it is of and its weight."""
    for name, value in gradients.items():
        if not torch.isfinite(value).all():
            raise FloatingPointError(f"{key}: the gradient of {name} is NaN or infinite")


def counts(policy: Policy, weights: dict[str, Parameter]) -> tuple[int, int]:
    """The number of trainable weights, and of all others."""
    trainable = sum(p.numel() for p in weights.values())
    return trainable, sum(p.numel() for p in policy.model.parameters()) - trainable


@contextmanager
def held_still(weights: dict[str, Parameter]) -> Iterator[None]:
    """Turn off gradients of weights for whole batches within the context: autograd would compute them."""
    for p in weights.values():
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights.values():
            p.requires_grad_(True)


@contextmanager
def evaluating(policy: Policy) -> Iterator[dict[str, Parameter]]:
    """The trainable weights by name; dropout, which would make gradients random, is off within the context."""
    model = policy.model
    training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with fast_linear_layers(model):
            yield {name: p for name, p in model.named_parameters() if p.requires_grad}
    finally:
        for module, was in training.items():
            module.training = was
