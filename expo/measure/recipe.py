"""The recipe of a measurement: what is asked by flag or YAML, and saved resolved with the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from expo.policies.prompts import BY_KIND, Prompts
from expo.records import SOURCES


@dataclass
class MeasureRecipe:
    """Sample positives of a task from a policy and score them all under the plain question prompt."""

    task: str = field(default="stories", metadata={"help": "stories, gsm8k, math, jsonl, or chain (toy)"})
    data: str | None = field(default=None, metadata={"help": "the file of a jsonl task"})
    split: str = field(default="test", metadata={"help": "the task's split"})
    problems: int | None = field(default=None, metadata={"help": "how many problems, chosen by seed; default all"})
    levels: list[int] | None = field(default=None, metadata={"help": "only these levels"})
    policy: str = field(
        default="smollm2-135m", metadata={"help": "tiny, tiny-<k>, smollm2-135m, a folder, a .gguf file, a hub id"}
    )
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, ...; auto takes a GPU if there is one"})
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, ...; auto: float32 on CPU, else bfloat16"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run code that the hub id brings along"})
    sources: list[str] = field(
        default_factory=lambda: list(SOURCES), metadata={"help": f"kinds of positives, of: {' '.join(SOURCES)}"}
    )
    samples: int = field(default=2, metadata={"help": "own CoTs and self-explanations per problem"})
    controls: int = field(default=1, metadata={"help": "wrong-answer and nonsense samples per problem"})
    temperature: float = field(default=0.9, metadata={"help": "of sampling (the paper's: 0.9); scores are at 1"})
    max_new_tokens: int = field(default=256, metadata={"help": "token limit of a sampled completion"})
    seed: int = field(default=0, metadata={"help": "of the choice of problems, hints and samples"})
    rows: int = field(default=64, metadata={"help": "samples decoded at a time"})
    chunk: int = field(default=25, metadata={"help": "problems between two saves; a killed run loses one chunk"})
    prompts: dict[str, str] | None = field(
        default=None, metadata={"help": "in YAML: fields of the task's prompts to replace"}
    )

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.sources) - set(SOURCES)):
            raise ValueError(f"sources: no kind {unknown}; the kinds are {', '.join(SOURCES)}")
        if "own_correct" in self.sources and "own" not in self.sources:
            raise ValueError("sources: own_correct is chosen from own; ask for own too")
        lowest = {"samples": 1, "controls": 0, "max_new_tokens": 1, "rows": 1, "chunk": 1, "temperature": 0}
        if self.problems is not None:
            lowest["problems"] = 1
        for name, low in lowest.items():
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")

    @property
    def counts(self) -> dict[str, int]:
        """Samples per problem of each sampled source."""
        per = {"own": self.samples, "explanation": self.samples}
        per |= {"wrong_explanation": self.controls, "nonsense": self.controls}
        return {s: n for s, n in per.items() if s in self.sources and n}

    def resolved_prompts(self) -> Prompts:
        """The task's prompts with the recipe's changes."""
        return BY_KIND["chain" if self.task == "chain" else "math"].override(dict(self.prompts or {}))

    def resolved(self) -> dict[str, Any]:
        """Every field, the prompts written out: what `recipe.yaml` holds."""
        return {**asdict(self), "prompts": asdict(self.resolved_prompts())}
