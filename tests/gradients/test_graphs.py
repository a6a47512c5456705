"""Graphs kept between the passes: the same matrix whatever the budget, and each block runs forward once within it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from expo.gradients import graphs, passes, sizes
from expo.gradients.batches import make_batches
from expo.gradients.dense import dense
from expo.gradients.examples import Example, evaluating, held_still
from expo.gradients.gram import per_example_gram
from expo.gradients.projected import projected
from expo.policies.policy import Policy, PolicyError
from tests.conftest import SHAPES, build
from tests.gradients.test_gram import apart, on_device

# Two of the longest are of one length, so that of their graphs one could be taken for the other.
SPANS = [
    Example("a", (5, 6, 7, 8), (9, 10, 11, 12, 13, 14)),
    Example("b", (8, 7, 6, 5), (14, 13, 12, 11, 10, 9)),
    Example("c", (6, 6, 7), (6, 7)),
    Example("d", (30,), (9, 10, 11, 12, 200, 201, 202)),
]
MANY = 1 << 40


def taken(policy: Policy, spans: list[Example], batch_tokens: int = 1) -> int:
    """Bytes of the graphs of all blocks and batches."""
    with evaluating(policy) as weights, torch.no_grad(), held_still(weights):
        net = passes.Net.of(policy)
        all_kept = graphs.Graphs(net.segments, {p: name for name, p in weights.items()}, MANY)
        for b in make_batches(policy, spans, batch_tokens):
            passes.forward(net, b, all_kept, is_first=False)
        return MANY - all_kept.left


def forwards(policy: Policy, monkeypatch: pytest.MonkeyPatch, budget: int | None) -> int:
    """How often blocks run forward, each example in a batch of its own; the check of the build aside."""
    counted: Counter[str] = Counter()
    monkeypatch.setattr(passes, "_refuse_other_builds", lambda *_: None)
    hooks = [
        layer.register_forward_pre_hook(lambda *_: counted.update(["block"])) for layer in policy.model.model.layers
    ]
    per_example_gram(policy, SPANS, batch_tokens=1, graph_bytes=budget)
    for hook in hooks:
        hook.remove()
    return counted["block"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_matrix_is_the_same_whatever_the_budget(shape):
    policy = on_device(build(shape))
    truth, whole = dense(policy, SPANS), taken(policy, SPANS)
    for budget in (0, whole // 4, whole // 2, whole - 1, whole, None):
        found = per_example_gram(policy, SPANS, batch_tokens=1, graph_bytes=budget)
        assert apart(found, truth) < 1e-10, budget
        np.testing.assert_allclose(found.log_probs, truth.log_probs)
    assert all(p.requires_grad and p.grad is None for p in policy.model.parameters())


def test_on_a_cpu_it_is_the_same_to_the_last_bit():
    policy = build("qwen2", dtype=torch.float32)
    none, half, by_memory = (
        per_example_gram(policy, SPANS, batch_tokens=1, graph_bytes=budget).gram
        for budget in (0, taken(policy, SPANS) // 2, None)
    )
    assert (half == none).all()
    assert (by_memory == none).all()
    other = per_example_gram(policy, SPANS, batch_tokens=4096).gram
    assert (other != none).any()


def test_projections_are_the_same_whatever_the_budget():
    policy = on_device(build("llama-tied"))
    none, some, by_device = (projected(policy, SPANS, graph_bytes=budget) for budget in (0, 200_000, None))
    np.testing.assert_allclose(some.gram, none.gram, rtol=1e-9)
    np.testing.assert_allclose(by_device.gram, none.gram, rtol=1e-9)


def test_a_graph_of_another_batch_would_be_seen(monkeypatch):
    policy = on_device(build("llama"))
    back, before = graphs.Graphs.back, {}

    def wrong(self, segment, call, upstream):
        if (other := before.get(segment)) is not None and other[0].shape == upstream.shape:
            return other[0], other[1]
        before[segment] = found = back(self, segment, call, upstream)
        return found

    truth = dense(policy, SPANS)
    assert apart(per_example_gram(policy, SPANS, batch_tokens=1), truth) < 1e-10
    monkeypatch.setattr(graphs.Graphs, "back", wrong)
    assert apart(per_example_gram(policy, SPANS, batch_tokens=1), truth) > 1e-3


def test_within_the_budget_nothing_runs_forward_twice(monkeypatch):
    policy = on_device(build("llama"))
    runs, whole = len(policy.model.model.layers) * len(SPANS), taken(policy, SPANS)
    assert forwards(policy, monkeypatch, whole) == forwards(policy, monkeypatch, None) == runs
    assert forwards(policy, monkeypatch, 0) == 2 * runs
    assert runs < forwards(policy, monkeypatch, whole // 2) < 2 * runs


def test_each_storage_is_counted_once_and_weights_are_not():
    policy = on_device(build("llama"))
    one = taken(policy, SPANS[:1])
    assert taken(policy, SPANS[:2]) == 2 * one
    # Of each token and block: what enters it, twice what its norms make of that, queries and what attention makes of
    # them, and three vectors within the MLP, which layers read, too; and not as much again.
    config, tokens = policy.model.config, 10
    least = 4 * config.hidden_size + 3 * config.intermediate_size
    assert 1 < one / (8 * tokens * least * config.num_hidden_layers) < 3


def test_a_budget_in_which_nothing_fits_names_one_that_will_do():
    policy = on_device(build("llama"))
    for of in (per_example_gram, projected):
        with pytest.raises(ValueError, match="graph_bytes: -1 is below 0; give 0"):
            of(policy, SPANS, graph_bytes=-1)
        with pytest.raises(ValueError, match=r"graph_bytes: 1 is too little .* give at least [\d,]+, or 0") as error:
            of(policy, SPANS, graph_bytes=1)
        enough = int(str(error.value).split("give at least ")[1].split(" or")[0].replace(",", ""))
        with pytest.raises(ValueError, match="is too little"):
            of(policy, SPANS, graph_bytes=enough - 1)
        assert of(policy, SPANS, graph_bytes=enough).gram.shape == (4, 4)
    assert all(p.requires_grad for p in policy.model.parameters())


@pytest.mark.parametrize("budget", [0, None])
def test_what_other_hooks_do_to_a_block_is_within_its_gradient(budget):
    policy = on_device(build("llama"))
    plain, block = dense(policy, SPANS), policy.model.model.layers[1]
    block.register_forward_hook(lambda *given: given[-1] + given[-1].tanh())
    block.register_forward_pre_hook(lambda _, args: (args[0] * 1.5, *args[1:]))
    truth = dense(policy, SPANS)
    assert apart(per_example_gram(policy, SPANS, graph_bytes=budget), truth) < 1e-10
    assert apart(plain, truth) > 1e-3


@pytest.mark.parametrize("budget", [0, None])
def test_a_layer_that_another_block_calls_is_named(monkeypatch, budget):
    policy = on_device(build("llama"))
    first, second = policy.model.model.layers
    plain = second.forward
    assert apart(per_example_gram(policy, SPANS, graph_bytes=budget), dense(policy, SPANS)) < 1e-10
    monkeypatch.setattr(second, "forward", lambda hidden, **kwargs: plain(hidden + first.mlp(hidden), **kwargs))
    with pytest.raises(PolicyError, match=r"gradient of model\.layers\.0\.mlp\.\S+: supported are .* used "):
        per_example_gram(policy, SPANS, graph_bytes=budget)


def test_a_part_has_a_row_at_least_and_otherwise_stays_small():
    cpu = torch.device("cpu")
    rows = {row: sizes.part_rows(cpu, row) for row in (4, 1 << 16, 1 << 20, 1 << 26, 1 << 30)}
    assert min(rows.values()) == 1
    assert all(n == 1 or n * row <= 1 << 28 for row, n in rows.items())
    assert rows[1 << 16] > rows[1 << 20] == 32 > rows[1 << 26]


@pytest.mark.parametrize(("limit", "expected"), [(1 << 30, 3 << 27), (100, 0), ("max", 4 << 30)])
def test_a_container_s_limit_bounds_the_graphs(
    monkeypatch: pytest.MonkeyPatch, limit: int | str, expected: int
) -> None:
    said = {"memory.max": f"{limit}\n", "memory.current": f"{1 << 29}\n", "memory.stat": f"inactive_file {1 << 28}\n"}
    monkeypatch.setattr(Path, "is_file", lambda path: path.name in said)
    monkeypatch.setattr(Path, "read_text", lambda path, **_: said[path.name])
    machine = SimpleNamespace(total=64 << 30, available=48 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: machine)
    assert sizes.graph_bytes(torch.device("cpu")) == expected


class Waits(TorchDispatchMode):
    """Counts what a GPU is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        return func(*args, **(kwargs or {}))


def waits(policy: Policy, batch_tokens: int) -> int:
    with Waits() as counted:
        per_example_gram(policy, SPANS, batch_tokens=batch_tokens)
    return counted.n


def test_no_layer_is_waited_for():
    two, one = on_device(build("llama")), on_device(build("llama"))
    del one.model.model.layers[1]
    assert waits(one, 4096) == waits(two, 4096)
    with Waits() as counted:
        dense(two, SPANS)
    assert counted.n > 0
