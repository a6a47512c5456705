"""Bases of a study: a policy warmed up on a task once for each seed, and accepted by a rule written down beforehand."""

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

# What a rule may ask of a base: of which kind of samples of its measurement, and the number that they have. Of steps it
# is the share of those written: a step left out is not counted.
CRITERIA: dict[str, tuple[str, Callable[[pd.DataFrame], float]]] = {
    "own_right": ("own", lambda rows: float((rows["status"] == "correct").mean())),
    "explanation_steps_true": (
        "explanation",
        lambda rows: float(rows["steps_true"].sum() / max(rows["steps"].sum(), 1)),
    ),
}
# In a study's folder: the table of what was tried, and the folder of its trainings and measurements, which are no
# results to be drawn.
LEDGER = "bases.csv"
WARM_UPS = "warm-ups"


class NoBase(RuntimeError):
    """No seed gave a base that is accepted; the message has the table of what was tried."""


@dataclass(frozen=True)
class Bases:
    """How the bases of a study are made.

    Attributes:
        name: of the bases, which end in their seed: `<name>-seed0`.
        train: the recipe of the warm-up; each seed replaces its own.
        measure: the recipe of what the rule looks at.
        accept: for each criterion the least and the most that a base may have, both included.
        seeds: tried in this order.
        take: how many accepted ones are wanted; seeds after the last are not tried.
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
            raise ValueError(f"accept: name at least one criterion; there are {', '.join(CRITERIA)}")
        if not 1 <= self.take <= len(self.seeds):
            raise ValueError(f"take is {self.take}, and {len(self.seeds)} seeds are given; take at least 1 of them")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: name each once, got {self.seeds}")
        if not is_folder_name(self.name):
            raise ValueError(f"name: it names folders, so letters, digits and . _ - only; got {self.name!r}")
        for name, limits in self.accept.items():
            if name not in CRITERIA:
                raise ValueError(f"accept: no criterion {name!r}; there are {', '.join(CRITERIA)}")
            if (source := CRITERIA[name][0]) not in self.measure.get("sources", SOURCES):
                raise ValueError(f"accept: {name} needs {source} among the sources of measure")
            numbers = isinstance(limits, list) and all(isinstance(x, int | float) for x in limits)
            if not numbers or len(limits) != 2 or not limits[0] <= limits[1]:
                raise ValueError(f"accept: {name} must be the least and the most, as [0, 0.02], got {limits!r}")

    @property
    def names(self) -> list[str]:
        """What other runs call the bases, as their policy."""
        return [f"base-{i}" for i in range(self.take)]

    def is_reserved(self, name: str) -> bool:
        """Whether a run's name is reserved for the bases of its study."""
        return name == WARM_UPS or name in self.names or name.startswith(f"{self.name}-seed")

    def warm_up(self, seed: int) -> dict[str, Any]:
        """The fields of a seed's training."""
        return {**self.train, "job": "train", "seed": seed}


def make_bases(
    bases: Bases,
    folder: Path,
    recipe_of: Callable[[str, dict[str, Any]], Any],
    do: Callable[[dict[str, Any]], None],
) -> dict[str, str]:
    """Warm up and measure seed after seed until enough are accepted; the policy folder of each base by its name.

    `recipe_of` reads a run's fields, `do` has runs done by name in the folder `warm-ups`. What was tried is written to
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
        limits = ", ".join(f"{name} from {low} to {high}" for name, (low, high) in bases.accept.items())
        raise NoBase(f"no seed of {bases.seeds} gave a base with {limits}:\n{table}")
    print(table, flush=True)
    return dict(zip(bases.names, accepted, strict=False))


def _linked(folder: Path, name: str, run: str) -> str:
    """The model of a run under a name of its own, so that what begins from it takes it for a base."""
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
