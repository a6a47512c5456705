"""A step of `ExPGRPOTrainer` against one of TRL's `GRPOTrainer`: same policy, prompts, batch and G, in turns.

    python -m benchmarks.training                 # the toy and SmolLM2-135M, all weights and a LoRA adapter
    python -m benchmarks.training --processes     # under FSDP2, started by accelerate launch; on a CPU, too

Processes that share weights cannot take turns step by step, for they must call each other in one order; each trainer
takes a few steps, and then the other.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOTrainer

from benchmarks.turns import compared, in_turns, timed
from expo.policies.load import load_policy
from expo.positives.kinds import from_expert
from expo.tasks import TASKS, chain, checker_for, load_task
from expo.tasks.problem import Problem
from expo.train.config import ExPGRPOConfig, configuration
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.positives import as_prompt
from expo.workers import launched

G = 8
TRAINERS = (GRPOTrainer, ExPGRPOTrainer)
NAMES = ("GRPOTrainer", "ExPGRPOTrainer")
_ABOUT = " (the added term is one sequence for each 8: 1.125 if it cost as much as they do)"


def run(name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int, *, lora: bool = False) -> str:
    """Seconds a step of both, generation included, and the median ratio of steps on the same prompts."""
    given = (name, task, problems, batch, new_tokens, lora)
    with tempfile.TemporaryDirectory() as folder:
        times = in_turns(*(_trainer(cls, folder, *given) for cls in TRAINERS))
    return f"{_head(name, batch, new_tokens, lora)}\n{compared(NAMES, times, _ABOUT)}"


def run_blocks(name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int, blocks: int = 2) -> str:
    """The same in processes that share weights: each trainer has several blocks of steps, in turns."""
    times: list[list[float]] = [[], []]
    for _ in range(blocks):
        for i, cls in enumerate(TRAINERS):
            with tempfile.TemporaryDirectory() as folder:
                trainer = _trainer(cls, folder, name, task, problems, batch, new_tokens, lora=False)
                times[i] += timed(trainer)
                del trainer
                gc.collect()
    state = PartialState()
    head = f"{_head(name, batch, new_tokens, False)}, {state.num_processes} processes, FSDP2"
    return f"{head}\n{compared(NAMES, times, _ABOUT)}"


def _head(name: str, batch: int, new_tokens: int, lora: bool) -> str:
    what = "a LoRA adapter" if lora else "all weights"
    return f"training: {name}, {what}, {batch} samples a step and process, G = {G}, up to {new_tokens} new tokens"


def _trainer(
    cls: Any, folder: str, name: str, task: str, problems: Sequence[Problem], batch: int, new_tokens: int, lora: bool
) -> Any:
    policy = load_policy(name, TASKS[task].prompts)
    checker = checker_for(task)
    rows = [
        {"prompt": as_prompt(policy, p), "positive": list(from_expert(policy, p, checker).scored.completion)}
        for p in problems
    ]
    checker.close()
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    given = {
        "per_device_train_batch_size": batch,
        "num_generations": G,
        "max_completion_length": new_tokens,
        "max_steps": len(rows) * G // batch // launched()[1],
        "temperature": 0.9,
        "loss_type": "grpo",
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        # The policies stay alike, and so does the length of what they sample.
        "learning_rate": 0.0,
    }
    args: ExPGRPOConfig = configuration("grpo", given, folder)
    adapter = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear", lora_dropout=0.0) if lora else None
    data = Dataset.from_list(rows)
    return cls(policy.model, [by_length], args, data, processing_class=policy.tokenizer, peft_config=adapter)


def by_length(completions: list[Any], **_: Any) -> list[float]:
    """A reward that costs nothing, and differs."""
    return [float(len(str(c)) % 7) for c in completions]


def main() -> None:
    """Measure the toy and SmolLM2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", action="store_true", help="started by accelerate launch, with fsdp2.yaml")
    asked = parser.parse_args()
    toy, words = chain.load("train", 64).problems, load_task("stories", problems=12).problems
    if asked.processes:
        if not torch.cuda.is_available():
            import tests.train.fsdp_on_cpu  # noqa: F401 - accelerate takes FSDP for GPUs alone
        state = PartialState()
        # A token of a sample gathers all weights: few of them, or it takes hours.
        for given in (("tiny-0", "chain", toy, 64, 100), ("smollm2-135m", "stories", words, 8, 12)):
            result = run_blocks(*given)
            if launched()[0] == 0:
                print(result, flush=True)
        state.destroy_process_group()
        return
    for lora in (False, True):
        print(run("tiny-0", "chain", toy, 128, 100, lora=lora), flush=True)
        print(run("smollm2-135m", "stories", words, 8, 64, lora=lora), flush=True)


if __name__ == "__main__":
    main()
