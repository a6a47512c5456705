"""vLLM as the engine that samples a policy: its process, and the check that it computes what the policy does."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

import numpy as np
import torch

from expo.policies.adapters import whole_weights, without_wrapper
from expo.policies.engine import INSTALL_VLLM, Completion, Draw, Request, Settings
from expo.policies.policy import Policy, PolicyError
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole
from expo.policies.vllm_worker import Start

# Fraction of the GPU's free memory at its start; the policy's own model stays there to score.
_SHARE = 0.9
# Memory for keys and values of vLLM on a CPU, in GiB, unless the environment sets it.
_CPU_CACHE = "1"
_CPU_HEADS = 32
_LOWEST_TEMPERATURE = 0.01
_ROOM = 4096  # tokens of prompt and completion
_OF_LAUNCHERS = r"TORCHELASTIC_|MASTER_|((LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)$)"
# How much the log-probabilities of engine and policy may differ, in nats per token on average. In bfloat16 the two
# round differently at each layer; other weights, or another use of them, differ by more than a tenth.
TOLERANCES = {"float32": 0.005, "bfloat16": 0.05}
_CHECK_TOKENS = 32
# Seconds without an answer: at the start, and between two completions.
_PATIENCE = 3600.0


class VLLM:
    """vLLM with a policy's weights, in a separate process that starts with the first sample.

    Raises:
        PolicyError: at the start, if vLLM is not installed or cannot run the policy; the message has its last output.
    """

    def __init__(self, policy: Policy, dtype: torch.dtype, *, trust_remote_code: bool = False) -> None:
        # Held only by its policy, which may have to be freed while this engine is not.
        self._policy = weakref.ref(policy)
        self._name, self._kind, self.trust_remote_code = policy.name, dtype, trust_remote_code
        self.dtype = str(dtype).removeprefix("torch.")
        # vLLM rejects a length for which it lacks memory, and a policy's context may be long.
        self._context, self._room_for = policy.context, 0
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._log: IO[bytes] | None = None

    def sample(
        self, draws: Sequence[Draw], settings: Settings, on_finished: Callable[[int, Completion], object]
    ) -> list[Completion]:
        """A completion for each draw, in order.

        Raises:
            PolicyError: if it cannot start, exits early, or does not answer.
        """
        if 0 < settings.temperature < _LOWEST_TEMPERATURE:
            raise PolicyError(
                f"temperature {settings.temperature:g}: vLLM's lowest temperature is "
                f"{_LOWEST_TEMPERATURE:g}; use that, 0 for greedy, or --engine hf"
            )
        longest = max((len(d.prompt_ids) + d.max_new_tokens for d in draws), default=1)
        if longest > self._room_for:
            self.close()
            # With room to spare, so that longer draws seldom restart it.
            self._room_for = min(max(3 * longest // 2, _ROOM), self._context)
        self.start()
        assert self._pipe is not None
        self._pipe.send((list(draws), settings))
        out: list[Completion | None] = [None] * len(draws)
        for _ in draws:
            place, completion = self._answer()
            if any(i in settings.no_tokens for i in completion.ids):
                self.close()
                raise PolicyError("vLLM sampled an id that is not a token; use a lower temperature, or --engine hf")
            out[place] = completion
            on_finished(place, completion)
        return [c for c in out if c is not None]

    def start(self) -> None:
        """Load the policy's current weights, unless it is running."""
        if self._process is not None:
            return
        check_installed()
        policy = self._policy()
        assert policy is not None
        _check_heads(policy)
        self._pipe, theirs = Pipe()
        memory, environment = _room(policy.device)
        with tempfile.TemporaryDirectory(prefix="expo-vllm-") as folder:
            _write(policy, folder, self._kind)
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process is)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "expo.policies.vllm_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                # Ctrl-C is for the parent process, which closes the pipe.
                start_new_session=True,
            )
            theirs.close()
            self._pipe.send(Start(folder, self.dtype, self._room_for or policy.context, memory, self.trust_remote_code))
            self.version = self._answer()

    def close(self) -> None:
        """End the process and free its memory."""
        if self._process is None:
            return
        assert self._pipe is not None
        assert self._log is not None
        self._pipe.close()
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._process = self._pipe = self._log = None

    def _answer(self) -> Any:
        assert self._pipe is not None
        assert self._process is not None
        assert self._log is not None
        try:
            if self._pipe.poll(_PATIENCE):
                answer = self._pipe.recv()
            else:
                answer = RuntimeError(f"it has not answered for {_PATIENCE / 60:.0f} minutes: {_last_lines(self._log)}")
        except (EOFError, OSError):
            answer = RuntimeError(f"its process exited with code {self._process.wait()}: {_last_lines(self._log)}")
        if isinstance(answer, Exception):
            self.close()
            raise PolicyError(f"policy {self._name!r}: vLLM failed: {answer}; to sample without it, use --engine hf")
        return answer

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _check_heads(policy: Policy) -> None:
    """Check that vLLM can run heads of this size; on a CPU it reports that only after half a minute.

    Raises:
        PolicyError: if it cannot.
    """
    config = policy.model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if policy.device.type == "cpu" and size < _CPU_HEADS:
        raise PolicyError(
            f"policy {policy.name!r}: its attention heads have size {size}, but vLLM on a CPU needs at "
            f"least {_CPU_HEADS}; use --engine hf"
        )


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    return " | ".join(log.read().decode(errors="replace").strip().splitlines()[-3:])


def _write(policy: Policy, folder: str, dtype: torch.dtype) -> None:
    """Write the policy's weights and configuration to files for vLLM."""
    # Sampling is inference; the replacements that peft makes for weights there could not be trained afterwards.
    with torch.inference_mode(False), torch.no_grad():
        _write_weights(policy, folder, dtype)


def _write_weights(policy: Policy, folder: str, dtype: torch.dtype) -> None:
    weights = {name: weight.to(dtype) for name, weight in whole_weights(policy.model).items()}
    without_wrapper(policy.model).save_pretrained(folder, state_dict=weights)


def _room(device: torch.device) -> tuple[float, dict[str, str]]:
    """The share of the GPU that vLLM may use, and its environment."""
    # Variables that a launcher sets for its processes are not meant for this one.
    mine = {name: value for name, value in os.environ.items() if not re.match(_OF_LAUNCHERS, name)}
    environment = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_CPU_KVCACHE_SPACE": _CPU_CACHE, **mine}
    if device.type != "cuda":
        return _SHARE, environment
    at = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(at)
    return _SHARE * free / total, {**environment, "CUDA_VISIBLE_DEVICES": _visible(at)}


def check_engine(policy: Policy, prompts: Sequence[Sequence[int]]) -> None:
    """Check on one sample per prompt that a policy's engine computes what the policy does.

    Raises:
        PolicyError: if it cannot start, or its log-probabilities differ.
    """
    assert policy.engine is not None
    requests = [Request(f"check/{i}", ids, 1, _CHECK_TOKENS) for i, ids in enumerate(prompts)]
    requests = [r for r in requests if r.tokens <= policy.context]
    done = [completion for (completion,) in sample(policy, requests, temperature=1.0, seed=0)]
    scores = score(policy, [whole(r.prompt_ids, c.ids, r.key) for r, c in zip(requests, done, strict=True)])
    theirs = np.concatenate([[], *(c.log_probs or () for c in done)])
    apart = np.abs(theirs - np.concatenate([[], *(s.completion for s in scores)]))
    tolerance = TOLERANCES.get(policy.engine.dtype, max(TOLERANCES.values()))
    # A NaN is not agreement.
    if len(apart) and not apart.mean() <= tolerance:
        raise PolicyError(
            f"policy {policy.name!r}: {policy.engine.version} does not compute what the policy does: the "
            f"log-probabilities of {len(apart)} tokens differ by {apart.mean():.3g} nats on average (at "
            f"most {apart.max():.3g}), but only {tolerance:g} on average is allowed; to sample without "
            "vLLM, use --engine hf"
        )


def check_installed() -> None:
    """Check that vLLM is installed.

    Raises:
        PolicyError: if it is not, with the command to install it.
    """
    if importlib.util.find_spec("vllm") is None:
        raise PolicyError(f"engine vllm: vLLM is not installed; {INSTALL_VLLM}, or use --engine hf")


def _visible(index: int) -> str:
    """The name of this process's GPU number `index`, for a process that should see only that one."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES")
    return mine.split(",")[index] if mine else str(index)
