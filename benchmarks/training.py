"""A step of `ExPGRPOTrainer` against one of TRL's `GRPOTrainer`: same policy, prompts, batch and G, in turns.

    python -m benchmarks training                 # the toy and SmolLM2-135M
    accelerate launch --config_file expo/recipes/accelerate/fsdp2.yaml -m benchmarks.training    # on a CPU, too

Processes that share weights cannot take turns step by step, since they must communicate in one order; each trainer
takes a few steps, then the other.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from functools import partial
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOTrainer

from benchmarks.record import compared
from benchmarks.routes import MOST_ROUNDS, Comparison, Route, Work
from benchmarks.turns import stepper, timed
from expo.policies.load import load_policy
from expo.positives.kinds import from_expert
from expo.tasks import TASKS, chain, checker_for, load_task
from expo.train.config import ExPGRPOConfig, configuration
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.positives import as_prompt
from expo.workers import launched

G = 8
TRAINERS = (GRPOTrainer, ExPGRPOTrainer)


def comparisons() -> list[Comparison]:
    """The toy, all weights and an adapter, and SmolLM2-135M."""
    toy = {"name": "tiny-0", "task": "chain", "problems": 64, "batch": 128, "new_tokens": 100}
    words = {"name": "smollm2-135m", "task": "stories", "problems": 12, "batch": G, "new_tokens": 24}
    return [_comparison(**toy), _comparison(**toy, lora=True), _comparison(**words)]


def _comparison(name: str, task: str, problems: int, batch: int, new_tokens: int, *, lora: bool = False) -> Comparison:
    what = "a LoRA adapter" if lora else "all weights"
    work = f"a step of {batch} samples of `{task}`, G = {G}, up to {new_tokens} tokens; {name}, {what}, float32"
    given = {"name": name, "task": task, "problems": problems, "batch": batch, "new_tokens": new_tokens, "lora": lora}
    ours, theirs = (partial(by_trainer, cls, **given) for cls in (ExPGRPOTrainer, GRPOTrainer))
    routes = (Route("ExPGRPOTrainer", ours), Route("GRPOTrainer", theirs, "trl"))
    return Comparison(f"training/{name}{'-adapter' if lora else ''}", work, routes)


def by_trainer(cls: Any, **given: Any) -> Work:
    """A step, generation included."""
    with tempfile.TemporaryDirectory() as folder:
        return stepper(_trainer(cls, folder, steps=MOST_ROUNDS + 1, **given))


def run_blocks(blocks: int = 2, **given: Any) -> str:
    """The same in processes that share weights: each trainer has several blocks of steps, in turns."""
    times: list[list[float]] = [[], []]
    for _ in range(blocks):
        for i, cls in enumerate(TRAINERS):
            with tempfile.TemporaryDirectory() as folder:
                trainer = _trainer(cls, folder, lora=False, **given)
                times[i] += timed(trainer)
                del trainer
                gc.collect()
    theirs, ours = times
    medians = (
        f"{statistics.median(ours):.2f} s a step of ExPGRPOTrainer, {statistics.median(theirs):.2f} s of GRPOTrainer"
    )
    found = compared({"ours": ours, "peer": theirs}, None)
    return f"{given}, {PartialState().num_processes} processes, FSDP2: {medians}, {found}, {len(ours)} steps each"


def _trainer(
    cls: Any, folder: str, name: str, task: str, problems: int, batch: int, new_tokens: int, steps: int, lora: bool
) -> Any:
    policy = load_policy(name, TASKS[task].prompts)
    checker = checker_for(task)
    given = chain.load("train", problems) if task == "chain" else load_task(task, problems=problems)
    rows = [
        {"prompt": as_prompt(policy, p), "positive": list(from_expert(policy, p, checker).scored.completion)}
        for p in given.problems
    ]
    checker.close()
    if policy.tokenizer.pad_token_id is None:
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    settings = {
        "per_device_train_batch_size": batch,
        "num_generations": G,
        "max_completion_length": new_tokens,
        "max_steps": steps,
        "temperature": 0.9,
        "loss_type": "grpo",
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        # The policies stay the same, and so does the length of their samples.
        "learning_rate": 0.0,
    }
    args: ExPGRPOConfig = configuration("grpo", settings, folder)
    adapter = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear", lora_dropout=0.0) if lora else None
    data = Dataset.from_list(rows)
    return cls(policy.model, [by_length], args, data, processing_class=policy.tokenizer, peft_config=adapter)


def by_length(completions: list[Any], **_: Any) -> list[float]:
    """A reward that costs nothing, and differs."""
    return [float(len(str(c)) % 7) for c in completions]


def main() -> None:
    """Measure the toy and SmolLM2, in processes that a launcher has started."""
    if not torch.cuda.is_available():
        import tests.train.fsdp_on_cpu  # noqa: F401 - accelerate takes FSDP for GPUs alone
    state = PartialState()
    toy = {"name": "tiny-0", "task": "chain", "problems": 64, "batch": 64, "new_tokens": 100}
    # A token of a sample gathers all weights: few of them, or it takes hours.
    words = {"name": "smollm2-135m", "task": "stories", "problems": 12, "batch": G, "new_tokens": 12}
    for given in (toy, words):
        result = run_blocks(**given, steps=given["problems"] * G // given["batch"] // launched()[1])
        if launched()[0] == 0:
            print(result, flush=True)
    state.destroy_process_group()


if __name__ == "__main__":
    main()
