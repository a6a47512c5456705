"""A key-value cache whose rows come and go; shared by sampling and scoring.

All rows share their columns; a row that started later has padding on its left. Keys and values live in a buffer
that grows by `SPARE` columns, so that a decoding step writes one column and does not copy the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

SPARE = 64


class _Layer(DynamicLayer):
    """The keys and values of a full-attention layer, shape (rows, heads, columns, head size)."""

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
            # The first write is a prompt or a whole sample, which is rarely extended.
            self._set(key_states, value_states, capacity=end if self.buffers is None else end + SPARE)
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

    def replace(self, keys: Tensor, values: Tensor, columns: int) -> None:
        """Replace the tensors; columns past the first `columns` are spare."""
        self.buffers = (keys, values)
        self._show(columns)


class RowCache(Cache):
    """A cache for `model` whose rows can be selected and added, and the mask of its columns."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(layers=[_Layer() for _ in range(model.config.get_text_config().num_hidden_layers)])
        self.model = model
        self.mask = torch.empty(0, 0, dtype=torch.bool, device=model.device)

    @property
    def lengths(self) -> Tensor:
        """The number of tokens held by each row, shape (rows,)."""
        return self.mask.sum(-1)

    def extend(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Announce new columns; the mask is True where a row has a token.

        Returns:
            The attention mask over all columns and the position of each new token, shape (rows, new columns).
        """
        lengths = self.lengths if self.mask.numel() else torch.zeros(len(mask), dtype=torch.long, device=mask.device)
        positions = lengths[:, None] + mask.long().cumsum(-1) - 1
        self.mask = torch.cat([self.mask, mask], dim=-1) if self.mask.numel() else mask
        return self.mask.long(), positions.clamp_min(0)

    def take(self, rows: Tensor) -> RowCache:
        """A cache of these rows, which may repeat; this cache is unchanged."""
        out = RowCache(self.model)
        for mine, theirs in zip(self.layers, out.layers, strict=True):
            theirs.lazy_initialization(mine.keys, mine.values)
            theirs.replace(mine.keys, mine.values, mine.columns)
        out.mask = self.mask
        out.select(rows)
        return out

    def select(self, rows: Tensor) -> None:
        """Keep only these rows; columns that are padding in all of them are dropped."""
        mask = self.mask[rows]
        first = int(mask.any(0).long().argmax())
        self.mask = mask[:, first:]
        # Layer by layer, so that two full caches are never held at once.
        for layer in self.layers:
            layer.replace(*(b[rows, :, first:] for b in layer.buffers), self.mask.shape[1])

    def keep(self, mask: Tensor) -> None:
        """Drop the tokens that `mask`, shape (rows, columns), leaves out.

        The remaining tokens are moved together at the right end: a gap would count as distance in a sliding window.
        """
        mask = mask & self.mask
        order = mask.long().argsort(dim=1, stable=True)
        self.mask = mask.gather(1, order)
        for layer in self.layers:
            # Keys and values may differ in the number and size of heads.
            moved = [
                tensor.gather(2, order[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))
                for tensor in (layer.keys, layer.values)
            ]
            layer.replace(moved[0], moved[1], layer.columns)

    def append(self, other: RowCache) -> None:
        """Append another cache's rows; the cache with fewer columns is padded on the left."""
        columns = max(self.mask.shape[1], other.mask.shape[1])
        self.mask = torch.cat([_pad_left(c.mask, columns, 1) for c in (self, other)])
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            pairs = ((mine.keys, theirs.keys), (mine.values, theirs.values))
            joined = [torch.cat([_pad_left(a, columns, 2), _pad_left(b, columns, 2)]) for a, b in pairs]
            mine.replace(joined[0], joined[1], columns)


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


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """The length of the longest common prefix of two sequences, in tokens."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def prefill(model: PreTrainedModel, families: Sequence[Sequence[Sequence[int]]]) -> RowCache:
    """Run prompts without their last tokens, one row each, in the given order.

    The common prefix of a family of prompts is run once.
    """
    bodies = [[list(prompt[:-1]) for prompt in family] for family in families]
    stems = [family[0][: min(common(family[0], body) for body in family)] for family in bodies]
    cache = RowCache(model)
    ids, mask = left_padded([stem or [0] for stem in stems], 0, model.device)
    mask &= torch.tensor([[bool(stem)] for stem in stems], device=model.device)
    forward(model, ids, mask, cache, 1)
    rests = [body[len(stem) :] for family, stem in zip(bodies, stems, strict=True) for body in family]
    if len(rests) > len(stems):
        cache.select(torch.tensor([i for i, family in enumerate(bodies) for _ in family], device=model.device))
    if any(rests):
        # Directly after the stem: a gap would count as distance in a sliding window.
        ids, mask = right_padded(rests, 0, model.device)
        forward(model, ids, mask, cache, 1)
        cache.keep(cache.mask)
    return cache


def forward(model: PreTrainedModel, ids: Tensor, mask: Tensor, cache: RowCache, logits_to_keep: int = 0) -> Tensor:
    """Run new columns through the model on top of `cache`; returns their logits, shape (rows, kept, vocabulary)."""
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
