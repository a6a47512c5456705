"""Scores against the slow truth: one forward pass for each quantity, one sample at a time, nothing shared."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from expo.policies import scoring
from expo.policies.policy import Policy
from expo.policies.scoring import Sample, score
from tests.conftest import build


def log_probs(policy: Policy, context: tuple[int, ...], target: tuple[int, ...]) -> np.ndarray:
    """The slow truth: log-probability of each target token after `context`."""
    with torch.inference_mode():
        logits = policy.model(torch.tensor([context + target])).logits[0, len(context) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(target)[:, None])[:, 0].double().numpy()


def samples(policy: Policy, n: int = 14, seed: int = 0) -> list[Sample]:
    """Mixed lengths, prompts that are shared and prompts that are not, with and without an inline answer."""
    rng = random.Random(seed)
    words = lambda k: tuple(rng.randrange(3, len(policy.tokenizer)) for _ in range(k))  # noqa: E731
    prompts = [words(k) for k in (1, 2, 7, 19, 20)]
    cue, out = words(3), []
    for i in range(n):
        cot, answer = words(rng.choice([0, 1, 5, 23])), words(rng.choice([1, 4]))
        inline = cot + cue + answer + (policy.tokenizer.eos_token_id,)
        own = cot + words(rng.choice([1, 9]))
        out.append(Sample(f"s{i}", rng.choice(prompts), inline if i % 2 else own, len(cot), cue, answer))
    return out


def test_equals_the_slow_truth(any_policy: Policy) -> None:
    chosen = samples(any_policy)
    assert {s.inline for s in chosen} == {True, False}
    for s, got in zip(chosen, score(any_policy, chosen), strict=True):
        np.testing.assert_allclose(got.completion, log_probs(any_policy, s.prompt, s.completion), rtol=0, atol=1e-10)
        context = s.prompt + s.completion[: s.cot] + s.cue
        np.testing.assert_allclose(got.answer, log_probs(any_policy, context, s.answer), rtol=0, atol=1e-10)
        assert got.nll_sum == pytest.approx(got.nll_per_token * len(s.completion))


def test_the_slow_truth_refutes_a_boundary_one_token_off(any_policy: Policy) -> None:
    chosen = [s for s in samples(any_policy) if s.cot > 1]
    for s in chosen:
        (moved,) = score(any_policy, [replace(s, cot=s.cot - 1)])
        truth = log_probs(any_policy, s.prompt + s.completion[: s.cot] + s.cue, s.answer)
        assert np.abs(moved.answer - truth).max() > 1e-6


@pytest.mark.parametrize("limit", [1, 30, 10_000])
def test_batches_and_padding_do_not_matter(any_policy: Policy, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = samples(any_policy, 20, seed=1)
    alone = [score(any_policy, [s])[0] for s in chosen]
    monkeypatch.setattr(scoring, "MAX_TOKENS", limit)
    monkeypatch.setattr(scoring, "MAX_PROMPT_TOKENS", 2 * limit)
    for got, want in zip(score(any_policy, chosen[::-1])[::-1], alone, strict=True):
        np.testing.assert_allclose(got.completion, want.completion, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.answer, want.answer, rtol=0, atol=1e-10)


def test_batches_barely_matter_in_single_precision() -> None:
    policy = build(dtype=torch.float32)
    chosen = samples(policy, 20, seed=2)
    for s, got in zip(chosen, score(policy, chosen), strict=True):
        (alone,) = score(policy, [s])
        np.testing.assert_allclose(got.completion, alone.completion, rtol=0, atol=2e-5)


def test_an_order_of_samples_is_kept(policy: Policy) -> None:
    chosen = samples(policy)
    seen: list[str] = []
    score(policy, chosen, on_scored=lambda s: seen.append(s.key))
    assert sorted(seen) == sorted(s.key for s in chosen)


def test_a_nan_stops_with_the_sample_named(policy: Policy) -> None:
    chosen = samples(policy, 3)
    poisoned = next(
        t for t in chosen[1].completion if all(t not in s.prompt + s.completion for s in (chosen[0], chosen[2]))
    )
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[poisoned] = float("nan")
    with pytest.raises(FloatingPointError, match="s1: a log-probability is NaN or infinite"):
        score(policy, chosen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ()}, "s0: prompt, completion and answer must each have at least one token"),
        ({"completion": (), "cot": 0}, "at least one token"),
        ({"answer": ()}, "at least one token"),
        ({"completion": (5,) * 600}, "more than the context of llama"),
    ],
)
def test_what_cannot_be_scored_is_named(policy: Policy, change: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(policy, [replace(samples(policy, 1)[0], **change)])
