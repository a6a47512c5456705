"""The recipes of jobs: what a flag or YAML asks for, and what is saved with the run.

`BaseRecipe` has the fields that every job shares; `expo.train.recipe.TrainRecipe` is the recipe of a training run.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from expo.grading.rules import USUAL, Rules
from expo.policies.engine import ENGINES
from expo.policies.names import DTYPE_NAMES
from expo.schema import SOURCES
from expo.tasks import GRADERS, STEP_CHECKERS, TASKS, Checker, checker_of
from expo.tasks.prompts import Prompts

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping of names"}


# Fields added later, with the value that older recipes imply.
_LATER: dict[str, Any] = {
    **asdict(USUAL),
    **{"engine": "hf", "columns": None, "limits": None, "grader": "math", "step_checker": "arithmetic"},
    **{
        "positive_temperature": None,
        "hinted_rows": 0.0,
        "token_scores": False,
        "positive_choice": "first",
        "positive_tokens": "all",
        "probe_initial": False,
    },
    **dict.fromkeys(("revision", "attn_implementation", "positive_data", "positive_filter", "reward")),
    **{"tries": 1, "choices": []},
    **{"use_peft": False, "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "use_rslora": False, "use_dora": False},
    **dict.fromkeys(("lora_target_modules", "lora_modules_to_save", "sampling_dtype")),
}


def check_types(recipe: Any) -> None:
    """Check a dataclass against its annotations, since YAML may hold values of any type.

    Raises:
        ValueError: for the first value of the wrong type; the message names its field.
    """
    for name, hint in get_type_hints(type(recipe)).items():
        if not _fits(getattr(recipe, name), hint):
            raise ValueError(f"{name} must be {_in_words(hint)}, got {getattr(recipe, name)!r}")


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


def check_bounds(recipe: Any, lowest: dict[str, float]) -> None:
    """Check that these fields, where set, are finite and at least these values.

    Raises:
        ValueError: for the first that is not; the message names it.
    """
    for name, low in lowest.items():
        value = getattr(recipe, name)
        if value is not None and not low <= value < math.inf:
            finite = " and finite" if isinstance(value, float) else ""
            raise ValueError(f"{name} must be at least {low}{finite}, got {value}")


def unknown_field(name: str, known: Iterable[str], job: str) -> str:
    """Return a message that there is no such field, with the nearest name that exists."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"no field {name!r}" + (
        f"; did you mean {near[0]}?" if near else f"; `expo {job} --help-all` lists all fields"
    )


def read_prompts(task: str, changes: dict[str, str | bool] | str | None) -> Prompts:
    """Return a task's prompts with a recipe's changes, given as a mapping or as JSON.

    Raises:
        ValueError: if the changes are not a mapping of fields of the prompts.
    """
    if isinstance(changes, str):
        try:
            changes = json.loads(changes)
        except json.JSONDecodeError as cause:
            raise ValueError(f'prompts: not JSON ({cause}); write {{"question": "..."}}') from cause
    if not isinstance(changes, dict | None):
        raise ValueError(f"prompts must be a mapping of names, got {changes!r}")
    return TASKS[task].prompts.override(changes)


@dataclass
class BaseRecipe:
    """The fields that every job shares: which problems, which policy, which prompts."""

    task: str = field(default="stories", metadata={"help": f"{', '.join(TASKS)}; chain is a toy"})
    data: str | None = field(
        default=None,
        metadata={
            "help": "for jsonl: a file (.jsonl, .json, .csv, .tsv, .parquet; also with .gz), a folder written by "
            "save_to_disk, or owner/name:split on the hub; for letters: a file with other word sets"
        },
    )
    columns: str | None = field(
        default=None,
        metadata={"help": "for jsonl: the column of each field, for example question=Body+Question,answer=Answer"},
    )
    split: str = field(default="test", metadata={"help": "the task's split"})
    problems: int | None = field(default=None, metadata={"help": "how many problems, chosen by seed; default all"})
    levels: list[int] | None = field(default=None, metadata={"help": "only problems of these levels"})
    policy: str = field(
        default="smollm2-135m",
        metadata={"help": "tiny, tiny-<k>, smollm2-135m, a folder, a .gguf file, a hub id"},
    )
    revision: str | None = field(
        default=None, metadata={"help": "for a hub id: a branch, a tag or a commit; default the main branch"}
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "the policy's attention: sdpa, eager, flash_attention_2, ...; default: transformers' choice"},
    )
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, ...; auto: float32 on CPU, else bfloat16"})
    prompts: dict[str, str | bool] | str | None = field(
        default=None, metadata={"help": "replacements for fields of the task's prompts: a mapping (as a flag: JSON)"}
    )
    engine: str = field(
        default="hf",
        metadata={"help": "what generates the samples: hf (the policy itself) or vllm (if installed)"},
    )
    rows: int = field(
        default=64, metadata={"help": "number of samples that hf decodes at a time, on each GPU or on all CPUs"}
    )
    grader: str = field(
        default="math",
        metadata={
            "help": "plain-text tasks: math compares values; exact compares the text between answer_cue and answer_end"
        },
    )
    step_checker: str = field(default="arithmetic", metadata={"help": f"plain-text tasks: {', '.join(STEP_CHECKERS)}"})
    boxed_only: bool = field(default=False, metadata={"help": "plain-text tasks: only \\boxed{} counts as an answer"})
    last_number: bool = field(
        default=True, metadata={"help": "plain-text tasks: if no answer is stated, grade the last number"}
    )
    tolerance: float = field(
        default=0.0,
        metadata={"help": "plain-text tasks: how far a number may be off, as a fraction of the ground truth"},
    )

    @property
    def title(self) -> str:
        """The policy and the task, for a title; a long path is cut to its end."""
        return f"{'/'.join(Path(self.policy).parts[-2:])} on {self.task}"

    @property
    def seed(self) -> int:
        """The seed that chooses problems and samples."""
        raise NotImplementedError

    @property
    def trust_remote_code(self) -> bool:
        """Whether to run code that comes with a hub id."""
        raise NotImplementedError

    @property
    def samples_in(self) -> str | None:
        """The dtype to sample in; None means the policy's own."""
        return None

    def check_shared(self) -> None:
        """Check the fields that every job shares.

        Raises:
            ValueError: for a value of the wrong type, an unknown task, or unusable prompts.
        """
        check_types(self)
        if self.task not in TASKS:
            raise ValueError(f"task: unknown task {self.task!r}; choose from {', '.join(TASKS)}")
        check_bounds(self, {"problems": 1, "rows": 1})
        if self.levels == []:
            raise ValueError("levels: name at least one, or leave it out for all")
        for name, value, known in (
            ("grader", self.grader, GRADERS),
            ("step_checker", self.step_checker, tuple(STEP_CHECKERS)),
            ("engine", self.engine, ENGINES),
            ("dtype", self.dtype, ("auto", *DTYPE_NAMES)),
        ):
            if value not in known:
                raise ValueError(f"{name}: unknown value {value!r}; choose from {', '.join(known)}")
            if name not in ("engine", "dtype") and value != known[0] and TASKS[self.task].checker:
                raise ValueError(f"{name}: task {self.task} sets this itself; leave it out")
        if self.rules != USUAL and (TASKS[self.task].checker or self.grader != "math"):
            what = f"grader {self.grader}" if self.grader != "math" else self.task
            raise ValueError(
                f"boxed_only, last_number, tolerance: these apply only to the math grader, which {what} does not "
                "use; leave them out"
            )
        # Written out in full, so that a record states all of them.
        self.prompts = asdict(read_prompts(self.task, self.prompts))
        self.checker()  # raises for unusable prompts

    def checker(self) -> Checker:
        """How the texts are checked; this starts no process until it is asked for grades."""
        return checker_of(self.resolved())

    @property
    def rules(self) -> Rules:
        """How texts are graded."""
        return Rules(self.boxed_only, self.last_number, self.tolerance)

    def resolved(self) -> dict[str, Any]:
        """Every field, with the prompts written out in full: the content of `recipe.yaml`.

        A field of `_LATER` is left out while it has its old meaning, so that the recipe stays the same.
        """
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value != _LATER[name]}


@dataclass
class SamplingRecipe(BaseRecipe):
    """The fields of jobs that do not train: how to sample, and on which device."""

    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, ...; auto uses a GPU if there is one"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run code that comes with the hub id"})
    temperature: float = field(
        default=0.9, metadata={"help": "sampling temperature (the paper's: 0.9); scores are computed at 1"}
    )
    max_new_tokens: int | None = field(
        default=None, metadata={"help": "token limit of a sampled completion; default 256, and 100 for the toy"}
    )
    sampling_dtype: str | None = field(
        default=None,
        metadata={
            "help": "sample in this dtype and score in the policy's own; bfloat16 is faster on some CPUs. "
            "environment.json states how far the log-probabilities of the two differ"
        },
    )
    seed: int = field(default=0, metadata={"help": "seed for choosing problems, hints and samples"})

    @property
    def samples_in(self) -> str | None:
        """The dtype to sample in; None means the policy's own."""
        return self.sampling_dtype

    @property
    def token_limit(self) -> int:
        """The maximum number of tokens in a sampled completion, including the end token."""
        assert self.max_new_tokens is not None, "check_sampling resolves it"
        return self.max_new_tokens

    def check_sampling(self, **lowest: float) -> None:
        """Check the fields of this class, and that the named fields are at least these values.

        Raises:
            ValueError: see `check_shared` and `check_bounds`; also for a temperature that cannot be used.
        """
        self.check_shared()
        if self.max_new_tokens is None:
            self.max_new_tokens = TASKS[self.task].max_new_tokens
        # 1 and 1.0 are the same recipe and name the same folder.
        self.temperature = float(self.temperature)
        check_bounds(self, {**lowest, "temperature": 0, "max_new_tokens": 1, "seed": 0})
        if 0 < self.temperature < 1e-3:  # `sample` checks this too, but only after the policy is loaded
            raise ValueError(f"temperature must be 0 (greedy) or at least 0.001, got {self.temperature}")
        if self.sampling_dtype not in (None, *DTYPE_NAMES):
            raise ValueError(
                f"sampling_dtype: unknown dtype {self.sampling_dtype!r}; choose from {', '.join(DTYPE_NAMES)}"
            )

    def check_greedy(self, counts: dict[str, int]) -> None:
        """Check that temperature 0 is not combined with several samples, which would all be the same.

        Raises:
            ValueError: if it is; the message names the field.
        """
        for name, n in counts.items():
            if self.temperature == 0 and n > 1:
                raise ValueError(f"{name}: at temperature 0 all {n} samples would be the same; set --{name} 1")


def check_sources(sources: list[str]) -> None:
    """Check kinds of positives.

    Raises:
        ValueError: if there are none, or one is unknown or repeated.
    """
    if not sources or len(set(sources)) < len(sources):
        raise ValueError(f"sources: give at least one kind, and each kind once; got {sources}")
    if unknown := sorted(set(sources) - set(SOURCES)):
        raise ValueError(f"sources: unknown kind {unknown}; choose from {', '.join(SOURCES)}")


@dataclass
class MeasureRecipe(SamplingRecipe):
    """Sample positives of a task from a policy and score all of them under the plain question prompt."""

    sources: list[str] = field(
        default_factory=lambda: list(SOURCES),
        metadata={"help": f"kinds of positives, from: {' '.join(SOURCES)}"},
    )
    samples: int = field(default=1, metadata={"help": "own CoTs and self-explanations per problem"})
    controls: int = field(default=1, metadata={"help": "wrong-answer and nonsense samples per problem"})
    token_scores: bool = field(
        default=False,
        metadata={"help": "keep log-probabilities per token, with and without the hint, in tokens.parquet"},
    )
    chunk: int = field(
        default=16, metadata={"help": "problems between two saves; a killed run loses at most one chunk"}
    )

    def __post_init__(self) -> None:
        self.check_sampling(samples=1, controls=0, chunk=1)
        self.check_greedy({"samples": self.samples, "controls": self.controls})
        check_sources(self.sources)
        if "own_correct" in self.sources and "own" not in self.sources:
            raise ValueError("sources: own_correct is chosen from the own CoTs; add own to sources")

    @property
    def counts(self) -> dict[str, int]:
        """Samples per problem for each sampled source."""
        per = {"own": self.samples, "explanation": self.samples}
        per |= {"wrong_explanation": self.controls, "nonsense": self.controls}
        return {s: n for s, n in per.items() if s in self.sources and n}


@dataclass
class EvaluateRecipe(SamplingRecipe):
    """Sample a task's plain questions from a policy and grade the answers."""

    temperature: float = field(default=0.7, metadata={"help": "sampling temperature (the paper's: 0.7); 0 is greedy"})
    samples: int | None = field(
        default=None,
        metadata={
            "help": "samples per problem, for pass@k with any k up to this number; default 4, or 1 at temperature 0"
        },
    )
    chunk: int = field(
        default=16, metadata={"help": "problems between two saves; a killed run loses at most one chunk"}
    )
    limits: list[int] | None = field(
        default=None,
        metadata={"help": "token limits at which the same samples are graded again, by several graders"},
    )

    def __post_init__(self) -> None:
        self.check_sampling(samples=1, chunk=1)
        if self.samples is None:
            self.samples = 4 if self.temperature else 1
        self.check_greedy({"samples": self.samples})
        if self.limits is not None and not all(1 <= n <= self.token_limit for n in self.limits or [0]):
            raise ValueError(f"limits must be between 1 and max_new_tokens ({self.max_new_tokens}), got {self.limits}")

    @property
    def samples_each(self) -> int:
        """Samples per problem."""
        assert self.samples is not None, "set by __post_init__"
        return self.samples


# Own correct CoTs are chosen from several own CoTs, but gradients are computed for one positive of each kind.
_GRADIENT_SOURCES = tuple(s for s in SOURCES if s != "own_correct")
# Which of several self-explanations is measured in addition to the first (`expo/measure/choice.py`); `right` is the
# first one whose own answer is right.
GRADIENT_CHOICES = ("posterior", "best_signal", "best_joint", "right")


@dataclass
class GradientRecipe(SamplingRecipe):
    """Measure gradients of positives, and what a step along them does to J, the probability of a right answer."""

    problems: int | None = field(default=8, metadata={"help": "how many problems, chosen by seed"})
    dtype: str = field(default="auto", metadata={"help": "float32 or float64; auto: float32"})
    temperature: float = field(
        default=0.9, metadata={"help": "temperature for sampling positives; rollouts are sampled at 1"}
    )
    sources: list[str] = field(
        default_factory=lambda: list(_GRADIENT_SOURCES),
        metadata={"help": f"kinds of positives, from: {' '.join(_GRADIENT_SOURCES)}"},
    )
    tries: int = field(default=1, metadata={"help": "self-explanations per problem to choose from"})
    choices: list[str] = field(
        default_factory=list,
        metadata={"help": f"additional positives, chosen among the --tries samples: {', '.join(GRADIENT_CHOICES)}"},
    )
    rollouts: int = field(
        default=32,
        metadata={
            "help": "rollouts per problem to predict the effect of a step, and the same number again to measure it"
        },
    )
    sizes: list[float] = field(
        default_factory=lambda: [0.003, 0.01, 0.03], metadata={"help": "step lengths along the gradient"}
    )

    def __post_init__(self) -> None:
        self.check_sampling(rollouts=3, tries=1)
        self._check_choices()
        self.sizes = [float(s) for s in self.sizes]
        self.dtype = "float32" if self.dtype == "auto" else self.dtype
        if "own_correct" in self.sources:
            raise ValueError(
                "sources: own_correct is chosen from several own CoTs, but gradients are computed for one "
                "positive of each kind; leave own_correct out"
            )
        check_sources(self.sources)
        if self.engine != "hf":
            raise ValueError(f"engine: gradients need samples from the policy's own model; use hf, not {self.engine}")
        if self.sampling_dtype:
            raise ValueError("sampling_dtype: gradients are computed for the policy that samples; leave it out")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: rounding would swallow a step in {self.dtype} weights; use float32 or float64")
        if not self.sizes or not all(0 < s < math.inf for s in self.sizes):
            raise ValueError(f"sizes: give finite lengths above 0, got {self.sizes}")
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes: give each length once, got {self.sizes}")

    def _check_choices(self) -> None:
        if unknown := sorted(set(self.choices) - set(GRADIENT_CHOICES)):
            raise ValueError(f"choices: unknown choice {unknown[0]!r}; choose from {', '.join(GRADIENT_CHOICES)}")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices: give each choice once, got {self.choices}")
        if self.choices and "explanation" not in self.sources:
            raise ValueError("choices: these choose among self-explanations; add explanation to sources")
        if self.choices and self.tries < 2:
            raise ValueError(f"tries: choosing among self-explanations takes at least 2, got {self.tries}")
        if self.tries > 1 and not self.choices:
            raise ValueError(
                f"choices: give at least one way to choose among the {self.tries} tries, or leave tries out"
            )
        if "posterior" in self.choices and self.temperature != 1:
            raise ValueError(
                "temperature: posterior weights are defined only for samples at temperature 1, got "
                f"{self.temperature:g}; set temperature to 1, or leave posterior out of choices"
            )

    @property
    def counts(self) -> dict[str, int]:
        """Samples per problem for each sampled source: one each, except self-explanations to choose from."""
        return {s: self.tries if s == "explanation" else 1 for s in self.sources if s != "expert"}
