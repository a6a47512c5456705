"""What a training holds in memory on each process, by part, reckoned before anything is loaded.

Activations are not reckoned by a formula: one pass forward and back through the policy is traced, with tensors that
have a shape and no data.
"""

from __future__ import annotations

import logging
import math
import warnings
import weakref
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
# The sampler holds logits and their softmax in float32, and a cumulative sum and a copy of it in float64.
_PER_LOGIT = 24


@dataclass(frozen=True)
class Memory:
    """Bytes on one process.

    Attributes:
        weights: of the policy, as they are held between steps.
        gradients: of what is trained, while micro-batches are accumulated.
        optimizer: its state; with ZeRO, the float32 weights that DeepSpeed keeps beside bfloat16 ones.
        activations: the most that a pass forward and back holds, with weights cast or gathered for it.
        temporary: what AdamW takes besides at its step on a GPU, when no activations are held.
        gathered: the whole weights while the policy is sampled, where processes share them.
        sampling: keys, values and logits.
        reference: the initial policy, for GRPO's KL term, or for new pairs between rounds of DPO.
        engine: what TRL's vLLM keeps to itself.
        untraced: why activations are not known and 0 here; empty if they are.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    temporary: float
    gathered: float
    sampling: float
    reference: float
    engine: float
    untraced: str
    reference_in_steps: bool
    gradients_in_sampling: bool

    @property
    def in_steps(self) -> float:
        """The most that is held while a step is taken."""
        held = self.weights + self.gradients + self.optimizer + self.engine + self.reference * self.reference_in_steps
        return held + max(self.activations, self.temporary)

    @property
    def in_sampling(self) -> float:
        """The most that is held while the policy is sampled."""
        held = self.weights + self.optimizer + self.engine + self.reference + self.gathered + self.sampling
        return held + self.gradients * self.gradients_in_sampling

    @property
    def peak(self) -> float:
        """The most that is held at any time."""
        return max(self.in_steps, self.in_sampling)


@dataclass(frozen=True)
class Lengths:
    """The longest prompt and completion in tokens, as far as they are known before anything is tokenised."""

    prompt: int
    completion: int

    @property
    def whole(self) -> int:
        """A sequence."""
        return self.prompt + self.completion


def count_weights(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig) -> tuple[int, int]:
    """How many weights the policy has, its adapter's too, and how many of them are trained."""
    return weights_of(_on_meta(recipe, args, config))


def in_bf16(recipe: TrainRecipe, args: Configuration, on_gpu: bool) -> bool:
    """Whether it computes in 16 bits; on a GPU TRL's default, also where the plan is made without one."""
    return bool(args.bf16 or args.fp16 or (on_gpu and recipe.trl.get("bf16") is not False))


def dtype_of(recipe: TrainRecipe, on_gpu: bool) -> torch.dtype:
    """That of the policy's weights."""
    return DTYPES.get(recipe.dtype, torch.bfloat16 if on_gpu else torch.float32)


def memory_of(
    recipe: TrainRecipe,
    args: Configuration,
    config: PretrainedConfig,
    lengths: Lengths,
    *,
    on_gpu: bool,
    capacity: float,
) -> Memory:
    """What each process holds, on a GPU or a CPU of so many bytes, if every sequence is as long as the longest."""
    weights, trained = count_weights(recipe, args, config)
    half = in_bf16(recipe, args, on_gpu)
    how, n = shared_by(args), args.world_size
    dtype = dtype_of(recipe, on_gpu)
    # An adapter is float32 beside a base of any dtype.
    each = 4 if recipe.use_peft else dtype.itemsize
    if how.startswith("ZeRO") and half:
        dtype, each = torch.bfloat16, 2
    elif how == "FSDP2" and half and not recipe.use_peft:
        # accelerate holds float32 weights then, and casts them for each pass.
        dtype, each = torch.float32, 4
    held = float(dtype.itemsize * (weights - trained) + each * trained)
    shares_weights = how in ("ZeRO-3", "FSDP2")
    temporary = each * trained if args.optim == "adamw_torch" and on_gpu and not how.startswith("ZeRO") else 0
    computes = 2 if half else dtype.itemsize
    text = config.get_text_config()
    # The layer under way and the matrix of tokens, and their gradients.
    layer = (weights - text.vocab_size * text.hidden_size) / text.num_hidden_layers
    in_pass = 2.0 * computes * (layer + text.vocab_size * text.hidden_size) if shares_weights else 0.0
    traced, untraced = _activations(recipe, args, config, lengths, dtype, half)
    is_dpo, grpo = isinstance(args, PairsDPOConfig), isinstance(args, ExPGRPOConfig)
    kl = grpo and args.beta > 0 and not recipe.use_peft
    colocated = on_gpu and grpo and args.use_vllm and args.vllm_mode == "colocate"
    between = args.steps_per_generation * args.num_iterations if grpo else args.gradient_accumulation_steps
    return Memory(
        weights=held / n if shares_weights else held,
        gradients=_gradients(args, how, trained, each, computes),
        optimizer=optimizer_state(args, how, trained, each) / (1 if how == "no" else n),
        activations=in_pass + traced,
        temporary=float(temporary / n if how == "FSDP2" else temporary),
        gathered=float(computes * weights) if shares_weights else 0.0,
        sampling=_cache(recipe, args, config, lengths, dtype.itemsize),
        reference=held / (n if shares_weights else 1) if kl or (is_dpo and recipe.refresh_steps) else 0.0,
        engine=args.vllm_gpu_memory_utilization * capacity if colocated else 0.0,
        untraced=untraced,
        reference_in_steps=bool(kl),
        gradients_in_sampling=between % args.gradient_accumulation_steps != 0,
    )


def _gradients(args: Configuration, how: str, trained: int, each: int, computes: int) -> float:
    n = args.world_size
    if how in ("ZeRO-2", "ZeRO-3"):
        return each * trained / n
    if how == "FSDP2":
        # Whole ones until the last micro-batch of a step, in the dtype of the pass; then each process's share.
        return each * trained / n + (computes * trained if args.gradient_accumulation_steps > 1 else 0)
    # Processes that share nothing reduce gradients in buckets, which hold them a second time.
    return float(each * trained * (2 if n > 1 else 1))


def optimizer_state(args: Configuration, how: str, trained: int, each: int) -> float:
    """Its bytes on all processes that share it, for weights of `each` bytes."""
    if how.startswith("ZeRO"):
        return 12.0 * trained  # float32 weights and two moments
    optim = args.optim.value
    return float(trained * (0 if "sgd" in optim or "adafactor" in optim else 2 if "8bit" in optim else 2 * each))


def rows_held(recipe: TrainRecipe, args: Configuration) -> int:
    """Sequences whose activations are held at a time."""
    rows = int(args.per_device_train_batch_size)
    if isinstance(args, PairsDPOConfig):
        return 2 * rows
    if isinstance(args, ExPGRPOConfig) and recipe.positive != "none" and args.beta_sft > 0:
        # The added term holds a positive for each G samples at the same time.
        return rows + math.ceil(rows / args.num_generations)
    return rows


def _cache(
    recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, lengths: Lengths, itemsize: int
) -> float:
    text, rows = config.get_text_config(), recipe.rows
    if isinstance(args, ExPGRPOConfig) and not args.use_vllm:
        rows = max(rows, args.per_device_train_batch_size * args.steps_per_generation)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys_and_values = 2 * rows * lengths.whole * text.num_hidden_layers * heads * size * itemsize
    return float(keys_and_values + rows * text.vocab_size * _PER_LOGIT)


def _on_meta(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, **more: Any) -> PreTrainedModel:
    """The policy without data, with its adapter."""
    with unsharded(args), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code, **more)
        return add_adapter(model, recipe.seed, **recipe.lora) if recipe.use_peft else model


def _activations(
    recipe: TrainRecipe,
    args: Configuration,
    config: PretrainedConfig,
    lengths: Lengths,
    dtype: torch.dtype,
    half: bool,
) -> tuple[float, str]:
    """The most bytes that a pass holds beside weights and their gradients; or 0, and why they are not known."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    # Another kernel than the model's usual one holds as little.
    eager = {"attn_implementation": "eager"} if recipe.attn_implementation == "eager" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)  # it would tell a traceback, beside what is said below
        try:
            model = _on_meta(recipe, args, config, dtype=dtype, **eager)
            with FakeTensorMode():
                _move(model, "cpu")
                return float(traced(model, args, rows_held(recipe, args), lengths.whole, half)), ""
        # Any code of a model may ask for data, in its own way.
        except Exception as error:
            return 0.0, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:120]
        finally:
            logger.setLevel(level)


def _move(model: nn.Module, device: str) -> None:
    """Put tensors on a device that are alike but for their data. `to_empty` does not, where tensors are traced."""
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


def traced(model: PreTrainedModel, args: Configuration, rows: int, tokens: int, half: bool) -> int:
    """The most bytes that a pass forward and back holds at a time, without weights and their gradients."""
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
        # Left when the pass forward is done, as a trainer does.
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
        out.log_probs.sum().backward()
    return held.peak


class Held(TorchDispatchMode):
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
