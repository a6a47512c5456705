"""Gram matrix of N per-example gradients, against backward passes: batched, in a loop, in a loop that makes the matrix
too, and by vmap(grad). Each route has a process of its own, so that its memory is its own.

python -m benchmarks.gradients                           # SmolLM2-135M, 64 samples of about 150 tokens
python -m benchmarks.gradients --shape qwen2.5-3b --tokens 512    # random weights of that shape, on a GPU
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

import psutil
import torch
from datasets import Dataset
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from trl.trainer import add_fused_lm_head

from expo.gradients.examples import Example
from expo.gradients.gram import per_example_gram
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.tasks.prompts import TEXT

PEERS = ("batched backward", "loop", "vmap(grad)", "Gram by a loop", "bergson")
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


def random_model(shape: str, device: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model of that shape with random weights."""
    cls, config = SHAPES[shape]
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = cls._from_config(config, dtype=dtype)
    return model.eval()


def examples(model: PreTrainedModel, n: int, tokens: int) -> list[Example]:
    """Random tokens: a third prompt, two thirds completion, lengths within a quarter of `tokens`."""
    rng = random.Random(0)
    ids = range(10, model.config.vocab_size)
    made = []
    for i in range(n):
        length = rng.randint(tokens * 3 // 4, tokens * 5 // 4)
        row = tuple(rng.choices(ids, k=length))
        made.append(Example(str(i), row[: length // 3], row[length // 3 :]))
    return made


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


def gram_by_loop(model: PreTrainedModel, given: Sequence[Example], at_once: int = 16) -> Tensor:
    """The Gram matrix by a loop that holds 16 gradients: those of all later examples are made again for each 16."""

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
    width = min(len(s.prompt) + len(s.completion) for s in given)
    ids = torch.tensor([(s.prompt + s.completion)[:width] for s in given], device=model.device)
    weights = {k: p.detach() for k, p in model.named_parameters()}

    def log_prob(w: dict[str, Tensor], row: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, w, (row[None],), {"use_cache": False}).logits[0, :-1]
        return -torch.nn.functional.cross_entropy(logits.float(), row[1:], reduction="sum")

    for some in ids.split(chunk):
        torch.func.vmap(torch.func.grad(log_prob), in_dims=(None, 0))(weights, some)


def bergson(model: PreTrainedModel, given: Sequence[Example], side: int = 16) -> None:
    """bergson's collector, the blocks' linear layers alone, each gradient projected to side x side, 8 examples a batch.

    Its gradients whole would be N x P numbers. Needs `pip install bergson`.
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


def measured(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds, and the most memory in GiB: allocated on a GPU, else resident in this process."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    process, done = psutil.Process(), threading.Event()
    peak = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
    finally:
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    return seconds, (torch.cuda.max_memory_allocated() if device.type == "cuda" else peak[0]) / 2**30


def run(a: argparse.Namespace, route: str) -> tuple[float, float]:
    """Seconds and most memory in GiB of one route; all have the same examples.

    Raises:
        torch.OutOfMemoryError: if it takes more than there is.
    """
    policy = _policy(a)
    model = policy.model
    given = examples(model, a.samples, a.tokens)
    add_fused_lm_head(model)
    routes: dict[str, Callable[[], object]] = {
        "per-example Gram": lambda: per_example_gram(policy, given),
        "batched backward": lambda: batched(model, given),
        "loop": lambda: loop(model, given),
        "vmap(grad)": lambda: vmapped(model, given),
        "Gram by a loop": lambda: gram_by_loop(model, given),
        "bergson": lambda: bergson(model, given),
    }
    if route == "per-example Gram":
        weights = sum(p.numel() for p in model.parameters()) / 1e6
        tokens = sum(len(s.prompt + s.completion) for s in given) / len(given)
        about = f"{weights:,.0f}M weights, {model.dtype}, {model.device}"
        print(f"gradients: {about}, {len(given)} samples of {tokens:.0f} tokens", flush=True)
    few = examples(model, 2, a.tokens)
    per_example_gram(policy, few) if route == "per-example Gram" else batched(model, few)
    return min(measured(routes[route], model.device) for _ in range(a.repeats))


def _policy(a: argparse.Namespace) -> Policy:
    cuda = torch.cuda.is_available()
    if a.shape:
        kind = (torch.bfloat16 if cuda else torch.float32) if a.dtype == "auto" else getattr(torch, a.dtype)
        model = random_model(a.shape, "cuda" if cuda else "cpu", kind)
        policy = Policy(a.shape, model, None, TEXT, "random weights")  # type: ignore[arg-type]
    else:
        policy = load_policy(a.policy, TEXT, dtype=a.dtype)
    if a.checkpointing:
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
        policy.model.train()
    return policy


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="random weights of this shape; else --policy")
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--checkpointing", action="store_true", help="let the peers recompute activations")
    parser.add_argument("--repeats", type=int, default=1, help="keep the fastest of so many")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    a = parser.parse_args(argv)
    ours = None
    for route in ("per-example Gram", *a.peers):
        if route == "bergson" and not find_spec("bergson"):
            print("  bergson            is not installed: pip install bergson", flush=True)
            continue
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            try:
                found = alone.submit(run, a, route).result()
            except torch.OutOfMemoryError as error:
                print(f"  {route:18} out of memory: {str(error)[:120]}", flush=True)
                continue
        ratios = ""
        if route == "per-example Gram":
            ours = found
        elif ours:
            ratios = f"   ours takes {ours[0] / found[0]:.2f} of its time, {ours[1] / found[1]:.2f} of its memory"
        print(f"  {route:18} {found[0]:8.2f} s   {found[1]:6.2f} GiB at most{ratios}", flush=True)


if __name__ == "__main__":
    main()
