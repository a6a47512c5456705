"""Weights sharded over processes, by DeepSpeed's ZeRO or FSDP2: what is supported, and when they are gathered.

The settings of `accelerate launch` determine how weights are sharded. ZeRO-2 shards only gradients and optimizer
states. Under ZeRO-3 and FSDP2 no process has the full policy; it is gathered while it samples and scores, since one
process may have to call it more often than another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from transformers.integrations import unset_hf_deepspeed_config

from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig
from expo.train.recipe import TrainRecipe


def check_processes(recipe: TrainRecipe, args: Configuration, *, elsewhere: bool = False) -> None:
    """Check that these processes can do the training, before anything is sampled.

    With `elsewhere`, the plan is for another machine and this one's GPUs do not matter.

    Raises:
        ValueError: for one process with several GPUs, or for a setting that does not work with sharded weights; the
            message names it.
    """
    if args.n_gpu > 1 and not elsewhere:
        raise ValueError(
            f"this machine has {args.n_gpu} GPUs, but one process can train on only one GPU. To use all of "
            f"them: accelerate launch --num_processes {args.n_gpu} -m expo.cli train ..., with "
            "--config_file for ZeRO-3 or FSDP2; for one: CUDA_VISIBLE_DEVICES=0 expo train ..."
        )
    how = shared_by(args)
    if how == "no":
        return
    if how == "FSDP1":
        raise ValueError("FSDP1 is not supported; set fsdp_version: 2 in accelerate's settings")
    if isinstance(args, ExPGRPOConfig) and args.sft_grad_norm_steps:
        raise ValueError(f"sft_grad_norm_steps: under {how} no process holds the whole gradient; leave it at 0")
    adds = isinstance(args, ExPGRPOConfig) and args.beta_sft > 0
    if recipe.use_peft and adds and args.gradient_checkpointing and how == "ZeRO-3":
        raise ValueError(
            "gradient_checkpointing: DeepSpeed cannot recompute the two terms of a step with an adapter "
            "under ZeRO-3; set it to false, or use FSDP2"
        )
    if recipe.gradient_problems and how == "FSDP2":
        raise ValueError("gradient_problems: not supported under FSDP2; leave it at 0, or use ZeRO-3")
    if isinstance(args, PairsDPOConfig) and how == "ZeRO-3":
        raise ValueError(
            "algorithm: dpo does not work under ZeRO-3; run it without ZeRO-3 (one 80 GB card is enough for a "
            "3B policy)"
        )
    if isinstance(args, PairsDPOConfig) and recipe.refresh_steps:
        raise ValueError(
            f"refresh_steps: under {how} dpo cannot start a second round in the same process; leave it at "
            "0, or do not shard weights (one 80 GB card is enough for a 3B policy)"
        )


def check_devices(args: Configuration) -> None:
    """Check that a launch that asks for FSDP2 gets it: on a CPU accelerate silently ignores it.

    Raises:
        ValueError: if not.
    """
    if shared_by(args) == "FSDP2" and args.device.type == "cpu":
        raise ValueError(
            "FSDP2 needs GPUs: on a CPU accelerate would train without sharding weights. Leave out "
            "--config_file of accelerate launch and --fsdp of expo train, or launch on a machine with GPUs"
        )


def shared_by(args: Configuration) -> str:
    """How processes shard weights, gradients or optimizer states, by recipe or launch; `no` if they do not."""
    if args.deepspeed_plugin and args.deepspeed_plugin.zero_stage:
        return f"ZeRO-{args.deepspeed_plugin.zero_stage}"
    if args.fsdp_plugin_args:
        return f"FSDP{args.fsdp_plugin_args['fsdp_version']}"
    return f"FSDP{os.environ.get('FSDP_VERSION', '1')}" if parse_flag_from_env("ACCELERATE_USE_FSDP") else "no"


@contextmanager
def unsharded(args: Configuration) -> Iterator[None]:
    """Load full models within the context: transformers shards weights as long as settings of ZeRO-3 exist."""
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if args.deepspeed_plugin:
            args.deepspeed_plugin.set_deepspeed_weakref()


@contextmanager
def gathered(model: torch.nn.Module) -> Iterator[None]:
    """Under FSDP2, gather all weights on each process within the context."""
    parts = [m for m in model.modules() if isinstance(m, FSDPModule)]
    states = [part._get_fsdp_state() for part in parts]
    groups = [group for state in states for group in state._fsdp_param_groups]
    # What a part does after a pass: accelerate and torch differ in what they require.
    before = [state._auto_reshard_after_forward for state in states], [g.post_forward_mesh_info for g in groups]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        for state, automatic in zip(states, before[0], strict=True):
            state._auto_reshard_after_forward = automatic
        for group, info in zip(groups, before[1], strict=True):
            group.post_forward_mesh_info = info


def compute_precisely(accelerator: Accelerator) -> None:
    """Under FSDP2 in bfloat16, sum gradients in float32 and keep log-probabilities in the model's dtype.

    accelerate rounds both to bfloat16: over a completion of 1,000 tokens, the sum is then off by nats.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None or plugin.fsdp_version != 2 or plugin.mixed_precision_policy is None:
        return
    computed_in = plugin.mixed_precision_policy.param_dtype
    if computed_in in (torch.bfloat16, torch.float16):
        plugin.mixed_precision_policy = MixedPrecisionPolicy(computed_in, reduce_dtype=torch.float32)
