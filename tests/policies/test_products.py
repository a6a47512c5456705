"""Products by oneDNN: as exact as float32, for large policies alone, and only while they are asked for."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from expo.policies import products
from expo.policies.policy import Policy
from expo.policies.products import as_exact, fast_linear_layers, fast_products
from expo.policies.sampling import sample
from expo.policies.scoring import score
from tests.conftest import build
from tests.policies.test_sampling import requests
from tests.policies.test_scoring import samples

SETTING = torch.backends.mkldnn.matmul
SHAPES = [(1, 576, 49152), (8, 64, 64), (64, 576, 1536), (64, 1536, 576), (500, 576, 192)]


@pytest.fixture
def as_large(monkeypatch: pytest.MonkeyPatch) -> Policy:
    policy = build(dtype=torch.float32)
    monkeypatch.setattr(products, "LEAST", policy.model.num_parameters())
    return policy


class Noted(torch.autograd.Function):
    """What it is given, and the setting that it finds, forward and backward."""

    @staticmethod
    def forward(ctx, x, found):
        ctx.found = found
        found.append(SETTING.fp32_precision)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.found.append(SETTING.fp32_precision)
        return grad, None


@pytest.fixture
def seen(as_large: Policy) -> dict[str, list[str]]:
    """The settings, forward and backward, within a linear layer and after attention."""
    found: dict[str, list[str]] = {"linear": [], "attention": []}
    block = as_large.model.model.layers[0]
    multiply = block.mlp.up_proj.forward
    block.mlp.up_proj.forward = lambda x: Noted.apply(multiply(x), found["linear"])
    block.self_attn.register_forward_hook(lambda _, __, out: (Noted.apply(out[0], found["attention"]), out[1]))
    return found


def passes(policy: Policy) -> None:
    policy.model(torch.arange(5)[None]).logits.sum().backward()


def test_linear_layers_have_it_and_nothing_else_does(as_large: Policy, seen: dict[str, list[str]]) -> None:
    with fast_linear_layers(as_large.model):
        passes(as_large)
    assert seen == {"linear": ["bf16", "bf16"], "attention": ["none", "none"]}


def test_smaller_policies_keep_their_bits(
    as_large: Policy, seen: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "LEAST", products.LEAST + 1)
    with fast_linear_layers(as_large.model), fast_products(as_large.model):
        passes(as_large)
    assert seen == {"linear": ["none", "none"], "attention": ["none", "none"]}


def test_a_switch_that_rounds_more_stays_off(as_large: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    with fast_products(as_large.model):
        assert SETTING.fp32_precision == "bf16"
    monkeypatch.setattr(products, "_is_exact", lambda: False)
    with fast_products(as_large.model):
        assert SETTING.fp32_precision == "none"


@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_rounded_as_float32_is(as_large: Policy, shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    a, b = torch.randn(n, k), torch.randn(k, m)
    with fast_products(as_large.model):
        assert as_exact(a @ b, a, b)
        assert as_exact(torch.bmm(a[None], b[None])[0], a, b)
        assert as_exact(torch.nn.functional.linear(a, b.T), a, b)
    assert not as_exact((a.bfloat16() @ b.bfloat16()).float(), a, b)


def test_the_setting_and_the_layers_are_left_as_they_were(as_large: Policy) -> None:
    layers = [m for m in as_large.model.modules() if isinstance(m, nn.Linear)]
    try:
        SETTING.fp32_precision = "ieee"
        with pytest.raises(RuntimeError), fast_linear_layers(as_large.model):
            layers[0](torch.zeros(1, 3))
        assert SETTING.fp32_precision == "ieee"
    finally:
        SETTING.fp32_precision = "none"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in layers)


def test_a_policy_that_is_let_go_is_not_held(as_large: Policy) -> None:
    for parameters in (1, as_large.model.num_parameters() + 1):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(products, "LEAST", parameters)
            model = build(dtype=torch.float32).model
            seen = weakref.ref(model)
            with fast_linear_layers(model):
                gc.collect()
                assert seen() is model
                del model
                gc.collect()
                assert seen() is None


def test_an_input_may_be_given_by_its_name(as_large: Policy) -> None:
    layer = as_large.model.model.layers[0].mlp.up_proj
    entered = torch.randn(1, layer.in_features, requires_grad=True)
    plain = layer(entered)
    with fast_linear_layers(as_large.model):
        layer(input=entered).sum().backward()
        torch.testing.assert_close(layer(input=entered), layer(entered))
        torch.testing.assert_close(layer(entered), plain)
        assert SETTING.fp32_precision == "none"
    assert SETTING.fp32_precision == "none"


def test_a_layer_whose_input_needs_no_gradient_leaves_nothing_on(as_large: Policy) -> None:
    layer = as_large.model.model.layers[0].mlp.up_proj
    found: list[str] = []
    with fast_linear_layers(as_large.model):
        for needs in (False, True):
            out = layer(torch.randn(1, layer.in_features, requires_grad=needs))
            out.register_hook(lambda _: found.append(SETTING.fp32_precision))
            out.sum().backward()
            assert SETTING.fp32_precision == "none"
        with torch.no_grad():
            layer(torch.randn(1, layer.in_features, requires_grad=True))
    # The control: one that needs it has its products by oneDNN.
    assert found == ["none", "bf16"]


def test_float32_is_checked_whatever_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[torch.dtype] = []
    monkeypatch.setattr(products, "as_exact", lambda *given: checked.extend(t.dtype for t in given))
    torch.set_default_dtype(torch.float64)
    try:
        products._is_exact.__wrapped__()
    finally:
        torch.set_default_dtype(torch.float32)
    assert checked == [torch.float32] * 3


def test_scores_and_samples_are_the_same_but_for_rounding(as_large: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = score(as_large, samples(as_large)), sample(as_large, requests(), temperature=0.7, seed=0)
    monkeypatch.setattr(products, "LEAST", products.LEAST + 1)
    plain = score(as_large, samples(as_large)), sample(as_large, requests(), temperature=0.7, seed=0)
    assert [s.nll_sum for s in fast[0]] == pytest.approx([s.nll_sum for s in plain[0]], rel=1e-5)
    assert fast[1] == plain[1]
