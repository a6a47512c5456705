"""The memory that training takes on each process, by part, estimated before anything is loaded.

Activations are traced (`expo/train/activations.py`); the rest is calculated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from expo.policies.adapters import weights_of
from expo.policies.load import DTYPES
from expo.train.activations import activations, on_meta
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig
from expo.train.recipe import TrainRecipe
from expo.train.sharding import shared_by

GIB = 2**30
# The sampler holds logits and their softmax in float32, and a cumulative sum and a copy of it in float64.
_PER_LOGIT = 24
# Elements of each of the two buckets in which DeepSpeed reduces and gathers.
_DEEPSPEED_BUCKET = 500_000_000


@dataclass(frozen=True)
class Memory:
    """Bytes on one process.

    Attributes:
        weights: of the policy, as held between steps.
        gradients: of the trained weights, while micro-batches are accumulated.
        optimizer: its state; with ZeRO also the float32 weights that DeepSpeed keeps in addition to bfloat16 ones.
        activations: the peak of a forward and backward pass, including weights cast or gathered for it.
        buckets: the buffers for communication between processes.
        temporary: what the optimizer needs temporarily during its step, when no activations are held.
        gathered: the full weights while the policy is sampled, if processes shard them.
        sampling: keys, values and logits.
        reference: the initial policy, for GRPO's KL term or for new pairs between DPO rounds.
        engine: what TRL's vLLM reserves.
        untraced: why activations are unknown (and 0 here); empty if they are known.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    buckets: float
    temporary: float
    gathered: float
    sampling: float
    reference: float
    engine: float
    untraced: str
    engine_in_steps: bool
    reference_in_steps: bool
    gradients_in_sampling: bool

    @property
    def in_steps(self) -> float:
        """The peak during a step."""
        held = self.weights + self.gradients + self.optimizer + self.buckets
        held += self.engine * self.engine_in_steps + self.reference * self.reference_in_steps
        return held + max(self.activations, self.temporary)

    @property
    def in_sampling(self) -> float:
        """The peak while the policy is sampled."""
        # Between DPO rounds there is a reference and no optimizer.
        beside = (self.optimizer, self.reference)
        held = self.weights + self.buckets + self.engine + self.gathered + self.sampling
        held += sum(beside) if self.reference_in_steps else max(beside)
        return held + self.gradients * self.gradients_in_sampling

    @property
    def peak(self) -> float:
        """The peak at any time."""
        return max(self.in_steps, self.in_sampling)


@dataclass(frozen=True)
class Lengths:
    """The longest prompt and completion in tokens, as far as known before anything is tokenised."""

    prompt: int
    completion: int

    @property
    def whole(self) -> int:
        """The length of a whole sequence."""
        return self.prompt + self.completion


def count_weights(recipe: TrainRecipe, args: Configuration, config: PretrainedConfig) -> tuple[int, int]:
    """The number of the policy's weights, including its adapter's, and how many of them are trained."""
    return weights_of(on_meta(recipe, args, config))


def in_bf16(recipe: TrainRecipe, args: Configuration, on_gpu: bool) -> bool:
    """Whether it computes in 16 bits; on a GPU that is TRL's default, even if the plan is made without one."""
    return bool(args.bf16 or args.fp16 or (on_gpu and recipe.trl.get("bf16") is not False))


def dtype_of(recipe: TrainRecipe, on_gpu: bool) -> torch.dtype:
    """The dtype of the policy's weights."""
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
    """The memory on each process, for a GPU or CPU with this many bytes, if every sequence has the maximum length."""
    weights, trained = count_weights(recipe, args, config)
    half = in_bf16(recipe, args, on_gpu)
    how, n = shared_by(args), args.world_size
    dtype = dtype_of(recipe, on_gpu)
    # An adapter is float32, whatever the dtype of its base.
    each = 4 if recipe.use_peft else dtype.itemsize
    if how.startswith("ZeRO") and half:
        dtype, each = torch.bfloat16, 2
    elif how == "FSDP2" and half and not recipe.use_peft:
        # accelerate then holds float32 weights, and casts them for each pass.
        dtype, each = torch.float32, 4
    held = float(dtype.itemsize * (weights - trained) + each * trained)
    shares_weights = how in ("ZeRO-3", "FSDP2")
    unfused = args.optim == "adamw_torch" and on_gpu and not how.startswith("ZeRO")
    # Unfused AdamW copies the weights; DeepSpeed converts its share of the gradients to float32.
    temporary = each * trained if unfused else 4 * trained / n if how.startswith("ZeRO") else 0
    computes = 2 if half else dtype.itemsize
    text = config.get_text_config()
    # The current layer, the embedding matrix, and their gradients.
    layer = (weights - text.vocab_size * text.hidden_size) / text.num_hidden_layers
    in_pass = 2.0 * computes * (layer + text.vocab_size * text.hidden_size) if shares_weights else 0.0
    traced, untraced = activations(recipe, args, config, lengths.whole, dtype, half)
    is_dpo, grpo = isinstance(args, PairsDPOConfig), isinstance(args, ExPGRPOConfig)
    kl = grpo and args.beta > 0 and not recipe.use_peft
    colocated = on_gpu and grpo and args.use_vllm and args.vllm_mode == "colocate"
    between = args.steps_per_generation * args.num_iterations if grpo else args.gradient_accumulation_steps
    return Memory(
        weights=held / n if shares_weights else held,
        gradients=_gradients(args, how, trained, each),
        optimizer=optimizer_state(args, how, trained, each) / (1 if how == "no" else n),
        activations=in_pass + traced,
        buckets=_buckets(args, how, trained, each),
        temporary=float(temporary / n if how == "FSDP2" else temporary),
        gathered=float(computes * weights) if shares_weights else 0.0,
        sampling=_cache(recipe, args, config, lengths, dtype.itemsize),
        reference=held / (n if shares_weights else 1) if kl or (is_dpo and recipe.refresh_steps) else 0.0,
        engine=args.vllm_gpu_memory_utilization * capacity if colocated else 0.0,
        untraced=untraced,
        engine_in_steps=not (colocated and args.vllm_enable_sleep_mode),
        reference_in_steps=bool(kl),
        gradients_in_sampling=between % args.gradient_accumulation_steps != 0,
    )


def _gradients(args: Configuration, how: str, trained: int, each: int) -> float:
    n = args.world_size
    if how in ("ZeRO-2", "ZeRO-3"):
        return each * trained / n
    if how == "FSDP2":
        # Full gradients in float32 until the last micro-batch of a step; then each process's share.
        return each * trained / n + (4 * trained if args.gradient_accumulation_steps > 1 else 0)
    return float(each * trained)


def _buckets(args: Configuration, how: str, trained: int, each: int) -> float:
    if how.startswith("ZeRO"):
        return 2.0 * each * min(trained, _DEEPSPEED_BUCKET)
    # Data-parallel processes reduce gradients in buckets, which hold a second copy as long as the trainer exists.
    return float(each * trained) if how == "no" and args.world_size > 1 else 0.0


def optimizer_state(args: Configuration, how: str, trained: int, each: int) -> float:
    """The optimizer's bytes over all processes that shard it, for weights of `each` bytes."""
    if how.startswith("ZeRO"):
        return 12.0 * trained  # float32 weights and two moments
    optim = args.optim.value
    return float(trained * (0 if "sgd" in optim or "adafactor" in optim else 2 if "8bit" in optim else 2 * each))


def _cache(
    recipe: TrainRecipe, args: Configuration, config: PretrainedConfig, lengths: Lengths, itemsize: int
) -> float:
    text = config.get_text_config()
    # vLLM keeps its samples' keys and values in its own memory; gradients need samples of the policy's own model.
    rows = recipe.rows if recipe.engine == "hf" or recipe.gradient_problems else 0
    if isinstance(args, ExPGRPOConfig) and not args.use_vllm:
        rows = max(rows, args.per_device_train_batch_size * args.steps_per_generation)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys_and_values = 2 * rows * lengths.whole * text.num_hidden_layers * heads * size * itemsize
    return float(keys_and_values + rows * text.vocab_size * _PER_LOGIT)
