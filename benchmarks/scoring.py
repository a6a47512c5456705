"""Our scorer against one forward pass for each quantity, one sample at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from expo.policies.engine import Request
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import Sample, score
from expo.tasks.problem import Problem
from expo.tasks.prompts import fill


def run(policy: Policy, problems: Sequence[Problem], k: int, new_tokens: int) -> str:
    """Scored samples a second of both, and the largest difference between their scores."""
    samples = _samples(policy, problems, k, new_tokens)
    score(policy, samples[:2])
    start = time.perf_counter()
    ours = score(policy, samples)
    ours_s = time.perf_counter() - start
    start = time.perf_counter()
    naive = [_naive(policy, s) for s in samples]
    naive_s = time.perf_counter() - start
    worst = max(
        max(abs(a.nll_sum - nll), abs(a.learning_signal - signal)) for a, (nll, signal) in zip(ours, naive, strict=True)
    )
    tokens = sum(len(s.completion) for s in samples)
    return (
        f"scoring: {len(samples)} samples of {len(problems)} prompts, {tokens} tokens, half with a branch\n"
        f"  expo      {ours_s:7.1f} s  {len(samples) / ours_s:6.2f} samples/s\n"
        f"  naive     {naive_s:7.1f} s  {len(samples) / naive_s:6.2f} samples/s\n"
        f"  ratio {naive_s / ours_s:.2f}, largest difference {worst:.1e} nats"
    )


def _samples(policy: Policy, problems: Sequence[Problem], k: int, new_tokens: int) -> list[Sample]:
    """Sampled completions; every second one goes on with the right answer, the others need a branch."""
    prompts = [tuple(policy.prompt_ids(fill(policy.prompts.question, question=p.question))) for p in problems]
    requests = [Request(p.id, ids, k, new_tokens) for p, ids in zip(problems, prompts, strict=True)]
    cue = tuple(policy.encode(policy.prompts.answer_cue))
    out = []
    for p, prompt, group in zip(problems, prompts, sample(policy, requests, temperature=0.9, seed=0), strict=True):
        answer = tuple(policy.encode(p.answer) + policy.encode(policy.prompts.answer_end))
        for i, c in enumerate(group):
            completion = c.ids + cue + answer if i % 2 else c.ids
            out.append(Sample(f"{p.id}/{i}", prompt, completion, len(c.ids), cue, answer))
    return out


@torch.inference_mode()
def _naive(policy: Policy, s: Sample) -> tuple[float, float]:
    def log_prob(context: tuple[int, ...], target: tuple[int, ...]) -> float:
        ids = torch.tensor([context + target], device=policy.device)
        logits = policy.model(ids).logits[0, len(context) - 1 : -1].float()
        targets = torch.tensor(target, device=policy.device)[:, None]
        return float(logits.log_softmax(-1).gather(-1, targets).double().sum())

    nll = -log_prob(s.prompt, s.completion)
    return nll, log_prob(s.prompt + s.completion[: s.cot] + s.cue, s.answer)
