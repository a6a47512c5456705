"""The memory of a training pass beyond weights and gradients, traced with tensors that have a shape but no data."""

from __future__ import annotations

import copy
import logging
import math
import re
import warnings
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from trl.trainer import add_fused_lm_head

from expo.policies.adapters import add_adapter, without_wrapper
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig
from expo.train.recipe import TrainRecipe
from expo.train.sharding import unsharded

# Numbers of layers that are traced in place of the full number.
_FEW = (5, 6)


def rows_held(recipe: TrainRecipe, args: Configuration) -> int:
    """The number of sequences whose activations are held at once."""
    rows = int(args.per_device_train_batch_size)
    if isinstance(args, PairsDPOConfig):
        return 2 * rows
    if isinstance(args, ExPGRPOConfig) and recipe.positive != "none" and args.beta_sft > 0:
        # The added term holds one problem's texts per G samples, at the same time.
        return rows + math.ceil(rows / args.num_generations) * recipe.texts_each
    return rows


def on_meta(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, **more: Any) -> PreTrainedModel:
    """The policy without data, including its adapter."""
    with unsharded(args), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code, **more)
        return add_adapter(model, recipe.seed, **recipe.lora) if recipe.use_peft else model


def activations(
    recipe: TrainRecipe,
    args: Configuration,
    config: PretrainedConfig,
    tokens: int,
    dtype: torch.dtype,
    half: bool,
) -> tuple[float, str]:
    """The peak bytes held by a pass through sequences of this many tokens; or 0, and the reason why they are unknown.

    If all layers of the policy are alike, only a few are traced: each further layer holds as much as the one before.
    """
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    # Other kernels than the model's usual one hold equally little.
    eager = {"attn_implementation": "eager"} if recipe.attn_implementation == "eager" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)  # without this it would print a traceback in addition to the message below
        try:
            found: dict[int, tuple[int, int]] = {}
            for n in _layers_to_trace(on_meta(recipe, args, config)):
                model = on_meta(recipe, args, _with_layers(config, n), dtype=dtype, **eager)
                # Whole during the pass too: its head would be gathered.
                with unsharded(args), FakeTensorMode():
                    _move(model, "cpu")
                    found[n] = traced(model, args, rows_held(recipe, args), tokens, half)
            return _of_all_layers(found, config.get_text_config().num_hidden_layers), ""
        # A model's own code may ask for data in any way.
        except Exception as error:
            return 0.0, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:120]
        finally:
            logger.setLevel(level)


def _of_all_layers(found: dict[int, tuple[int, int]], layers: int) -> float:
    """The peak bytes for this many layers, forward or backward, extrapolated from one or two smaller numbers."""
    (few, least), (more, most) = min(found.items()), max(found.items())
    each = [(b - a) / max(more - few, 1) for a, b in zip(least, most, strict=True)]
    return max(b + (layers - more) * e for b, e in zip(most, each, strict=True))


def _layers_to_trace(model: nn.Module) -> tuple[int, ...]:
    """How many layers to trace: two small numbers, or all if there are few or they are not all alike."""
    config = without_wrapper(model).config
    text = config.get_text_config()
    shapes: dict[str, list[torch.Size]] = {}
    for name, p in model.named_parameters():
        if found := re.search(r"\.layers\.(\d+)\.", name):
            shapes.setdefault(found[1], []).append(p.shape)
    alike = len(shapes) == text.num_hidden_layers and len({*map(tuple, shapes.values())}) == 1
    one_kind = len({*(getattr(text, "layer_types", None) or [])}) <= 1
    many = text.num_hidden_layers > max(_FEW)
    return _FEW if many and alike and one_kind and config is text else (text.num_hidden_layers,)


def _with_layers(config: PretrainedConfig, n: int) -> PretrainedConfig:
    """The configuration with this many layers."""
    if n == config.get_text_config().num_hidden_layers:
        return config
    fewer = copy.deepcopy(config)
    fewer.num_hidden_layers = n
    if getattr(fewer, "layer_types", None):
        fewer.layer_types = fewer.layer_types[:n]
    return fewer


def _move(model: nn.Module, device: str) -> None:
    """Move tensors to a device, keeping everything but their data. `to_empty` does not do that under tracing."""
    moved: dict[int, nn.Parameter] = {}

    def like(x: Tensor) -> Tensor:
        return torch.empty(x.shape, dtype=x.dtype, device=device)

    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = moved.setdefault(id(p), nn.Parameter(like(p), p.requires_grad))
        for held in (module._buffers, vars(module)):
            for name, value in list(held.items()):
                if isinstance(value, Tensor):
                    held[name] = like(value)


def traced(model: PreTrainedModel, args: Configuration, rows: int, tokens: int, half: bool) -> tuple[int, int]:
    """The peak bytes held by a forward and backward pass, without weights and their gradients."""
    add_fused_lm_head(without_wrapper(model))
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs or {"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    held = Held()
    for p in filter(lambda p: p.requires_grad, model.parameters()):
        p.register_post_accumulate_grad_hook(lambda p: held.leave_out(p.grad))
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    with held:
        # Discarded after the forward pass, as a trainer does.
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
        forward, held.peak = held.peak, held.now
        out.log_probs.sum().backward()
    return forward, held.peak


class Held(TorchDispatchMode):
    """Track the bytes of tensors that operations create within the context and that are still alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what the operation creates."""
        out = func(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(storage := tensor.untyped_storage()) not in given | set(self._sizes):
                self._sizes[id(storage)] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._forget, id(storage))
        self.peak = max(self.peak, self.now)
        return out

    def leave_out(self, tensor: Tensor) -> None:
        """Stop counting this tensor."""
        self._forget(id(tensor.untyped_storage()))

    def _forget(self, storage: int) -> None:
        self.now -= self._sizes.pop(storage, 0)
