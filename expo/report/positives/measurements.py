"""Measurements of positives as a report sees them: finding them, and grouping those that share a picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.runs import FinishedRun, natural, origin_of, runs_in
from expo.report.toy import any_toy, marked
from expo.report.words import NAMES, levels_in_words, listed, share
from expo.text import plural

# The paper's sampling temperature (Appendix C.1).
PAPER_TEMPERATURE = 0.9
# Besides the colours, for eyes that cannot tell them apart.
LINES: dict[str, Any] = {"explanation": "-", "expert": (0, (6, 1.5)), "own": (0, (1.2, 0.8))}
# Fields that do not change the expected value of a mean over problems: one run of a sweep may have more samples.
_INDIFFERENT = {"sources", "samples", "controls", "device", "rows", "chunk", "token_scores"}
_NEEDED = {"policy", "task", "sources", "samples", "temperature", "seed"}


@dataclass(frozen=True)
class Measurement(FinishedRun):
    """A finished measurement."""

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The run's table of scored positives."""
        return self.run.read("samples")

    @property
    def policy_name(self) -> str:
        """The policy's name; a hub model has its owner, a folder or a file only the last part."""
        policy = str(self.recipe["policy"])
        return policy if _is_hub_id(policy) else super().policy_name

    @property
    def task(self) -> str:
        """The task's name, or that of the user's data file."""
        data = self.recipe.get("data")
        return Path(data).stem if data else str(self.recipe["task"])

    @property
    def temperature(self) -> float:
        """The sampling temperature; scores are computed at 1."""
        return float(self.recipe["temperature"])

    @property
    def has_pairs(self) -> bool:
        """Whether there are own CoTs and self-explanations to compare."""
        return {"own", "explanation"} <= set(self.samples["source"])

    @property
    def problems(self) -> int:
        """The number of problems with samples."""
        return int(self.samples["problem"].nunique())

    @property
    def title(self) -> str:
        """The run's name, with the policy and the task that were measured."""
        name = "" if self.shown_name == self.policy_name else f"{self.shown_name}: "
        return marked(f"{name}{self.policy_name} on {self.task}", [self])

    @property
    def subject(self) -> str:
        """The run's name as the subject of a sentence about its numbers."""
        return marked(f"**{self.shown_name}**", [self])

    @property
    def shown_name(self) -> str:
        """The run's name; `base 0` for a run of a study's base, whose own name says that it is a measurement."""
        base = re.search(r"-seed(\d+)$", self.policy_name)
        return f"base {base[1]}" if base else self.name

    @property
    def size(self) -> str:
        """n and the task, k, the seed, and the dtype of sampling if it is not the policy's."""
        k = plural(int(self.recipe["samples"]), "sample")
        dtype = self.recipe.get("sampling_dtype")
        sampled = f", sampled in {dtype}" if dtype else ""
        return f"n = {plural(self.problems, 'problem')} of {self.task}, k = {k}, seed {self.recipe['seed']}{sampled}"

    @property
    def setting(self) -> str:
        """n and the task, k, the seed and the sampling temperature."""
        return f"{self.size}, T = {self.temperature:g}"

    def origin(self) -> dict[str, Any]:
        """What identifies the run, without any paths of this machine."""
        return {
            **origin_of(self.run),
            "policy": self.policy_name,
            "task": self.task,
            "toy": any_toy([self]),
            "problems": self.problems,
            "samples": self.recipe["samples"],
            "temperature": self.temperature,
            "seed": self.recipe["seed"],
        }


@dataclass(frozen=True)
class Group:
    """The runs of one label: `runs` are shown one by one; those of a sweep differ only in temperature."""

    label: str
    runs: tuple[Measurement, ...]
    sweeps: tuple[tuple[Measurement, ...], ...]


def find_measurements(folder: Path | str) -> tuple[list[Measurement], list[str]]:
    """The finished measurements in a study's folder (or a run's), and the names of unfinished ones.

    Raises:
        RecordError: if the folder holds no run at all.
    """
    runs = [run for run in runs_in(folder, "measure") if set(run.recipe()) >= _NEEDED]
    finished = [Measurement(run) for run in runs if run.has("samples")]
    return finished, [run.folder.name for run in runs if not run.has("samples")]


def label(run: Measurement) -> str:
    """The ending of an artefact's name: the policy, then task and split if they are not the usual ones.

    The bases `tiny-0`, `tiny-1`, ... share the label `tiny`, whose usual task is chain. The bases of a study, whose
    names end in their seed, share a label too; their usual task is the one they are named after. For others it is
    stories. A trained policy is labelled by its base, and as trained.
    """
    trained = "-trained" if run.environment.get("trained_from") else ""
    name = (Path(run.base).name if trained else run.policy_name).rpartition("/")[2]
    policy = re.sub(r"-seed\d+$", "", name)
    is_base = re.fullmatch(r"tiny(-\d+)?", policy) is not None
    parts = [("tiny" if is_base else policy.removesuffix(".gguf")) + trained]
    if run.task != ("chain" if is_base else "stories") and f"-{run.task}-seed" not in name:
        parts.append(run.task)
    split = run.recipe.get("split", "test")
    if split != "test":
        parts.append(str(split))
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-.")


def group_by_label(runs: Iterable[Measurement]) -> list[Group]:
    """Runs by label, in natural order.

    From each set of runs that differ only in temperature, the one at or nearest to the paper's temperature is shown by
    itself; the whole set is a sweep.
    """
    by_label: dict[str, list[Measurement]] = {}
    for run in sorted(runs, key=lambda run: natural(run.name)):
        by_label.setdefault(label(run), []).append(run)
    return [_group(name, of_label) for name, of_label in sorted(by_label.items())]


def _group(name: str, runs: Sequence[Measurement]) -> Group:
    sets: dict[str, list[Measurement]] = {}
    for run in runs:
        rest = {k: v for k, v in run.recipe.items() if k not in {*_INDIFFERENT, "temperature"}}
        sets.setdefault(repr(sorted(rest.items())), []).append(run)
    shown, sweeps = [], []
    for alike in sets.values():
        nearest = min(alike, key=lambda run: (abs(run.temperature - PAPER_TEMPERATURE), run.temperature))
        shown += [run for run in alike if run.temperature == nearest.temperature]
        by_temperature = {run.temperature: run for run in reversed(alike)}
        if len(by_temperature) > 1:
            sweeps.append(tuple(by_temperature[t] for t in sorted(by_temperature)))
    return Group(name, tuple(shown), tuple(sweeps))


def _is_hub_id(policy: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", policy) is not None


def notes_of(runs: Sequence[Measurement], about: str, *, swept: bool = False) -> str:
    """What stands beneath a picture: what is drawn, and the setting of the runs, by policy where they differ.

    With `swept` the temperature is left out, since it is an axis.
    """
    settings: dict[str, list[str]] = {}
    for run in runs:
        of_setting = settings.setdefault(run.size if swept else run.setting, [])
        of_setting += [run.policy_name] * (run.policy_name not in of_setting)
    told = [f"{', '.join(of)}: {setting}" if len(settings) > 1 else setting for setting, of in settings.items()]
    return f"{about}\n{'; '.join(told)}."


def over_levels(runs: Sequence[Measurement]) -> str:
    """` averaged over all levels` or ` at level 3`, for a heading; empty for problems without levels."""
    held = {int(level) for run in runs for level in run.samples["level"].dropna().unique()}
    if not held:
        return ""
    levels = held if len(held) == 1 else runs[0].recipe.get("levels")
    return f" {'at' if levels and len(levels) == 1 else 'averaged over'} {levels_in_words(levels)}"


def cut_texts(runs: Sequence[Measurement]) -> str:
    """`72 % of self-explanations and 75 % of own CoTs` were cut at the limit of tokens; of several runs the range."""
    told = []
    for source in ("explanation", "own"):
        shares = [float(run.samples.loc[run.samples["source"] == source, "truncated"].mean()) for run in runs]
        known = sorted(cut for cut in shares if cut == cut)
        if known and known[-1] > 0:
            told.append(f"{' to '.join(dict.fromkeys(map(share, (known[0], known[-1]))))} of {NAMES[source]}s")
    return listed(told) if told else ""
