"""The input and output of a sampler, and the engines that can sample in place of the policy's own model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

# hf: the policy's own model, through `sampling`.
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
        """The maximum length of prompt and completion together."""
        return len(self.prompt_ids) + self.max_new_tokens


@dataclass(frozen=True)
class Completion:
    """Token ids as sampled, including the end token if it was reached; `truncated` if it was not.

    `log_probs`, if the engine gives them: of each token, in nats, at the sampling temperature.
    """

    ids: tuple[int, ...]
    truncated: bool
    log_probs: tuple[float, ...] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Draw:
    """A sample to draw: `request` is the index of its request, `seed` the seed of its own random stream."""

    request: int
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class Settings:
    """Settings for all draws of a call: tokens in `stop` end a sample, and `no_tokens` are never drawn."""

    temperature: float
    stop: tuple[int, ...]
    no_tokens: range


class Engine(Protocol):
    """Samples in place of the policy's own model, with the same weights."""

    # Describes the engine for the record; available only after it has started.
    version: str
    # The dtype of the weights that it computes with.
    dtype: str

    def sample(
        self, draws: Sequence[Draw], settings: Settings, on_finished: Callable[[int, Completion], object]
    ) -> list[Completion]:
        """A completion for each draw, in order; `on_finished` gets the index and completion of each as it ends."""

    def close(self) -> None:
        """Free its memory; sampling starts it again."""


def draws_of(requests: Sequence[Request], seed: int) -> list[Draw]:
    """Every sample of every request, each with its own stream, named by (seed, request key, sample index)."""
    return [
        Draw(i, tuple(r.prompt_ids), r.max_new_tokens, _stream(f"{seed}/{r.key}/{k}"))
        for i, r in enumerate(requests)
        for k in range(r.n)
    ]


def _stream(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
