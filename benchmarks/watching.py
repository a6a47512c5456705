"""What it costs to measure gradients while a policy is trained: the same training with and without, in turns."""

from __future__ import annotations

import statistics
import tempfile
import time

from expo.train.recipe import read_recipe
from expo.train.run import train

STEPS, EVERY, PROBLEMS = 20, 10, 4


def run(policy: str, repeats: int = 3) -> str:
    """The time that they add to the rest: 4 problems with the usual number of rollouts, every 10 steps."""
    ratios = []
    # The first of all warms up.
    for i in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            without, with_them = (_seconds(policy, f"{folder}/{n}", n) for n in (0, PROBLEMS))
        ratios += [with_them / without] if i else []
    shown = ", ".join(f"{100 * (r - 1):.0f}" for r in sorted(ratios))
    return (
        f"gradients while training: {policy}, {PROBLEMS} problems every {EVERY} of {STEPS} steps of 64 samples\n"
        f"  {100 * (statistics.median(ratios) - 1):.0f} % of the time without them, median of {shown}"
    )


def _seconds(policy: str, folder: str, problems: int) -> float:
    values = {
        "task": "chain",
        "policy": policy,
        "problems": 64,
        "eval_problems": 50,
        "eval_steps": EVERY,
        "max_steps": STEPS,
        "per_device_train_batch_size": 64,
        "num_generations": 8,
        "max_completion_length": 100,
        "gradient_checkpointing": False,
        "gradient_problems": problems,
    }
    recipe, begun = read_recipe(values), time.perf_counter()
    train(recipe, folder, progress=False)
    return time.perf_counter() - begun
