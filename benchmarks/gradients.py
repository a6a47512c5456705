"""Gram matrix of N per-example gradients, against backward passes.

These are batched, in a loop, in a loop that also makes the matrix, with vmap(grad), and with bergson.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial

import torch
from datasets import Dataset
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from trl.trainer import add_fused_lm_head

from benchmarks.routes import PEERS, Comparison, Route, Work
from expo.gradients.examples import Example
from expo.gradients.gram import per_example_gram
from expo.policies.load import load_policy
from expo.policies.products import fast_products
from expo.tasks.prompts import TEXT

MODEL, N, TOKENS = "smollm2-135m", 64, 150
FEW = 16  # where each gradient needs a separate pass
SHAPES = {
    "smollm2-135m": (
        LlamaForCausalLM,
        LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        ),
    ),
    "qwen2.5-3b": (
        Qwen2ForCausalLM,
        Qwen2Config(
            vocab_size=151936,
            hidden_size=2048,
            intermediate_size=11008,
            num_hidden_layers=36,
            num_attention_heads=16,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        ),
    ),
}


def comparisons() -> list[Comparison]:
    """Peers that make the matrix, and peers that drop the gradients, some of which hold several at once."""
    # More at once would not fit into 24 GiB together with the others.
    summed = {"batched backward, 16 at once": partial(batched, at_once=16)}
    some_at_once = {"vmap(grad), dropped": vmapped}
    by_one = {"loop, Gram matrix": gram_by_loop, "loop, gradients dropped": loop}
    projected = Route(
        "bergson, projected, no matrix", partial(by_backward, bergson, N), "bergson", "build/peers", PEERS
    )
    return [
        Comparison(f"gradients/{name}", f"{n} examples of {TOKENS} tokens, {MODEL}, float32", routes)
        for name, n, routes in (
            ("batched", N, _routes(summed, N)),
            ("per-example", N, (*_routes(some_at_once, N), projected, Route("products alone", by_products, "torch"))),
            ("one-by-one", FEW, _routes(by_one, FEW)),
        )
    ]


def _routes(peers: dict[str, Callable[..., object]], n: int) -> tuple[Route, ...]:
    ours = Route("expo, Gram matrix", partial(by_gram, n))
    return ours, *(Route(name, partial(by_backward, way, n), "torch") for name, way in peers.items())


def by_gram(n: int) -> Work:
    """The Gram matrix, without holding any gradient in full."""
    policy = load_policy(MODEL, TEXT)
    given = examples(policy.model, n, TOKENS)
    per_example_gram(policy, given[:2])

    def work() -> None:
        per_example_gram(policy, given)

    return work


def by_products() -> Work:
    """As many operations as the matrix takes at least, in products of a block's size, by oneDNN: the limit."""
    model = load_policy(MODEL, TEXT).model
    head = model.get_output_embeddings().weight.numel()
    # Forward, back to inputs and gradients; the logits are made twice. Inner products, those of two examples once.
    tokens, completions = N * TOKENS, N * (TOKENS - TOKENS // 3)
    operations = (model.num_parameters() - head) * (6 * tokens + N**2) + head * (8 * completions + N**2)
    rows, columns, inner = 1024, model.config.intermediate_size, model.config.hidden_size
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.empty(rows, columns)

    def work() -> None:
        with fast_products(model):
            for _ in range(operations // (2 * rows * columns * inner)):
                torch.mm(a, b, out=out)

    return work


def by_backward(way: Callable[[PreTrainedModel, Sequence[Example]], object], n: int) -> Work:
    """One of the ways of a peer."""
    model = load_policy(MODEL, TEXT).model
    add_fused_lm_head(model)
    given = examples(model, n, TOKENS)
    batched(model, given[:2])

    def work() -> None:
        way(model, given)

    return work


def examples(model: PreTrainedModel, n: int, tokens: int) -> list[Example]:
    """Random tokens, a third prompt and two thirds completion; all of one length, since `vmap` accepts no others."""
    rng = random.Random(0)
    rows = [tuple(rng.choices(range(10, model.config.vocab_size), k=tokens)) for _ in range(n)]
    return [Example(str(i), row[: tokens // 3], row[tokens // 3 :]) for i, row in enumerate(rows)]


def batched(model: PreTrainedModel, given: Sequence[Example], at_once: int = 32) -> None:
    """A forward and backward pass over all examples, 32 at once, logits in tiles: gradients of their sum.

    64 at once would take over 24 GiB for SmolLM2-135M.
    """
    for i in range(0, len(given), at_once):
        _backward(model, given[i : i + at_once])
    model.zero_grad()


def _backward(model: PreTrainedModel, given: Sequence[Example]) -> None:
    width = max(len(s.prompt) + len(s.completion) for s in given)
    ids = torch.zeros(len(given), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, s in enumerate(given):
        end = len(s.prompt) + len(s.completion)
        ids[i, :end] = torch.tensor(s.prompt + s.completion)
        labels[i, len(s.prompt) : end] = torch.tensor(s.completion)
        mask[i, :end] = 1
    ids, labels, mask = (t.to(model.device) for t in (ids, labels, mask))
    model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs.sum().backward()


def loop(model: PreTrainedModel, given: Sequence[Example]) -> None:
    """A backward pass for each example; no gradient is kept, and no Gram matrix made."""
    for s in given:
        batched(model, [s])


def gram_by_loop(model: PreTrainedModel, given: Sequence[Example], at_once: int = 8) -> Tensor:
    """The Gram matrix by a loop that holds 8 gradients: those of all later examples are made again for each 8."""

    def one(example: Example) -> Tensor:
        model.zero_grad()
        _backward(model, [example])
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    gram = torch.zeros(len(given), len(given), device=model.device)
    held = torch.empty(at_once, sum(p.numel() for p in model.parameters()), dtype=model.dtype, device=model.device)
    for low in range(0, len(given), at_once):
        block = held[: len(given[low : low + at_once])]
        for row, example in zip(block, given[low:], strict=False):
            row.copy_(one(example))
        gram[low : low + len(block), low : low + len(block)] = block @ block.T
        for j in range(low + len(block), len(given)):
            gram[low : low + len(block), j] = gram[j, low : low + len(block)] = block @ one(given[j])
    model.zero_grad()
    return gram


def vmapped(model: PreTrainedModel, given: Sequence[Example], chunk: int = 4) -> None:
    """`torch.func.vmap(grad)` over examples of one length, `chunk` at a time; gradients are dropped."""
    ids = torch.tensor([s.prompt + s.completion for s in given], device=model.device)
    weights = {k: p.detach() for k, p in model.named_parameters()}

    def log_prob(w: dict[str, Tensor], row: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, w, (row[None],), {"use_cache": False}).logits[0, :-1]
        return -torch.nn.functional.cross_entropy(logits.float(), row[1:], reduction="sum")

    for some in ids.split(chunk):
        torch.func.vmap(torch.func.grad(log_prob), in_dims=(None, 0))(weights, some)


def bergson(model: PreTrainedModel, given: Sequence[Example], side: int = 16) -> None:
    """bergson's collector, the blocks' linear layers alone, each gradient projected to side x side, 8 examples a batch.

    Its full gradients would be N x P numbers.
    """
    # Not among what the project installs.
    from bergson import CollectorComputer, GradientProcessor, IndexConfig, InMemoryCollector

    rows = [{"input_ids": s.prompt + s.completion, "labels": (-100,) * len(s.prompt) + s.completion} for s in given]
    data, processor = Dataset.from_list(rows), GradientProcessor(projection_dim=side)
    order = sorted(range(len(given)), key=lambda i: len(rows[i]["input_ids"]))
    batches = [order[i : i + 8] for i in range(0, len(order), 8)]
    with tempfile.TemporaryDirectory() as folder:
        cfg = IndexConfig(run_path=f"{folder}/run")
        cfg.partial_run_path.mkdir()
        collector = InMemoryCollector(model=model.base_model, data=data, cfg=cfg, processor=processor)
        CollectorComputer(model, data, collector=collector, batches=batches, cfg=cfg).run_with_collector_hooks()
    held = torch.cat([g.float() for g in collector.gradients.values()], 1)
    assert bool((held @ held.T).diagonal().all())
