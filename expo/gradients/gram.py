"""Exact Gram matrix of N gradients over all weights, without storing any gradient in full.

The gradient of a linear layer's weight for one example is the sum over its tokens of (gradient at the output) times
(input), so that inner products between examples follow from the inputs and output gradients of one layer at a time
(Goodfellow 2015, arXiv:1510.01799; "ghost" norms in Li et al. 2021, arXiv:2110.05679). `passes` provides these, and
each layer adds its share to the Gram matrix. For a large layer the N gradients are computed after all, a few rows at a
time. If the embedding is tied to it, both uses of a row are added before any product is taken, which accounts for their
cross terms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from expo.gradients import sizes
from expo.gradients.batches import Batch, make_batches
from expo.gradients.ends import of_rows
from expo.gradients.examples import Example, Gradients, check, counts, evaluating, held_still
from expo.gradients.graphs import Graphs, Use
from expo.gradients.passes import Net, accumulation_dtype, forward, layer_uses, refuse_bad, unsupported
from expo.gradients.products import over_gradients, over_pairs
from expo.policies.policy import Policy, PolicyError
from expo.policies.products import fast_products


class _Gram:
    """The sum of the layers' shares; rows are in the order of the batches."""

    def __init__(self, keys: list[str], device: torch.device) -> None:
        self.keys = keys
        self.total = torch.zeros(len(keys), len(keys), dtype=torch.float64, device=device)
        self.finite: dict[str, Tensor] = {}

    def add(self, name: str, share: Tensor) -> None:
        """Add the share of parameter `name`, shape (N, N)."""
        self.total += share
        self.finite[name] = torch.isfinite(share.diagonal())

    def check(self) -> None:
        """Check all shares at once, since each check waits for the GPU.

        Raises:
            FloatingPointError: if one is not finite; the message names example and parameter.
        """
        bad = (~torch.stack(list(self.finite.values()))).nonzero().tolist()
        for share, example in bad:
            name = list(self.finite)[share]
            raise FloatingPointError(f"{self.keys[example]}: the gradient of {name} is NaN or infinite")


def per_example_gram(
    policy: Policy,
    examples: Sequence[Example],
    *,
    batch_tokens: int | None = None,
    graph_bytes: int | None = None,
) -> Gradients:
    """Inner products of gradients over all trainable weights; equal to `dense` up to rounding, for any batching.

    Supports policies built as embedding, blocks, norm and output matrix (Llama, Qwen2 and similar), with linear layers
    and layers whose weights are vectors. Products are accumulated in float32 (float64 for a float64 policy), and sums
    over layers in float64. Inputs of a block other than its main input are not seen, such as the embedding passed to it
    directly: for policies with custom code, compare a few examples with `dense`.

    Args:
        batch_tokens: the tokens, including padding, that a block runs on at once; None means 4,096 on a GPU and 1,024
            on a CPU.
        graph_bytes: the bytes for the blocks' graphs, which are kept from the forward pass for the backward pass. A
            block whose graph does not fit runs forward twice. None means half of the free memory, on a CPU at most 4
            GiB; 0 keeps no graph and needs the least memory. On a CPU the result is the same to the last bit.

    Raises:
        ValueError: see `check`; also if the graph of a single block does not fit into `graph_bytes`; the message gives
            a sufficient value.
        PolicyError: for an unsupported weight or structure of the policy; the message names it.
        FloatingPointError: for a NaN or infinite gradient; the message names example and weight.
    """
    check(policy, examples)
    with evaluating(policy) as weights, torch.no_grad():
        names: dict[Tensor, str] = {p: name for name, p in weights.items()}
        net = Net.of(policy)
        graphs = Graphs(net.segments, names, graph_bytes)
        batches = make_batches(policy, examples, batch_tokens or sizes.batch_tokens(policy.device))
        order = [i for b in batches for i in b.members]
        gram = _Gram([examples[i].key for i in order], policy.device)
        with held_still(weights):
            log_probs = torch.cat([forward(net, b, graphs, is_first=b is batches[0]) for b in batches])
            refuse_bad(gram.keys, log_probs)
            for layer, own, uses in layer_uses(net, batches, names, graphs):
                with fast_products(policy.model):
                    _layer(net, layer, own, uses, gram)
            with fast_products(policy.model):
                _ends(net, batches, names, gram)
        if left := sorted(set(weights) - gram.finite.keys()):
            raise PolicyError(f"policy {policy.name!r}: {unsupported(left[0])}")
        gram.check()
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
        # Multiplications: inner products of all pairs of tokens, or N gradients and their products.
        pairs, whole = tokens**2 * (rows + columns), (tokens + n**2) * rows * columns
        share = over_pairs(uses) if pairs < whole else over_gradients(uses, n, rows, columns)
        gram.add(own[layer.weight], share)
    if layer.bias in own:
        grads = torch.cat([g.sum(1, dtype=accumulation_dtype(g.dtype)) for _, g in uses])
        gram.add(own[layer.bias], grads @ grads.T)


def vector_gradients(layer: nn.Module, use: Use) -> dict[str, Tensor]:
    """For a layer with few weights, usually a norm: one backward pass per example, correct for any such layer."""
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
    """Shares of the output matrix and the embedding, combined if they are tied."""
    head, embedding = net.head.weight, net.embedding.weight
    if head in names:
        vocabulary = torch.arange(len(head), device=head.device)
        gram.add(names[head], of_rows(net, batches, vocabulary, of_head=True, of_embedding=embedding is head))
    if embedding in names and embedding is not head:
        used = torch.cat([b.ids.flatten() for b in batches]).unique()
        gram.add(names[embedding], of_rows(net, batches, used, of_head=False, of_embedding=True))
