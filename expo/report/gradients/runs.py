"""Measured gradients as a report sees them: finding them, grouping them by policy, and describing their setting."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from expo.gradients.predictors import joined
from expo.report.runs import FinishedRun, differing, runs_in
from expo.report.toy import any_toy
from expo.report.words import listed
from expo.text import plural

# Fields that may differ between runs in one picture.
_INDIFFERENT = {"policy", "seed", "rows", "device"}


@dataclass(frozen=True)
class GradientRun(FinishedRun):
    """A finished run of `expo gradients`."""

    @cached_property
    def alignment(self) -> pd.DataFrame:
        """One row per positive."""
        return self.run.read("alignment")

    @cached_property
    def gains(self) -> pd.DataFrame:
        """One row per positive and step."""
        return self.run.read("gains")

    @property
    def policy_label(self) -> str:
        """The policy's part of a name; the toy's bases share one, and a trained policy has its run's name."""
        # A link to a base keeps its name.
        given = Path(os.path.normpath(Path.cwd() / str(self.recipe["policy"])))
        if self.environment.get("trained_from"):
            return given.parent.name if given.name == "model" else f"{given.parent.parent.name}-{given.name}"
        return "tiny" if any_toy([self]) else given.name

    @property
    def task(self) -> str:
        """The task of its questions."""
        return Path(self.recipe["data"]).stem if self.recipe.get("data") else str(self.recipe["task"])


def find_gradients(folder: Path | str) -> list[GradientRun]:
    """The finished runs of `expo gradients` in a study's folder.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    return [GradientRun(run) for run in runs_in(folder, "gradients") if run.has("gradients") and run.has("gains")]


def by_policy(runs: Sequence[GradientRun]) -> dict[str, list[GradientRun]]:
    """Runs by the ending of their artefacts' names; the toy's bases go together.

    Raises:
        ValueError: if runs that would be shown together differ in more than the policy; the message names the fields.
    """
    groups: dict[str, list[GradientRun]] = {}
    for run in runs:
        task = "" if run.policy_label == "tiny" else f"-{run.task}"
        groups.setdefault(f"{run.policy_label}{task}", []).append(run)
    for name, group in groups.items():
        policies = {os.path.normpath(str(run.recipe["policy"])) for run in group}
        subject = f"gradients of {name}: the runs {', '.join(run.name for run in group)}"
        if name != "tiny" and len(policies) > 1:
            raise ValueError(
                f"{subject} are of different policies of one "
                "name; rename their folders, or put the runs into folders of their own and draw each (EXPO_RUNS)"
            )
        if fields := sorted(differing(group) - _INDIFFERENT):
            raise ValueError(
                f"{subject} differ in {', '.join(fields)}; put them into folders of their own and draw each (EXPO_RUNS)"
            )
    return groups


def step_sizes(runs: Sequence[GradientRun]) -> list[float]:
    """The lengths of the steps that were taken, shortest first."""
    return sorted({float(size) for run in runs for size in run.recipe["sizes"]})


def changes(runs: Sequence[GradientRun], size: float, *, by_rollouts: bool = False) -> pd.DataFrame:
    """One row per positive of these runs: the predicted and the actual effect of a step of this length on J."""
    tables = [joined(run.alignment, run.gains, size, by_rollouts=by_rollouts).assign(run=run.name) for run in runs]
    return pd.concat(tables, ignore_index=True)


def notes_of(runs: Sequence[GradientRun], about: str) -> str:
    """The lines below a picture: what is drawn, and the setting of the runs."""
    recipe = runs[0].recipe
    questions = {problem for run in runs for problem in run.alignment["problem"]}
    policies, seeds = ({run.recipe[field] for run in runs} for field in ("policy", "seed"))
    each = f", for each of {plural(len(policies), 'policy', 'policies')}" if len(policies) > 1 else ""
    with_seed = f"seed{'s' * (len(seeds) > 1)} {listed([str(seed) for seed in sorted(seeds)])}"
    return (
        f"{about}\n{plural(len(questions), 'question')} of {runs[0].task}{each}, with {recipe['rollouts']} "
        f"rollouts for slopes and as many for changes, at T = 1; positives at T = {recipe['temperature']:g}; "
        f"{with_seed}."
    )
