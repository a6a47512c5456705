"""What a training run samples and trains, and the time and disk space it takes, estimated before it starts.

The estimate assumes that every completion reaches the token limit, and that every problem is sampled as often as the
recipe allows. It ignores grading, TRL's work beyond its passes, and communication between processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from expo.calibration import Calibration
from expo.train.config import Configuration, ExPGRPOConfig, PairsDPOConfig
from expo.train.memory import Lengths, optimizer_state
from expo.train.recipe import SAMPLED, TrainRecipe
from expo.train.sharding import shared_by
from expo.train.steps import batch_of, generations_in, rows_between, steps_of


@dataclass(frozen=True)
class Work:
    """Samples by purpose, and sequences that pass through the policy, over all processes.

    Attributes:
        samples: for `rollouts`, `positives`, `losers`, `evaluations`, `probes` and `gradients`.
        trained: sequences that run forward and backward.
        scored: sequences that only run forward: for old or reference log-probabilities, and for choosing positives and
            their tokens.
        steps: of the optimizer.
    """

    samples: dict[str, int]
    trained: int
    scored: int
    steps: int


def work_of(recipe: TrainRecipe, args: Configuration, problems: int, held_out: int) -> Work:
    """The work of a training run on this many problems, evaluated on this many."""
    steps, batch = steps_of(recipe, args, problems), batch_of(args)
    evaluations = 1 + (math.ceil(steps / int(args.eval_steps)) if args.eval_steps else 1)
    samples = {"evaluations": evaluations * held_out * recipe.eval_samples}
    samples["probes"] = evaluations * min(recipe.probe_problems, problems)
    samples["gradients"] = evaluations * min(recipe.gradient_problems, problems) * (recipe.gradient_rollouts + 1)
    trained, scored, asked = steps * batch, 0, problems
    if isinstance(args, PairsDPOConfig):
        every = recipe.refresh_steps or steps
        asked = min(problems, every * batch) * (steps // every)
        samples["losers"] = asked * recipe.loser_tries
        trained, scored = 2 * trained, 2 * asked
    elif isinstance(args, ExPGRPOConfig):
        samples["rollouts"] = generations_in(problems, args) * args.generation_batch_size
        scored = samples["rollouts"] * ((args.beta > 0) + _scores_old(args))
        if recipe.positive != "none" and args.beta_sft > 0:
            trained += steps * batch // args.num_generations * recipe.texts_each
        for step in range(recipe.refresh_steps, steps, recipe.refresh_steps or steps):
            rows = rows_between(args, step, min(step + recipe.refresh_steps, steps))
            asked += min(problems, rows.stop - rows.start)
    if recipe.positive in SAMPLED and not recipe.positive_data:
        samples["positives"] = asked * recipe.positive_tries
        scored += asked * _passes_to_choose(recipe)
    trained += samples["gradients"]
    return Work({name: n for name, n in samples.items() if n}, trained, scored, steps)


def _passes_to_choose(recipe: TrainRecipe) -> int:
    """How often the samples of a problem are scored to choose its positive, and the tokens of it that are learnt."""
    # With and without the hint, or only without it.
    to_choose = {"first": 0, "posterior": 2, "weighted": 2}.get(recipe.positive_choice, 1)
    to_mask = 2 if recipe.positive_tokens in ("least_moved", "most_moved") else 0
    return to_choose * recipe.positive_tries + to_mask * recipe.texts_each


def _scores_old(args: ExPGRPOConfig) -> bool:
    """Whether TRL scores rollouts under the policy that sampled them; mirrors the condition in TRL's code."""
    within = args.gradient_accumulation_steps % (args.steps_per_generation * args.num_iterations) == 0
    return not within or (args.use_vllm and args.vllm_importance_sampling_correction)


def seconds_of(
    work: Work,
    recipe: TrainRecipe,
    args: Configuration,
    lengths: Lengths,
    machine: Calibration,
    shape: tuple[int, int, int],
    dtype: str,
) -> dict[str, float]:
    """Seconds by part of the work, on a machine with one GPU per process, or whose cores the processes share.

    `shape` is the number of weights, of trained weights, and of layers; `dtype` is that of the weights.
    """
    weights, trained, layers = shape
    # Several processes on a CPU have no more cores than one.
    n, limit = (args.world_size if machine.on_gpu else 1), args.max_completion_length
    out = {}
    for what, samples in work.samples.items():
        # TRL samples rollouts with `generate`; this package's sampler does the rest.
        kind, rows = "sample", min(math.ceil(samples / n), recipe.rows)
        if isinstance(args, ExPGRPOConfig) and what == "rollouts":
            kind, rows = "generate", args.per_device_train_batch_size * args.steps_per_generation
        out[what] = samples / n / rows * limit * machine.seconds(kind, dtype, weights, layers, rows)
    rows = args.per_device_train_batch_size
    once = machine.seconds("train", dtype, weights, layers, rows * lengths.whole) / rows / n
    # The forward pass is a third of it; checkpointing runs it twice, and an adapter saves the gradients of most
    # weights.
    share = 1 + (1 / 3 if args.gradient_checkpointing else 0) - (1 / 3 if recipe.use_peft else 0)
    out["forward and backward"] = once * work.trained * share
    out["log-probabilities"] = once * work.scored / 3
    out["optimizer"] = work.steps * machine.seconds("optimizer", dtype, trained, layers, 0)
    return {name: seconds for name, seconds in out.items() if seconds}


def disk_of(recipe: TrainRecipe, args: Configuration, work: Work, shape: tuple[int, int, int], itemsize: int) -> float:
    """Bytes of the checkpoints kept at a time, plus one being written, and of the final policy."""
    weights, trained, _ = shape
    how = shared_by(args)
    # An adapter, the optimizer's state of sharded weights, and what FSDP2 trains are float32.
    each = 4 if recipe.use_peft or how != "no" else itemsize
    saved = each * trained if recipe.use_peft else (each if how == "FSDP2" else itemsize) * weights
    state = optimizer_state(args, how, trained, each)
    # An FSDP2 checkpoint holds the weights a second time, in its own format.
    checkpoint = saved * (2 if how == "FSDP2" else 1) + state
    kept = args.save_total_limit or math.ceil(work.steps / int(args.save_steps))
    return float((kept + 1) * checkpoint + saved)


def in_words(seconds: float) -> str:
    """A time in readable units."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    days = hours / 24
    if days < 3:
        return f"{hours:.1f} h"
    return f"{days:.0f} days" if days < 730 else f"{days / 365.25:,.0f} years"


def tokens_in_words(tokens: float) -> str:
    """A short form of a number of tokens."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if tokens >= size:
            return f"{tokens / size:.2g} {word}" if tokens < 10 * size else f"{tokens / size:.0f} {word}"
    return f"{tokens:,.0f}"


def shares(parts: dict[str, float]) -> Iterable[str]:
    """Each part with its share of the total, largest first."""
    whole = sum(parts.values()) or 1.0
    return (f"{name} {part / whole:.0%}" for name, part in sorted(parts.items(), key=lambda x: -x[1]))
