"""Our sampler against `generate` as TRL's GRPOTrainer calls it, against vLLM, and against llama.cpp."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from transformers import GenerationConfig

from benchmarks.routes import PEERS, Comparison, Route, Work
from expo.policies.engine import Request
from expo.policies.kv_cache import left_padded
from expo.policies.load import load_policy, wheel_file
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.vllm import VLLM
from expo.tasks import load_task
from expo.tasks.prompts import TEXT, fill

TEMPERATURE = 0.9
ROWS = 64
MODEL, PROBLEMS, K, NEW_TOKENS = "smollm2-135m", 16, 8, 32


def comparisons() -> list[Comparison]:
    """SmolLM2-135M on word problems."""
    work = f"{PROBLEMS} prompts of `stories`, {K} samples each, up to {NEW_TOKENS} tokens, {MODEL}, float32"
    given = {"problems": PROBLEMS, "k": K, "new_tokens": NEW_TOKENS}
    routes = (
        Route("expo", partial(by_sampler, **given)),
        Route("expo in bfloat16", partial(by_sampler, **given, dtype=torch.bfloat16)),
        Route("generate", partial(by_generate, **given), "transformers"),
        Route("vLLM", partial(by_sampler, **given, engine=True), "vllm", "build/vllm", "make vllm"),
        Route("llama.cpp, 4-bit weights", partial(by_llama_cpp, **given), "xllamacpp", "build/peers", PEERS),
    )
    return [Comparison("sampling/stories", work, routes, per="token")]


def _prompts(problems: int) -> tuple[Policy, list[list[int]]]:
    policy = load_policy(MODEL, TEXT)
    given = load_task("stories", problems=problems).problems
    return policy, [policy.prompt_ids(fill(policy.prompts.question, question=p.question)) for p in given]


def by_sampler(
    problems: int, k: int, new_tokens: int, *, engine: bool = False, dtype: torch.dtype | None = None
) -> Work:
    """Tokens of all samples, by this project's sampler, or by vLLM."""
    policy, prompts = _prompts(problems)
    policy.engine = VLLM(policy, torch.float32) if engine else None
    policy.sampling_dtype = dtype

    def work(n: int = k, limit: int = new_tokens) -> int:
        requests = [Request(str(i), ids, n, limit) for i, ids in enumerate(prompts)]
        groups = sample(policy, requests, temperature=TEMPERATURE, seed=0, rows=ROWS)
        return sum(len(c.ids) for group in groups for c in group)

    work(1, 2)
    return work


def by_llama_cpp(problems: int, k: int, new_tokens: int) -> Work:
    """Tokens of all samples, by llama.cpp's server, from the file of 4-bit weights that the policy's are read from."""
    # Not among what the project installs.
    from xllamacpp import CommonParams, Server

    _, prompts = _prompts(problems)
    threads = torch.get_num_threads()
    params = CommonParams()
    params.model.path = str(wheel_file())
    # A sequence has room for a multiple of 256 tokens.
    room = -(-(max(map(len, prompts)) + new_tokens) // 256) * 256
    params.n_parallel, params.n_ctx, params.verbosity = ROWS, ROWS * room, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = Server(params)

    def tokens(ids: list[int], seed: int) -> int:
        asked = {"prompt": ids, "seed": seed, "max_tokens": new_tokens, "temperature": TEMPERATURE}
        # No other sampler than the temperature: the whole softmax, as ours.
        done = server.handle_completions({**asked, "samplers": ["temperature"], "cache_prompt": False})
        return int(done["usage"]["completion_tokens"])

    def work() -> int:
        every = [ids for ids in prompts for _ in range(k)]
        with ThreadPoolExecutor(ROWS) as pool:
            return sum(pool.map(tokens, every, range(len(every))))

    tokens(prompts[0], 0)
    return work


def by_generate(problems: int, k: int, new_tokens: int) -> Work:
    """Tokens of all samples, by `generate`."""
    policy, prompts = _prompts(problems)
    generate(policy, prompts[:1] * 2, 3)
    return lambda: generate(policy, [ids for ids in prompts for _ in range(k)], new_tokens)


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
