"""How each cost grows with tokens, with gradients, with problems and with the model's size; weights are random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from benchmarks.gradients import SHAPES, examples
from benchmarks.record import Row, about
from benchmarks.routes import Route, RouteError, Work, in_turns
from benchmarks.worker import measured
from expo.calibration import random_policy
from expo.gradients.gram import per_example_gram
from expo.policies.engine import Request
from expo.policies.load import resolve
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole

SMALL, MIDDLE, LARGE = "tiny-0", "30M", "smollm2-135m"
K = 4  # samples of a prompt


@dataclass(frozen=True)
class Point:
    """A size: `problems` prompts of 32 tokens, with completions, or examples, of `tokens` tokens."""

    x: int
    shape: str = LARGE
    problems: int = 4
    tokens: int = 32


def curves() -> dict[str, Callable[[], list[Row]]]:
    """The function that measures each panel of the figure, by name."""
    two, three = ("sampling", "scoring"), ("sampling", "scoring", "Gram matrix")
    lengths = [Point(n, tokens=n) for n in (8, 32, 96)]
    numbers = [Point(n, problems=n) for n in (1, 4, 16)]
    sizes = [Point(_weights(shape), shape) for shape in (SMALL, MIDDLE, LARGE)]
    panels = {
        "tokens": {job: (job, lengths) for job in two},
        "problems": {job: (job, numbers) for job in two},
        "gradients": {s: ("Gram matrix", [Point(n, s, n) for n in (4, 16, 64)]) for s in (MIDDLE, LARGE)},
        "weights": {job: (job, sizes) for job in three},
    }
    return {f"growth/{name}": partial(_measured, f"growth/{name}", panel) for name, panel in panels.items()}


def _measured(name: str, panel: dict[str, tuple[str, list[Point]]]) -> list[Row]:
    routes = [Route(label, partial(by_points, *curve)) for label, curve in panel.items()]
    turns, lost = in_turns(name, routes, rounds=3)
    if lost:
        raise RouteError("; ".join(f"{label}: {why}" for label, why in lost.items()))
    return [
        {"row": name, "curve": label, "x": p.x, "seconds": [t.value[i] for t in turns[label]]} | about(name)
        for label, (_, points) in panel.items()
        for i, p in enumerate(points)
    ]


def by_points(job: str, points: Sequence[Point]) -> Work:
    """The seconds of each point of a curve."""
    policies = {shape: _policy(shape) for shape in {p.shape for p in points}}
    works = [JOBS[job](policies[p.shape], p.problems, p.tokens) for p in points]
    return lambda: [float(f"{measured(work).seconds:.4g}") for work in works]


def _config(shape: str) -> PretrainedConfig:
    if shape == SMALL:
        return AutoConfig.from_pretrained(resolve(SMALL)[0])
    if shape == LARGE:
        return SHAPES[LARGE][1]
    sizes = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "vocab_size": 49152}
    return LlamaConfig(num_attention_heads=6, num_key_value_heads=3, tie_word_embeddings=True, **sizes)


def _policy(shape: str) -> Policy:
    return random_policy(_config(shape), "cpu", torch.float32)


def _weights(shape: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(_config(shape)).parameters())


def _requests(policy: Policy, problems: int, limit: int) -> list[Request]:
    words = policy.model.config.vocab_size
    return [Request(str(i), [1 + (i * 31 + j) % (words - 1) for j in range(32)], K, limit) for i in range(problems)]


def by_sampler(policy: Policy, problems: int, tokens: int) -> Work:
    """Samples of random prompts; they rarely all end before the limit."""
    requests = _requests(policy, problems, tokens)
    sample(policy, _requests(policy, 1, 2), temperature=1.0, seed=0)
    return lambda: sample(policy, requests, temperature=1.0, seed=0)


def by_score(policy: Policy, problems: int, tokens: int) -> Work:
    """Scores of as many completions of random tokens."""
    made = [
        whole(r.prompt_ids, [5 + (k + j) % 40 for j in range(tokens)], f"{r.key}/{k}")
        for r in _requests(policy, problems, tokens)
        for k in range(K)
    ]
    score(policy, made[:1])
    return lambda: score(policy, made)


def by_gram(policy: Policy, problems: int, tokens: int) -> Work:
    """The Gram matrix of as many gradients as there are problems."""
    given = examples(policy.model, problems, tokens)
    per_example_gram(policy, given[:2])
    return lambda: per_example_gram(policy, given)


JOBS: dict[str, Callable[[Policy, int, int], Work]] = {
    "sampling": by_sampler,
    "scoring": by_score,
    "Gram matrix": by_gram,
}
