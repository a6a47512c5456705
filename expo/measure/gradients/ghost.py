"""Exact Gram matrix of N gradients over all weights, of which none is ever stored whole.

The gradient of a linear layer's weight for span i is the sum over its tokens of (gradient at the output) times (input),
so that inner products between spans follow from the inputs and output gradients of one layer at a time. The policy runs
forward once, keeping what enters each block; then block after block, from the last, is run again with its backward pass
and leaves its share of the Gram matrix. Memory is that of the blocks' inputs and of one block, not of N gradients nor
of a whole backward pass.

The logits, tokens x vocabulary, are never whole either: they are made for some tokens at a time on the way back into
the blocks, and for some of the vocabulary at a time for the gradient of the output matrix. Where the embedding is tied
to it, both uses of a row are added up before any product is taken, which is what their cross terms are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from expo.measure.gradients.batches import Batch, make_batches
from expo.measure.gradients.spans import Gradients, Span, check, evaluating
from expo.policies.policy import Policy, PolicyError

# Tokens, padding included, of which a block is run at once.
BATCH_TOKENS = 4096
# Tokens whose logits are whole at once, and bytes of the part of N gradients that is.
HEAD_TOKENS = 512
PART_BYTES = 1 << 28


class _Gram:
    """The sum of the layers' shares; rows are in the order of the batches."""

    def __init__(self, keys: list[str], device: torch.device) -> None:
        self.keys = keys
        self.total = torch.zeros(len(keys), len(keys), dtype=torch.float64, device=device)
        self.seen: set[str] = set()

    def add(self, name: str, share: Tensor) -> None:
        """Add a share of shape (N, N) of the parameter `name`.

        Raises:
            FloatingPointError: if it is not finite; span and parameter are named.
        """
        bad = ~torch.isfinite(share.diagonal())
        if bad.any():
            raise FloatingPointError(f"{self.keys[int(bad.nonzero()[0])]}: its gradient of {name} is NaN or infinite")
        self.total += share
        self.seen.add(name)


def ghost(
    policy: Policy,
    spans: Sequence[Span],
    *,
    batch_tokens: int = BATCH_TOKENS,
    on_segment: Callable[[], object] = lambda: None,
) -> Gradients:
    """Gradients' inner products over all trainable weights; equal to `dense` up to rounding, whatever the batches.

    For policies built as embedding, blocks, norm, output matrix (Llama, Qwen2 and their like), of linear layers and
    layers whose weights are vectors. Products are accumulated in float32, float64 for such a policy, and sums over
    layers in float64. `on_segment` is called after each block.

    Raises:
        ValueError: as `check` says.
        PolicyError: for a weight of another kind, or a policy of another build; it is named.
        FloatingPointError: for a NaN or infinite gradient; span and weight are named.
    """
    check(policy, spans)
    with evaluating(policy) as weights, torch.no_grad():
        names: dict[Tensor, str] = {p: name for name, p in weights.items()}
        net = _Net.of(policy)
        batches = make_batches(policy, spans, batch_tokens)
        order = [i for b in batches for i in b.members]
        gram = _Gram([spans[i].key for i in order], policy.device)
        # Gradients of weights for a whole batch are not asked for: autograd would make them.
        for p in weights.values():
            p.requires_grad_(False)
        try:
            log_probs = torch.cat([_forward(net, b) for b in batches])
            _refuse_bad(gram.keys, log_probs)
            for i in reversed(range(len(net.segments))):
                _segment(net, i, batches, names, gram)
                on_segment()
            _ends(net, batches, names, gram)
        finally:
            for p in weights.values():
                p.requires_grad_(True)
        if left := sorted(set(weights) - gram.seen):
            raise PolicyError(f"policy {policy.name!r}: {_kinds(left[0])}")
        parameters = sum(p.numel() for p in weights.values())
        frozen = sum(p.numel() for p in policy.model.parameters()) - parameters
    place = np.argsort(order)
    return Gradients(
        tuple(s.key for s in spans),
        gram.total.cpu().numpy()[np.ix_(place, place)],
        log_probs.double().cpu().numpy()[place],
        parameters,
        frozen,
    )


def _kinds(name: str) -> str:
    return (
        f"the gradient of {name} cannot be had: known are linear layers and layers with weights that are vectors, each "
        "used once with one input, and the embedding; freeze it (requires_grad_(False)) to leave it out"
    )


@dataclass(frozen=True)
class _Net:
    """A policy as embedding, segments (blocks and last norm) and output matrix."""

    name: str
    base: nn.Module
    embedding: nn.Embedding
    segments: list[nn.Module]
    head: nn.Linear
    model: nn.Module

    @classmethod
    def of(cls, policy: Policy) -> _Net:
        model: Any = policy.model
        model = model.get_base_model() if hasattr(model, "get_base_model") else model
        base = model.base_model
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        blocks, norm = getattr(base, "layers", None), getattr(base, "norm", None)
        built = isinstance(blocks, nn.ModuleList) and isinstance(norm, nn.Module)
        if not (built and type(embedding) is nn.Embedding and type(head) is nn.Linear and head.bias is None):
            raise PolicyError(
                f"policy {policy.name!r}: {type(model).__name__} is not built as embedding, `layers`, `norm` and an "
                "output matrix without bias, which the ghost route takes apart; the dense route takes any policy"
            )
        return cls(policy.name, base, embedding, [*blocks, norm], head, model)


def _forward(net: _Net, b: Batch) -> Tensor:
    """Run forward keeping what enters each segment, then back through the output matrix; log-probabilities, (n,)."""
    hooks = [
        s.register_forward_pre_hook(lambda _, args, kwargs: b.calls.append((args[0], kwargs)), with_kwargs=True)
        for s in net.segments
    ]
    try:
        # Without a mask: what stands right of a token does not reach it, so padding there reaches nothing.
        out = net.base(input_ids=b.ids, use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    _refuse_other_builds(net, b, out)
    rows = torch.arange(len(out), device=out.device)[:, None]
    b.hidden = out[rows, b.at]
    log_prob, b.norm, back = _through_head(net.head.weight, b.hidden, b.targets)
    b.upstream = torch.zeros_like(out).index_put_((rows, b.at), back, accumulate=True)
    return log_prob.sum(-1)


def _refuse_other_builds(net: _Net, b: Batch, out: Tensor) -> None:
    few = b.ids[:1, : min(8, min(b.lengths))]
    theirs = net.model(input_ids=few, use_cache=False).logits.double()
    ours = net.head(out[:1, : few.shape[1]]).double()
    entered = len(b.calls) == len(net.segments) and _same(b.calls[0][0], net.embedding(b.ids), 0)
    if not (entered and _same(ours, theirs, 0.05 * float(theirs.abs().nan_to_num().max()))):
        raise PolicyError(
            f"policy {net.name!r}: {type(net.model).__name__} does more between embedding, blocks, norm and output "
            "matrix (scaled embeddings or logits, for example) than the ghost route knows; the dense route takes it"
        )


def _same(a: Tensor, b: Tensor, within: float) -> bool:
    return torch.allclose(a, b, rtol=0, atol=within, equal_nan=True)


def _refuse_bad(keys: list[str], log_probs: Tensor) -> None:
    if not torch.isfinite(log_probs).all():
        bad = int((~torch.isfinite(log_probs)).nonzero()[0])
        raise FloatingPointError(f"{keys[bad]}: its log-probability is NaN or infinite")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _through_head(weight: Tensor, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (n, C), the softmax's log normaliser (n, C), and the gradient at `hidden` (n, C, d)."""
    wide = _wide(hidden.dtype)
    log_prob = torch.zeros(targets.shape, dtype=wide, device=hidden.device)
    norm = torch.full_like(log_prob, torch.inf)
    back = torch.zeros_like(hidden)
    for where in (targets >= 0).nonzero().split(HEAD_TOKENS):
        i = (where[:, 0], where[:, 1])
        logits = (hidden[i] @ weight.T).to(wide)
        norm[i] = logits.logsumexp(-1)
        target = targets[i][:, None]
        log_prob[i] = logits.gather(-1, target)[:, 0] - norm[i]
        grad = logits.sub_(norm[i][:, None]).exp_().neg_()
        grad.scatter_add_(-1, target, torch.ones_like(grad[:, :1]))
        back[i] = grad.to(weight.dtype) @ weight
    return log_prob, norm, back


Use = tuple[Tensor, Tensor]  # a layer's input and the gradient at its output, (n, T, ...)


def _segment(net: _Net, i: int, batches: list[Batch], names: dict[Tensor, str], gram: _Gram) -> None:
    """Run a block again with its backward pass, batch after batch, then add the shares of its layers."""
    segment = net.segments[i]
    layers = [m for m in segment.modules() if any(p in names for p in m.parameters(recurse=False))]
    uses: dict[nn.Module, list[Use]] = {m: [] for m in layers}
    for b in batches:
        hidden, others = b.calls.pop()
        b.upstream = _backward(segment, hidden, others, b.upstream, uses)
    for layer, held in uses.items():
        own: dict[Tensor, str] = {p: names[p] for p in layer.parameters(recurse=False) if p in names}
        if len(held) != len(batches) or any(len(a) != len(b.members) for (a, _), b in zip(held, batches, strict=True)):
            raise PolicyError(f"policy {net.name!r}: {_kinds(next(iter(own.values())))}")
        if type(layer) is nn.Linear:
            _linear(layer, held, own, gram)
        elif all(p.dim() == 1 for p in own):
            _vectors(layer, held, own, gram)
        else:
            raise PolicyError(f"policy {net.name!r}: {_kinds(next(iter(own.values())))}")
        held.clear()


def _backward(
    segment: nn.Module, hidden: Tensor, others: dict[str, Any], upstream: Tensor, uses: dict[nn.Module, list[Use]]
) -> Tensor:
    def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            entered = args[0].detach()
            output.register_hook(lambda grad: uses[layer].append((entered, grad)))

    hooks = [layer.register_forward_hook(hook) for layer in uses]
    entered = hidden.detach().requires_grad_()
    try:
        with torch.enable_grad():
            out = segment(entered, **others)
    finally:
        for h in hooks:
            h.remove()
    (back,) = torch.autograd.grad(out[0] if isinstance(out, tuple) else out, entered, upstream)
    return back


def _linear(layer: nn.Linear, uses: list[Use], own: dict[Tensor, str], gram: _Gram) -> None:
    n, tokens = len(gram.keys), sum(a.shape[0] * a.shape[1] for a, _ in uses)
    rows, columns = layer.weight.shape
    if layer.weight in own:
        # Multiplications: inner products of all pairs of tokens, or N gradients and the products of those.
        pairs, whole = tokens**2 * (rows + columns), (tokens + n**2) * rows * columns
        share = _over_pairs(uses) if pairs < whole else _over_gradients(uses, n, rows, columns)
        gram.add(own[layer.weight], share)
    if layer.bias in own:
        grads = torch.cat([g.sum(1, dtype=_wide(g.dtype)) for _, g in uses])
        gram.add(own[layer.bias], grads @ grads.T)


def _over_pairs(uses: list[Use]) -> Tensor:
    """Sum over tokens t of span i and u of span j of <input t, input u> <output gradient t, output gradient u>."""
    wide = [(a.to(_wide(a.dtype)), g.to(_wide(g.dtype))) for a, g in uses]
    shares = []
    for a, g in wide:
        row = []
        for other_a, other_g in wide:
            products = (a.flatten(0, 1) @ other_a.flatten(0, 1).T) * (g.flatten(0, 1) @ other_g.flatten(0, 1).T)
            row.append(products.view(*a.shape[:2], *other_a.shape[:2]).sum((1, 3)))
        shares.append(torch.cat(row, 1))
    return torch.cat(shares)


def _over_gradients(uses: list[Use], n: int, rows: int, columns: int) -> Tensor:
    """Products of the N gradients, some rows of them at a time."""
    like = uses[0][0]
    share = torch.zeros(n, n, dtype=_wide(like.dtype), device=like.device)
    for low, high in _parts(n, rows, columns, share.element_size()):
        grads = share.new_empty(n, high - low, columns)
        first = 0
        for a, g in uses:
            _outer(g[..., low:high], a, grads[first : first + len(a)])
            first += len(a)
        share += grads.flatten(1) @ grads.flatten(1).T
    return share


def _parts(n: int, rows: int, columns: int, size: int) -> list[tuple[int, int]]:
    step = max(1, PART_BYTES // (n * columns * size))
    return [(low, min(low + step, rows)) for low in range(0, rows, step)]


def _outer(g: Tensor, a: Tensor, out: Tensor) -> None:
    """Sum over tokens of g times a, (n, rows, columns), rounded no further than `out` is."""
    if g.dtype == out.dtype:
        torch.bmm(g.mT, a, out=out)
    elif g.is_cuda:
        out.copy_(torch.bmm(g.mT, a, out_dtype=out.dtype))
    else:
        torch.bmm(g.mT.to(out.dtype), a.to(out.dtype), out=out)


def _vectors(layer: nn.Module, uses: list[Use], own: dict[Tensor, str], gram: _Gram) -> None:
    """Layers of few weights, norms mostly: their own backward pass for each span, so that any such layer is right."""
    weights = {k: p.detach().to(_wide(p.dtype)) for k, p in layer.named_parameters(recurse=False)}

    def one(a: Tensor, g: Tensor) -> dict[str, Tensor]:
        out, back = vjp(lambda w: functional_call(layer, w, (a,)), weights)[:2]
        grads: dict[str, Tensor] = back(g.to(out.dtype))[0]
        return grads

    grads = [vmap(one)(a.to(_wide(a.dtype)), g) for a, g in uses]
    for k, p in layer.named_parameters(recurse=False):
        if p in own:
            held = torch.cat([g[k] for g in grads])
            gram.add(own[p], held @ held.T)


def _ends(net: _Net, batches: list[Batch], names: dict[Tensor, str], gram: _Gram) -> None:
    """Shares of the output matrix and the embedding, as one where they are tied."""
    head, embedding = net.head.weight, net.embedding.weight
    vocabulary = torch.arange(len(embedding), device=embedding.device)
    if head in names:
        gram.add(names[head], _rows(net, batches, vocabulary, of_head=True, of_embedding=embedding is head))
    if embedding in names and embedding is not head:
        used = torch.cat([b.ids.flatten() for b in batches]).unique()
        gram.add(names[embedding], _rows(net, batches, used, of_head=False, of_embedding=True))


def _rows(net: _Net, batches: list[Batch], tokens: Tensor, *, of_head: bool, of_embedding: bool) -> Tensor:
    """Products of the N gradients of the rows that belong to `tokens` (sorted), some of them at a time."""
    n = sum(len(b.members) for b in batches)
    weight = net.embedding.weight
    share = torch.zeros(n, n, dtype=_wide(weight.dtype), device=weight.device)
    for low, high in _parts(n, len(tokens), weight.shape[1], share.element_size()):
        some = tokens[low:high]
        grads = share.new_zeros(n, high - low, weight.shape[1])
        first = 0
        for b in batches:
            part = grads[first : first + len(b.members)]
            first += len(b.members)
            if of_head:
                _outer(_head_gradient(net.head.weight[low:high], b, low), b.hidden, part)
            if of_embedding:
                _scatter(b, some, net.embedding.padding_idx, part)
        share += grads.flatten(1) @ grads.flatten(1).T
    return share


def _head_gradient(weight: Tensor, b: Batch, low: int) -> Tensor:
    """Gradient at the logits of some rows of the output matrix, from `low` on: one-hot minus softmax, (n, C, rows)."""
    grad = (b.hidden @ weight.T).to(b.norm.dtype).sub_(b.norm[..., None]).exp_().neg_()
    where = ((b.targets >= low) & (b.targets < low + len(weight))).nonzero(as_tuple=True)
    grad[(*where, b.targets[where] - low)] += 1
    return grad.to(b.hidden.dtype)


def _scatter(b: Batch, tokens: Tensor, padding: int | None, out: Tensor) -> None:
    """Add the gradients at the embedding's outputs to the rows of their tokens; `out` is (n, rows, d)."""
    place = torch.searchsorted(tokens, b.ids).clamp_(max=len(tokens) - 1)
    here = tokens[place] == b.ids
    if padding is not None:
        # As nn.Embedding does: this row is never trained.
        here &= b.ids != padding
    span, at = here.nonzero(as_tuple=True)
    rows = span * len(tokens) + place[span, at]
    out.view(-1, out.shape[-1]).index_add_(0, rows, b.upstream[span, at].to(out.dtype))
