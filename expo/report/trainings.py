"""Trainings as a report sees them: their method, base and levels, and which ones may be shown together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from expo.records import method_of
from expo.report.runs import FinishedRun, differing, runs_in
from expo.report.words import is_method, levels_in_words, listed, method_name, method_order
from expo.stats import pass_at_k_of
from expo.text import plural

# Those of MATH in the paper.
LEVELS = (1, 2, 3, 4, 5)
# Methods in the paper's pictures: its own, and the two-stage rival.
_DRAWN = {"explanation", "expert", "none", "sft_explanation+none"}
_DRAWN |= {f"dpo_{source}{suffix}" for source in ("explanation", "expert", "answer") for suffix in ("", "_online")}
# Fields in which trainings and evaluations that are shown together must agree.
_SETTING = {"task", "data", "split", "problems", "levels", "prompts", "boxed_only", "last_number", "tolerance"}
_SETTING |= {"sampling_dtype"}
_SETTING |= {f"eval_{name}" for name in ("data", "split", "problems", "levels", "samples", "temperature")}


@dataclass(frozen=True)
class EvaluatedRun(FinishedRun):
    """A finished run with evaluations: of a fixed policy, or of one during training."""

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """The number of right samples of each problem, by step."""
        return self.run.read("evaluation")

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Samples of the watched training questions, by step."""
        return self.run.read("probes")

    @property
    def policy_name(self) -> str:
        """The last part of the base's name, for display; never a path of this machine."""
        return Path(self.base).name

    @property
    def is_training(self) -> bool:
        """Whether the policy was trained."""
        return "positive" in self.recipe

    @property
    def is_sft(self) -> bool:
        """Whether it was trained on positives only."""
        return self.recipe.get("algorithm") == "sft"

    @property
    def is_dpo(self) -> bool:
        """Whether it was trained on pairs."""
        return self.recipe.get("algorithm") == "dpo"

    @property
    def method(self) -> str:
        """Its method, named as in METHODS; "base" if it was not trained, "trained" if another run trained it."""
        trained_before = self.environment.get("trained_from")
        if not self.is_training:
            return "trained" if trained_before else "base"
        if not trained_before:
            return self._last_method
        sequence = f"{self.trained_before}+{self._last_method}"
        return sequence if is_method(sequence) else "again"

    @property
    def trained_method(self) -> str:
        """For a policy that is only evaluated, the method it was trained with before; "base" if there was none."""
        return self.trained_before or self.method

    @property
    def _last_method(self) -> str:
        return method_of(self.recipe)

    @property
    def adds_nothing(self) -> bool:
        """Whether it was trained with GRPO only, from any policy."""
        return self.is_training and self._last_method == "none"

    @property
    def levels(self) -> str:
        """The training levels, in words."""
        return levels_in_words(self.recipe.get("levels"))

    @property
    def trained_levels(self) -> tuple[int, ...] | None:
        """The training levels; None if these are all levels, or if the problems have none."""
        return tuple(self.recipe.get("levels") or ()) or None

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        # TRL's defaults.
        return float(self.recipe.get("learning_rate", 2e-5 if self.is_sft else 1e-6))

    @property
    def beta(self) -> float:
        """The weight of the added term at the beginning; for DPO, its beta."""
        if self.is_dpo:
            return float(self.recipe.get("beta", 0.1))
        return 0.0 if self.is_sft or self.adds_nothing else float(self.recipe.get("beta_sft", 1.0))

    @property
    def unit(self) -> str:
        """What a batch consists of."""
        return "pairs" if self.is_dpo else "positives" if self.is_sft else "samples"

    @property
    def batch(self) -> int:
        """Samples, pairs or positives per step, over all processes."""
        batch, accumulated = (
            self.recipe.get(k, d) for k, d in (("per_device_train_batch_size", 8), ("gradient_accumulation_steps", 1))
        )
        return int(batch * accumulated * (self.environment.get("processes") or 1))

    @property
    def batch_of_questions(self) -> str:
        """A batch in words; for samples also its number of questions, each of which may have a positive."""
        batch = f"{self.batch} {self.unit}"
        questions = self.batch // int(self.recipe.get("num_generations") or 8)
        return batch if self.is_sft or self.is_dpo else f"{batch} to {plural(questions, 'question')}"

    @property
    def seed(self) -> int:
        """The seed of the training."""
        # TRL's default.
        return int(self.recipe.get("seed", 42))

    @property
    def temperature(self) -> float:
        """The temperature at which a training draws the policy's own samples."""
        # TRL's default, and that of expo.train.config.
        return float(self.recipe.get("temperature", 0.9 if self.is_dpo or self.is_sft else 1.0))

    @property
    def limit(self) -> int:
        """The token limit of a sample."""
        if not self.is_training:
            return int(self.recipe["max_new_tokens"])
        # TRL's default, and that of expo.train.config.
        usual = 256 if self.is_dpo or self.is_sft else 512
        return int(self.recipe.get("max_completion_length") or usual)

    @property
    def last_step(self) -> int:
        """The last evaluated step."""
        return int(self.evaluation["step"].max())

    @property
    def eval_samples(self) -> int:
        """The number of samples of each problem that were evaluated."""
        return int(self.evaluation["n"].min())

    @property
    def sampling(self) -> str:
        """The number of evaluated samples and their temperature, in words."""
        return f"{self.eval_samples} samples each at T = {self.recipe['eval_temperature']:g}"

    def at(self, step: int, levels: Iterable[int] | None = None) -> pd.DataFrame:
        """The evaluation of a step, on the problems of these levels, or on all problems, even those without a level."""
        rows = self.evaluation[self.evaluation["step"] == step]
        return rows if levels is None else rows[rows["level"].isin(list(levels))]

    def accuracies(self, step: int, levels: Iterable[int] | None = None, k: int = 1) -> pd.Series:
        """pass@k of each problem of these levels at a step, or of all problems, indexed by problem."""
        rows = self.at(step, levels)
        return pass_at_k_of(rows.set_index("problem"), k)

    def steps_true(self, step: int, levels: Iterable[int] | None = None) -> pd.Series:
        """The share of true steps of each problem that has steps, in the form of `accuracies`."""
        rows = self.at(step, levels).set_index("problem")
        rows = rows[rows["steps"] > 0]
        return (rows["steps_true"] / rows["steps"]).astype(float)


def find_evaluated(folder: Path | str) -> tuple[list[EvaluatedRun], list[str]]:
    """The finished trainings and evaluations in a study's folder, and the names of unfinished ones.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    runs = [run for run in runs_in(folder, "train") if "sources" not in run.recipe()]
    finished = [EvaluatedRun(run) for run in runs if run.has("evaluation")]
    return finished, [run.folder.name for run in runs if not run.has("evaluation")]


def levels_of(runs: Iterable[EvaluatedRun]) -> list[int]:
    """The levels that were evaluated; none for a task without levels."""
    return sorted({int(level) for run in runs for level in run.evaluation["level"].dropna().unique()})


def before_training(runs: Iterable[EvaluatedRun]) -> list[EvaluatedRun]:
    """The runs whose step 0 is a base, or all runs if there are none."""
    runs = list(runs)
    return [run for run in runs if not run.environment.get("trained_from")] or runs


def without_stages(runs: Iterable[EvaluatedRun]) -> list[EvaluatedRun]:
    """The runs, without those whose policy another of them continues from: a stage is not a result by itself."""
    runs = list(runs)
    # A policy is <study>/<run>/model, or <study>/<run>/checkpoints/checkpoint-<step>, wherever the runs are now.
    begun = [Path(str(run.recipe["policy"])).parts for run in runs if run.is_training]
    stages = {parts[i - 2 : i] for parts in begun for i in (-1, -2) if len(parts) + i >= 2}
    return [r for r in runs if not (r.is_training and (r.run.folder.resolve().parent.name, r.name) in stages)]


def count_bases(runs: Iterable[EvaluatedRun]) -> int:
    """The number of bases that these runs started from."""
    return len({run.base for run in runs})


def label(runs: Sequence[EvaluatedRun]) -> str:
    """The ending of an artefact's name: the policy, then the task if it is not the toy's.

    Bases of a study that are named after the task, with their seed at the end, have the task only once.
    """
    is_of_a_study = re.search(r"-seed\d+$", runs[0].policy_name) is not None
    policy = runs[0].policy_name if count_bases(runs) == 1 and not is_of_a_study else _model(runs[0])
    if re.fullmatch(r"tiny(-\d+)?", policy):
        return "tiny"
    task = str(runs[0].recipe["task"])
    is_named_for_it = f"-{task}-seed" in runs[0].policy_name
    parts = [policy.removesuffix(".gguf"), *([] if is_named_for_it else [task])]
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-.")


def _model(run: EvaluatedRun) -> str:
    """The family of its base, if that is numbered: tiny-0 and tiny-1, or my-model-seed1 and my-model-seed2."""
    return re.sub(r"[-_.]?(seed)?[-_]?\d+$", "", run.policy_name) or run.policy_name


def is_grid(runs: Iterable[EvaluatedRun]) -> bool:
    """Whether to show trainings as a table: if a method has several rates or weights, or there are controls."""
    settings = {(run.levels, run.method, run.rate, run.beta) for run in runs}
    several = len({(levels, method) for levels, method, *_ in settings}) < len(settings)
    return several or not {method for _, method, *_ in settings} <= _DRAWN


def training_steps(runs: Iterable[EvaluatedRun]) -> str:
    """The steps and batches of trainings in words; if they differ, with the questions per step and the methods."""
    trained = sorted((run for run in runs if run.is_training), key=lambda run: method_order(run.method))
    methods: dict[str, set[str]] = {}
    for run in trained:
        methods.setdefault(f"{run.last_step} steps of {run.batch_of_questions}", set()).add(method_name(run.method))
    first, *others = methods
    if not others:
        return f"{trained[0].last_step} steps of {trained[0].batch} {trained[0].unit}"
    return listed([first, *(f"{steps} ({listed(sorted(methods[steps]))})" for steps in others)])


def by_method(runs: Iterable[EvaluatedRun]) -> dict[str, list[EvaluatedRun]]:
    """Runs of each method, in the order of METHODS.

    Raises:
        ValueError: if a method was trained at several rates or weights, so that a mean would be meaningless, or if the
            runs have different models, problems or ways of evaluation.
    """
    of_method: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        of_method.setdefault(run.method, []).append(run)
    of_method = {method: of_method[method] for method in sorted(of_method, key=method_order) if is_method(method)}
    check_comparable([run for averaged in of_method.values() for run in averaged])
    for averaged in of_method.values():
        check_averageable(averaged)
    return of_method


def check_comparable(runs: Sequence[EvaluatedRun]) -> None:
    """Check that these runs may be in one picture.

    Raises:
        ValueError: if they have different models, or were trained or evaluated on different problems or in different
            ways.
    """
    models = sorted({_model(run) for run in runs})
    fields = sorted(differing(runs) & _SETTING) if runs else []
    fields += ["max_completion_length"] if len({run.limit for run in runs}) > 1 else []
    fields += ["the version of the grader"] if len({run.environment.get("grader") for run in runs}) > 1 else []
    if len(models) > 1 or fields:
        difference = f"are of {listed(models)}" if len(models) > 1 else f"differ in {', '.join(fields)}"
        names = ", ".join(run.name for run in runs[:3]) + ", ..." * (len(runs) > 3)
        raise ValueError(
            f"{names}: these runs {difference}, and cannot be compared; put them into folders of their own"
        )


def check_averageable(runs: Sequence[EvaluatedRun]) -> None:
    """Check that these runs of one method may be averaged.

    Raises:
        ValueError: if their recipes differ in more than base and seed (the message names the fields), or one ended
            early.
    """
    method = method_name(runs[0].method)
    if fields := sorted(differing(runs) - {"policy", "seed", "rows"}):
        raise ValueError(
            f"{method} was trained in several ways, which no mean may join: its runs differ in "
            f"{', '.join(fields)}. Rates and weights can be drawn as a grid"
        )
    facts = [(run.recipe.get("seed"), run.environment) for run in runs]
    if len({(seed, fact.get("data_sha256")) for seed, fact in facts}) > len({seed for seed, _ in facts}):
        raise ValueError(f"{method}: its runs had other problems at the same seed; the data has changed")
    if len({fact.get("processes") or 1 for _, fact in facts}) > 1:
        raise ValueError(
            f"{method}: its runs had other numbers of processes, and so other batches; put them into "
            "folders of their own"
        )
    ends = {run.name: run.last_step for run in runs}
    if len(set(ends.values())) > 1:
        steps = ", ".join(f"{name} after step {step}" for name, step in ends.items())
        raise ValueError(
            f"{method} ended at different steps, which no mean may join: {steps}. DPO ends where a "
            "round has no pair; put such runs into a folder of their own"
        )
