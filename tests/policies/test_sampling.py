"""Sampling against the slow truth: a full forward pass for every token, one sample at a time."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import pytest
import torch

from expo.policies import sampling
from expo.policies.engine import Completion, Request
from expo.policies.policy import Policy
from expo.policies.sampling import ContextError, sample
from tests.conftest import build

STEM = tuple(range(40, 60))
PROMPTS = [(5, 9, 30), (7,), (*STEM, 60), (11, 12), tuple(range(80, 95))]
# Prompts that begin alike; one of them is the beginning of another, two are the same.
PROMPTS += [(*STEM, 5, 9, 30), STEM[:15], (*STEM, 60), (*STEM[:12], 7)]


def requests(n: int = 3, new: int = 24) -> list[Request]:
    return [Request(f"p{i}", p, n, new - i) for i, p in enumerate(PROMPTS)]


def slow(policy: Policy, r: Request, k: int, temperature: float, seed: int = 0) -> Completion:
    uniforms = np.random.default_rng([seed, zlib.crc32(r.key.encode()), k]).random(r.max_new_tokens)
    ids: list[int] = []
    for u in uniforms:
        with torch.inference_mode():
            logits = policy.model(torch.tensor([[*r.prompt_ids, *ids]])).logits[0, -1].float()
        cumulative = np.cumsum(torch.softmax(logits / temperature, -1).double().numpy())
        ids.append(int(np.searchsorted(cumulative, u * cumulative[-1], side="right")))
        if ids[-1] in policy.eos_ids:
            return Completion(tuple(ids), truncated=False)
    return Completion(tuple(ids), truncated=True)


def test_equals_the_slow_truth(any_policy: Policy) -> None:
    asked = requests()
    got = sample(any_policy, asked, temperature=0.7, seed=0, rows=4)
    want = [[slow(any_policy, r, k, 0.7) for k in range(r.n)] for r in asked]
    assert got == want
    assert got != [[slow(any_policy, r, k, 0.9) for k in range(r.n)] for r in asked]


@cache
def alone(shape: str) -> list[list[Completion]]:
    """Each request sampled by itself."""
    policy = build(shape)
    return [sample(policy, [r], temperature=1.0, seed=3)[0] for r in requests()]


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_rows_and_company_do_not_matter(any_policy: Policy, rows: int) -> None:
    assert sample(any_policy, requests(), temperature=1.0, seed=3, rows=rows) == alone(any_policy.name)


def passes(policy: Policy, prompts: list[tuple[int, ...]]) -> list[int]:
    """Tokens of each forward pass but the last, which draws one token for each prompt."""
    run: list[int] = []
    hook = policy.model.register_forward_pre_hook(
        lambda _, args, kwargs: run.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    asked = [Request(f"{i}", p, 1, 1) for i, p in enumerate(prompts)]
    sample(policy, asked, temperature=1.0, seed=0, rows=len(prompts))
    hook.remove()
    assert run[-1] == len(prompts)
    return run[:-1]


def test_what_prompts_share_is_run_once(policy: Policy) -> None:
    assert passes(policy, [(*STEM, i, 2) for i in range(5, 9)]) == [len(STEM), 4]
    # A third of a prompt is too little: those in the family would be as different in length as in words.
    assert passes(policy, [(*STEM[:7], *[i] * 13, 2) for i in range(5, 9)]) == [4 * 20]


@pytest.mark.parametrize("last", [3, 250])
def test_a_short_prompt_does_not_spoil_the_sharing(policy: Policy, last: int) -> None:
    alike = [(*STEM, i, 2) for i in range(5, 25)]
    assert sum(passes(policy, [*alike, (STEM[0], last)])) == len(STEM) + 20 + 1


def test_prompts_alone_are_not_padded_beside_those_that_share(policy: Policy) -> None:
    alone = [(i, *STEM) for i in range(5, 15)]
    assert sum(passes(policy, [*alone, (*STEM, 5), (*STEM[:12], *[7] * 9)])) == 10 * 20 + 12 + 2 * 8


def test_a_large_family_is_cut(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [(*STEM, i, 2) for i in range(5, 69)]
    assert max(passes(policy, prompts)) == 64
    monkeypatch.setattr(sampling, "MAX_PREFILL_TOKENS", 10 * len(prompts[0]))
    assert passes(policy, prompts) == [len(STEM), 10] * 6 + [len(STEM), 4]
    monkeypatch.setattr(sampling, "MAX_PREFILL_TOKENS", 1)
    assert passes(policy, prompts) == [len(STEM) + 1] * 64


def test_seeds_and_keys_name_the_streams(policy: Policy) -> None:
    draw = lambda key, seed: sample(policy, [Request(key, (5, 6), 3, 20)], temperature=1.0, seed=seed)  # noqa: E731
    assert draw("a", 0) == draw("a", 0)
    assert draw("a", 0) != draw("a", 1)
    assert draw("a", 0) != draw("b", 0)
    assert len({c.ids for c in draw("a", 0)[0]}) == 3


def total_variation(policy: Policy, temperature: float, n: int) -> float:
    """Between the first tokens of n samples and the policy's own softmax at temperature 1."""
    drawn = sample(policy, [Request("x", PROMPTS[0], n, 1)], temperature=temperature, seed=0, rows=n)[0]
    counts = np.bincount([c.ids[0] for c in drawn], minlength=len(policy.tokenizer))
    with torch.inference_mode():
        truth = policy.model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1).numpy()
    return float(np.abs(counts / n - truth).sum() / 2)


def test_draws_from_the_whole_softmax(policy: Policy) -> None:
    # Expected total variation of n draws is below sqrt(V / n) / 2 = 0.14.
    assert total_variation(policy, 1.0, 4000) < 0.14
    assert total_variation(policy, 0.3, 4000) > 0.2


def test_the_models_generation_config_is_not_obeyed(policy: Policy) -> None:
    before = sample(policy, requests(), temperature=1.0, seed=0)
    policy.model.generation_config.update(top_k=1, top_p=0.1, repetition_penalty=3.0, do_sample=True)
    assert sample(policy, requests(), temperature=1.0, seed=0) == before


def test_temperature_0_is_greedy(policy: Policy) -> None:
    (greedy,) = sample(policy, [Request("x", PROMPTS[2], 1, 30)], temperature=0, seed=0)
    ids = torch.tensor([PROMPTS[2]])
    truth = policy.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, pad_token_id=0
    )
    assert list(greedy[0].ids) == truth[0, ids.shape[1] :].tolist()


def test_ends_at_an_end_token_or_at_the_limit(policy: Policy) -> None:
    drawn = [c for cs in sample(policy, requests(30, 60), temperature=1.0, seed=0) for c in cs]
    assert {c.truncated for c in drawn} == {True, False}
    for c in drawn:
        assert (c.ids[-1] in policy.eos_ids) is not c.truncated
        assert not policy.eos_ids.intersection(c.ids[:-1])


def test_every_finished_sample_is_told(policy: Policy) -> None:
    told: list[tuple[int, Completion]] = []
    drawn = sample(policy, requests(), temperature=1.0, seed=0, on_finished=lambda *which: told.append(which))
    assert sorted((i, c.ids) for i, c in told) == sorted((i, c.ids) for i, cs in enumerate(drawn) for c in cs)


def test_no_request_no_sample(policy: Policy) -> None:
    assert sample(policy, [], temperature=1.0, seed=0) == []


@pytest.mark.parametrize("temperature", [-0.1, 1e-45, float("nan"), float("inf")])
def test_a_bad_temperature_is_refused(policy: Policy, temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be 0 \(greedy\), or finite and at least 0\.001"):
        sample(policy, requests(), temperature=temperature, seed=0)


def test_a_prompt_without_room_is_named(policy: Policy) -> None:
    with pytest.raises(ContextError, match=r"long: a prompt of 500 tokens and 20 new ones exceed the context"):
        sample(policy, [Request("long", (5,) * 500, 1, 20)], temperature=1.0, seed=0)


def test_an_empty_prompt_is_named(policy: Policy) -> None:
    with pytest.raises(ValueError, match="nothing: the prompt is empty"):
        sample(policy, [Request("nothing", (), 1, 20)], temperature=1.0, seed=0)


def test_a_nan_stops_with_the_request_named(policy: Policy) -> None:
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[11] = float("nan")
    with pytest.raises(FloatingPointError, match="p3: a logit of the next token is not finite"):
        sample(policy, requests(), temperature=1.0, seed=0)


def test_ids_that_are_no_tokens_are_not_sampled(policy: Policy) -> None:
    """A model may score more ids than its tokenizer has: rows that round its matrix up."""
    words, request = policy.vocabulary, Request("padded", policy.encode("a b c"), 64, 4)
    assert words == len(policy.tokenizer)
    before = sample(policy, [request], temperature=1.0, seed=0)
    policy.model.resize_token_embeddings(words + 64, mean_resizing=False)
    with torch.no_grad():
        # Far likelier than any token.
        policy.model.get_output_embeddings().weight[words:] = policy.model.get_output_embeddings().weight[:64] * 8
    assert sample(policy, [request], temperature=1.0, seed=0) == before
    policy.__dict__["vocabulary"] = words + 64
    padded = sample(policy, [request], temperature=1.0, seed=0)
    assert any(i >= words for (group,) in [padded] for c in group for i in c.ids)
