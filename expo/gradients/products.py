"""Inner products of N gradients of a matrix, a few of its rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from expo.gradients import sizes
from expo.gradients.graphs import Use
from expo.gradients.passes import accumulation_dtype

# Products of fewer rows are slow.
_EXAMPLES = 32


def products(n: int, rows: int, columns: int, like: Tensor, fill: Callable[[int, int, Tensor], None]) -> Tensor:
    """The inner products of the N gradients, (n, n).

    `fill` gets the first row, the row after the last, and an uninitialised tensor, (n, rows, columns), into which it
    writes the N gradients of these rows.
    """
    kind = accumulation_dtype(like.dtype)
    share = torch.zeros(n, n, dtype=kind, device=like.device)
    step = sizes.part_rows(like.device, n * columns * share.element_size())
    room = share.new_empty(n * min(step, rows) * columns)
    for low in range(0, rows, step):
        high = min(low + step, rows)
        grads = room[: n * (high - low) * columns].view(n, high - low, columns)
        fill(low, high, grads)
        if like.is_cuda and n < columns:
            # A single product with few rows and columns leaves most of a GPU idle.
            by_row = grads.transpose(0, 1)
            share += torch.bmm(by_row, by_row.mT).sum(0)
        else:
            _add_above(grads.flatten(1), share)
    return share.triu() + share.triu(1).T


def _add_above(grads: Tensor, share: Tensor) -> None:
    """Add the inner products to `share`, most pairs only once; entries below the diagonal are ignored."""
    for low in range(0, len(grads), _EXAMPLES):
        share[low : low + _EXAMPLES, low:].addmm_(grads[low : low + _EXAMPLES], grads[low:].T)


def over_gradients(uses: Sequence[Use], n: int, rows: int, columns: int) -> Tensor:
    """The inner products of a linear layer, from its N gradients."""
    uses = [multiplied(use) for use in uses]
    if rows < columns:
        # Split along the longer side, since the other is read again for each part.
        uses, rows, columns = [(g, a) for a, g in uses], columns, rows

    def fill(low: int, high: int, grads: Tensor) -> None:
        first = 0
        for a, g in uses:
            outer(g[..., low:high], a, grads[first : first + len(a)])
            first += len(a)

    return products(n, rows, columns, uses[0][0], fill)


def over_pairs(uses: Sequence[Use]) -> Tensor:
    """The inner products of a linear layer: sums over tokens t, u of <input t, input u> <gradient t, gradient u>."""
    pairs = [(a.to(accumulation_dtype(a.dtype)), g.to(accumulation_dtype(g.dtype))) for a, g in uses]
    shares = []
    for a, g in pairs:
        row = []
        for other_a, other_g in pairs:
            of_pairs = (a.flatten(0, 1) @ other_a.flatten(0, 1).T) * (g.flatten(0, 1) @ other_g.flatten(0, 1).T)
            row.append(of_pairs.view(*a.shape[:2], *other_a.shape[:2]).sum((1, 3)))
        shares.append(torch.cat(row, 1))
    return torch.cat(shares)


def multiplied(use: Use) -> Use:
    """A use in the dtype in which `outer` multiplies it: its own on a GPU, else the dtype of the sum."""
    a, g = use
    return use if a.is_cuda else (a.to(accumulation_dtype(a.dtype)), g.to(accumulation_dtype(g.dtype)))


def outer(g: Tensor, a: Tensor, out: Tensor) -> None:
    """Sum over tokens of g times a, (n, rows, columns), rounded no more than `out` is."""
    if g.dtype == out.dtype:
        torch.bmm(g.mT, a, out=out)
    else:
        torch.bmm(g.mT, a, out_dtype=out.dtype, out=out)
