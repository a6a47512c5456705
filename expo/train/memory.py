"""What a training holds in memory on each process, by part, reckoned before anything is loaded.

Activations are not reckoned by a formula: a pass forward and back is traced with tensors that have a shape and no data,
through one and through two layers, and each further layer adds what the second did.
"""

from __future__ import annotations

import math
import warnings
import weakref
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from trl.trainer import add_fused_lm_head

from expo.policies.adapters import add_adapter, weights_of, without_wrapper
from expo.policies.load import DTYPES
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig
from expo.train.recipe import TrainRecipe
from expo.train.sharding import shared_by, unsharded

GIB = 2**30
# Prompts are taken to be as long as this share of the completions' limit.
_PROMPT = 1 / 8
# The sampler holds logits and their softmax in float32, and a cumulative sum and a copy of it in float64.
_PER_LOGIT = 24


@dataclass(frozen=True)
class Memory:
    """Bytes on one process.

    Attributes:
        weights: of the policy, as they are held between steps.
        gradients: of what is trained.
        moments: AdamW's two, and the float32 weights that DeepSpeed keeps beside bfloat16 ones.
        activations: at most, of a pass forward and back; with the weights that are gathered or cast for it.
        at_step: what AdamW takes besides at its step on a GPU, when no activations are held.
        whole: the weights that are gathered to sample, where processes share them.
        sampling: keys, values and logits.
        reference: of DPO between rounds.
        engine: what TRL's vLLM keeps to itself.
    """

    weights: float
    gradients: float
    moments: float
    activations: float
    at_step: float
    whole: float
    sampling: float
    reference: float
    engine: float

    @property
    def in_training(self) -> float:
        """The most that is held in a step."""
        held = self.weights + self.gradients + self.moments + self.engine
        return held + max(self.activations, self.at_step)

    @property
    def in_sampling(self) -> float:
        """The most that is held while the policy is sampled; gradients are gone by then."""
        return self.weights + self.moments + self.engine + self.whole + self.sampling + self.reference

    @property
    def peak(self) -> float:
        """The most that is held at any time."""
        return max(self.in_training, self.in_sampling)


def tokens_of(args: Configuration) -> int:
    """The length of a sequence in tokens, if its completion is as long as the limit."""
    return math.ceil(args.max_completion_length * (1 + _PROMPT))


def count_weights(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig) -> tuple[int, int]:
    """How many weights the policy has, its adapter's too, and how many of them are trained."""
    return weights_of(_on_meta(recipe, args, config))


def _on_meta(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, **more: Any) -> PreTrainedModel:
    """The policy without data, with its adapter."""
    with unsharded(args), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code, **more)
        return add_adapter(model, recipe.seed, **recipe.lora) if recipe.use_peft else model


def _move(model: nn.Module, device: str) -> None:
    """Put tensors on a device that are alike but for their data. `to_empty` does not, where tensors are traced."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                made = nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device=device), p.requires_grad)
                module._parameters[name] = moved.setdefault(id(p), made)
        for name, b in module._buffers.items():
            module._buffers[name] = None if b is None else torch.empty(b.shape, dtype=b.dtype, device=device)


def memory_of(
    recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, *, on_gpu: bool, capacity: float
) -> Memory:
    """What each process holds, on a GPU or a CPU of so many bytes.

    Every completion is taken to be as long as the limit.
    """
    weights, trained = count_weights(recipe, args, config)
    frozen = weights - trained
    computes_in_bf16 = args.bf16 or (on_gpu and recipe.trl.get("bf16", True))
    dtype = DTYPES.get(recipe.dtype, torch.bfloat16 if on_gpu else torch.float32)
    how, n = shared_by(args), args.world_size
    # An adapter is float32 beside a base of any dtype.
    each = 4 if recipe.use_peft else dtype.itemsize
    if how.startswith("ZeRO"):
        if computes_in_bf16:
            dtype = torch.bfloat16
        held = float(dtype.itemsize * weights)
        gradients, moments = each_of(dtype, trained) / n, 12 * trained / n
    else:
        if how == "FSDP2" and computes_in_bf16 and not recipe.use_peft:
            # accelerate holds float32 weights then, and casts them for each pass.
            dtype, each = torch.float32, 4
        held = float(dtype.itemsize * frozen + each * trained)
        gradients, moments = float(each * trained), 2.0 * each * trained
        if how == "FSDP2":
            gradients, moments = gradients / n, moments / n
    shares_weights = how in ("ZeRO-3", "FSDP2")
    at_step = 0.0 if args.optim == "adamw_torch_fused" or not on_gpu else float(each * trained)
    text = config.get_text_config()
    computes = 2 if computes_in_bf16 else dtype.itemsize
    # The layer under way and the matrix of tokens, and their gradients.
    gathered = 2 * computes * (_layer(weights, config) + text.vocab_size * text.hidden_size) if shares_weights else 0.0
    return Memory(
        weights=held / n if shares_weights else held,
        gradients=gradients,
        moments=moments,
        activations=gathered + _activations(recipe, args, config, dtype, computes_in_bf16),
        at_step=at_step / n if how != "no" else at_step,
        whole=held if shares_weights else 0.0,
        sampling=_cache(recipe, args, config, computes),
        # Between rounds of DPO the reference is loaded beside the policy, to score new pairs.
        reference=held if isinstance(args, PairsDPOConfig) and recipe.refresh_steps else 0.0,
        engine=_engine(args, capacity if on_gpu else 0.0),
    )


def each_of(dtype: torch.dtype, n: int) -> float:
    """The bytes of n numbers."""
    return float(dtype.itemsize * n)


def _layer(weights: int, config: PretrainedConfig) -> float:
    text = config.get_text_config()
    return (weights - text.vocab_size * text.hidden_size) / text.num_hidden_layers


def _engine(args: Configuration, capacity: float) -> float:
    colocated = isinstance(args, ExPGRPOConfig) and args.use_vllm and args.vllm_mode == "colocate"
    return args.vllm_gpu_memory_utilization * capacity if colocated else 0.0


def rows_held(recipe: TrainRecipe, args: Configuration) -> int:
    """Sequences whose activations are held at a time."""
    rows = int(args.per_device_train_batch_size)
    if isinstance(args, PairsDPOConfig):
        return 2 * rows
    if isinstance(args, ExPGRPOConfig) and recipe.positive != "none" and args.beta_sft > 0:
        # The added term holds a positive for each G samples at the same time.
        return rows + math.ceil(rows / args.num_generations)
    return rows


def rows_sampled(recipe: TrainRecipe, args: Configuration) -> int:
    """Samples that are decoded at a time, at most."""
    if isinstance(args, ExPGRPOConfig) and not args.use_vllm:
        return max(recipe.rows, args.per_device_train_batch_size * args.steps_per_generation)
    return recipe.rows


def _cache(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, itemsize: int) -> float:
    text = config.get_text_config()
    rows = rows_sampled(recipe, args)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys_and_values = 2 * rows * tokens_of(args) * text.num_hidden_layers * heads * size * itemsize
    return float(keys_and_values + rows * text.vocab_size * _PER_LOGIT)


def _activations(
    recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, dtype: torch.dtype, in_bf16: bool
) -> float:
    layers = config.get_text_config().num_hidden_layers
    one, two = (_traced(recipe, args, config, n, dtype, in_bf16) for n in (1, min(2, layers)))
    return one + (layers - 1) * (two - one)


def _traced(
    recipe: TrainRecipe,
    args: Configuration,
    config: PretrainedConfig,
    layers: int,
    dtype: torch.dtype,
    in_bf16: bool,
) -> float:
    """The most bytes that a pass through so many layers holds beside weights and their gradients."""
    shallow = deepcopy(config)
    text = shallow.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    with warnings.catch_warnings(), FakeTensorMode():
        warnings.simplefilter("ignore")
        model = _on_meta(recipe, args, shallow, dtype=dtype)
        _move(model, "cpu")
        add_fused_lm_head(without_wrapper(model))
        if args.gradient_checkpointing:
            model.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs or {"use_reentrant": False})
            model.enable_input_require_grads()
        model.train()
        held = _Held()
        for p in filter(lambda p: p.requires_grad, model.parameters()):
            p.register_post_accumulate_grad_hook(lambda p: held.leave_out(p.grad))
        ids = torch.zeros(rows_held(recipe, args), tokens_of(args), dtype=torch.long)
        with held:
            # Left when the pass forward is done, as a trainer does.
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
            out.log_probs.sum().backward()
    return float(held.peak)


class _Held(TorchDispatchMode):
    """The bytes of the tensors that operations make meanwhile and that are still there, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what the operation makes."""
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
        """Count this one no more."""
        self._forget(id(tensor.untyped_storage()))

    def _forget(self, storage: int) -> None:
        self.now -= self._sizes.pop(storage, 0)
