"""The engine that samples positives and evaluations during training, with the policy's current weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from expo.policies.adapters import base_kept, is_wrapped
from expo.policies.engine import Completion, Draw, Engine, Settings
from expo.policies.policy import Policy
from expo.policies.vllm_worker import complete
from expo.setup import vllm_of
from expo.train.recipe import TrainRecipe


class Colocated:
    """TRL's vLLM in this process, synchronised to the current weights."""

    version, dtype = "TRL's vllm", ""

    def __init__(self, generation: Any) -> None:
        self.generation = generation
        generation.sync_weights()

    def sample(
        self, draws: Sequence[Draw], settings: Settings, on_finished: Callable[[int, Completion], object]
    ) -> list[Completion]:
        """Sample a completion for each draw, in order."""
        out: list[Completion | None] = [None] * len(draws)
        if self.generation.enable_sleep_mode:
            self.generation.llm.wake_up(tags=["kv_cache"])
        for place, completion in complete(self.generation.llm, draws, settings):
            out[place] = completion
            on_finished(place, completion)
        return [c for c in out if c is not None]

    def close(self) -> None:
        """Do nothing: TRL manages its vLLM."""
        if self.generation.enable_sleep_mode:
            self.generation.llm.sleep(level=2)
            # TRL's own marker that the weights must be synchronised again.
            self.generation._llm_weights_sleeping = True


def engine_of(policy: Policy, trainer: Any, recipe: TrainRecipe) -> Engine | None:
    """The engine that samples the policy during training; None for the policy's own model.

    Every process calls this: TRL gathers the weights for its vLLM.
    """
    if recipe.engine == "hf":
        return None
    args = trainer.args
    if getattr(args, "use_vllm", False) and args.vllm_mode == "colocate" and args.vllm_tensor_parallel_size == 1:
        return Colocated(trainer.vllm_generation)
    return vllm_of(policy, recipe)


def keep_base(trainer: Any) -> None:
    """Make TRL give its vLLM merged weights without rounding the base each time."""
    generation = trainer.vllm_generation
    synchronise = generation.sync_weights
    # The base is frozen, so one copy of it serves the whole training run.
    copies: list[Tensor] = []

    def sync_weights() -> None:
        with base_kept(generation.model, copies) if is_wrapped(generation.model) else nullcontext():
            synchronise()

    generation.sync_weights = sync_weights
