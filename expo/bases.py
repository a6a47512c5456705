"""Bases of a study: a policy warmed up on a task once per seed, and accepted by a rule written down beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from expo.recipe import check_types
from expo.records import Run, write_atomic
from expo.schema import SOURCES
from expo.text import is_folder_name

# What a rule may require of a base: the kind of samples in its measurement, and the number computed from them. For
# steps it is the share of the stated steps that are true; omitted steps are not counted.
CRITERIA: dict[str, tuple[str, Callable[[pd.DataFrame], float]]] = {
    "own_right": ("own", lambda rows: float((rows["status"] == "correct").mean())),
    "explanation_steps_true": (
        "explanation",
        lambda rows: float(rows["steps_true"].sum() / max(rows["steps"].sum(), 1)),
    ),
}
# In a study's folder: the table of the seeds tried, and the folder of their trainings and measurements, which are not
# results to plot.
LEDGER = "bases.csv"
WARM_UPS = "warm-ups"


class NoBase(RuntimeError):
    """No seed gave an accepted base; the message has the table of the seeds tried."""


@dataclass(frozen=True)
class Bases:
    """How the bases of a study are made.

    Attributes:
        name: prefix of the bases' names, which end in their seed: `<name>-seed0`.
        train: the recipe of the warm-up; each base replaces its seed.
        measure: the recipe of the measurement that the rule checks.
        accept: the smallest and largest accepted value of each criterion, both included.
        seeds: tried in this order.
        take: how many accepted bases are wanted; no further seeds are tried after that.
    """

    name: str
    train: dict[str, Any]
    measure: dict[str, Any]
    accept: dict[str, list[float]]
    seeds: list[int]
    take: int

    def __post_init__(self) -> None:
        check_types(self)
        if not self.accept:
            raise ValueError(f"accept: give at least one criterion, from {', '.join(CRITERIA)}")
        if not 1 <= self.take <= len(self.seeds):
            raise ValueError(
                f"take is {self.take}, but there are {len(self.seeds)} seeds; take must be between 1 and the "
                "number of seeds"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: give each seed once, got {self.seeds}")
        if not is_folder_name(self.name):
            raise ValueError(
                f"name: it is used in folder names, so it may have only letters, digits and . _ -; got {self.name!r}"
            )
        for name, limits in self.accept.items():
            if name not in CRITERIA:
                raise ValueError(f"accept: unknown criterion {name!r}; choose from {', '.join(CRITERIA)}")
            if (source := CRITERIA[name][0]) not in self.measure.get("sources", SOURCES):
                raise ValueError(f"accept: {name} needs {source} in the sources of measure")
            numbers = isinstance(limits, list) and all(isinstance(x, int | float) for x in limits)
            if not numbers or len(limits) != 2 or not limits[0] <= limits[1]:
                raise ValueError(
                    f"accept: {name} must be a pair of smallest and largest value, such as [0, 0.02], got {limits!r}"
                )

    @property
    def names(self) -> list[str]:
        """The names by which other runs refer to the bases, as their policy."""
        return [f"base-{i}" for i in range(self.take)]

    def is_reserved(self, name: str) -> bool:
        """Whether a run's name is reserved for the bases of its study."""
        return name == WARM_UPS or name in self.names or name.startswith(f"{self.name}-seed")

    def warm_up(self, seed: int) -> dict[str, Any]:
        """The recipe fields of a seed's training."""
        return {**self.train, "job": "train", "seed": seed}


def make_bases(
    bases: Bases,
    folder: Path,
    recipe_of: Callable[[str, dict[str, Any]], Any],
    do: Callable[[dict[str, Any]], None],
) -> dict[str, str]:
    """Warm up and measure seeds in turn until enough are accepted; returns the policy folder of each base by name.

    `recipe_of` reads a run's fields; `do` runs the named runs in the folder `warm-ups`. The seeds tried are listed in
    `bases.csv`.

    Raises:
        NoBase: if no seed is accepted.
    """
    tried: list[dict[str, Any]] = []
    accepted: list[str] = []
    waiting = list(bases.seeds)
    while waiting and (missing := bases.take - len(accepted)):
        seeds, waiting = waiting[:missing], waiting[missing:]
        do({f"warm-{seed}": recipe_of(f"warm-{seed}", bases.warm_up(seed)) for seed in seeds})
        models = {seed: _linked(folder, f"{bases.name}-seed{seed}", f"warm-{seed}") for seed in seeds}
        checks = {f"check-{seed}": {**bases.measure, "job": "measure", "policy": models[seed]} for seed in seeds}
        do({name: recipe_of(name, values) for name, values in checks.items()})
        judged = [_judged(bases, seed, Run(folder / WARM_UPS / f"check-{seed}").read("samples")) for seed in seeds]
        tried += judged
        accepted += [models[row["seed"]] for row in judged if row["accepted"]]
        write_atomic(folder / LEDGER, pd.DataFrame(tried).to_csv(index=False))
    table = pd.DataFrame(tried).round(3).to_string(index=False)
    if not accepted:
        limits = ", ".join(f"{name} between {low} and {high}" for name, (low, high) in bases.accept.items())
        raise NoBase(f"no seed of {bases.seeds} gave a base with {limits}:\n{table}")
    print(table, flush=True)
    return dict(zip(bases.names, accepted, strict=False))


def _linked(folder: Path, name: str, run: str) -> str:
    """Give the model of a run a separate name, so that later runs treat it as a base."""
    link = folder / name
    if not link.is_symlink():
        link.symlink_to(Path(WARM_UPS, run, "model"), target_is_directory=True)
    return str(link)


def _judged(bases: Bases, seed: int, samples: pd.DataFrame) -> dict[str, Any]:
    values = {}
    for name in bases.accept:
        source, value = CRITERIA[name]
        values[name] = value(samples[samples["source"] == source])
    accepted = all(low <= values[name] <= high for name, (low, high) in bases.accept.items())
    return {"seed": seed, **values, "problems": samples["problem"].nunique(), "accepted": accepted}
