"""Our sampler against `generate` as TRL's GRPOTrainer calls it: prompts repeated, left-padded, one call a batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from transformers import GenerationConfig

from expo.policies.engine import Request
from expo.policies.kv_cache import left_padded
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.tasks.problem import Problem
from expo.tasks.prompts import fill

TEMPERATURE = 0.9
ROWS = 64


def run(policy: Policy, problems: Sequence[Problem], k: int, new_tokens: int) -> str:
    """Sampled tokens a second of both, on the same prompts, rows, temperature and limit."""
    prompts = [policy.prompt_ids(fill(policy.prompts.question, question=p.question)) for p in problems]
    requests = [Request(p.id, ids, k, new_tokens) for p, ids in zip(problems, prompts, strict=True)]
    sample(policy, [Request("warm-up", prompts[0], 2, 3)], temperature=TEMPERATURE, seed=0)
    start = time.perf_counter()
    ours = sample(policy, requests, temperature=TEMPERATURE, seed=0, rows=ROWS)
    ours_s = time.perf_counter() - start
    ours_tokens = sum(len(c.ids) for group in ours for c in group)
    generate(policy, prompts[:1] * 2, 3)
    start = time.perf_counter()
    theirs_tokens = generate(policy, [ids for ids in prompts for _ in range(k)], new_tokens)
    theirs_s = time.perf_counter() - start
    n = len(prompts) * k
    return (
        f"sampling: {n} completions of {len(prompts)} prompts, limit {new_tokens}, {ROWS} rows\n"
        f"  expo      {ours_tokens:>6} tokens {ours_s:7.1f} s  {ours_tokens / ours_s:7.1f} tokens/s\n"
        f"  generate  {theirs_tokens:>6} tokens {theirs_s:7.1f} s  {theirs_tokens / theirs_s:7.1f} tokens/s\n"
        f"  ratio of tokens/s {ours_tokens / ours_s / (theirs_tokens / theirs_s):.2f}, "
        f"of completions/s {theirs_s / ours_s:.2f}"
    )


@torch.no_grad()
def generate(policy: Policy, prompts: list[list[int]], new_tokens: int) -> int:
    """TRL's regular generation path; returns the tokens up to each row's first end token."""
    torch.manual_seed(0)
    pad = policy.tokenizer.pad_token_id if policy.tokenizer.pad_token_id is not None else policy.end[0]
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=1.0,
        top_k=0,
        pad_token_id=pad,
        eos_token_id=sorted(policy.eos_ids),
        disable_compile=True,
    )
    tokens = 0
    for i in range(0, len(prompts), ROWS):
        ids, mask = left_padded(prompts[i : i + ROWS], pad, policy.device)
        out = policy.model.generate(input_ids=ids, attention_mask=mask.long(), generation_config=config)[
            :, ids.shape[1] :
        ]
        ended = torch.isin(out, torch.tensor(sorted(policy.eos_ids), device=out.device))
        before = (ended.long().cumsum(-1) - ended.long()) == 0
        tokens += int(before.sum())
    return tokens
