"""How fast a machine samples and trains: measured in about a minute with random weights, to plan trainings on it.

The cost of a pass through a model is modelled as a sum of three parts: per layer (launching its kernels), per weight
(reading it from memory), and per weight and token (the arithmetic). The three are fitted to the measured passes by
relative error, none below 0. Attention over long contexts and other work on the machine are not included.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from trl.trainer import add_fused_lm_head

from expo.environment import free_machine_memory, machine_memory, version_of
from expo.policies.engine import Request
from expo.policies.names import cache_dir, writable
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.recipe import check_types
from expo.records import write_atomic
from expo.tasks.prompts import TEXT
from expo.text import plural

SCHEMA = 1
# What is timed: decoding one token per row with this package's sampler, the same with the `generate` that TRL uses, a
# forward and backward pass, and an AdamW step.
KINDS = ("sample", "generate", "train", "optimizer")
# Hidden size, layers, heads, key-value heads and vocabulary of the timed models; the last one only on a GPU.
_SHAPES = ((64, 4, 4, 1, 1024), (384, 12, 6, 2, 16384), (576, 30, 9, 3, 49152), (2048, 16, 16, 4, 128256))
_NEW_TOKENS = 8


class CalibrationError(ValueError):
    """A calibration that cannot be read; the message names the file and the fix."""


@dataclass(frozen=True)
class Measured:
    """One timed pass: its number of weights, their dtype, its layers and tokens, and the seconds it took."""

    kind: str
    dtype: str
    weights: int
    layers: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Calibration:
    """The measurements of a machine. `memory` is that of one GPU, or of the machine without one, in bytes."""

    device: str
    on_gpu: bool
    memory: int
    threads: int
    torch: str
    transformers: str
    trl: str
    made: str
    measured: tuple[Measured, ...]

    def seconds(self, kind: str, dtype: str, weights: int, layers: int, tokens: int) -> float:
        """Predicted seconds of a pass: one of `KINDS`, for `tokens` tokens in all, or for that many rows of one token.

        For a dtype that was not timed, the measurements of the others are used.
        """
        of_kind = [m for m in self.measured if m.kind == kind]
        chosen = [m for m in of_kind if m.dtype == dtype] or of_kind
        features = np.array([_features(m.weights, m.layers, m.tokens) for m in chosen])
        taken = np.array([m.seconds for m in chosen])
        return float(_costs(features / taken[:, None]) @ _features(weights, layers, tokens))


def _features(weights: int, layers: int, tokens: int) -> np.ndarray:
    # In units that give the costs similar sizes.
    return np.array([float(layers), weights / 1e6, weights * tokens / 1e9])


def _costs(features: np.ndarray) -> np.ndarray:
    """The non-negative costs whose sums over the features (passes, 3) are nearest to 1; tries every subset."""
    best, error = np.zeros(3), math.inf
    for some in ([i for i in range(3) if subset >> i & 1] for subset in range(1, 8)):
        found = np.linalg.lstsq(features[:, some], np.ones(len(features)), rcond=None)[0]
        left = float(np.square(features[:, some] @ found - 1).sum())
        # Among costs that explain equally much, the fewest.
        if (found >= 0).all() and left < error - 1e-12:
            best, error = np.zeros(3), left
            best[some] = found
    return best


def default_file() -> Path:
    """Where this machine's calibration is kept: `calibration.json` in the cache."""
    return cache_dir() / "calibration.json"


def read(file: Path) -> Calibration:
    """Read a calibration from its file.

    Raises:
        CalibrationError: if it cannot be read, or is of another version.
    """
    again = "run expo doctor --calibrate to create it again"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.pop("schema") != SCHEMA:
            raise CalibrationError(f"{file}: written by another version of expo; {again}")
        measured = tuple(Measured(**m) for m in values.pop("measured"))
        made = Calibration(**values, measured=measured)
        for told in (made, *measured):
            check_types(told)
        if missing := set(KINDS) - {m.kind for m in measured}:
            raise ValueError(f"no times for {', '.join(sorted(missing))}")
        if made.memory < 0:
            raise ValueError(f"memory must be at least 0, got {made.memory}")
        if wrong := [m.seconds for m in measured if not 0 < m.seconds < math.inf]:
            raise ValueError(f"seconds must be above 0 and finite, got {wrong[0]}")
    except CalibrationError:
        raise
    except FileNotFoundError as error:
        where = "copy calibration.json from the EXPO_CACHE of the machine to train on"
        raise CalibrationError(f"{file}: no such file; {where}, after running expo doctor --calibrate there") from error
    except KeyError as error:
        raise CalibrationError(f"{file}: not a calibration (it lacks the field {error}); {again}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CalibrationError(f"{file}: not a calibration ({error}); {again}") from error
    return made


def calibrate(file: Path | None = None, *, shapes: int | None = None, progress: bool = True) -> Calibration:
    """Measure this machine with torch's current threads and write the file; `shapes` limits it to the first models."""
    file = file or default_file()
    writable(file.parent)
    on_gpu = torch.cuda.is_available()
    chosen = _SHAPES[: shapes or (len(_SHAPES) if on_gpu else len(_SHAPES) - 1)]
    dtypes = (torch.float32, torch.bfloat16) if on_gpu else (torch.float32,)
    measured: list[Measured] = []
    with tqdm(total=len(chosen) * len(dtypes) * 7, desc="calibration", disable=not progress, leave=False) as bar:
        for shape, dtype in product(chosen, dtypes):
            measured += _times_of(shape, dtype, bar.update)
    made = Calibration(
        device=torch.cuda.get_device_name() if on_gpu else f"CPU, {plural(torch.get_num_threads(), 'thread')}",
        on_gpu=on_gpu,
        memory=device_memory(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        transformers=version_of("transformers") or "",
        trl=version_of("trl") or "",
        made=datetime.now(UTC).strftime("%Y-%m-%d"),
        measured=tuple(measured),
    )
    write_atomic(file, json.dumps({"schema": SCHEMA, **asdict(made)}, indent=1) + "\n")
    return made


def device_memory() -> int:
    """The memory in bytes of a GPU if there is one, else of the machine or the container."""
    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else machine_memory()


def free_memory() -> int:
    """The bytes of `device_memory` that are free now."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else free_machine_memory()


def _times_of(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, on_done: Callable[[], object]
) -> list[Measured]:
    hidden, layers, heads, of_keys, words = shape
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=of_keys,
        vocab_size=words,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=0,
    )
    on_gpu = torch.cuda.is_available()
    policy = random_policy(config, "cuda" if on_gpu else "cpu", dtype)
    model = policy.model
    weights = sum(p.numel() for p in model.parameters())
    out = []

    def add(kind: str, tokens: int, work: Callable[[], object], each: int = 1) -> None:
        # As in training: float32 weights are cast to bfloat16 for each pass on a GPU.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=on_gpu):
            seconds = _seconds(work) / each
        out.append(Measured(kind, str(dtype).removeprefix("torch."), weights, layers, tokens, seconds))
        on_done()

    for n in (4, 128) if on_gpu else (4, 32):
        add("sample", n, partial(_sample, policy, n), _NEW_TOKENS)
        add("generate", n, partial(_generate, model, n), _NEW_TOKENS)
    add_fused_lm_head(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=on_gpu)
    for n in (1, 8) if on_gpu else (1, 4):
        ids = torch.ones(n, 128, dtype=torch.long, device=model.device)
        add("train", ids.numel(), partial(_train, model, ids))
    add("optimizer", 0, optimizer.step)
    return out


def random_policy(config: PretrainedConfig, device: str, dtype: torch.dtype) -> Policy:
    """A policy with random weights, whose tokens are the words w0 (its end), w1, ...; it hardly ever ends by itself."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(config.vocab_size)}, unk_token="w1"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0", pad_token="w0")
    model.generation_config.eos_token_id = 0
    return Policy("random weights", model, tokenizer, TEXT, "random weights")


def _seconds(work: Callable[[], object]) -> float:
    """The fastest of three runs, after a warm-up: other work on the machine can only slow it down."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _sample(policy: Policy, rows: int) -> None:
    request = Request("calibration", (1, 2, 3, 4), rows, _NEW_TOKENS)
    sample(policy, [request], temperature=1.0, seed=0, rows=rows)


def _generate(model: PreTrainedModel, rows: int) -> None:
    ids = torch.ones(rows, 4, dtype=torch.long, device=model.device)
    length = {"max_new_tokens": _NEW_TOKENS, "min_new_tokens": _NEW_TOKENS}
    with torch.no_grad():
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, pad_token_id=0, **length)


def _train(model: PreTrainedModel, ids: torch.Tensor) -> None:
    model.zero_grad()
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    out.log_probs.sum().backward()


def table(made: Calibration) -> Sequence[str]:
    """The measurements as lines of text."""
    lines = [f"{made.device}, {made.memory / 2**30:.0f} GiB, torch {made.torch}, measured {made.made}", ""]
    lines.append(f"{'pass':<10}{'dtype':<9}{'weights':>14}{'layers':>8}{'tokens':>8}{'seconds':>10}{'fit':>10}")
    for m in made.measured:
        fit = made.seconds(m.kind, m.dtype, m.weights, m.layers, m.tokens)
        passed = f"{m.kind:<10}{m.dtype:<9}{m.weights:>14,}{m.layers:>8}{m.tokens:>8}"
        lines.append(f"{passed}{m.seconds:>10.4f}{fit:>10.4f}")
    return lines
