"""The per_example_gram route against gradients that are held whole, and what both refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from expo.gradients import gram as route
from expo.gradients import projected as projection
from expo.gradients import sizes
from expo.gradients.dense import dense
from expo.gradients.direction import derivatives, gradient
from expo.gradients.examples import Example, Gradients, dtypes_of
from expo.gradients.gram import per_example_gram
from expo.gradients.projected import projected
from expo.policies.policy import Policy, PolicyError
from expo.tasks.prompts import TEXT
from tests.conftest import SHAPES, build

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Of the product of the norms.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
VOCABULARY = 260


def on_device(policy: Policy) -> Policy:
    policy.model.to(DEVICE)
    return policy


@pytest.fixture(scope="module")
def policies() -> dict[tuple[str, torch.dtype], Policy]:
    return {(shape, dtype): on_device(build(shape, dtype=dtype)) for shape in SHAPES for dtype in TOLERANCES}


tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=24).map(tuple)
some_spans = st.lists(st.tuples(tokens, tokens), min_size=1, max_size=7).map(
    lambda pairs: [Example(f"span {i}", *pair) for i, pair in enumerate(pairs)]
)


def apart(one: Gradients, other: Gradients) -> float:
    """The largest difference of inner products, of the product of their norms."""
    return float((np.abs(one.gram - other.gram) / np.outer(other.norms, other.norms)).max())


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(some_spans, st.sampled_from([1, 40, 4096]))
def test_ghost_is_dense_whatever_the_lengths_and_batches(policies, shape, dtype, spans, batch_tokens):
    policy = policies[shape, dtype]
    truth, found = dense(policy, spans), per_example_gram(policy, spans, batch_tokens=batch_tokens)
    assert apart(found, truth) < TOLERANCES[dtype]
    np.testing.assert_allclose(found.log_probs, truth.log_probs, rtol=1e-5)
    assert found.keys == truth.keys
    assert found.parameters == truth.parameters == sum(p.numel() for p in policy.model.parameters())


SPANS = [
    Example("a", (5, 6, 7, 8), (9, 10, 11, 12, 13, 14)),
    Example("b", (6, 6, 7), (6, 7)),
    Example("c", (30,), (9, 10, 11, 12, 200, 201, 202)),
]


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=10, deadline=None)
@given(some_spans, st.sampled_from(["left", "right"]))
def test_both_are_what_a_padded_batch_of_transformers_has_on_either_side(policies, shape, spans, side):
    policy = policies[shape, torch.float64]
    width = max(len(s.prompt + s.completion) for s in spans)
    ids, mask, labels = (torch.zeros(len(spans), width, dtype=torch.long) for _ in range(3))
    labels -= 100
    for i, s in enumerate(spans):
        n = len(s.prompt + s.completion)
        at = slice(width - n, width) if side == "left" else slice(0, n)
        ids[i, at] = torch.tensor(s.prompt + s.completion)
        mask[i, at] = 1
        labels[i, at] = torch.tensor((-100,) * len(s.prompt) + s.completion)
    ids, mask, labels = (t.to(DEVICE) for t in (ids, mask, labels))
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = policy.model(ids, attention_mask=mask, position_ids=position_ids).logits
    log_probs = -nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none"
    ).view(len(spans), -1)
    weights = list(policy.model.parameters())
    grads = [
        torch.cat([g.flatten() for g in torch.autograd.grad(row.sum(), weights, retain_graph=True)])
        for row in log_probs
    ]
    gram = (torch.stack(grads) @ torch.stack(grads).T).cpu().numpy()
    norms = np.sqrt(gram.diagonal())
    for of in (dense, per_example_gram):
        assert float((np.abs(of(policy, spans).gram - gram) / np.outer(norms, norms)).max()) < 1e-9


@pytest.mark.parametrize("over", ["over_pairs", "over_gradients"])
def test_both_ways_through_a_linear_layer_agree(policies, monkeypatch, over):
    policy = policies["qwen2", torch.float64]
    truth = dense(policy, SPANS)
    ways = {"over_pairs": route.over_pairs, "over_gradients": route.over_gradients}
    taken = []

    def pairs(uses):
        taken.append(over)
        n = sum(len(a) for a, _ in uses)
        return (
            ways[over](uses)
            if over == "over_pairs"
            else ways[over](uses, n, uses[0][1].shape[-1], uses[0][0].shape[-1])
        )

    monkeypatch.setattr(route, "over_pairs", pairs)
    monkeypatch.setattr(route, "over_gradients", lambda uses, *_: pairs(uses))
    # Rows are taken a few at a time, as for a policy that is not tiny.
    monkeypatch.setattr(sizes, "part_rows", lambda device, row: 7)
    assert apart(per_example_gram(policy, SPANS), truth) < 1e-10
    assert len(taken) == 2 * 7


def test_tied_weights_without_their_cross_terms_would_be_seen(policies, monkeypatch):
    policy = policies["llama-tied", torch.float64]
    rows = route.of_rows

    def without(net, batches, tokens, *, of_head, of_embedding):
        return rows(net, batches, tokens, of_head=True, of_embedding=False) + rows(
            net, batches, tokens, of_head=False, of_embedding=True
        )

    monkeypatch.setattr(route, "of_rows", without)
    assert apart(per_example_gram(policy, SPANS), dense(policy, SPANS)) > 1e-4


def test_bfloat16_is_near():
    policy = on_device(build("qwen2", dtype=torch.bfloat16))
    assert 1e-8 < apart(per_example_gram(policy, SPANS), dense(policy, SPANS)) < 0.02


def test_identical_spans_have_cosine_one_and_one_span_will_do(policies):
    policy = policies["llama", torch.float64]
    found = per_example_gram(policy, [SPANS[0], SPANS[0], SPANS[1]])
    assert found.cosines[0, 1] == pytest.approx(1, abs=1e-12)
    assert per_example_gram(policy, SPANS[:1]).norms == pytest.approx(found.norms[:1])


def test_frozen_weights_are_left_out_and_counted():
    policy = on_device(build("llama-tied"))
    for name, p in policy.model.named_parameters():
        p.requires_grad_("layers.1" in name and "norm" not in name)
    truth, found = dense(policy, SPANS), per_example_gram(policy, SPANS)
    assert apart(found, truth) < 1e-10
    assert found.parameters == truth.parameters
    assert found.parameters + found.frozen == sum(p.numel() for p in policy.model.parameters())
    assert {n.split(".")[2] for n, p in policy.model.named_parameters() if p.requires_grad} == {"1"}


class LowRank(nn.Module):
    """A frozen linear layer with a trainable one of low rank beside it, as LoRA has it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        like = {"dtype": base.weight.dtype, "device": base.weight.device, "bias": False}
        self.down, self.up = nn.Linear(base.in_features, 2, **like), nn.Linear(2, base.out_features, **like)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def test_weights_of_low_rank_beside_frozen_ones_are_those_measured():
    policy = on_device(build("llama"))
    policy.model.requires_grad_(False)
    torch.manual_seed(0)
    for layer in policy.model.model.layers:
        layer.self_attn.q_proj, layer.mlp.down_proj = LowRank(layer.self_attn.q_proj), LowRank(layer.mlp.down_proj)
    truth, found = dense(policy, SPANS), per_example_gram(policy, SPANS)
    assert apart(found, truth) < 1e-10
    ranked = [p for n, p in policy.model.named_parameters() if ".up." in n or ".down." in n]
    assert found.parameters == sum(p.numel() for p in ranked)
    assert found.frozen > found.parameters


# The eager kind has its softmax in float32, whatever the weights are.
@pytest.mark.parametrize(("attention", "within"), [("eager", 1e-6), ("sdpa", 1e-10)])
def test_checkpointing_and_the_kind_of_attention_change_nothing(policies, attention, within):
    truth = dense(policies["llama", torch.float64], SPANS)
    policy = on_device(build("llama"))
    policy.model.set_attn_implementation(attention)
    policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    policy.model.train()
    for of in (per_example_gram, dense):
        for batch in ([*SPANS], SPANS[::-1]):
            held = of(policy, batch).of([[s.key for s in batch].index(key) for key in truth.keys])
            assert held.keys == truth.keys
            assert apart(held, truth) < within


SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.parametrize("tied", [False, True])
def test_the_row_of_the_padding_token_is_not_trained(tied):
    config = AutoConfig.for_model("llama", vocab_size=VOCABULARY, pad_token_id=6, tie_word_embeddings=tied, **SMALL)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).to(DEVICE)
    policy = Policy("padded", model, None, TEXT, "random weights")
    assert model.get_input_embeddings().padding_idx == 6
    assert apart(per_example_gram(policy, SPANS), dense(policy, SPANS)) < 1e-10
    assert np.abs(scores(policy, dense(policy, SPANS))).max() < 4


def test_dropout_is_off_and_the_policy_is_left_as_it_was():
    policy = on_device(build("llama"))
    for layer in policy.model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    policy.model.train()
    assert apart(per_example_gram(policy, SPANS), dense(policy, SPANS)) < 1e-10
    assert policy.model.training
    assert all(m.training for m in policy.model.modules())
    assert all(p.requires_grad for p in policy.model.parameters())
    assert all(p.grad is None for p in policy.model.parameters())


class Odd(nn.Module):
    """A layer whose weight is no vector, put in place of a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.eye(width, dtype=torch.float64))

    def forward(self, x):
        return x @ self.mixing


def with_norm(layer: nn.Module) -> Policy:
    policy = build("llama")
    policy.model.model.layers[1].input_layernorm = layer
    return on_device(policy)


def test_a_weight_of_an_unknown_kind_is_named():
    policy = with_norm(Odd(32))
    for of in (per_example_gram, projected):
        with pytest.raises(
            PolicyError, match=r"cannot compute the gradient of model\.layers\.1\.input_layernorm\.mixing: "
        ):
            of(policy, SPANS)
    policy.model.model.layers[1].input_layernorm.requires_grad_(False)
    assert apart(per_example_gram(policy, SPANS), dense(policy, SPANS)) < 1e-10


def test_a_layer_that_is_used_twice_is_named():
    policy = on_device(build("llama"))
    mlp = policy.model.model.layers[0].mlp
    mlp.up_proj = mlp.gate_proj
    for of in (per_example_gram, projected):
        with pytest.raises(PolicyError, match=r"gradient of .*gate_proj\.weight: .* used once"):
            of(policy, SPANS)


def share_mlp(layers):
    layers[1].mlp = layers[0].mlp


def share_matrix_of_two_blocks(layers):
    layers[1].self_attn.q_proj.weight = layers[0].self_attn.q_proj.weight


def share_matrix_in_a_block(layers):
    layers[0].mlp.up_proj.weight = layers[0].mlp.gate_proj.weight


def share_norm(layers):
    layers[1].input_layernorm = layers[0].input_layernorm


@pytest.mark.parametrize("share", [share_mlp, share_matrix_of_two_blocks, share_matrix_in_a_block, share_norm])
def test_a_weight_of_two_layers_is_named(share):
    policy = on_device(build("llama"))
    share(policy.model.model.layers)
    for of in (per_example_gram, projected):
        with pytest.raises(PolicyError, match=r"gradient of model\.layers\.0\.\S+: supported are .* used "):
            of(policy, SPANS)


class Gated(nn.Module):
    """A layer of a vector whose second input comes by keyword."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=torch.float64))

    def forward(self, x, gate=None):
        return x * self.weight * (1 if gate is None else gate)


class Keyword(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gated = Gated(width)

    def forward(self, x):
        return self.gated(x, gate=x.tanh())


class Heads(nn.Module):
    """A linear layer on (n, T, heads, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mixing = nn.Linear(width // 4, width // 4, dtype=torch.float64)

    def forward(self, x):
        return self.mixing(x.unflatten(-1, (4, -1))).flatten(-2)


@pytest.mark.parametrize(("layer", "weight"), [(Keyword, r"gated\.weight"), (Heads, r"mixing\.\w+")])
def test_a_layer_of_another_input_is_named(layer, weight):
    policy = with_norm(layer(32))
    for of in (per_example_gram, projected):
        with pytest.raises(PolicyError, match=rf"gradient of \S*input_layernorm\.{weight}: supported are "):
            of(policy, SPANS)


@pytest.mark.parametrize("change", [lambda x: 15 * (x / 15).tanh(), lambda x: 30 * (x / 30).tanh(), lambda x: 1.04 * x])
def test_what_is_done_to_logits_is_refused(change):
    policy = on_device(build("llama"))
    with torch.no_grad():
        policy.model.lm_head.weight *= 20
    assert apart(per_example_gram(policy, SPANS), dense(policy, SPANS)) < 1e-10
    policy.model.lm_head.register_forward_hook(lambda *given: change(given[-1]))
    for of in (per_example_gram, projected):
        with pytest.raises(PolicyError, match="computes more than embedding, blocks"):
            of(policy, SPANS)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2}, "is not built as embedding"),
        ("granite", {**SMALL, "embedding_multiplier": 12.0}, "computes more than embedding, blocks"),
        ("granite", {**SMALL, "logits_scaling": 8.0}, "computes more than embedding, blocks"),
    ],
)
def test_a_policy_of_another_build_is_refused(kind, settings, message):
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=1, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval().to(DEVICE)
    policy = Policy(kind, model, None, TEXT, "random weights")
    for of in (per_example_gram, projected):
        with pytest.raises(PolicyError, match=message):
            of(policy, SPANS)
    assert dense(policy, SPANS).gram.shape == (3, 3)


@pytest.mark.parametrize("of", [per_example_gram, dense, projected])
def test_what_has_no_gradient_is_refused(of):
    policy = on_device(build("llama", context=12))
    with pytest.raises(ValueError, match="no examples"):
        of(policy, [])
    with pytest.raises(ValueError, match="empty: prompt and completion must each"):
        of(policy, [*SPANS[:1], Example("empty", (1, 2), ())])
    with pytest.raises(ValueError, match="long: 15 tokens, more than the context of llama"):
        of(policy, [Example("long", (1,) * 10, (2,) * 5)])
    for token in (-1, 300):
        with pytest.raises(ValueError, match=f"odd: token {token} is not one of the 300 of llama"):
            of(policy, [Example("odd", (1,), (token,))])
    policy.model.requires_grad_(False)
    with pytest.raises(PolicyError, match="none of its weights is trainable"):
        of(policy, SPANS)


def test_a_nan_gradient_names_span_and_weight(monkeypatch):
    policy = on_device(build("llama"))
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[30] = torch.nan
    for of in (per_example_gram, dense, projected):
        with pytest.raises(FloatingPointError, match=r"its weight model\.embed_tokens\.weight is NaN"):
            of(policy, SPANS)
    policy = on_device(build("llama"))
    with torch.no_grad():
        policy.model.lm_head.weight[:] = 1e308
    for of in (per_example_gram, projected):
        with pytest.raises(FloatingPointError, match="a: the log-probability is NaN"):
            of(policy, SPANS)

    class Root(torch.autograd.Function):
        """Finite forwards, NaN backwards for the last span of the batch."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            bad = grad.clone()
            bad[-1] = torch.nan
            return bad

    policy = on_device(build("llama"))
    layer = policy.model.model.layers[1]
    plain = layer.forward
    monkeypatch.setattr(layer, "forward", lambda hidden, **kwargs: plain(Root.apply(hidden), **kwargs))
    # Sorted by length, the shortest span, b, stands last.
    with pytest.raises(FloatingPointError, match=r"b: the gradient of model\.layers\.0\.\S+ is NaN"):
        per_example_gram(policy, SPANS)
    for of in (dense, lambda *given: gradient(*given, [1.0] * len(SPANS))):
        with pytest.raises(FloatingPointError, match=r"a.*: the gradient of model\.\S+ is NaN"):
            of(policy, SPANS)
    with pytest.raises(FloatingPointError, match="b: "):
        projected(policy, SPANS)


def scores(policy: Policy, truth: Gradients, seeds: int = 24) -> np.ndarray:
    """How many standard errors the mean over seeds of each inner product lies from the truth."""
    found = [projected(policy, SPANS, seed=seed, batch_tokens=1 + seed) for seed in range(seeds)]
    estimates = np.stack([f.gram for f in found])
    z = (estimates.mean(0) - truth.gram) / (estimates.std(0, ddof=1) / np.sqrt(seeds))
    spread: np.ndarray = z[np.triu_indices(len(SPANS))]
    return spread


def test_the_error_of_a_span_of_one_token_is_stated_too():
    policy = on_device(build("llama-tied", dtype=torch.float64))
    for name, p in policy.model.named_parameters():
        p.requires_grad_("down_proj" in name)
    one = [Example("one", (5, 6, 7, 8), (9,))]
    truth, found = dense(policy, one).gram[0, 0], [projected(policy, one, seed=seed) for seed in range(60)]
    z = [(f.gram[0, 0] - truth) / f.errors[0, 0] for f in found]
    assert np.mean(np.abs(z) < 2.13) > 0.85
    # As the docstring bounds it.
    assert np.mean([f.errors[0, 0] for f in found]) < 1.3 * truth / 8


@pytest.mark.parametrize("shape", SHAPES)
def test_projections_are_right_in_the_mean(policies, shape):
    policy = policies[shape, torch.float64]
    assert np.abs(scores(policy, dense(policy, SPANS))).max() < 4


def test_a_projection_that_leaves_out_a_use_of_a_tied_matrix_is_noticed(policies, monkeypatch):
    policy = policies["llama-tied", torch.float64]
    monkeypatch.setattr(projection, "_embedded", lambda net, b, name, signs: torch.zeros(len(b.ids), 1, 1))
    assert np.abs(scores(policy, dense(policy, SPANS))).max() > 4


def test_a_projection_states_its_error(policies):
    policy = policies["qwen2", torch.float64]
    truth, found = dense(policy, SPANS), [projected(policy, SPANS, seed=seed) for seed in range(40)]
    within = np.mean([np.abs(f.gram - truth.gram) < 2.13 * f.errors for f in found])  # Student's t, 15 degrees
    assert 0.9 < within < 0.99
    size = np.mean([f.errors for f in found], 0) / np.outer(truth.norms, truth.norms)
    assert (size < 2 * (1 + 0.42 * np.eye(len(SPANS))) / 64).all()
    np.testing.assert_allclose(found[0].log_probs, truth.log_probs, rtol=1e-5)


def test_a_projection_is_the_same_whatever_the_batches(policies):
    policy = policies["llama-tied", torch.float64]
    one, other = (projected(policy, SPANS, batch_tokens=size) for size in (1, 4096))
    np.testing.assert_allclose(one.gram, other.gram, rtol=1e-9, atol=1e-12)


def test_a_projection_is_over_trainable_weights(policies):
    policy = build("llama-tied", dtype=torch.float64)
    for name, p in policy.model.named_parameters():
        p.requires_grad_("mlp" in name or "norm" in name)
    truth, found = dense(policy, SPANS), projected(policy, SPANS)
    assert (found.parameters, found.frozen) == (truth.parameters, truth.frozen)
    assert found.errors is not None
    assert (np.abs(found.gram - truth.gram) < 5 * found.errors).all()


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=8, deadline=None)
@given(some_spans, st.sampled_from([1, 40, 1024]))
def test_derivatives_along_a_gradient_are_rows_of_the_gram_matrix(policies, shape, dtype, spans, batch_tokens):
    policy = policies[shape, dtype]
    truth = dense(policy, spans)
    weights = np.linspace(-1, 2, len(spans))
    along = derivatives(policy, spans, gradient(policy, spans, weights), batch_tokens=batch_tokens)
    size = truth.norms * np.sqrt(max(weights @ truth.gram @ weights, 1e-30)) + truth.norms.max() ** 2
    # Llama's norms compute in float32 whatever the weights are, so that two ways of computing differ by that.
    assert (np.abs(along - truth.gram @ weights) / size).max() < (1e-6 if dtype == torch.float64 else 1e-5)


def test_a_derivative_is_what_a_small_step_does(policies):
    policy = policies["qwen2", torch.float64]
    direction = gradient(policy, SPANS[:1], [1.0])
    predicted = derivatives(policy, SPANS, direction)
    found, size = [], 1e-6
    for sign in (1, -1):
        moved = build("qwen2", dtype=torch.float64)
        moved.model.load_state_dict(policy.model.state_dict())
        moved.model.to(DEVICE)
        with torch.no_grad():
            for name, p in moved.model.named_parameters():
                p.add_(direction[name], alpha=sign * size)
        found.append(dense(moved, SPANS).log_probs)
    np.testing.assert_allclose((found[0] - found[1]) / (2 * size), predicted, rtol=1e-3)


def test_a_sum_of_many_gradients_in_bfloat16_is_not_rounded_at_each():
    policy = on_device(build("qwen2", dtype=torch.bfloat16))
    once = gradient(policy, SPANS, [100.0] * len(SPANS))
    many = gradient(policy, SPANS * 100, [1.0] * (100 * len(SPANS)), batch_tokens=1)
    for name, value in once.items():
        assert value.dtype == torch.float32
        assert (value - many[name]).norm() < 0.02 * value.norm(), name


def test_a_direction_of_another_policy_is_refused(policies):
    policy = policies["llama-tied", torch.float64]
    with pytest.raises(ValueError, match=r"direction: lm_head\.bias is not a trainable parameter"):
        derivatives(policy, SPANS, {"lm_head.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"direction: model.norm.weight has shape \(3,\), but the parameter"):
        derivatives(policy, SPANS, {"model.norm.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="3 examples need the same number of weights, got 1"):
        gradient(policy, SPANS, [1.0])
    with pytest.raises(ValueError, match="weights must be finite, got"):
        gradient(policy, SPANS, [1.0, float("nan"), 0.0])
    with pytest.raises(ValueError, match="direction: give at least one parameter"):
        derivatives(policy, SPANS, {})
    nothing = {"model.norm.weight": torch.zeros_like(policy.model.model.norm.weight)}
    assert (derivatives(policy, SPANS, nothing) == 0).all()
    nothing["model.norm.weight"][0] = torch.nan
    with pytest.raises(FloatingPointError, match="a: its derivative is NaN"):
        derivatives(policy, SPANS, nothing)


@pytest.mark.parametrize("of", [per_example_gram, dense, projected])
def test_a_dtype_without_gradients_is_named_with_those_that_have_them(of):
    policy = on_device(build("llama", dtype=torch.float32))
    weight = policy.model.model.layers[0].mlp.up_proj.weight
    weight.data = weight.data.to(torch.float8_e4m3fn)
    with pytest.raises(
        PolicyError, match=r"up_proj\.weight on \S+ in torch\.float8_e4m3fn; load .*\(float32, bfloat16"
    ):
        of(policy, SPANS)
    weight.data = weight.data.float()
    assert of(policy, SPANS).gram.shape == (3, 3)


def test_a_gpu_that_does_not_multiply_bfloat16_takes_the_others(monkeypatch):
    gpu = torch.device("cuda")
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert (torch.bfloat16 in dtypes_of(gpu)) == has
        assert {torch.float16, torch.float32, torch.float64} < {*dtypes_of(gpu), torch.bfloat16}
        assert torch.bfloat16 in dtypes_of(torch.device("cpu"))
