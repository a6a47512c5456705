"""Batched sampling: shared prefixes run once, each prompt once for all its samples; a finished row makes room.

Only a prompt's last token is run for each sample.

Each sample draws its uniforms from its own stream, named by (seed, request key, sample index): samples do not depend on
which other requests are sampled with them, up to rounding in the logits.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from expo.policies.engine import Completion, Request, Settings, draws_of
from expo.policies.kv_cache import RowCache, common, forward, prefill
from expo.policies.policy import Policy
from expo.policies.products import fast_linear_layers

MAX_PREFILL_TOKENS = 4096


class ContextError(ValueError):
    """A prompt that leaves no room in the policy's context."""


@dataclass
class _Row:
    request: int
    index: int
    uniforms: np.ndarray
    ids: list[int] = field(default_factory=list)
    ended: bool = False


@torch.inference_mode()
def sample(
    policy: Policy,
    requests: Sequence[Request],
    *,
    temperature: float,
    seed: int,
    rows: int = 64,
    on_finished: Callable[[int, Completion], object] | None = None,
) -> list[list[Completion]]:
    """Sample every request from the whole softmax over tokens (top_p = 1, top_k = 0, no penalty) at `temperature`.

    Ids that the model scores but that are not tokens are never drawn; they do have a share in the softmax of `score`. A
    temperature of 0 is greedy. At most `rows` samples are decoded at a time. The model's own generation config is
    ignored, except for its end tokens. If the policy has an engine, the engine samples instead. A policy with a
    `sampling_dtype` is sampled with its weights in that dtype. `on_finished` is called with a request's index and each
    of its samples as it ends.

    Raises:
        ValueError: for a temperature below 0.001 that is not 0, or an empty prompt.
        ContextError: if a prompt and its `max_new_tokens` do not fit the policy's context.
        FloatingPointError: if a logit is NaN or infinite; the message names the request's key.
    """
    # Below this a logit divided by the temperature can overflow; 0 is greedy.
    if temperature != 0 and not 1e-3 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy), or finite and at least 0.001; got {temperature}")
    for r in requests:
        if not r.prompt_ids:
            raise ValueError(f"{r.key}: the prompt is empty")
        if r.tokens > policy.context:
            raise ContextError(
                f"{r.key}: a prompt of {len(r.prompt_ids)} tokens and {r.max_new_tokens} new ones exceed "
                f"the context of {policy.name} ({policy.context}); lower the limit or drop the problem"
            )
    on_finished = on_finished or (lambda *_: None)
    if policy.engine:
        return _by_engine(policy, requests, temperature, seed, on_finished)
    policy = policy.as_sampled()
    with fast_linear_layers(policy.model):
        return _by_model(policy, requests, temperature, seed, rows, on_finished)


def _by_model(
    policy: Policy,
    requests: Sequence[Request],
    temperature: float,
    seed: int,
    rows: int,
    on_finished: Callable[[int, Completion], object],
) -> list[list[Completion]]:
    out: list[list[Completion | None]] = [[None] * r.n for r in requests]
    families = _families([r.prompt_ids for r in requests])
    family_of = {i: f for f, family in enumerate(families) for i in family}
    waiting = iter([(i, k) for family in families for i in family for k in range(requests[i].n)])
    eos = policy.eos_ids
    live: list[_Row] = []
    cache: RowCache | None = None
    while True:
        # Removing and adding rows copies the cache, so they wait until an eighth of the rows, or half, can change at
        # once.
        ended = sum(row.ended for row in live)
        if cache is not None and (ended > len(live) // 8 or ended == len(live)):
            alive = [i for i, row in enumerate(live) if not row.ended]
            live = [live[i] for i in alive]
            if live:
                cache.select(torch.tensor(alive, device=policy.device))
            else:
                cache = None
        if len(live) <= rows // 2 and (fresh := _take(waiting, rows - len(live), requests, seed)):
            cache = _join(policy, requests, family_of, fresh, cache)
            live += fresh
        if cache is None:
            break
        last = [[(row.ids or requests[row.request].prompt_ids)[-1]] for row in live]
        ids = torch.tensor(last, device=policy.device)
        logits = forward(policy.model, ids, torch.ones_like(ids, dtype=torch.bool), cache, 1)[:, -1]
        for row, token in zip(live, _draw(logits[:, : policy.vocabulary], live, temperature, requests), strict=True):
            if row.ended:
                continue
            row.ids.append(token)
            truncated = token not in eos
            if truncated and len(row.ids) < requests[row.request].max_new_tokens:
                continue
            row.ended = True
            done = Completion(tuple(row.ids), truncated)
            out[row.request][row.index] = done
            on_finished(row.request, done)
    return [[c for c in cs if c is not None] for cs in out]


def _by_engine(
    policy: Policy,
    requests: Sequence[Request],
    temperature: float,
    seed: int,
    on_finished: Callable[[int, Completion], object],
) -> list[list[Completion]]:
    assert policy.engine is not None
    draws = draws_of(requests, seed)
    rows = policy.model.config.get_text_config().vocab_size
    settings = Settings(temperature, tuple(sorted(policy.eos_ids)), range(policy.vocabulary, rows))
    out: list[list[Completion]] = [[] for _ in requests]
    done = policy.engine.sample(draws, settings, lambda place, c: on_finished(draws[place].request, c))
    for draw, completion in zip(draws, done, strict=True):
        out[draw.request].append(completion)
    return out


def _take(waiting: Iterator[tuple[int, int]], n: int, requests: Sequence[Request], seed: int) -> list[_Row]:
    rows = []
    for i, k in waiting:
        stream = np.random.default_rng([seed, zlib.crc32(requests[i].key.encode()), k])
        rows.append(_Row(i, k, stream.random(requests[i].max_new_tokens)))
        if len(rows) == n:
            break
    return rows


def _families(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group prompts of which each shares at least half of its tokens, from the left, with the first; longest first.

    Rows that run together then have prompts of similar length, and little padding.
    """
    families: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=lambda i: tuple(prompts[i])):
        head = prompts[families[-1][0]] if families else ()
        if not families or 2 * common(head, prompts[i]) < max(len(head), len(prompts[i])):
            families.append([])
        families[-1].append(i)
    return sorted(families, key=lambda family: -max(len(prompts[i]) for i in family))


def _parts(families: list[list[int]], lengths: list[int]) -> list[list[list[int]]]:
    """Families to run together, split where they are large: at most `MAX_PREFILL_TOKENS`, or one prompt.

    Prompts that share nothing are kept separate: they would be padded through the second pass of those that do.
    """
    parts: list[list[list[int]]] = []
    for family in families:
        most = max(1, MAX_PREFILL_TOKENS // max(lengths[i] for i in family))
        for piece in (family[at : at + most] for at in range(0, len(family), most)):
            current = parts[-1] if parts else []
            tokens = (sum(map(len, current)) + len(piece)) * max(lengths[i] for f in (*current, piece) for i in f)
            if not current or (len(piece) == 1) != (len(current[0]) == 1) or tokens > MAX_PREFILL_TOKENS:
                parts.append(current := [])
            current.append(piece)
    return parts


def _join(
    policy: Policy, requests: Sequence[Request], family_of: dict[int, int], fresh: list[_Row], cache: RowCache | None
) -> RowCache:
    """Run the prompts of new rows except for their last tokens, and append the rows to the running ones."""
    places = dict.fromkeys(row.request for row in fresh)
    families = [list(group) for _, group in groupby(places, family_of.__getitem__)]
    for part in _parts(families, [len(r.prompt_ids) for r in requests]):
        new = prefill(policy.model, [[requests[i].prompt_ids for i in family] for family in part])
        row_of = {i: k for k, i in enumerate(i for family in part for i in family)}
        new.select(torch.tensor([row_of[r.request] for r in fresh if r.request in row_of], device=policy.device))
        if cache is None:
            cache = new
        else:
            cache.append(new)
    assert cache is not None
    return cache


def _draw(logits: Tensor, live: list[_Row], temperature: float, requests: Sequence[Request]) -> list[int]:
    """One token per row, by inverting the cumulative distribution at the row's next uniform."""
    logits = logits.float()
    # One sum costs a thirtieth of checking each logit; each is checked only if the sum is not finite.
    if not math.isfinite(logits.sum()) and bool((bad := ~torch.isfinite(logits).all(-1)).any()):
        row = live[int(bad.long().argmax())]
        raise FloatingPointError(f"{requests[row.request].key}: a logit of the next token is not finite")
    if temperature == 0:
        return logits.argmax(-1).tolist()
    cumulative = torch.softmax(logits / temperature, -1).double().cumsum(-1)
    u = torch.tensor(
        [0.0 if row.ended else row.uniforms[len(row.ids)] for row in live], dtype=torch.float64, device=logits.device
    )
    # A token of probability 0 has an empty interval; `right` then steps over it.
    at = torch.searchsorted(cumulative, u[:, None] * cumulative[:, -1:], right=True)
    return at.squeeze(-1).clamp_max(logits.shape[-1] - 1).tolist()
