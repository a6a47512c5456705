"""The recipes of a measurement and of an evaluation: what is asked by flag or YAML, and saved with the run."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from expo.policies.prompts import Prompts, prompts_for
from expo.tables import SOURCES
from expo.tasks import TASKS

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping of names"}
_LOWEST = {
    "problems": 1,
    "samples": 1,
    "controls": 0,
    "temperature": 0,
    "max_new_tokens": 1,
    "seed": 0,
    "rows": 1,
    "chunk": 1,
}


def check_types(held: Any) -> None:
    """Check a dataclass against its annotations: YAML brings whatever it likes.

    Raises:
        ValueError: for the first value of another type, naming its field.
    """
    for name, hint in get_type_hints(type(held)).items():
        if not _fits(getattr(held, name), hint):
            raise ValueError(f"{name} must be {_in_words(hint)}, got {getattr(held, name)!r}")


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(v, get_args(hint)[0]) for v in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else get_origin(hint) or hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is UnionType:
        return " or ".join(_in_words(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is list:
        return f"a list, each {_in_words(get_args(hint)[0])}"
    return _WORDS[get_origin(hint) or hint]


def unknown_field(name: str, known: Iterable[str], job: str) -> str:
    """That there is no such field, with the nearest name there is."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"no field {name!r}" + (f"; did you mean {near[0]}?" if near else f"; `expo {job} --help` lists them")


def read_prompts(task: str, changes: dict[str, str | bool] | str | None) -> Prompts:
    """A task's prompts with a recipe's changes: a mapping, or one as JSON.

    Raises:
        ValueError: for what is no mapping of prompts' fields.
    """
    if isinstance(changes, str):
        try:
            changes = json.loads(changes)
        except json.JSONDecodeError as cause:
            raise ValueError(f'prompts: not JSON ({cause}); write {{"question": "..."}}') from cause
    if not isinstance(changes, dict | None):
        raise ValueError(f"prompts must be a mapping of names, got {changes!r}")
    return prompts_for(task).override(changes)


@dataclass
class _Asked:
    """What every recipe here asks: which questions, of which policy, sampled how."""

    task: str = field(default="stories", metadata={"help": "stories, gsm8k, math, jsonl, or chain (toy)"})
    data: str | None = field(default=None, metadata={"help": "the file of a jsonl task"})
    split: str = field(default="test", metadata={"help": "the task's split"})
    problems: int | None = field(default=None, metadata={"help": "how many problems, chosen by seed; default all"})
    levels: list[int] | None = field(default=None, metadata={"help": "only these levels"})
    policy: str = field(
        default="smollm2-135m",
        metadata={"help": "tiny, tiny-<k>, smollm2-135m, a folder, a .gguf file, a hub id"},
    )
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, ...; auto takes a GPU if there is one"})
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, ...; auto: float32 on CPU, else bfloat16"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run code that the hub id brings along"})
    temperature: float = field(default=0.9, metadata={"help": "of sampling (the paper's: 0.9); scores are at 1"})
    max_new_tokens: int = field(default=256, metadata={"help": "token limit of a sampled completion"})
    seed: int = field(default=0, metadata={"help": "of the choice of problems, hints and samples"})
    rows: int = field(default=64, metadata={"help": "samples decoded at a time, over all processes"})
    prompts: dict[str, str | bool] | str | None = field(
        default=None, metadata={"help": "fields of the task's prompts to replace: a mapping, as a flag in JSON"}
    )

    def resolved_prompts(self) -> Prompts:
        """The task's prompts with the recipe's changes."""
        return read_prompts(self.task, self.prompts)

    def resolved(self) -> dict[str, Any]:
        """Every field, the prompts written out: what `recipe.yaml` holds."""
        return {**asdict(self), "prompts": asdict(self.resolved_prompts())}


@dataclass
class MeasureRecipe(_Asked):
    """Sample positives of a task from a policy and score them all under the plain question prompt."""

    sources: list[str] = field(
        default_factory=lambda: list(SOURCES),
        metadata={"help": f"kinds of positives, of: {' '.join(SOURCES)}"},
    )
    samples: int = field(default=1, metadata={"help": "own CoTs and self-explanations per problem"})
    controls: int = field(default=1, metadata={"help": "wrong-answer and nonsense samples per problem"})
    chunk: int = field(default=50, metadata={"help": "problems between two saves; a killed run loses one chunk"})

    def __post_init__(self) -> None:
        check_types(self)
        # 1 and 1.0 are one recipe, and name one folder.
        self.temperature = float(self.temperature)
        if self.task not in TASKS:
            raise ValueError(f"task: no task {self.task!r}; the tasks are {', '.join(TASKS)}")
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError(f"sources: name at least one kind, and each once; got {self.sources}")
        if unknown := sorted(set(self.sources) - set(SOURCES)):
            raise ValueError(f"sources: no kind {unknown}; the kinds are {', '.join(SOURCES)}")
        if "own_correct" in self.sources and "own" not in self.sources:
            raise ValueError("sources: own_correct is chosen from own; ask for own too")
        for name, low in _LOWEST.items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                finite = " and finite" if isinstance(value, float) else ""
                raise ValueError(f"{name} must be at least {low}{finite}, got {value}")
        if 0 < self.temperature < 1e-3:  # as sampling says, but before the policy is loaded
            raise ValueError(f"temperature must be 0, which is greedy, or at least 0.001, got {self.temperature}")
        if self.levels == []:
            raise ValueError("levels: name at least one, or leave it out for all")
        self.resolved_prompts()

    @property
    def counts(self) -> dict[str, int]:
        """Samples per problem of each sampled source."""
        per = {"own": self.samples, "explanation": self.samples}
        per |= {"wrong_explanation": self.controls, "nonsense": self.controls}
        return {s: n for s, n in per.items() if s in self.sources and n}


@dataclass
class EvaluateRecipe(_Asked):
    """Sample a task's plain questions from a policy and grade the answers."""

    temperature: float = field(default=0.7, metadata={"help": "of sampling (the paper's: 0.7); 0 is greedy"})
    samples: int = field(default=4, metadata={"help": "samples a problem; pass@k can be had for any k up to it"})
    chunk: int = field(default=50, metadata={"help": "problems between two saves; a killed run loses one chunk"})

    def __post_init__(self) -> None:
        # A measurement without positives: the same checks, and the same ways to load.
        self.temperature = float(self.temperature)
        self.measuring()

    def measuring(self) -> MeasureRecipe:
        """The measurement whose own CoTs these samples would be."""
        return _measurement(self, sources=["own"])


@dataclass
class GradientRecipe(_Asked):
    """Gradients of positives, how J rises along them, and what a step does to it."""

    problems: int | None = field(default=8, metadata={"help": "how many problems, chosen by seed"})
    dtype: str = field(default="auto", metadata={"help": "float32 or float64; auto: float32"})
    temperature: float = field(default=0.9, metadata={"help": "of sampling positives; rollouts are sampled at 1"})
    sources: list[str] = field(
        default_factory=lambda: [s for s in SOURCES if s != "own_correct"],
        metadata={"help": f"kinds of positives, of: {' '.join(s for s in SOURCES if s != 'own_correct')}"},
    )
    rollouts: int = field(
        default=32, metadata={"help": "samples a problem that predict what a step does, and as many that see it"}
    )
    sizes: list[float] = field(
        default_factory=lambda: [0.003, 0.01, 0.03], metadata={"help": "lengths of a step along the gradient"}
    )

    def __post_init__(self) -> None:
        check_types(self)
        self.temperature, self.sizes = float(self.temperature), [float(s) for s in self.sizes]
        self.dtype = "float32" if self.dtype == "auto" else self.dtype
        if "own_correct" in self.sources:
            raise ValueError("sources: own_correct is chosen from several own CoTs; here there is one of each kind")
        self.measuring()
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: a step is lost to rounding in weights of {self.dtype}; float32 or float64")
        if self.rollouts < 3:
            raise ValueError(f"rollouts must be at least 3, got {self.rollouts}")
        if not self.sizes or not all(0 < s < math.inf for s in self.sizes):
            raise ValueError(f"sizes: name lengths above 0 and finite, got {self.sizes}")
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes: name each length once, got {self.sizes}")

    def measuring(self) -> MeasureRecipe:
        """The measurement that would have these positives."""
        return _measurement(self)


def _measurement(recipe: _Asked, **more: Any) -> MeasureRecipe:
    """The measurement with the fields that a recipe shares with it."""
    shared = {f.name for f in fields(MeasureRecipe)}
    return MeasureRecipe(**{k: v for k, v in vars(recipe).items() if k in shared}, **more)
