"""Inner products of N gradients of the output matrix and the embedding, a few rows of the vocabulary at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from expo.gradients.batches import Batch
from expo.gradients.passes import Net
from expo.gradients.products import multiplied, outer, products


def of_rows(net: Net, batches: Sequence[Batch], tokens: Tensor, *, of_head: bool, of_embedding: bool) -> Tensor:
    """The inner products over the rows of `tokens`, which are sorted, and over all tokens if `of_head`."""
    n = sum(len(b.members) for b in batches)
    weight = net.head.weight
    embedded = _Embedded(net, batches, tokens) if of_embedding else None

    def fill(low: int, high: int, grads: Tensor) -> None:
        if of_head:
            first = 0
            for b in batches:
                a, g = multiplied((b.hidden, _at_logits(weight[low:high], b, low)))
                outer(g, a, grads[first : first + len(a)])
                first += len(a)
        else:
            grads.zero_()
        if embedded:
            embedded.add(low, high, grads)

    return products(n, len(tokens), weight.shape[1], weight, fill)


def _at_logits(weight: Tensor, b: Batch, low: int) -> Tensor:
    """Gradient at the logits of some output-matrix rows, from `low` on: one-hot minus softmax, (n, C, rows)."""
    grad = (b.hidden @ weight.T).to(b.norm.dtype).sub_(b.norm[..., None]).exp_().neg_()
    here = (b.targets >= low) & (b.targets < low + len(weight))
    place = (b.targets - low).clamp_(0, len(weight) - 1)
    # Added through a mask, not by looking up positions, which would make the CPU wait for the GPU.
    grad.scatter_add_(-1, place[..., None], here.to(grad.dtype)[..., None])
    return grad.to(b.hidden.dtype)


class _Embedded:
    """The gradients at the embedding's outputs, sorted by the position of their token among the rows to compute."""

    def __init__(self, net: Net, batches: Sequence[Batch], tokens: Tensor) -> None:
        ids = torch.cat([b.ids.flatten() for b in batches])
        upstream = torch.cat([b.upstream.flatten(0, 1) for b in batches])
        if net.embedding.padding_idx is not None:
            # As in nn.Embedding: this row is never trained.
            upstream *= (ids != net.embedding.padding_idx)[:, None]
        lengths = torch.tensor([b.ids.shape[1] for b in batches for _ in b.members], device=ids.device)
        examples = torch.arange(len(lengths), device=ids.device).repeat_interleave(lengths, output_size=len(ids))
        order = ids.argsort()
        self.upstream, self.example = upstream[order], examples[order]
        self.place = torch.searchsorted(tokens, ids[order])
        # On the CPU, for slicing.
        self.known = self.place.cpu()

    def add(self, low: int, high: int, grads: Tensor) -> None:
        """Add those of rows `low` to `high` (exclusive) to `grads`, (n, rows, d)."""
        start, end = torch.searchsorted(self.known, torch.tensor([low, high])).tolist()
        rows = self.example[start:end] * (high - low) + self.place[start:end] - low
        grads.view(-1, grads.shape[-1]).index_add_(0, rows, self.upstream[start:end].to(grads.dtype))
