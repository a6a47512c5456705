"""Records written by hand, with properties that a report must see: as the paper says, or reversed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.report.positives.measurements import Measurement
from expo.schema import TABLES, as_frame
from expo.tasks import chain

Make = Callable[..., Measurement]


def samples(
    n: int, k: int, *, reverse: bool = False, leveled: bool = True, shift: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """Rows in which explanations are likely, lead to the answer and have true steps; `reverse` swaps all."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    problems = chain.load("test", n).problems
    for p in problems:
        own_steps, expert_steps = chain.parse(p.question).own_steps, chain.parse(p.question).expert_steps
        for source in ("own", "explanation", "expert", "own_correct", "wrong_explanation", "nonsense"):
            for index in range(k if source in ("own", "explanation") else 1):
                good = (source in ("explanation", "expert", "own_correct")) != (reverse and source != "expert")
                likely = (source != "expert") != reverse
                steps = expert_steps if source == "expert" else own_steps
                cot = " ".join(steps if good else [steps[0].replace(" get ", " get wrong "), *steps[1:]])
                tokens = len(cot.split()) + len(p.answer.split()) + 2
                per_token = (0.2 if likely else 1.5) + shift + 0.1 * rng.random()
                rows.append(
                    {
                        "problem": p.id,
                        "level": p.level if leveled else None,
                        "source": source,
                        "index": index,
                        "question": p.question,
                        "reference": p.answer,
                        "hint": "" if source in ("own", "expert") else p.answer,
                        "text": f"{cot} <ans> {p.answer}",
                        "cot": cot,
                        "answer": p.answer if good else "",
                        "tokens": tokens,
                        "cot_tokens": len(cot.split()),
                        "answer_tokens": len(p.answer.split()) + 1,
                        "nll_sum": per_token * tokens,
                        "nll_per_token": per_token,
                        "nll_cot": per_token * len(cot.split()),
                        "learning_signal": -(0.1 if good else 4.0) - 0.1 * rng.random(),
                        "status": "" if source == "expert" else "correct" if good else "unparsed",
                        "correct": None if source == "expert" else good,
                        "truncated": source == "nonsense",
                        "leak": source == "explanation" and index == 0,
                        "steps": len(steps),
                        "steps_true": len(steps) - (not good),
                    }
                )
    return as_frame("samples", rows)


def votes(problems: list[str], *, wins: float, seed: int = 0, unparsed: int = 0) -> pd.DataFrame:
    """Votes of a made-up judge, the same in both orders; the first `unparsed` problems lack one."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, p in enumerate(problems):
        vote = "first" if rng.random() < wins else "second"
        for order in ("AB", "BA"):
            given = "unparsed" if i < unparsed and order == "BA" else vote
            rows.append({"problem": p, "order": order, "vote": given, "reply": "", "judge": "judge-1"})
    frame = pd.DataFrame(rows)
    unused = {name: False if kind == "boolean" else "" for name, kind in TABLES["votes"].items()}
    return frame.assign(**{name: value for name, value in unused.items() if name not in frame})


def writer(folder: Path) -> Make:
    """What writes a run under `folder/runs`: `make("tiny-0", n=12, reverse=True, temperature=0.5)`."""

    def write(name: str, *, n: int = 12, k: int = 2, judged: float | None = None, **how: Any) -> Measurement:
        fields = set(MeasureRecipe.__dataclass_fields__)
        asked = {key: how.pop(key) for key in list(how) if key in fields}
        recipe = MeasureRecipe(**{"task": "chain", "policy": name, "samples": k, "problems": n, **asked})
        run = Run.start(folder / "runs" / name, recipe.resolved(), toy=recipe.task == "chain", seed=recipe.seed)
        table = samples(n, k, seed=recipe.seed, **how)
        run.write("skips", pd.DataFrame([{"where": "f:1", "field": "expert_cot", "reason": "none"}]))
        if judged is not None:
            run.write("votes", votes(list(table["problem"].unique()), wins=judged, unparsed=1))
        run.write("samples", table)
        return Measurement(run)

    return write
