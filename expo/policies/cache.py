"""A key-value cache whose rows come and go: the common ground of sampling and scoring.

All rows share their columns; a row that began later has padding on its left. Keys and values live in a buffer
that grows by half, so that a decoding step writes one column and does not copy the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer


class _Layer(DynamicLayer):
    """A full-attention layer's keys and values, shape (rows, heads, columns, head size)."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: tuple[Tensor, Tensor] | None = None
        self.columns = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append columns; returns views of everything held."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.columns + key_states.shape[-2]
        if self.buffers is None or end > self.buffers[0].shape[-2]:
            # Prompts are written once (exact size); decoding then grows by half.
            self._set(key_states, value_states, capacity=end if self.buffers is None else end + end // 2)
        assert self.buffers is not None
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, self.columns : end] = new
        self._show(end)
        return self.keys, self.values

    def _set(self, keys: Tensor, values: Tensor, capacity: int) -> None:
        fresh = []
        for i, like in enumerate((keys, values)):
            buffer = like.new_empty(like.shape[0], like.shape[1], capacity, like.shape[3])
            if self.buffers is not None:
                buffer[:, :, : self.columns] = self.buffers[i][:, :, : self.columns]
            fresh.append(buffer)
        self.buffers = (fresh[0], fresh[1])

    def _show(self, columns: int) -> None:
        assert self.buffers is not None
        self.columns = columns
        self.keys, self.values = (b[:, :, :columns] for b in self.buffers)

    def replace(self, keys: Tensor, values: Tensor) -> None:
        """Hold these tensors instead."""
        self.buffers = (keys, values)
        self._show(keys.shape[-2])


class RowCache(Cache):
    """A cache for `model` with `take` and `append` on rows, and the mask of its columns."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(layers=[_Layer() for _ in range(model.config.num_hidden_layers)])
        self.mask = torch.empty(0, 0, dtype=torch.bool, device=model.device)

    @property
    def lengths(self) -> Tensor:
        """Tokens held by each row, shape (rows,)."""
        return self.mask.sum(-1)

    def extend(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Announce new columns, True where a row has a token.

        Returns:
            The attention mask over all columns and the position of each new token, shape (rows, new columns).
        """
        held = self.lengths if self.mask.numel() else torch.zeros(len(mask), dtype=torch.long, device=mask.device)
        positions = held[:, None] + mask.long().cumsum(-1) - 1
        self.mask = torch.cat([self.mask, mask], dim=-1) if self.mask.numel() else mask
        return self.mask.long(), positions.clamp_min(0)

    def take(self, rows: Tensor) -> RowCache:
        """A cache of these rows (some may be repeated); columns that all of them pad on the left are dropped."""
        mask = self.mask[rows]
        first = int(mask.any(0).long().argmax())
        return self._with(mask[:, first:], lambda x: x[rows, :, first:])

    def keep(self, mask: Tensor) -> RowCache:
        """A cache without the tokens that `mask` (rows, columns) leaves out.

        What is left is moved together at the right end: a hole would count as distance in a sliding window.
        """
        mask = mask & self.mask
        order = mask.long().argsort(dim=1, stable=True)
        index = order[:, None, :, None]
        return self._with(mask.gather(1, order), lambda x: x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3])))

    def _with(self, mask: Tensor, change: Callable[[Tensor], Tensor]) -> RowCache:
        out = RowCache.__new__(RowCache)
        layers = []
        for layer in self.layers:
            copy = _Layer()
            copy.lazy_initialization(layer.keys, layer.values)
            copy.replace(change(layer.keys), change(layer.values))
            layers.append(copy)
        Cache.__init__(out, layers=layers)
        out.mask = mask
        return out

    def append(self, other: RowCache) -> None:
        """Add another cache's rows below; the one with fewer columns is padded on the left."""
        columns = max(self.mask.shape[1], other.mask.shape[1])
        self.mask = torch.cat([_pad_left(c.mask, columns, 1) for c in (self, other)])
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.replace(
                *(
                    torch.cat([_pad_left(a, columns, 2), _pad_left(b, columns, 2)])
                    for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values))
                )
            )


def _pad_left(x: Tensor, columns: int, dim: int) -> Tensor:
    missing = columns - x.shape[dim]
    if missing == 0:
        return x
    return torch.cat([x.new_zeros(*x.shape[:dim], missing, *x.shape[dim + 1 :]), x], dim=dim)


def left_padded(rows: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and mask of rows aligned on the right, shape (rows, longest)."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=device)
    mask = torch.tensor([[False] * (width - len(r)) + [True] * len(r) for r in rows], device=device)
    return ids, mask


def right_padded(rows: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and mask of rows aligned on the left, shape (rows, longest)."""
    width = max(map(len, rows))
    ids = torch.tensor([r + [pad] * (width - len(r)) for r in rows], device=device)
    mask = torch.tensor([[True] * len(r) + [False] * (width - len(r)) for r in rows], device=device)
    return ids, mask


def forward(model: PreTrainedModel, ids: Tensor, mask: Tensor, cache: RowCache, logits_to_keep: int = 0) -> Tensor:
    """Run new columns through the model on top of `cache`; their logits, shape (rows, kept, vocabulary)."""
    attention, positions = cache.extend(mask)
    out = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=logits_to_keep,
    )
    return out.logits
