"""Inner products of many gradients from random projections: unbiased, with their standard error.

Each gradient is projected to `GROUPS` independent blocks of SIDE x SIDE numbers; each block alone gives an unbiased
estimate of every inner product, and the spread of the blocks gives the standard error of their mean. For a linear layer
both sides are projected, A g Bᵀ with random signs, so that the gradient g is never computed; projections of layers are
added. Nothing of an example is kept after its batch except 4,096 numbers and its row of the matrix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from expo.gradients import sizes
from expo.gradients.batches import Batch, make_batches
from expo.gradients.examples import Example, Gradients, check, counts, evaluating, held_still
from expo.gradients.gram import vector_gradients
from expo.gradients.graphs import Graphs, Use
from expo.gradients.passes import (
    Net,
    accumulation_dtype,
    forward,
    layer_uses,
    refuse_bad,
    unsupported,
)
from expo.policies.policy import Policy, PolicyError

GROUPS, SIDE = 16, 16
BATCH_TOKENS = 4096


@dataclass
class _Signs:
    """Random signs by seed and name, scaled so that projecting both sides preserves inner products in expectation."""

    seed: int
    device: torch.device
    dtype: torch.dtype
    drawn: dict[str, Tensor] = field(default_factory=dict)  # as bytes, for all batches

    def of(self, name: str, size: int, columns: int, scale: float) -> Tensor:
        """Shape (size, columns), entries +-scale; the same for the same name, for any batching."""
        if name not in self.drawn:
            digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
            # Drawn on the CPU, so that a GPU gets the same signs.
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            bits = torch.randint(0, 2, (size, columns), generator=generator, dtype=torch.int8)
            self.drawn[name] = bits.to(self.device)
        return self.drawn[name].to(self.dtype).mul_(2 * scale).sub_(scale)

    def side(self, name: str, size: int) -> Tensor:
        """The signs for one side of a matrix, for all groups, (size, GROUPS * SIDE)."""
        return self.of(name, size, GROUPS * SIDE, SIDE**-0.5)


def projected(
    policy: Policy,
    examples: Sequence[Example],
    *,
    seed: int = 0,
    batch_tokens: int = BATCH_TOKENS,
    graph_bytes: int | None = None,
) -> Gradients:
    """Like `per_example_gram`, but for any number of examples; `errors` has the standard errors of the Gram matrix.

    The standard error of <g_i, g_j> is about ||g_i|| ||g_j|| / 64 if the two are far from parallel, and 1.4 times that
    for a squared norm. It is larger for gradients of low rank in few layers: up to ||g||^2 / 8 for one token in one
    layer. `errors` has the estimates.

    Raises:
        ValueError, PolicyError, FloatingPointError: see `per_example_gram`.
    """
    check(policy, examples)
    with evaluating(policy) as weights, torch.no_grad():
        names: dict[Tensor, str] = {p: name for name, p in weights.items()}
        net = Net.of(policy)
        signs = _Signs(seed, policy.device, accumulation_dtype(policy.model.dtype))
        features = torch.zeros(len(examples), GROUPS, SIDE * SIDE, dtype=signs.dtype, device=policy.device)
        log_probs = torch.zeros(len(examples), dtype=torch.float64)
        with held_still(weights):
            for place, batch in enumerate(make_batches(policy, examples, batch_tokens)):
                graphs = Graphs(net.segments, names, graph_bytes)
                of_batch = forward(net, batch, graphs, is_first=not place)
                keys = [examples[i].key for i in batch.members]
                refuse_bad(keys, of_batch)
                log_probs[batch.members] = of_batch.double().cpu()
                features[batch.members] = _features(net, batch, names, graphs, signs, keys)
        parameters, frozen = counts(policy, weights)
    mean = np.zeros((len(examples), len(examples)))
    squares = np.zeros_like(mean)
    for block in features.double().cpu().transpose(0, 1):
        estimate = (block @ block.T).numpy()
        mean += estimate / GROUPS
        squares += estimate**2 / GROUPS
    errors = np.sqrt(np.maximum(squares - mean**2, 0) / (GROUPS - 1))
    return Gradients(tuple(s.key for s in examples), mean, log_probs.numpy(), parameters, frozen, errors)


def _features(
    net: Net, batch: Batch, names: dict[Tensor, str], graphs: Graphs, signs: _Signs, keys: list[str]
) -> Tensor:
    """The projections of a batch's gradients, (n, GROUPS, SIDE * SIDE)."""
    total = torch.zeros(len(keys), GROUPS, SIDE * SIDE, dtype=signs.dtype, device=signs.device)
    seen: set[str] = set()

    def add(name: str, part: Tensor) -> None:
        bad = ~torch.isfinite(part.flatten(1)).all(1)
        if bad.any():
            raise FloatingPointError(f"{keys[int(bad.nonzero()[0])]}: the gradient of {name} is NaN or infinite")
        total.add_(part)
        seen.add(name)

    for layer, own, uses in layer_uses(net, [batch], names, graphs):
        for weight, name in own.items():
            if type(layer) is nn.Linear and weight is layer.weight:
                add(name, _matrix(uses[0], name, signs))
            elif type(layer) is nn.Linear:
                add(name, _vector(uses[0][1].sum(1, dtype=signs.dtype), name, signs))
            elif weight.dim() == 1:
                add(name, _vector(vector_gradients(layer, uses[0])[name.rpartition(".")[2]], name, signs))
            else:
                raise PolicyError(f"policy {net.name!r}: {unsupported(name)}")
    head, embedding = net.head.weight, net.embedding.weight
    if head in names:
        add(names[head], _head(net, batch, names[head], signs))
    if embedding in names:
        # If tied, it has the output matrix's name and signs, and the two parts add up.
        add(names[embedding], _embedded(net, batch, names[embedding], signs))
    if left := sorted(set(names.values()) - seen):
        raise PolicyError(f"policy {net.name!r}: {unsupported(left[0])}")
    return total


def _matrix(use: Use, name: str, signs: _Signs) -> Tensor:
    entered, grad = (t.to(signs.dtype) for t in use)
    return _joined(grad @ signs.side(f"{name}/rows", grad.shape[-1]), entered, name, signs)


def _joined(rows: Tensor, entered: Tensor, name: str, signs: _Signs) -> Tensor:
    """Sum over tokens of (projected output gradient) times (projected input), (n, GROUPS, SIDE * SIDE)."""
    columns = entered.to(signs.dtype) @ signs.side(f"{name}/columns", entered.shape[-1])
    n, tokens = rows.shape[:2]
    a, b = (t.view(n, tokens, GROUPS, SIDE).transpose(1, 2) for t in (rows, columns))
    return (a.mT @ b).flatten(2)


def _vector(grad: Tensor, name: str, signs: _Signs) -> Tensor:
    table = signs.of(name, grad.shape[-1], GROUPS * SIDE * SIDE, 1 / SIDE)
    return (grad.to(signs.dtype) @ table).view(len(grad), GROUPS, SIDE * SIDE)


def _head(net: Net, b: Batch, name: str, signs: _Signs) -> Tensor:
    table = signs.side(f"{name}/rows", len(net.head.weight))
    rows = table.new_zeros(*b.targets.shape, table.shape[1])
    for where in b.there.split(sizes.head_tokens(table.device), 1):
        i = (where[0], where[1])
        chances = (b.hidden[i] @ net.head.weight.T).to(signs.dtype).sub_(b.norm[i][:, None]).exp_()
        rows[i] = table[b.targets[i]] - chances @ table
    return _joined(rows, b.hidden, name, signs)


def _embedded(net: Net, b: Batch, name: str, signs: _Signs) -> Tensor:
    rows = signs.side(f"{name}/rows", len(net.embedding.weight))[b.ids]
    if net.embedding.padding_idx is not None:
        # As in nn.Embedding: this row is never trained.
        rows = rows * (b.ids != net.embedding.padding_idx)[..., None]
    return _joined(rows, b.upstream, name, signs)
