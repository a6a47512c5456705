"""Gradients written by hand: slopes, norms and changes that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from expo.recipe import GradientRecipe
from expo.records import Run
from expo.schema import TABLES

from .trainings import levels
from .trainings import write as write_evaluation

SOURCES = ("own", "explanation", "expert")


def write_gradients(folder: Path, *, sign: float = 1, exact: bool = True, **more: Any) -> Run:
    """A run in which the slope is what a step does (times `sign`), and own CoTs gain most.

    T1 is 1e-20, 1e9 or about T2; of q0 nothing is known, of q4 few rollouts of the slope are right, of q6 few of the
    change; a wrong explanation repeats the expert's text.
    """
    recipe = {"task": "chain", "policy": "tiny-0", "sources": list(SOURCES), "sizes": [0.1], "rollouts": 16, **more}
    run = Run.start(folder, GradientRecipe(**recipe).resolved(), toy=True, seed=0)
    alignment, gains = [], []
    for q in range(10):
        for i, source in enumerate((*SOURCES, "wrong_explanation")):
            i = min(i, 2)
            slope, t1 = 3.0 - i + 0.1 * q, (-20.0, 9.0, 0.0)[i]
            alignment.append(
                {
                    **dict.fromkeys(TABLES["alignment"], 0),
                    **{"problem": f"q{q}", "level": 2, "source": source, "hint": "", "text": "t", "ids": [q, i]},
                    **{"truncated": False, "nll_sum": 10.0 * (i + 1), "norm": 2.0 + i, "log10_t1": t1, "slope": slope},
                    **{"slope_error": 0.6 if q else None, "right": 2 if q == 4 else 8, "rollouts": 16, "repeats": 0.25},
                    # Of q1 the own CoT is wrong.
                    "reward": (q, source) != (1, "own"),
                }
            )
            change = sign * slope * 0.05
            gains.append(
                {
                    **{"problem": f"q{q}", "level": 2, "source": source, "size": 0.1, "predicted": slope * 0.05},
                    **{"predicted_error": 0.005 if q else None, "realised": 9.0 if exact else change},
                    # Of q2 a few rollouts weigh all, and more is lost than changes; of q3 all are right.
                    **{"realised_error": None if q == 3 else 0.01, "effective": 2.0 if q == 2 else 20.0},
                    "realised_right": 1 if q == 6 else 8,
                    **{"exact_before": 0.2 if exact else None, "exact_after": 0.2 + change if exact else None},
                    "lost": (0.9 if q == 2 else 0.001) if exact else None,
                }
            )
    run.write("alignment", pd.DataFrame(alignment))
    run.write("gains", pd.DataFrame(gains))
    rows = alignment[:8]
    pairs: list[dict[str, Any]] = [
        {
            **{"step": 0, "problem": a["problem"], "source": a["source"]},
            **{"other_problem": b["problem"], "other_source": b["source"]},
            **{"product": 3.0 if a["problem"] == b["problem"] else -1.0, "norm": a["norm"], "other_norm": b["norm"]},
        }
        for i, a in enumerate(rows)
        for b in rows[: i + 1]
    ]
    run.write("gradients", pd.DataFrame(pairs))
    return run


def write_trained(folder: Path, base: str, positive: str, slope: float) -> None:
    recipe = {
        **{
            "task": "chain",
            "policy": base,
            "positive": positive,
            "levels": None,
            "gradient_rollouts": 8,
            "gradient_problems": 2,
        },
        **{"eval_split": "test", "eval_temperature": 0.7},
    }
    where = folder / f"{base}-{positive}"
    write_evaluation(where, recipe, {0: levels(0.1), 10: levels(0.2)})
    alignment: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for step in (0, 10):
        for source in ("own", positive):
            alignment.append(
                {
                    **dict.fromkeys(TABLES["alignment"], 0),
                    **{
                        "step": step,
                        "problem": "q",
                        "source": source,
                        "hint": "",
                        "text": "t",
                        "ids": [ord(source[0])],
                    },
                    **{
                        "truncated": False,
                        "reward": True,
                        "norm": 2.0 + step,
                        "log10_t1": -3.0,
                        "slope": slope * (2.0 + step),
                    },
                    **{"slope_error": 0.1, "right": 4, "rollouts": 8},
                }
            )
        for a, b, product in (("own", "own", 4.0), (positive, "own", 1.0), (positive, positive, 4.0)):
            pairs.append(
                {
                    **{"step": step, "problem": "q", "source": a, "other_problem": "q", "other_source": b},
                    **{"product": product, "norm": 2.0, "other_norm": 2.0},
                }
            )
    Run(where).write("alignment", pd.DataFrame(alignment))
    Run(where).write("gradients", pd.DataFrame(pairs))
