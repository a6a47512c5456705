"""Graphs of segments (blocks and last norm), kept from the forward pass for the backward pass within a memory budget.

A segment whose graph is kept runs forward once; any other runs forward again before its backward pass. Graphs are cut
at the input of each segment, so that each is freed after its backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from expo.gradients import sizes

Use = tuple[Tensor, Tensor]  # a layer's input and the gradient at its output, (n, T, ...)
Uses = dict[nn.Module, list[Use]]


@dataclass
class Call:
    """The input of a segment; if its graph is kept, its output, and after the backward pass its layers' uses."""

    entered: Tensor
    others: dict[str, Any]
    out: Tensor | None = None
    uses: Uses = field(default_factory=dict)


class Graphs:
    """The memory budget: the bytes that autograd saves and the layers' inputs, each storage once, without weights."""

    def __init__(self, segments: Sequence[nn.Module], names: dict[Tensor, str], limit: int | None) -> None:
        """Start with the full budget; `limit` is the `graph_bytes` of `per_example_gram`.

        Gradients are computed for the layers with weights in `names`.

        Raises:
            ValueError: if `limit` is below 0.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"graph_bytes: {limit} is below 0; give 0 to keep no graph, or leave it out")
        self.segments, self.limit = segments, limit
        self.layers = {s: [m for m in s.modules() if _of(m, names)] for s in segments}
        # All of them, since a segment may call a layer of another.
        self.watched = list(dict.fromkeys(m for of_segment in self.layers.values() for m in of_segment))
        weights = [p for s in segments for p in s.parameters()]
        self.left = sizes.graph_bytes(weights[0].device) if limit is None else limit
        self.lasts = self.left > 0
        self.counted = {p.untyped_storage().data_ptr() for p in weights}
        self.fresh: dict[int, int] = {}  # bytes of the storages of the running segment

    @contextmanager
    def recording(self, calls: list[Call]) -> Iterator[None]:
        """Record the segments' calls in `calls` within the context, with their graphs while the budget lasts."""

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            self.fresh = {}
            entered = args[0].detach().requires_grad_(self.lasts)
            calls.append(Call(entered, kwargs))
            return (entered, *args[1:]), kwargs

        def leave(*given: Any) -> None:
            self._keep(calls[-1], _tensor(given[-1]))

        with ExitStack() as stack:
            for s in self.segments:
                # First and last, so that changes by other hooks are inside the graph.
                stack.callback(s.register_forward_pre_hook(enter, prepend=True, with_kwargs=True).remove)
                stack.callback(s.register_forward_hook(leave).remove)
            stack.enter_context(_watching(self.watched, lambda: calls[-1].uses, self._count))
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._count, lambda t: t))
            # A graph is created if the input requires one: the weights do not.
            stack.enter_context(torch.enable_grad())
            yield

    def back(self, segment: nn.Module, call: Call, upstream: Tensor) -> tuple[Tensor, Uses]:
        """From the gradient at a segment's output, compute the gradient at its input, and its layers' uses."""
        out, entered, uses = call.out, call.entered, call.uses
        if out is None:
            entered, uses = call.entered.detach().requires_grad_(), {}
            with _watching(self.watched, lambda: uses), torch.enable_grad():
                out = _tensor(segment(entered, **call.others))
        (grad,) = torch.autograd.grad(out, entered, upstream)
        return grad, uses

    def _count(self, saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in self.counted:
            self.fresh[storage.data_ptr()] = storage.nbytes()
        return saved

    def _keep(self, call: Call, out: Tensor) -> None:
        taken = sum(self.fresh.values())
        if self.lasts and taken <= self.left:
            call.out = out
            self.left -= taken
            self.counted |= self.fresh.keys()
            return
        call.uses.clear()
        if self.lasts and self.limit is not None and self.left == self.limit:
            raise ValueError(
                f"graph_bytes: {self.limit:,} is too little for the graph of one block and batch; give at "
                f"least {taken:,}, or 0 to keep no graph and run each block forward twice"
            )
        self.lasts = False


def _of(layer: nn.Module, names: dict[Tensor, str]) -> bool:
    return any(p in names for p in layer.parameters(recurse=False))


def _tensor(output: Any) -> Tensor:
    out: Tensor = output[0] if isinstance(output, tuple) else output
    return out


@contextmanager
def _watching(
    layers: Iterable[nn.Module], uses: Callable[[], Uses], count: Callable[[Tensor], Tensor] = lambda entered: entered
) -> Iterator[None]:
    """Record the uses of layers that run within the context; the backward pass completes them."""

    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not (len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and isinstance(output, Tensor)):
            return
        if output.requires_grad:
            entered, of_call = count(args[0].detach()), uses()
            output.register_hook(lambda grad: of_call.setdefault(layer, []).append((entered, grad)))

    handles = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
