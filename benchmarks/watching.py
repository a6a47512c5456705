"""The cost of measuring gradients during training: the same training with and without it."""

from __future__ import annotations

import tempfile
from functools import partial

from benchmarks.routes import Comparison, Route, Work
from expo.train.recipe import read_recipe
from expo.train.run import train

POLICY, STEPS, EVERY, PROBLEMS = "tiny-0", 20, 10, 4


def comparisons() -> list[Comparison]:
    """Gradients of 4 problems with the usual number of rollouts, every 10 steps."""
    work = f"{STEPS} steps of 64 samples of `chain`, {POLICY}, and gradients at {PROBLEMS} problems every {EVERY} steps"
    routes = (
        Route("expo train, gradients measured", partial(by_training, PROBLEMS)),
        Route("expo train", partial(by_training, 0)),
    )
    return [Comparison(f"watching/{POLICY}", work, routes)]


def by_training(problems: int) -> Work:
    """A whole training."""
    values = {
        "task": "chain",
        "policy": POLICY,
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

    def work(**fewer: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            train(read_recipe(values | fewer), folder, progress=False)

    work(max_steps=EVERY)
    return work
