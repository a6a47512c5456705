"""Trainings as a report sees them: which method, from which base, on which levels, and how accurate at each step."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from expo.evaluate import pass_at_k
from expo.measure.verdict import Interval, bootstrap
from expo.report.runs import Finished, differing, origin_of, runs_in
from expo.report.words import METHODS, listed

LEVELS = (1, 2, 3, 4, 5)
# Methods of the paper, which have its pictures.
_DRAWN = {"explanation", "expert", "none"}
# Fields in which trainings that are shown together must agree.
_SETTING = {"task", "data", "split", "problems", "levels", "prompts"}
_SETTING |= {f"eval_{name}" for name in ("data", "split", "problems", "levels", "samples", "temperature")}
_DRAWN |= {f"dpo_{kind}{when}" for kind in ("explanation", "expert", "answer") for when in ("", "_online")}


@dataclass(frozen=True)
class Evaluated(Finished):
    """A finished run that has an evaluation: of a policy alone, or of one while it is trained."""

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """How many of each problem's samples were right, by step."""
        return self.run.read("evaluation")

    @property
    def base(self) -> str:
        """The policy before any training, as it was given: what tells bases apart. It may be a path."""
        given = os.path.normpath(str(self.run.environment().get("trained_from") or self.recipe["policy"]))
        return "tiny-0" if given == "tiny" else given

    @property
    def base_name(self) -> str:
        """Its last part, to be shown; never a path of this machine."""
        return Path(self.base).name

    @property
    def is_training(self) -> bool:
        """Whether the policy was trained."""
        return "positive" in self.recipe

    @property
    def is_sft(self) -> bool:
        """Whether it was trained on positives alone."""
        return self.recipe.get("algorithm") == "sft"

    @property
    def is_dpo(self) -> bool:
        """Whether it was trained on pairs."""
        return self.recipe.get("algorithm") == "dpo"

    @property
    def method(self) -> str:
        """What it was trained with, as METHODS names it; "base" if with nothing, "trained" if by another run."""
        trained_before = self.run.environment().get("trained_from")
        if not self.is_training:
            return "trained" if trained_before else "base"
        if trained_before:
            return "again"
        if self.is_sft:
            return f"sft_{self.recipe['positive']}"
        if self.is_dpo:
            return f"dpo_{self.recipe['positive']}{'_online' * bool(self.recipe.get('refresh_steps'))}"
        return "none" if self.recipe.get("beta_sft", 1.0) == 0 else str(self.recipe["positive"])

    @property
    def levels(self) -> str:
        """The levels trained on, in words."""
        held = self.recipe.get("levels")
        if not held:
            return "all levels"
        return ("level " if len(held) == 1 else "levels ") + ", ".join(map(str, held))

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        # TRL's defaults.
        return float(self.recipe.get("learning_rate", 2e-5 if self.is_sft else 1e-6))

    @property
    def beta(self) -> float:
        """The weight of the added term at the beginning; of DPO its beta."""
        if self.is_dpo:
            return float(self.recipe.get("beta", 0.1))
        return 0.0 if self.is_sft or self.method == "none" else float(self.recipe.get("beta_sft", 1.0))

    @property
    def batch(self) -> int:
        """Samples a step, or pairs, over all processes."""
        batch, accumulated = (
            self.recipe.get(k, d) for k, d in (("per_device_train_batch_size", 8), ("gradient_accumulation_steps", 1))
        )
        return int(batch * accumulated * (self.run.environment().get("processes") or 1))

    @property
    def limit(self) -> int:
        """Tokens of a sample."""
        if not self.is_training:
            return int(self.recipe["max_new_tokens"])
        # TRL's default, and that of expo.train.config.
        usual = 256 if self.is_dpo or self.is_sft else 512
        return int(self.recipe.get("max_completion_length") or usual)

    @property
    def trained_levels(self) -> tuple[int, ...] | None:
        """The levels trained on; None if it was all there are, or problems without."""
        return tuple(self.recipe.get("levels") or ()) or None

    @property
    def last_step(self) -> int:
        """The last step evaluated."""
        return int(self.evaluation["step"].max())

    def at(self, step: int, levels: Iterable[int] | None = None) -> pd.DataFrame:
        """The evaluation of a step: of problems of these levels, or of all, also those that have none."""
        held = self.evaluation[self.evaluation["step"] == step]
        return held if levels is None else held[held["level"].isin(list(levels))]

    def accuracies(self, step: int, levels: Iterable[int] | None = None, k: int = 1) -> pd.Series:
        """pass@k of each problem of these levels at a step, or of all, indexed by problem."""
        held = self.at(step, levels)
        values = [pass_at_k(int(n), int(c), k) for n, c in zip(held["n"], held["correct"], strict=True)]
        return pd.Series(values, index=held["problem"], dtype=float)

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any path of this machine."""
        return {**origin_of(self.run), "policy": self.base_name, "toy": self.is_toy}


def find_evaluated(folder: Path | str) -> tuple[list[Evaluated], list[str]]:
    """The finished trainings and evaluations of a study's folder, and the names of those cut short.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    runs = runs_in(folder, "train")
    ours = [run for run in runs if "sources" not in run.recipe()]
    return [Evaluated(r) for r in ours if r.has("evaluation")], [r.folder.name for r in ours if not r.has("evaluation")]


def levels_of(runs: Iterable[Evaluated]) -> list[int]:
    """Those of `LEVELS` that were evaluated; none of a task without."""
    found = {level for run in runs for level in run.evaluation["level"].dropna().unique()}
    return [level for level in LEVELS if level in found]


def over_bases(
    runs: Sequence[Evaluated], step: int | None = None, levels: Iterable[int] | None = None, k: int = 1
) -> Interval:
    """Mean pass@k over bases and problems, with a bootstrap interval over problems, the bases' mean of each.

    The interval says nothing of other bases; `spread` does. `step` is the last one if None. Runs from one base, as with
    several seeds, count as one: their mean.
    """
    return bootstrap(pd.concat(_of_bases(runs, step, levels, k), axis=1).mean(axis=1).to_numpy())


def spread(
    runs: Sequence[Evaluated], step: int | None = None, levels: Iterable[int] | None = None, k: int = 1
) -> list[float]:
    """Mean pass@k of each base."""
    return [float(held.mean()) for held in _of_bases(runs, step, levels, k)]


def per_base(runs: Iterable[Evaluated], value: Callable[[Evaluated], float]) -> list[float]:
    """A number of each base: the mean over its runs."""
    held: dict[str, list[float]] = {}
    for run in runs:
        held.setdefault(run.base, []).append(value(run))
    return [sum(some) / len(some) for some in held.values()]


def _of_bases(runs: Sequence[Evaluated], step: int | None, levels: Iterable[int] | None, k: int) -> list[pd.Series]:
    """pass@k of each problem, for each base."""
    levels = None if levels is None else list(levels)
    held: dict[str, list[pd.Series]] = {}
    for run in runs:
        held.setdefault(run.base, []).append(run.accuracies(run.last_step if step is None else step, levels, k))
    return [pd.concat(some, axis=1).mean(axis=1) for some in held.values()]


def order(a: pd.Series, b: pd.Series) -> int:
    """1 if every base of `a` is above every base of `b`, -1 if below, 0 if they overlap: no order is shown then.

    Rows of a table with the `lowest` and `highest` base.
    """
    return int(a["lowest"] > b["highest"]) - int(a["highest"] < b["lowest"])


def is_grid(runs: Iterable[Evaluated]) -> bool:
    """Whether trainings are to be shown as a table: of several rates or weights of a method, or of controls."""
    settings = {(run.levels, run.method, run.rate, run.beta) for run in runs}
    several = len({s[:2] for s in settings}) < len(settings)
    return several or not {method for _, method, *_ in settings} <= _DRAWN


def by_method(runs: Iterable[Evaluated]) -> dict[str, list[Evaluated]]:
    """Runs of each method, in the order of METHODS.

    Raises:
        ValueError: if a method was trained at several rates or weights, a mean over which would say nothing, or if the
            runs are of different models, problems or ways of evaluation.
    """
    held: dict[str, list[Evaluated]] = {}
    for run in runs:
        held.setdefault(run.method, []).append(run)
    found = {method: held[method] for method in METHODS if method in held}
    check_comparable([run for some in found.values() for run in some])
    for some in found.values():
        check_alike(some)
    return found


def check_comparable(runs: Sequence[Evaluated]) -> None:
    """That these runs may stand in one picture.

    Raises:
        ValueError: if they are of different models, or trained or evaluated on other problems or in another way.
    """
    models = sorted({_model(run) for run in runs})
    apart = sorted(differing(runs) & _SETTING) if runs else []
    apart += ["max_completion_length"] if len({run.limit for run in runs}) > 1 else []
    if len(models) > 1 or apart:
        what = f"are of {listed(models)}" if len(models) > 1 else f"differ in {', '.join(apart)}"
        names = ", ".join(run.name for run in runs[:3]) + ", ..." * (len(runs) > 3)
        raise ValueError(f"{names}: these runs {what}, and cannot be compared; put them into folders of their own")


def untrained(runs: Iterable[Evaluated]) -> list[Evaluated]:
    """The runs whose step 0 is a base, or all if none's is."""
    runs = list(runs)
    return [run for run in runs if run.method != "again"] or runs


def check_alike(runs: Sequence[Evaluated]) -> None:
    """That these runs may be averaged.

    Raises:
        ValueError: if their recipes differ in more than base and seed, the fields are named; or if one ended early.
    """
    if differ := sorted(differing(runs) - {"policy", "seed", "rows"}):
        raise ValueError(
            f"{METHODS[runs[0].method]} was trained in several ways, which no mean may join: its runs differ in "
            f"{', '.join(differ)}. Rates and weights can be drawn as a grid"
        )
    facts = [(run.recipe.get("seed"), run.run.environment()) for run in runs]
    if len({(seed, held.get("data_sha256")) for seed, held in facts}) > len({seed for seed, _ in facts}):
        raise ValueError(
            f"{METHODS[runs[0].method]}: its runs had other problems at the same seed; the data has changed"
        )
    if len({held.get("processes") or 1 for _, held in facts}) > 1:
        raise ValueError(
            f"{METHODS[runs[0].method]}: its runs had other numbers of processes, and so other batches; put them into "
            "folders of their own"
        )
    ends = {run.name: run.last_step for run in runs}
    if len(set(ends.values())) > 1:
        told = ", ".join(f"{name} after step {step}" for name, step in ends.items())
        raise ValueError(
            f"{METHODS[runs[0].method]} ended at different steps, which no mean may join: {told}. DPO ends where a "
            "round has no pair; put such runs into a folder of their own"
        )


def _model(run: Evaluated) -> str:
    """What its base is one of, if it is numbered: tiny-0 and tiny-1, or my-model-seed1 and my-model-seed2."""
    return re.sub(r"[-_.]?(seed)?[-_]?\d+$", "", run.base_name) or run.base_name


def label(runs: Sequence[Evaluated]) -> str:
    """What an artefact's name ends in: the policy, then the task if it is not the toy's."""
    policy = runs[0].base_name if len({run.base for run in runs}) == 1 else _model(runs[0])
    if re.fullmatch(r"tiny(-\d+)?", policy):
        return "tiny"
    return re.sub(r"[^a-z0-9.]+", "-", f"{policy.removesuffix('.gguf')}-{runs[0].recipe['task']}".lower()).strip("-.")
