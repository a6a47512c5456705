"""The recipe of a training run: what is trained on what, plus every field of TRL's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from expo.policies.names import TINY
from expo.recipe import BaseRecipe, check_bounds, unknown_field
from expo.tasks import TASKS

# The algorithms, each with its own TRL trainer.
ALGORITHMS = ("grpo", "dpo", "sft")
# What the added term makes more likely, or DPO prefers; none is plain GRPO, answer has no CoT.
POSITIVES = ("explanation", "expert", "own_correct", "wrong_explanation", "nonsense", "answer", "none")
# The kinds that are sampled, and can be given instead.
SAMPLED = ("explanation", "own_correct", "wrong_explanation", "nonsense")
# How the positive is chosen among several samples (`expo/measure/choice.py`).
CHOICES = ("first", "posterior", "weighted", "best_signal", "best_joint")
# Which of its tokens are learnt, and the kinds whose prompt had a hint.
TOKENS = ("all", "least_moved", "most_moved", "random_half")
HINTED = ("explanation", "wrong_explanation", "nonsense")
# Conditions on a positive: its own answer is a*, it does not say that it was given the answer, it has no false step.
WANTED = ("right", "no_leak", "true_steps")
# Fields of TRL's configuration that a run sets itself, with the reason.
_SAVED = "a run saves all that it needs to resume, every save_steps"
_EVALUATED = "a run evaluates before its first step, every eval_steps, and after its last"
_ORDER = "problems are shuffled by seed, again in each epoch, so that a run can resume in the middle of one"
_OURS = {
    "output_dir": "the run folder is given by --output",
    "model_init_kwargs": "attn_implementation, dtype and revision are fields of the recipe",
    "resume_from_checkpoint": "a run resumes by itself",
    "save_strategy": _SAVED,
    "save_only_model": _SAVED,
    "logging_strategy": "logging_steps sets the interval; a stopped run must not lose what it logged",
    "train_sampling_strategy": _ORDER,
    "accelerator_config": _ORDER,
    "ignore_data_skip": "a resumed run continues with the next problem",
    "shuffle_dataset": _ORDER,
    "enable_jit_checkpoint": "at SIGTERM a run saves a checkpoint anyway, and resumes from it",
    "use_transformers_continuous_batching": "TRL would round the trained weights to "
    "bfloat16 for it, and small steps would be lost",
    "eval_strategy": _EVALUATED,
    "eval_on_start": _EVALUATED,
    "do_eval": _EVALUATED,
    **dict.fromkeys(("push_to_hub", "hub_model_id"), "the command pushes a finished run, whatever its recipe"),
    **dict.fromkeys(
        ("hub_strategy", "hub_token", "hub_private_repo", "hub_always_push", "hub_revision"),
        "a finished run is pushed once, to a new private repository, with the login of hf auth login",
    ),
    "load_best_model_at_end": "the policy of the last step is kept, and every evaluation is in the record",
}


_OF_PEFT = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save", "use_rslora", "use_dora"),
)
# Declared as floats by TRL, which also accepts fractions of the training.
_COUNTS = ("save_steps", "logging_steps", "eval_steps")


@dataclass
class TrainRecipe(BaseRecipe):
    """Train a policy on a task's questions: GRPO with positives added, DPO on pairs, or SFT on positives alone."""

    split: str = field(default="train", metadata={"help": "questions to train on, if the task has splits"})
    problems: int | None = field(
        default=None, metadata={"help": "how many problems to train on, chosen by seed; default all"}
    )
    dtype: str = field(default="float32", metadata={"help": "dtype of the weights; --bf16 true computes in bfloat16"})
    rows: int = field(default=64, metadata={"help": "samples decoded at a time (not by TRL's own sampling)"})
    algorithm: str = field(
        default="grpo",
        metadata={
            "help": "grpo (with the added term), dpo (pairs of a positive and an own sample) or sft (positives alone)"
        },
    )
    positive: str = field(
        default="explanation", metadata={"help": f"what is learnt, or what wins a DPO pair: {', '.join(POSITIVES)}"}
    )
    positive_data: str | None = field(
        default=None,
        metadata={
            "help": "existing positives to use instead of sampling: another training's folder, a dataset from expo "
            "sample, a file, or owner/name:split on the hub"
        },
    )
    positive_filter: list[str] | None = field(
        default=None, metadata={"help": f"conditions that a positive must meet: {', '.join(WANTED)}"}
    )
    positive_tries: int = field(
        default=1, metadata={"help": "samples drawn per problem, one of which becomes its positive"}
    )
    positive_choice: str = field(
        default="first",
        metadata={
            "help": "which acceptable sample to use: first, posterior (drawn by importance weight), weighted (all, "
            "with these weights), best_signal (highest log pi(a*|q, c)), best_joint (highest log pi(c, "
            "a*|q))"
        },
    )
    positive_tokens: str = field(
        default="all",
        metadata={
            "help": "which tokens are learnt: all, or the answer and the half of the CoT that the hint moves least "
            "(least_moved) or most (most_moved), or a random half as a control (random_half)"
        },
    )
    positive_temperature: float | None = field(
        default=None, metadata={"help": "temperature for sampling positives; default: that of the policy's own samples"}
    )
    hinted_rows: float = field(
        default=0.0,
        metadata={
            "help": "for sft: the fraction of positives learnt with the answer in the prompt, like an explanation"
        },
    )
    right_losers: bool = field(
        default=True, metadata={"help": "for dpo: whether a loser may be right by chance, as in the paper's objective"}
    )
    loser_tries: int = field(
        default=1, metadata={"help": "for dpo: samples per problem; the first acceptable one is the loser"}
    )
    refresh_steps: int = field(
        default=0,
        metadata={
            "help": "resample positives, and losers, at this interval of steps; 0: sample them once, from the initial "
            "policy"
        },
    )
    eval_data: str | None = field(default=None, metadata={"help": "for a jsonl task: the file to evaluate on"})
    eval_split: str = field(default="test", metadata={"help": "questions to evaluate on"})
    eval_problems: int | None = field(default=None, metadata={"help": "how many problems to evaluate on; default all"})
    eval_levels: list[int] | None = field(default=None, metadata={"help": "evaluate only on these levels"})
    eval_samples: int = field(default=4, metadata={"help": "samples per problem, at each evaluation"})
    eval_temperature: float = field(
        default=0.7, metadata={"help": "temperature of these samples (the paper's: 0.7); 0 is greedy"}
    )
    probe_problems: int = field(
        default=16, metadata={"help": "number of training problems whose samples are scored during training"}
    )
    probe_initial: bool = field(
        default=False,
        metadata={
            "help": "sample the probes at temperature 1 and score them under the policy before training, for the KL"
        },
    )
    gradient_problems: int = field(
        default=0,
        metadata={"help": "number of training problems whose gradients are measured at each evaluation; 0: none"},
    )
    gradient_rollouts: int = field(
        default=8,
        metadata={"help": "samples per problem to estimate the slope of J, the probability of a right answer"},
    )
    use_peft: bool = field(
        default=False,
        metadata={
            "help": "train only a LoRA adapter; this field and the following ones are those of TRL's ModelConfig"
        },
    )
    lora_r: int = field(default=16, metadata={"help": "rank of the adapter's matrices"})
    lora_alpha: int = field(default=32, metadata={"help": "scales the adapter by lora_alpha / lora_r"})
    lora_dropout: float = field(default=0.05, metadata={"help": "fraction of an adapter's inputs dropped in training"})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "names of layers, or all-linear; default: peft's choice for the policy's architecture"},
    )
    lora_modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "names of other layers to train in full"}
    )
    use_rslora: bool = field(default=False, metadata={"help": "scale the adapter by lora_alpha / sqrt(lora_r)"})
    use_dora: bool = field(default=False, metadata={"help": "decompose weights into magnitude and direction (DoRA)"})
    reward: str | None = field(
        default=None,
        metadata={
            "help": "for grpo: your reward function, as module:function or file.py:function, called as TRL calls "
            "it; default 1 for a right answer and 0 otherwise, which is recorded in any case"
        },
    )
    trl: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "fields of TRL's configuration; flat in a recipe"}
    )

    def __post_init__(self) -> None:
        self.check_shared()
        self.eval_temperature = float(self.eval_temperature)
        if TINY.fullmatch(self.policy) and not TASKS[self.task].vocabulary:
            raise ValueError(
                f"policy {self.policy!r} does not fit task {self.task!r}: tiny knows only chain; choose another "
                "policy or task"
            )
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm: unknown algorithm {self.algorithm!r}; choose from {', '.join(ALGORITHMS)}")
        if self.algorithm != "grpo" and self.positive == "none":
            raise ValueError(f"positive: {self.algorithm} learns from positives; choose a kind other than none")
        if self.algorithm == "sft" and self.refresh_steps:
            raise ValueError("refresh_steps: sft learns positives made before its first step; leave it at 0")
        if self.algorithm != "dpo" and (not self.right_losers or self.loser_tries != 1):
            raise ValueError(f"right_losers, loser_tries: only dpo has losers, not {self.algorithm}; leave them out")
        if self.positive == "none" and self.trl.get("beta_sft"):
            raise ValueError("beta_sft: positive none leaves nothing to add; leave one of the two out")
        if self.positive not in POSITIVES:
            raise ValueError(f"positive: unknown kind {self.positive!r}; choose from {', '.join(POSITIVES)}")
        lowest: dict[str, float] = {"positive_tries": 1, "loser_tries": 1, "refresh_steps": 0, "eval_problems": 1}
        if self.positive_temperature is not None and self.positive in ("expert", "answer", "none"):
            raise ValueError(f"positive_temperature: positives of kind {self.positive} are not sampled; leave it out")
        if self.hinted_rows and self.algorithm != "sft":
            raise ValueError(f"hinted_rows: applies only to sft, not to {self.algorithm}; leave it out")
        if not 0 <= self.hinted_rows <= 1:
            raise ValueError(f"hinted_rows must be a fraction between 0 and 1, got {self.hinted_rows}")
        lowest |= {"gradient_problems": 0, "gradient_rollouts": 3, "probe_problems": int(self.algorithm == "dpo")}
        check_bounds(self, {**lowest, "positive_temperature": 1e-3, "eval_samples": 1, "eval_temperature": 0})
        if self.refresh_steps and self.positive in ("expert", "answer", "none") and self.algorithm != "dpo":
            raise ValueError(f"refresh_steps: positives of kind {self.positive} are not sampled; leave it at 0")
        if self.reward and "reward_weights" in self.trl:
            raise ValueError("reward_weights: only your own reward affects training; leave it out")
        if self.positive_data and self.positive_tries != 1 and self.algorithm != "dpo":
            raise ValueError("positive_tries: positives from positive_data are not sampled; leave it out")
        self._check_choice()
        self._check_tokens()
        if self.positive_data and self.positive_temperature is not None:
            raise ValueError("positive_temperature: positives from positive_data are not sampled; leave it out")
        if self.reward and self.algorithm != "grpo":
            raise ValueError(f"reward: applies only to grpo, not to {self.algorithm}; leave it out")
        for name in ("positive_data", "positive_filter"):
            if getattr(self, name) and self.positive not in SAMPLED:
                raise ValueError(
                    f"{name} applies to sampled positives ({', '.join(SAMPLED)}), not to {self.positive}; leave it out"
                )
        if unknown := set(self.positive_filter or ()) - set(WANTED):
            raise ValueError(
                f"positive_filter: unknown condition {sorted(unknown)[0]!r}; choose from {', '.join(WANTED)}"
            )
        if self.positive_data and self.refresh_steps and self.algorithm == "grpo":
            raise ValueError("refresh_steps: positives from positive_data are not sampled; leave it at 0")
        given = [f.name for f in fields(self) if f.name in _OF_PEFT and getattr(self, f.name) != f.default]
        if given and not self.use_peft:
            raise ValueError(f"{given[0]}: applies only to LoRA adapters; also set use_peft: true")
        if not TASKS[self.task].has_splits:
            self.split = "test"

    def _check_choice(self) -> None:
        if self.positive_choice not in CHOICES:
            hint = "; for right ones, set positive_filter: [right]" if self.positive_choice == "right" else ""
            raise ValueError(
                f"positive_choice: unknown choice {self.positive_choice!r}; choose from {', '.join(CHOICES)}{hint}"
            )
        if self.positive_choice == "first":
            return
        if self.positive_data:
            raise ValueError("positive_choice: positives from positive_data are not sampled; leave it out")
        if self.positive not in SAMPLED:
            raise ValueError(
                f"positive_choice applies to sampled positives ({', '.join(SAMPLED)}), not to {self.positive}; "
                "leave it out"
            )
        if self.positive_tries < 2:
            raise ValueError(
                f"positive_choice {self.positive_choice}: nothing to choose with one sample; set "
                "positive_tries to at least 2, or leave positive_choice out"
            )
        if self.positive_choice not in ("posterior", "weighted"):
            return
        if self.positive_choice == "weighted" and self.algorithm != "grpo":
            raise ValueError(f"positive_choice weighted: only for grpo; {self.algorithm} learns one text per problem")
        if self.positive != "explanation":
            raise ValueError(
                f"positive_choice {self.positive_choice}: only explanations have weights, not {self.positive}"
            )
        from expo.train.config import configuration_of

        usual = configuration_of(self.algorithm).temperature
        temperature = self.positive_temperature or self.trl.get("temperature", usual)
        if temperature != 1:
            raise ValueError(
                f"positive_choice {self.positive_choice}: its weights are defined only for samples at "
                f"temperature 1, not {temperature:g}; set positive_temperature: 1.0"
            )

    def _check_tokens(self) -> None:
        if self.positive_tokens not in TOKENS:
            raise ValueError(
                f"positive_tokens: unknown value {self.positive_tokens!r}; choose from {', '.join(TOKENS)}"
            )
        if self.positive_tokens == "all":
            return
        if self.positive_data:
            raise ValueError("positive_tokens: positives from positive_data are learnt whole; leave it out")
        if self.positive not in HINTED:
            raise ValueError(
                f"positive_tokens applies only to texts with a hint ({', '.join(HINTED)}), not to {self.positive}; "
                "leave it out"
            )
        if self.algorithm == "dpo":
            raise ValueError("positive_tokens: dpo compares whole texts; leave it out")

    @property
    def texts_each(self) -> int:
        """The maximum number of texts in a problem's term."""
        return self.positive_tries if self.positive_choice == "weighted" else 1

    @property
    def lora(self) -> dict[str, Any]:
        """The fields of `peft.LoraConfig`."""
        targets = self.lora_target_modules
        return {
            "r": self.lora_r,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
            "target_modules": targets[0] if targets == ["all-linear"] else targets,
            "modules_to_save": self.lora_modules_to_save,
            "use_rslora": self.use_rslora,
            "use_dora": self.use_dora,
        }

    @property
    def evaluated(self) -> dict[str, Any]:
        """The fields of `BaseRecipe` that differ for the evaluation problems."""
        return {
            "data": self.eval_data or self.data,
            "split": self.eval_split,
            "problems": self.eval_problems,
            "levels": self.eval_levels,
        }

    @property
    def trust_remote_code(self) -> bool:
        """Whether to run code that comes with a hub id; this is a field of TRL's."""
        return bool(self.trl.get("trust_remote_code", False))

    @property
    def samples_in(self) -> str | None:
        """The dtype of computation in training: bfloat16 on a GPU, unless `bf16` says otherwise."""
        import torch

        return "bfloat16" if self.trl.get("bf16", torch.cuda.is_available()) else None

    @property
    def seed(self) -> int:
        """TRL's seed: for the choice and order of problems, and for samples."""
        return int(self.trl.get("seed", 42))

    def resolved(self) -> dict[str, Any]:
        """The content of `recipe.yaml`: all of our fields, and those of TRL's configuration that were given."""
        ours = {k: v for k, v in super().resolved().items() if k != "trl"}
        lora = {name: getattr(self, name) for name in _OF_PEFT} if self.use_peft else {}
        return {**ours, **lora, **self.trl}


def read_recipe(values: dict[str, Any]) -> TrainRecipe:
    """Read a recipe from a flat mapping of our fields and those of TRL's configuration.

    Raises:
        ValueError: for an unknown field, with the nearest existing name; or for an invalid value.
    """
    from expo.train.config import configuration, configuration_of

    algorithm = values.get("algorithm", ALGORITHMS[0])
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: unknown algorithm {algorithm!r}; choose from {', '.join(ALGORITHMS)}")
    ours = {f.name for f in fields(TrainRecipe)} - {"trl"}
    trl = {f.name: f for f in fields(configuration_of(algorithm))}
    for name in map(str, values):
        if name in _OURS:
            raise ValueError(f"{name}: {_OURS[name]}")
        if name not in ours and name not in trl:
            raise ValueError(no_field(name, [*ours, *trl]))
    given = {k: _number(k, v, str(trl[k].type)) for k, v in values.items() if k in trl}
    task = TASKS.get(values.get("task", ""))
    if task and task.vocabulary:
        # TRL's own limit is beyond the context of the policies that know this task's words.
        given.setdefault("max_completion_length", task.max_new_tokens)
    try:
        read = configuration(algorithm, given, "unused")
    except TypeError as error:
        raise ValueError(f"TRL rejects these settings: {error}") from error
    # TRL reads mappings from JSON, as flags give them.
    given = {k: getattr(read, k) if isinstance(getattr(read, k), dict) else v for k, v in given.items()}
    return TrainRecipe(**{k: v for k, v in values.items() if k in ours}, trl=given)


def no_field(name: str, known: Iterable[str]) -> str:
    """Return a message that a field is unknown, with the algorithms that have it or the nearest existing name."""
    from expo.train.config import configuration_of

    if name == "sampling_dtype":
        return "sampling_dtype: training samples from the policy as it is trained; leave it out"
    others = [a for a in ALGORITHMS if name in {f.name for f in fields(configuration_of(a))}]
    return f"{name} applies only to algorithm {' and '.join(others)}" if others else unknown_field(name, known, "train")


def _number(name: str, value: Any, kind: str) -> Any:
    """Convert the value of a numeric field to a number: YAML reads 3e-6 as text. `kind` is the field's type as text."""
    kinds = set(re.findall(r"\w+", kind))
    if not kinds & {"int", "float"} or kinds & {"str", "list", "dict"} or (value is None and "None" in kinds):
        return value
    try:
        number = float("no" if isinstance(value, bool) else value)
        if "float" in kinds and name not in _COUNTS:
            return value if isinstance(value, int) else number
        if number == int(number):
            return int(number)
        if "float" in kinds:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be a {'' if 'float' in kinds else 'whole '}number, got {value!r}")
