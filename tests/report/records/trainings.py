"""Trainings and evaluations written by hand: accuracies by level that are known."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.records import Run
from expo.report.trainings import EvaluatedRun, find_evaluated
from expo.schema import TABLES, as_frame

N = 8


def write(folder: Path, recipe: dict[str, Any], right: dict[int, dict[int, float]], **facts: Any) -> None:
    """A run whose problems of a level have a share of right samples, by step and level."""
    run = Run.start(folder, recipe, seed=0, toy=True, weights="none", **facts)
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    rows = [
        {
            **dict.fromkeys(TABLES["evaluation"], 0),
            "step": step,
            "problem": f"p{level}-{i}",
            "level": level,
            "n": N if "positive" in recipe else 128,
            "correct": int(np.clip(round(share * N + rng.integers(-1, 2)), 0, N)),
            "steps": 10,
            "steps_true": 7,
        }
        for step, shares in right.items()
        for level, share in shares.items()
        for i in range(12)
    ]
    if "positive" in recipe:
        groups = [
            {
                **dict.fromkeys(TABLES["groups"], 0),
                "problem": f"p{level}-0",
                "level": level,
                "n": 4,
                "correct": 5 - level,
            }
            for level in (4, 5)
        ]
        run.write("groups", pd.DataFrame(groups))
        held = [] if recipe["positive"] == "none" else ["p5-0"]
        blank = {
            **dict.fromkeys(TABLES["positives"], 0),
            "source": "",
            "hint": "",
            "text": "",
            "status": "",
            "ids": [1],
        }
        blank["leak"] = False
        positives = as_frame("positives", [{**blank, "problem": p} for p in held])
        run.write("positives", positives)
    run.write("evaluation", pd.DataFrame(rows))


def levels(hard: float) -> dict[int, float]:
    return {1: 1.0, 2: 0.9, 3: 0.8, 4: 0.4, 5: hard}


def write_study(folder: Path, name: str, trained_on: list[int] | None, rate: float = 3e-4) -> None:
    """Trainings of three bases with three methods."""
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        for positive, end in (("explanation", 0.8), ("none", 0.1), ("expert", 0.3)):
            recipe = {
                "task": "chain",
                "policy": base,
                "levels": trained_on,
                "positive": positive,
                "eval_split": "test",
                "eval_temperature": 0.7,
                "learning_rate": rate,
            }
            shares = {0: levels(0.0), 10: levels(end / 2), 20: levels(end)}
            write(folder / f"{name}-{base}-{positive}", recipe, shares)


BASE = {"task": "chain", "samples": 128, "split": "test", "temperature": 0.7, "max_new_tokens": 512}


def without_levels(runs: list[EvaluatedRun]) -> list[EvaluatedRun]:
    """The same runs as of a task that has none."""
    for run in runs:
        run.run.write("evaluation", run.evaluation.assign(level=pd.NA))
        if run.run.has("pairs"):
            run.run.write("pairs", run.run.read("pairs").assign(level=pd.NA))
    return find_evaluated(runs[0].run.folder.parent)[0]
