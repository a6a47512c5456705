"""Trainings by DPO written by hand: losses, margins and pairs that are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from expo.records import Run
from expo.schema import TABLES
from theory.objectives import dpo_loss

from .trainings import levels, write

BETA = 0.1


# Of each arm: accuracy at level 5 at the end, and the relative gain of its batches at the end, in nats.
ARMS = {
    ("explanation", 0): (0.3, 10.0),
    ("explanation", 10): (0.8, 10.0),
    ("expert", 0): (0.1, 60.0),
    ("expert", 10): (0.3, 40.0),
    ("answer", 0): (0.1, 40.0),
}


def write_arm(folder: Path, base: str, kind: str, refresh: int, end: float, gain: float, rate: float = 1e-4) -> None:
    recipe = {
        "algorithm": "dpo",
        "task": "chain",
        "policy": base,
        "levels": None,
        "positive": kind,
        "refresh_steps": refresh,
        "eval_split": "test",
        "eval_temperature": 0.7,
        "learning_rate": rate,
        "per_device_train_batch_size": 16,
    }
    where = folder / f"{base}-{kind}-{refresh}"
    write(where, recipe, {0: levels(0.0), 10: levels(end / 2), 20: levels(end)})
    run = Run(where)
    metrics = []
    for step in range(1, 21):
        margin = gain * (step - 1) / 19
        values = {"rewards/margins": BETA * margin, "loss": float(dpo_loss(margin, BETA)) + 0.01}
        metrics += [{"step": step, "name": name, "value": value} for name, value in values.items()]
    run.write("metrics", pd.DataFrame(metrics))
    rows = [
        {
            **dict.fromkeys(TABLES["margins"], 0),
            "step": step,
            "sampled": sampled,
            "problem": f"p{i}",
            "winner": -20.0 + step / 10,
            "loser": -15.0 - step,
            "winner_tokens": 10,
            "loser_tokens": 10,
            "ref_winner": -20.0,
            "ref_loser": -15.0,
        }
        for step in (0, 10, 20)
        for sampled in sorted({0, refresh if step > 10 else 0})
        for i in range(4)
    ]
    run.write("margins", pd.DataFrame(rows))
    blank = dict.fromkeys(TABLES["pairs"], 0) | {"source": kind, "winner": "w", "loser": "l"}
    blank |= {"winner_ids": [1], "loser_ids": [2], "loser_truncated": False}
    statuses = ["correct"] * (3 if kind == "expert" else 1) + ["wrong"] * 4
    pairs = [
        {**blank, "problem": f"p{i}", "level": 1 + i % 5, "loser_status": status} for i, status in enumerate(statuses)
    ]
    run.write("pairs", pd.DataFrame(pairs))
