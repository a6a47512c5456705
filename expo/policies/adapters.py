"""LoRA adapters, with peft: a fresh one on a policy to train, and the policy in an adapter's folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from accelerate.utils import set_seed
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils import is_peft_available

from expo.policies.policy import PolicyError, shown
from expo.records import write_atomic
from expo.text import install

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds only an adapter, without its base."""
    return (folder / CONFIG).exists() and not (folder / "config.json").exists()


def base_of(folder: Path) -> tuple[str, str | None]:
    """The name and revision of an adapter's base.

    Raises:
        PolicyError: if the adapter names no base, or has no safetensors weights.
    """
    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name, revision = said.get("base_model_name_or_path"), said.get("revision")
    except (OSError, ValueError, AttributeError) as error:
        raise PolicyError(f"policy {str(folder)!r}: cannot read its {CONFIG}: {shown(error)}") from error
    if not isinstance(name, str) or not name:
        raise PolicyError(f"policy {str(folder)!r}: its {CONFIG} names no base_model_name_or_path; add it")
    if not (folder / WEIGHTS).exists():
        raise PolicyError(
            f"policy {str(folder)!r}: an adapter without {WEIGHTS}; save it as safetensors (pickled weights are "
            "not read)"
        )
    return name, revision if isinstance(revision, str) else None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence deprecation warnings from transformers about peft and TRL, which a user cannot fix."""
    with warnings.catch_warnings():
        renamed = "`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated"
        warnings.filterwarnings("ignore", renamed, FutureWarning)
        yield


@quiet()
def load_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base with an adapter's weights, unmerged: in bfloat16, merging would round away its small changes.

    Gradients are those of the adapter only.

    Raises:
        PolicyError: if peft is not installed, or the adapter does not fit the base.
    """
    _need_peft()
    from peft import PeftModel

    try:
        model: Any = PeftModel.from_pretrained(base, str(folder), is_trainable=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise PolicyError(f"policy {str(folder)!r}: the adapter does not fit its base: {shown(error)}") from error
    return cast(PreTrainedModel, model)


def is_wrapped(model: nn.Module) -> bool:
    """Whether a model is a base with an adapter."""
    return hasattr(model, "peft_config")


@contextmanager
def base_kept(model: nn.Module, copies: list[torch.Tensor] | None = None) -> Iterator[None]:
    """Within the context, adapters may be merged and unmerged; afterwards the base's weights are restored bit for bit.

    Adding an adapter's part to a weight and subtracting it again rounds twice. `copies` keeps the saved weights for the
    next time.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [m.get_base_layer() for m in model.modules() if isinstance(m, BaseTunerLayer)]
    weights = [p for layer in layers for p in layer.parameters()]
    copies = [] if copies is None else copies
    if not copies:
        copies += [p.detach().to("cpu", copy=True) for p in weights]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, copies, strict=True):
                weight.copy_(before)


def whole_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A policy's weights on the CPU, under the names of its base; an adapter is merged into them.

    Requires that this process holds all weights of the model at that moment.
    """
    if not is_wrapped(model):
        return {name: p.detach().cpu() for name, p in model.named_parameters()}
    wrapped: Any = model
    out = {}
    with base_kept(model):
        wrapped.merge_adapter()
        for name, p in model.named_parameters():
            if wrapped.prefix in name or "original_module" in name:
                continue
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            out[plain.replace("modules_to_save.default.", "")] = p.detach().to("cpu", copy=True)
        wrapped.unmerge_adapter()
    return out


def refuse_to_train(name: str) -> NoReturn:
    """The error for an adapter's folder used as the policy of a training run.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"policy {name!r}: this is an adapter, but training starts from full weights; merge it into its "
        f"base: policy = expo.policies.load.load_policy({name!r}, expo.tasks.prompts.TEXT); "
        "policy.model.merge_and_unload().save_pretrained(FOLDER); policy.tokenizer.save_pretrained(FOLDER)"
    )


def add_adapter(base: PreTrainedModel, seed: int, **lora: Any) -> PreTrainedModel:
    """The base with a fresh adapter, the only part that is trained; its initial weights are set by `seed`.

    Args:
        base: a policy with full weights. It is left unchanged if no layer name matches.
        seed: seed of the adapter's initialisation.
        lora: fields of `peft.LoraConfig`.

    Raises:
        ValueError: if peft is not installed, or rejects the fields; for an adapter on the output matrix, which TRL's
            log-probabilities would bypass, or on a matrix shared by embedding and output.
    """
    _need_peft()
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    if is_wrapped(base):
        raise ValueError("use_peft: the policy already has an adapter; merge it into its base first")
    set_seed(seed)
    try:
        config = LoraConfig(task_type="CAUSAL_LM", **lora)
        with warnings.catch_warnings():
            # Rejected below.
            warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
            # DeepSpeed can only shard weights of one dtype.
            model: Any = get_peft_model(base, config, autocast_adapter_dtype=not is_deepspeed_zero3_enabled())
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"use_peft: {shown(error)}") from error
    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise ValueError(
            "lora_target_modules: an adapter on the output matrix would not be trained, because TRL "
            "computes log-probabilities from the matrix itself; leave lm_head out"
        )
    matrices = (model.get_input_embeddings(), model.get_output_embeddings())
    if base.config.get_text_config().tie_word_embeddings and any(
        isinstance(matrix, BaseTunerLayer | ModulesToSaveWrapper) for matrix in matrices
    ):
        raise ValueError(
            "lora_target_modules, lora_modules_to_save: this policy's embedding is also its output matrix, and peft "
            "would separate the two; leave embed_tokens and lm_head out"
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("lora_target_modules: no module is left to train")
    return cast(PreTrainedModel, model)


def name_base(folder: Path, name: str, revision: str | None) -> None:
    """Make an adapter's folder name its base like a policy, and not by the path its files were read from."""
    path = Path(name).expanduser()
    said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    said |= {"base_model_name_or_path": str(path.resolve()) if path.exists() else name, "revision": revision}
    write_atomic(folder / CONFIG, json.dumps(said, indent=2) + "\n")


def without_wrapper(model: PreTrainedModel) -> PreTrainedModel:
    """The model that holds peft's adapters, including them; a model without adapters is returned as it is."""
    return cast(PreTrainedModel, model.get_base_model()) if hasattr(model, "get_base_model") else model


def weights_of(model: nn.Module) -> tuple[int, int]:
    """The number of a model's weights, and how many of them are trained."""
    each = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in each), sum(n for n, trained in each if trained)


def _need_peft() -> None:
    if not is_peft_available():
        raise PolicyError(f"LoRA adapters need peft: {install('gpu')}, or peft alone")
