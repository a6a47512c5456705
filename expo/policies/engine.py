"""What is asked of a sampler, what comes back, and the engines that may sample in place of the policy's own model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

# hf: the policy's own model, by `sampling`.
ENGINES = ("hf", "vllm")
INSTALL_VLLM = 'pip install "vllm>=0.22,<=0.31"'


@dataclass(frozen=True)
class Request:
    """`n` samples of one prompt. `key` names the random streams; `max_new_tokens` counts the end token."""

    key: str
    prompt_ids: Sequence[int]
    n: int
    max_new_tokens: int

    @property
    def tokens(self) -> int:
        """The longest that prompt and completion can be."""
        return len(self.prompt_ids) + self.max_new_tokens


@dataclass(frozen=True)
class Completion:
    """Sampled token ids as sampled, the end token included if it was reached; `truncated` if it was not.

    `log_probs`, where an engine gives them: of each token, in nats, at the temperature of sampling.
    """

    ids: tuple[int, ...]
    truncated: bool
    log_probs: tuple[float, ...] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Draw:
    """One sample to be drawn: `request` is the place of its request, `seed` that of its own random stream."""

    request: int
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class Settings:
    """How all draws of a call are drawn: tokens in `stop` end a sample, and `no_tokens` are never drawn."""

    temperature: float
    stop: tuple[int, ...]
    no_tokens: range


class Engine(Protocol):
    """What samples in place of the policy's own model, with the same weights."""

    # What it is, for the record; nothing before it has started.
    version: str
    # Of the weights that it computes with.
    dtype: str

    def sample(
        self, draws: Sequence[Draw], settings: Settings, on_finished: Callable[[int, Completion], object]
    ) -> list[Completion]:
        """A completion for each draw, in their order; `on_finished` is given each with its place as it ends."""

    def close(self) -> None:
        """Let go of its memory; sampling starts it again."""


def draws_of(requests: Sequence[Request], seed: int) -> list[Draw]:
    """Each sample of each request, with a stream of its own, named by (seed, request key, sample index)."""
    return [
        Draw(i, tuple(r.prompt_ids), r.max_new_tokens, _stream(f"{seed}/{r.key}/{k}"))
        for i, r in enumerate(requests)
        for k in range(r.n)
    ]


def _stream(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
