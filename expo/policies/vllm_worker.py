"""vLLM in a separate process, since it changes the threads, seeds and logging of the process that imports it.

Run as `python -m expo.policies.vllm_worker FD`, with one end of a pipe. The first message is `Start`; each later one
holds draws and their settings, and every completion is sent back as soon as it is finished.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from expo.policies.engine import Completion, Draw, Settings

_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Start:
    """What vLLM should load, and the share of a GPU's memory that it may use."""

    folder: str
    dtype: str
    context: int
    memory: float
    trust_remote_code: bool


def complete(llm: Any, draws: Sequence[Draw], settings: Settings) -> Iterator[tuple[int, Completion]]:
    """The completion of each draw with its index, in the order in which they finish.

    Args:
        llm: a `vllm.LLM` in this process, made with `logprobs_mode="processed_logprobs"`.
        draws: what to draw.
        settings: settings of all draws; tokens are drawn from the full softmax.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine = llm.llm_engine
    # vLLM's lowest value, added before the division by the temperature.
    bias = dict.fromkeys(settings.no_tokens, -100.0) or None
    for place, draw in enumerate(draws):
        params = SamplingParams(
            temperature=settings.temperature,
            top_p=1.0,
            top_k=0,
            max_tokens=draw.max_new_tokens,
            seed=draw.seed,
            stop_token_ids=list(settings.stop),
            logit_bias=bias,
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        engine.add_request(str(place), {"prompt_token_ids": list(draw.prompt_ids)}, params)
    while engine.has_unfinished_requests():
        for finished in engine.step():
            (out,) = finished.outputs
            ids = tuple(out.token_ids)
            log_probs = tuple(of[i].logprob for i, of in zip(ids, out.logprobs, strict=True))
            yield int(finished.request_id), Completion(ids, out.finish_reason == "length", log_probs)


def _load(start: Start) -> Any:
    from vllm import LLM
    from vllm.platforms import current_platform

    # On a CPU vLLM fails when it reads a prompt in parts: it resets that draw's random stream, which PyTorch can do
    # only on a GPU.
    whole_prompts = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(start.context, _BATCH_TOKENS)}
    return LLM(
        model=start.folder,
        dtype=start.dtype,
        max_model_len=start.context,
        gpu_memory_utilization=start.memory,
        trust_remote_code=start.trust_remote_code,
        # The policy's own generation config must not change what is drawn.
        generation_config="vllm",
        skip_tokenizer_init=True,
        logprobs_mode="processed_logprobs",
        disable_log_stats=True,
        **(whole_prompts if current_platform.is_cpu() else {}),
    )


def _read(pipe: Connection, inbox: SimpleQueue[Any]) -> None:
    try:
        while True:
            inbox.put(pipe.recv())
    except (EOFError, OSError):
        # The parent is gone, and nothing else would free the GPU.
        os._exit(0)


def main(pipe: Connection) -> None:
    """Serve one policy until the other end of the pipe is closed."""
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_read, args=(pipe, inbox), daemon=True).start()
    try:
        start = inbox.get()
        llm = _load(start)
        import vllm

        most = llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
        pipe.send(f"vllm {vllm.__version__}, {start.dtype}, up to {most} sequences at a time")
        while True:
            for finished in complete(llm, *inbox.get()):
                pipe.send(finished)
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    main(Connection(int(sys.argv[1])))
