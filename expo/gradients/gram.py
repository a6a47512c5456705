"""Exact Gram matrix of N gradients over all weights, of which none is ever stored whole.

The gradient of a linear layer's weight for one example is the sum over its tokens of (gradient at the output) times
(input), so that inner products between examples follow from the inputs and output gradients of one layer at a time
(Goodfellow 2015, arXiv:1510.01799; "ghost" norms in Li et al. 2021, arXiv:2110.05679), as
`passes` leaves them: each layer adds its share to the Gram matrix. The gradient of the output matrix is made for some
of the vocabulary at a time. Where the embedding is tied to it, both uses of a row are added up before any product is
taken, which is what their cross terms are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from expo.gradients.batches import Batch, make_batches
from expo.gradients.examples import Example, Gradients, check, counts, evaluating, held_still
from expo.gradients.passes import Net, Use, accumulation_dtype, forward, layer_uses, refuse_bad, unsupported
from expo.policies.policy import Policy, PolicyError

# Tokens, padding included, of which a block is run at once.
BATCH_TOKENS = 4096
# Of the part of N gradients that is whole at once.
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
            FloatingPointError: if it is not finite; example and parameter are named.
        """
        bad = ~torch.isfinite(share.diagonal())
        if bad.any():
            raise FloatingPointError(f"{self.keys[int(bad.nonzero()[0])]}: its gradient of {name} is NaN or infinite")
        self.total += share
        self.seen.add(name)


def per_example_gram(
    policy: Policy,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> Gradients:
    """Gradients' inner products over all trainable weights; equal to `dense` up to rounding, whatever the batches.

    For policies built as embedding, blocks, norm, output matrix (Llama, Qwen2 and their like), of linear layers and
    layers whose weights are vectors. Products are accumulated in float32, float64 for such a policy, and sums over
    layers in float64. What a block reads beside its input is not seen, such as the embedding by a way of its own: for
    policies of foreign code, compare a few examples with `dense`.

    Raises:
        ValueError: as `check` says.
        PolicyError: for a weight of another kind, or a policy of another build; it is named.
        FloatingPointError: for a NaN or infinite gradient; example and weight are named.
    """
    check(policy, examples)
    with evaluating(policy) as weights, torch.no_grad():
        names: dict[Tensor, str] = {p: name for name, p in weights.items()}
        net = Net.of(policy)
        batches = make_batches(policy, examples, batch_tokens)
        order = [i for b in batches for i in b.members]
        gram = _Gram([examples[i].key for i in order], policy.device)
        with held_still(weights):
            log_probs = torch.cat([forward(net, b) for b in batches])
            refuse_bad(gram.keys, log_probs)
            for layer, own, uses in layer_uses(net, batches, names):
                _layer(net, layer, own, uses, gram)
            _ends(net, batches, names, gram)
        if left := sorted(set(weights) - gram.seen):
            raise PolicyError(f"policy {policy.name!r}: {unsupported(left[0])}")
        parameters, frozen = counts(policy, weights)
    place = np.argsort(order)
    return Gradients(
        tuple(s.key for s in examples),
        gram.total.cpu().numpy()[np.ix_(place, place)],
        log_probs.double().cpu().numpy()[place],
        parameters,
        frozen,
    )


def _layer(net: Net, layer: nn.Module, own: dict[Tensor, str], uses: list[Use], gram: _Gram) -> None:
    if type(layer) is nn.Linear:
        _linear(layer, uses, own, gram)
    elif all(p.dim() == 1 for p in own):
        _vectors(layer, uses, own, gram)
    else:
        raise PolicyError(f"policy {net.name!r}: {unsupported(next(iter(own.values())))}")


def _linear(layer: nn.Linear, uses: list[Use], own: dict[Tensor, str], gram: _Gram) -> None:
    n, tokens = len(gram.keys), sum(a.shape[0] * a.shape[1] for a, _ in uses)
    rows, columns = layer.weight.shape
    if layer.weight in own:
        # Multiplications: inner products of all pairs of tokens, or N gradients and the products of those.
        pairs, whole = tokens**2 * (rows + columns), (tokens + n**2) * rows * columns
        share = _over_pairs(uses) if pairs < whole else _over_gradients(uses, n, rows, columns)
        gram.add(own[layer.weight], share)
    if layer.bias in own:
        grads = torch.cat([g.sum(1, dtype=accumulation_dtype(g.dtype)) for _, g in uses])
        gram.add(own[layer.bias], grads @ grads.T)


def _over_pairs(uses: list[Use]) -> Tensor:
    """Sum over tokens t and u of two examples of <input t, input u> <output gradient t, output gradient u>."""
    pairs = [(a.to(accumulation_dtype(a.dtype)), g.to(accumulation_dtype(g.dtype))) for a, g in uses]
    shares = []
    for a, g in pairs:
        row = []
        for other_a, other_g in pairs:
            products = (a.flatten(0, 1) @ other_a.flatten(0, 1).T) * (g.flatten(0, 1) @ other_g.flatten(0, 1).T)
            row.append(products.view(*a.shape[:2], *other_a.shape[:2]).sum((1, 3)))
        shares.append(torch.cat(row, 1))
    return torch.cat(shares)


def _over_gradients(uses: list[Use], n: int, rows: int, columns: int) -> Tensor:
    """Products of the N gradients, some rows of them at a time."""
    like = uses[0][0]
    share = torch.zeros(n, n, dtype=accumulation_dtype(like.dtype), device=like.device)
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


def vector_gradients(layer: nn.Module, use: Use) -> dict[str, Tensor]:
    """Of a layer of few weights, a norm mostly: its own backward pass for each example, right for any such layer."""
    weights = {k: p.detach().to(accumulation_dtype(p.dtype)) for k, p in layer.named_parameters(recurse=False)}

    def of_example(a: Tensor, g: Tensor) -> dict[str, Tensor]:
        out, back = vjp(lambda w: functional_call(layer, w, (a,)), weights)[:2]
        grads: dict[str, Tensor] = back(g.to(out.dtype))[0]
        return grads

    entered, grad = use
    by_name: dict[str, Tensor] = vmap(of_example)(entered.to(accumulation_dtype(entered.dtype)), grad)
    return by_name


def _vectors(layer: nn.Module, uses: list[Use], own: dict[Tensor, str], gram: _Gram) -> None:
    grads = [vector_gradients(layer, use) for use in uses]
    for k, p in layer.named_parameters(recurse=False):
        if p in own:
            stacked = torch.cat([g[k] for g in grads])
            gram.add(own[p], stacked @ stacked.T)


def _ends(net: Net, batches: list[Batch], names: dict[Tensor, str], gram: _Gram) -> None:
    """Shares of the output matrix and the embedding, as one where they are tied."""
    head, embedding = net.head.weight, net.embedding.weight
    vocabulary = torch.arange(len(embedding), device=embedding.device)
    if head in names:
        gram.add(names[head], _rows(net, batches, vocabulary, of_head=True, of_embedding=embedding is head))
    if embedding in names and embedding is not head:
        used = torch.cat([b.ids.flatten() for b in batches]).unique()
        gram.add(names[embedding], _rows(net, batches, used, of_head=False, of_embedding=True))


def _rows(net: Net, batches: list[Batch], tokens: Tensor, *, of_head: bool, of_embedding: bool) -> Tensor:
    """Products of the N gradients of the rows that belong to `tokens` (sorted), some of them at a time."""
    n = sum(len(b.members) for b in batches)
    weight = net.embedding.weight
    share = torch.zeros(n, n, dtype=accumulation_dtype(weight.dtype), device=weight.device)
    for low, high in _parts(n, len(tokens), weight.shape[1], share.element_size()):
        chunk = tokens[low:high]
        grads = share.new_zeros(n, high - low, weight.shape[1])
        first = 0
        for b in batches:
            of_batch = grads[first : first + len(b.members)]
            first += len(b.members)
            if of_head:
                _outer(_head_gradient(net.head.weight[low:high], b, low), b.hidden, of_batch)
            if of_embedding:
                _scatter(b, chunk, net.embedding.padding_idx, of_batch)
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
    example, at = here.nonzero(as_tuple=True)
    rows = example * len(tokens) + place[example, at]
    out.view(-1, out.shape[-1]).index_add_(0, rows, b.upstream[example, at].to(out.dtype))
