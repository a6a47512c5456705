"""Forward and backward through a policy, segment by segment, collecting what each layer's gradients are made of.

The policy runs forward, keeping the input of each block, and the block's graph while `graphs` has room for it. Then the
blocks run backward from the last one; those whose graph was not kept run forward again first. Without graphs, the
memory is that of the blocks' inputs and of one block, not of a whole backward pass. The logits (tokens x vocabulary)
are never held in full: they are computed for a few tokens at a time on the way back into the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from expo.gradients import sizes
from expo.gradients.batches import Batch
from expo.gradients.graphs import Graphs, Use, Uses
from expo.policies.adapters import without_wrapper
from expo.policies.policy import Policy, PolicyError
from expo.policies.products import fast_products

# How far logits may differ from the policy's own, relative to the largest: by rounding in half precision, and
# otherwise.
HALF_WITHIN, WITHIN = 0.05, 1e-3


def unsupported(name: str) -> str:
    """The message for a weight of an unsupported kind."""
    return (
        f"cannot compute the gradient of {name}: supported are linear layers and layers whose weights are "
        "vectors, each used once with one input, and the embedding; to leave it out, freeze it "
        "(requires_grad_(False))"
    )


@dataclass(frozen=True)
class Net:
    """A policy split into embedding, segments (blocks and last norm) and output matrix."""

    name: str
    base: nn.Module
    embedding: nn.Embedding
    segments: list[nn.Module]
    head: nn.Linear
    model: PreTrainedModel

    @classmethod
    def of(cls, policy: Policy) -> Net:
        """Split a policy into its parts.

        Raises:
            PolicyError: if it has another structure.
        """
        model: Any = without_wrapper(policy.model)
        base = model.base_model
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        blocks, norm = getattr(base, "layers", None), getattr(base, "norm", None)
        built = isinstance(blocks, nn.ModuleList) and isinstance(norm, nn.Module)
        if not (built and type(embedding) is nn.Embedding and type(head) is nn.Linear and head.bias is None):
            raise PolicyError(
                f"policy {policy.name!r}: {type(model).__name__} is not supported: it is not built as "
                "embedding, `layers`, `norm` and an output matrix without bias; use another policy, or "
                "call expo.gradients.dense.dense from Python, which takes any policy"
            )
        return cls(policy.name, base, embedding, [*blocks, norm], head, model)


def forward(net: Net, b: Batch, graphs: Graphs, *, is_first: bool) -> Tensor:
    """Run forward through the segments, then backward through the output matrix; returns log-probabilities, (n,).

    Raises:
        PolicyError: on the first batch, if the policy computes more than these parts do.
    """
    with graphs.recording(b.calls):
        # Without a mask: later tokens do not reach earlier ones, so padding on the right reaches nothing.
        out = net.base(input_ids=b.ids, use_cache=False).last_hidden_state.detach()
    if is_first:
        _refuse_other_builds(net, b, out)
    rows = torch.arange(len(out), device=out.device)[:, None]
    b.hidden = out[rows, b.at]
    with fast_products(net.model):
        log_prob, b.norm, back = _through_head(net.head.weight, b)
    b.upstream = torch.zeros_like(out).index_put_((rows, b.at), back, accumulate=True)
    return log_prob.sum(-1)


def _refuse_other_builds(net: Net, b: Batch, out: Tensor) -> None:
    few = b.ids[:1, : min(8, min(b.lengths))]
    theirs = net.model(input_ids=few, use_cache=False).logits.double()
    # The head is not called as a module, since hooks could change its output.
    ours = nn.functional.linear(out[:1, : few.shape[1]], net.head.weight).double()
    entered = len(b.calls) == len(net.segments) and _same(b.calls[0].entered, net.embedding(b.ids), 0)
    within = HALF_WITHIN if torch.finfo(out.dtype).bits == 16 else WITHIN
    if not (entered and _same(ours, theirs, within * float(theirs.abs().nan_to_num().max()))):
        raise PolicyError(
            f"policy {net.name!r}: {type(net.model).__name__} is not supported: it computes more than "
            "embedding, blocks, norm and output matrix (for example, it scales embeddings or logits); use "
            "another policy, or call expo.gradients.dense.dense from Python, which takes any policy"
        )


def _same(a: Tensor, b: Tensor, within: float) -> bool:
    return torch.allclose(a, b, rtol=0, atol=within, equal_nan=True)


def refuse_bad(keys: Sequence[str], log_probs: Tensor) -> None:
    """Raise FloatingPointError for a log-probability that is not finite; the message names its example."""
    if not torch.isfinite(log_probs).all():
        bad = int((~torch.isfinite(log_probs)).nonzero()[0])
        raise FloatingPointError(f"{keys[bad]}: the log-probability is NaN or infinite")


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which products are accumulated."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _through_head(weight: Tensor, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (n, C), log normalisers of the softmax (n, C), and the gradient at `hidden` (n, C, d)."""
    kind = accumulation_dtype(b.hidden.dtype)
    log_prob = torch.zeros(b.targets.shape, dtype=kind, device=b.hidden.device)
    norm = torch.full_like(log_prob, torch.inf)
    back = torch.zeros_like(b.hidden)
    for where in b.there.split(sizes.head_tokens(weight.device), 1):
        i = (where[0], where[1])
        logits = (b.hidden[i] @ weight.T).to(kind)
        target = b.targets[i][:, None]
        of_target = logits.gather(-1, target)
        chances = logits.log_softmax(-1)
        log_prob[i] = chances.gather(-1, target)[:, 0]
        norm[i] = of_target[:, 0] - log_prob[i]
        grad = chances.exp_().neg_()
        grad.scatter_add_(-1, target, torch.ones_like(of_target))
        back[i] = grad.to(weight.dtype) @ weight
    return log_prob, norm, back


def layer_uses(
    net: Net, batches: Sequence[Batch], names: dict[Tensor, str], graphs: Graphs
) -> Iterator[tuple[nn.Module, dict[Tensor, str], list[Use]]]:
    """Yield each layer with weights in `names`, from the last block on, with these weights and its use in each batch.

    A layer's uses are freed when the next layer is requested. At the end, `upstream` of the batches is the gradient at
    the embedding's output.

    Raises:
        PolicyError: for a layer that is not used exactly once with one input, or a weight shared by two layers; the
            message names it.
    """
    seen = {net.head.weight, net.embedding.weight}
    for segment in reversed(net.segments):
        uses: Uses = {m: [] for m in graphs.layers[segment]}
        for b in batches:
            b.upstream, of_batch = graphs.back(segment, b.calls.pop(), b.upstream)
            for layer, of_layer in of_batch.items():
                uses.setdefault(layer, []).extend(of_layer)
        for layer, layer_calls in uses.items():
            own: dict[Tensor, str] = {p: names[p] for p in layer.parameters(recurse=False) if p in names}
            if not (_once(layer, layer_calls, batches) and seen.isdisjoint(own)):
                raise PolicyError(f"policy {net.name!r}: {unsupported(next(iter(own.values())))}")
            seen.update(own)
            yield layer, own, layer_calls
            layer_calls.clear()


def _once(layer: nn.Module, layer_calls: list[Use], batches: Sequence[Batch]) -> bool:
    """Whether each batch used it once, with its examples as rows; a linear layer on (n, T, d)."""
    return len(layer_calls) == len(batches) and all(
        len(a) == len(b.members) and (a.dim() == 3 or type(layer) is not nn.Linear)
        for (a, _), b in zip(layer_calls, batches, strict=True)
    )
