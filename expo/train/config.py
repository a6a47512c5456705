"""TRL's configurations with this toolkit's additions, separate from the trainers, which are slower to import."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import is_deepspeed_available
from transformers import Trainer
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.training_args import OptimizerNames
from trl import DPOConfig, GRPOConfig, SFTConfig
from trl.import_utils import is_vllm_available

from expo.policies.adapters import quiet
from expo.policies.engine import INSTALL_VLLM
from expo.policies.policy import TEMPLATE_VARIABLES
from expo.recipe import check_bounds
from expo.text import install

SCHEDULES = ("constant", "linear", "cosine")
NORMALIZATIONS = ("sequence", "token")
# The `loss_type` values of TRL's trainers, which check them only in the first step, after positives have been sampled.
LOSSES = {
    "grpo": ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "vespo", "luspo"),
    "dpo": (
        *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
        *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
    ),
    "sft": ("nll", "dft"),
}
# Minimum values of sizes and counts: TRL divides by some of them.
_LOWEST: dict[str, float] = {
    **dict.fromkeys(("per_device_train_batch_size", "gradient_accumulation_steps", "max_completion_length"), 1),
    **dict.fromkeys(("num_generations", "steps_per_generation", "generation_batch_size", "num_iterations"), 1),
    **dict.fromkeys(("beta", "epsilon", "epsilon_high", "max_grad_norm", "learning_rate"), 0),
    **dict.fromkeys(("save_steps", "eval_steps"), 0),
}


@dataclass
class ExPGRPOConfig(GRPOConfig):
    """`GRPOConfig` with the settings of the added term."""

    beta_sft: float = field(
        default=1.0, metadata={"help": "weight of the added term, log pi(positive|q); 1 is the paper's, 0 is GRPO"}
    )
    beta_sft_schedule: str = field(
        default="constant", metadata={"help": "constant, or annealed to 0 over training: linear, cosine"}
    )
    sft_normalization: str = field(
        default="sequence", metadata={"help": "sequence: the sum over tokens, as in the paper; token: their mean"}
    )
    sft_failed_groups_only: bool = field(
        default=False,
        metadata={"help": "add the term only for groups in which the first reward function gave no sample more than 0"},
    )
    sft_grad_norm_steps: int = field(
        default=0, metadata={"help": "log the gradient norms of both terms at this interval of steps; 0: never"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta_sft_schedule not in SCHEDULES:
            raise ValueError(f"beta_sft_schedule must be one of {', '.join(SCHEDULES)}; got {self.beta_sft_schedule!r}")
        if self.sft_normalization not in NORMALIZATIONS:
            raise ValueError(
                f"sft_normalization must be one of {', '.join(NORMALIZATIONS)}; got {self.sft_normalization!r}"
            )
        if not 0 <= self.beta_sft < math.inf:
            raise ValueError(f"beta_sft must be at least 0 and finite, got {self.beta_sft}")
        if self.sft_grad_norm_steps < 0:
            raise ValueError(f"sft_grad_norm_steps must be at least 0, got {self.sft_grad_norm_steps}")


@dataclass
class PairsDPOConfig(DPOConfig):
    """`DPOConfig` with the settings for sampling pairs and evaluations."""

    temperature: float = field(default=0.9, metadata={"help": "temperature for sampling winners and losers"})
    max_completion_length: int = field(default=256, metadata={"help": "token limit of a sampled completion"})
    # A pair longer than the context is left out; one cut at a limit would never end.
    max_length: int | None = field(
        default=None, metadata={"help": "leave this unset, so that TRL truncates no sequence"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precompute_ref_log_probs:
            raise ValueError("precompute_ref_log_probs: pairs are scored before each round anyway; leave it out")
        if self.max_length is not None or self.ld_alpha is not None:
            raise ValueError(
                "max_length, ld_alpha: the record needs log-probabilities of whole sequences; leave them out"
            )


@dataclass
class PositivesSFTConfig(SFTConfig):
    """`SFTConfig` with the settings for sampling positives and evaluations."""

    temperature: float = field(default=0.9, metadata={"help": "temperature for sampling positives"})
    max_completion_length: int = field(default=256, metadata={"help": "token limit of a sampled completion"})
    # A positive longer than the context is left out; one cut at a limit would never end.
    max_length: int | None = field(
        default=None, metadata={"help": "tokens at which TRL truncates a sequence; default: never"}
    )


Configuration = ExPGRPOConfig | PairsDPOConfig | PositivesSFTConfig


def configuration_of(algorithm: str) -> type[Configuration]:
    """The class of TRL's configuration with this toolkit's additions; GRPO's for a name that is rejected later."""
    others: dict[str, Any] = {"dpo": PairsDPOConfig, "sft": PositivesSFTConfig}
    return others.get(algorithm, ExPGRPOConfig)


def check_whole_groups(args: GRPOConfig) -> None:
    """Check that each process has all samples of a problem.

    Raises:
        ValueError: if not; the message names the settings.
    """
    local = args.per_device_train_batch_size * args.steps_per_generation
    if local % args.num_generations:
        raise ValueError(
            f"num_generations ({args.num_generations}) must divide per_device_train_batch_size x "
            f"steps_per_generation ({args.per_device_train_batch_size} x {args.steps_per_generation} = "
            f"{local}): all samples of a problem must be on one process, or its explanation would count "
            "more than once"
        )


def check_optimizer(args: Configuration) -> None:
    """Check that the package of the recipe's optimizer is installed; TRL checks only after positives have been sampled.

    Raises:
        ValueError: if not.
    """
    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except ImportError as error:
        raise ValueError(
            f"optim: {OptimizerNames(args.optim).value} needs a package that is not installed ({error}); "
            "install it, or choose another optim"
        ) from error
    except ValueError:
        pass  # some also ask for the model


@quiet()
def configuration(algorithm: str, given: dict[str, Any], output_dir: str, **more: Any) -> Configuration:
    """TRL's configuration from the given fields, with defaults for this machine where the recipe leaves them open.

    Without a GPU it runs on the CPU in float32. Every step is logged, since a record keeps all of them.
    """
    check_bounds(SimpleNamespace(**given), {name: low for name, low in _LOWEST.items() if name in given})
    if given.get("deepspeed") and not is_deepspeed_available():
        raise ValueError(f"deepspeed: DeepSpeed is not installed: {install('gpu')}, or leave deepspeed out")
    defaults = {"logging_steps": 1, "report_to": "none", "save_total_limit": 2}
    if not torch.cuda.is_available():
        defaults["dataloader_pin_memory"] = False
        more = {**more, "use_cpu": True, "bf16": False}
    try:
        args = configuration_of(algorithm)(output_dir=output_dir, **{**defaults, **given, **more})
    except ValueError as error:
        if "generation_batch_size" not in str(error):
            raise
        raise ValueError(
            f"{error} (generation_batch_size is per_device_train_batch_size x steps_per_generation x "
            "processes; the default of steps_per_generation is gradient_accumulation_steps)"
        ) from error
    if algorithm == "dpo" and not args.beta > 0:
        raise ValueError(f"beta must be above 0, or nothing is learnt from a pair; got {args.beta}")
    losses = [args.loss_type] if isinstance(args.loss_type, str) else args.loss_type
    if unknown := sorted(set(losses) - set(LOSSES[algorithm])):
        raise ValueError(
            f"loss_type: unknown value {unknown[0]!r} for {algorithm}; choose from {', '.join(LOSSES[algorithm])}"
        )
    for name in sorted(set(args.report_to) - set(get_available_reporting_integrations())):
        if name not in INTEGRATION_TO_CALLBACK:
            there = ", ".join(["none", "all", *sorted(INTEGRATION_TO_CALLBACK)])
            raise ValueError(f"report_to: unknown tracker {name!r}; choose from {there}")
        raise ValueError(f"report_to: {name} is not installed; install it with pip, or leave report_to out")
    if getattr(args, "use_vllm", False) and not is_vllm_available():
        raise ValueError(f"use_vllm: vllm is not installed; {INSTALL_VLLM}, or leave use_vllm out")
    if args.max_steps < 1 and args.max_steps != -1:
        raise ValueError(f"max_steps must be at least 1, or -1 to train for num_train_epochs; got {args.max_steps}")
    if not args.temperature > 0:
        raise ValueError(f"temperature must be above 0, since training samples with it; got {args.temperature}")
    if not 0 < args.num_train_epochs < float("inf"):
        raise ValueError(f"num_train_epochs must be above 0 and finite, got {args.num_train_epochs}")
    if not 0 < getattr(args, "top_p", 1) <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {args.top_p}")
    for name in ("save_steps", "logging_steps", "eval_steps"):
        value = getattr(args, name)
        if value is not None and value != int(value):
            raise ValueError(f"{name} must be a number of steps, not a fraction, got {value}")
    if args.max_steps > 0 and "save_steps" not in given:
        args.save_steps = _tenth(args)
    if args.save_total_limit is not None and args.save_total_limit < 2:
        raise ValueError("save_total_limit must be at least 2: the last complete checkpoint and the one being written")
    if int(args.save_steps) % int(args.logging_steps):
        raise ValueError(f"logging_steps ({args.logging_steps}) must divide save_steps ({args.save_steps})")
    if isinstance(args, ExPGRPOConfig):
        check_whole_groups(args)
        generation = args.steps_per_generation * args.num_iterations
        if int(args.save_steps) * args.gradient_accumulation_steps % generation:
            raise ValueError(
                f"save_steps ({args.save_steps}) must fall at the end of a generation, where a run can "
                "resume: save_steps x gradient_accumulation_steps must be a multiple of "
                f"steps_per_generation x num_iterations ({generation})"
            )
    return args


def _tenth(args: Any) -> int:
    """About a tenth of the steps, so that a kill costs little; at the end of a generation and a log."""
    every = int(args.logging_steps)
    if isinstance(args, ExPGRPOConfig):
        generation = args.steps_per_generation * args.num_iterations
        every = math.lcm(every, generation // math.gcd(generation, args.gradient_accumulation_steps))
    return max(1, round(args.max_steps / 10 / every)) * every


def settings_of(algorithm: str, given: dict[str, Any], positive: str, output_dir: str) -> Configuration:
    """TRL's configuration for a training run, with the settings that a run fixes whatever the recipe says.

    Raises:
        ValueError: see `configuration`.
    """
    return configuration(algorithm, given, output_dir, **_decided(algorithm, given, positive))


def _decided(algorithm: str, given: dict[str, Any], positive: str) -> dict[str, Any]:
    if algorithm == "dpo":
        return {"train_sampling_strategy": "sequential"}
    if algorithm == "sft":
        return {}
    return {
        **({"beta_sft": 0.0} if positive == "none" else {}),
        "shuffle_dataset": False,
        "chat_template_kwargs": {**TEMPLATE_VARIABLES, **(given.get("chat_template_kwargs") or {})},
    }
