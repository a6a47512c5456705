"""Float32 matrix products on a CPU, computed by the faster of PyTorch's two libraries.

PyTorch gives float32 products to MKL, which leaves half of an AMD processor's vector units idle. oneDNN uses all of
them, and takes half the time for products as large as those of a linear layer, but longer for the small ones of
attention. The switch that gives products to oneDNN also allows it to round their inputs to bfloat16, which it does on
processors with matrix units. So one product is checked first, and the switch stays off if that product is rounded more
than float32 is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

# In weights. A smaller policy gains little, and its numbers stay the same to the last bit.
LEAST = 50_000_000
# Relative to the largest entry of a product: float32 rounds by about 1e-6, and bfloat16 by 4e-3.
WITHIN = 1e-5
# None before PyTorch 2.9.
_SETTING: Any = getattr(torch.backends.mkldnn, "matmul", None)


@contextmanager
def fast_linear_layers(model: PreTrainedModel) -> Iterator[None]:
    """Compute the linear layers of a large float32 policy on a CPU with oneDNN, forward and backward."""
    with ExitStack() as stack:
        if _gains(model):
            _switch_around_layers(model, stack)
        # Not held by reference: a training may drop its policy, to load it again in parts.
        del model
        yield


def _switch_around_layers(model: PreTrainedModel, stack: ExitStack) -> None:
    switch = _Switch()
    stack.callback(switch.off)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            stack.callback(layer.register_forward_pre_hook(switch.on).remove)
            stack.callback(layer.register_forward_hook(switch.after_forward, always_call=True).remove)


@contextmanager
def fast_products(model: PreTrainedModel) -> Iterator[None]:
    """Compute every product with oneDNN if `fast_linear_layers` would use it: for large products outside layers."""
    with _by_onednn() if _gains(model) else nullcontext():
        yield


class _Switch:
    """Hand products to oneDNN, and back to the library that computed them before."""

    def __init__(self) -> None:
        self.before = _SETTING.fp32_precision

    def on(self, *_: Any) -> None:
        _SETTING.fp32_precision = "bf16"

    def off(self, *_: Any) -> None:
        _SETTING.fp32_precision = self.before

    def after_forward(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Off, and on again for the layer's backward pass if its end can be detected."""
        self.off()
        # The gradient at the output comes just before the layer's backward pass, and the gradient at its input just
        # after it. Should autograd use another order, other products are handed over, which changes little but their
        # time. An input passed by keyword is not among `args`.
        both = (output, *args[:1])
        if len(both) == 2 and all(isinstance(t, Tensor) and t.requires_grad for t in both):
            output.register_hook(self.on)
            args[0].register_hook(self.off)


def _gains(model: PreTrainedModel) -> bool:
    large = model.device.type == "cpu" and model.dtype == torch.float32 and model.num_parameters() >= LEAST
    return large and _is_exact()


@contextmanager
def _by_onednn() -> Iterator[None]:
    switch = _Switch()
    switch.on()
    try:
        yield
    finally:
        switch.off()


@functools.cache
def _is_exact() -> bool:
    if _SETTING is None or not torch.backends.mkldnn.is_available():
        return False
    # A separate generator leaves the caller's random numbers unchanged, and the caller may have other defaults.
    generator = torch.Generator("cpu").manual_seed(0)
    a, b = torch.randn(2, 512, 512, generator=generator, dtype=torch.float32, device="cpu")
    with _by_onednn():
        return as_exact(a @ b, a, b)


def as_exact(product: Tensor, a: Tensor, b: Tensor) -> bool:
    """Whether this equals a @ b, rounded no more than float32 is."""
    right = a.double() @ b.double()
    return bool((product.double() - right).abs().max() <= WITHIN * right.abs().max())
