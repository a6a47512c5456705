"""The recipe of a training: what is trained on what, beside every field of TRL's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from expo.policies.names import TINY
from expo.recipe import BaseRecipe, check_bounds, unknown_field
from expo.tasks import TASKS

# Whose trainer of TRL takes the steps.
ALGORITHMS = ("grpo", "dpo", "sft")
# What the added term makes likelier, or DPO prefers; none is plain GRPO, answer has no CoT.
POSITIVES = ("explanation", "expert", "own_correct", "wrong_explanation", "nonsense", "answer", "none")
# The kinds that are sampled, and may be given instead.
SAMPLED = ("explanation", "own_correct", "wrong_explanation", "nonsense")
# Which of several samples becomes the positive (`expo/measure/choice.py`).
CHOICES = ("first", "posterior", "weighted", "best_signal", "best_joint")
# Which tokens of it are learnt, and the kinds whose prompt had a hint.
TOKENS = ("all", "least_moved", "most_moved", "random_half")
HINTED = ("explanation", "wrong_explanation", "nonsense")
# What a positive may have to be: its own answer a*, silent on having been given it, without a false step.
WANTED = ("right", "no_leak", "true_steps")
# Fields of TRL's configuration that a run decides, and why.
_SAVED = "a run saves all that it needs to go on, every save_steps"
_EVALUATED = "a run evaluates before its first step, every eval_steps, and after its last"
_ORDER = "problems are shuffled by seed, anew in each epoch, so that a run can go on in the middle of one"
_OURS = {
    "output_dir": "the run folder is given by --output",
    "model_init_kwargs": "attn_implementation, dtype and revision are fields of the recipe",
    "resume_from_checkpoint": "a run resumes by itself",
    "save_strategy": _SAVED,
    "save_only_model": _SAVED,
    "logging_strategy": "logging_steps says how often; a stopped run must not lose what it logged",
    "train_sampling_strategy": _ORDER,
    "accelerator_config": _ORDER,
    "ignore_data_skip": "a resumed run continues with the next problem",
    "shuffle_dataset": _ORDER,
    "enable_jit_checkpoint": "at SIGTERM a run saves a checkpoint anyway, and resumes from it",
    "use_transformers_continuous_batching": "TRL rounds the weights that are trained to bfloat16 for it, and small "
    "steps are lost",
    "eval_strategy": _EVALUATED,
    "eval_on_start": _EVALUATED,
    "do_eval": _EVALUATED,
    **dict.fromkeys(("push_to_hub", "hub_model_id"), "the command pushes a finished run, whatever its recipe"),
    **dict.fromkeys(
        ("hub_strategy", "hub_token", "hub_private_repo", "hub_always_push", "hub_revision"),
        "a finished run is pushed once, to a new private repository, by the login of hf auth login",
    ),
    "load_best_model_at_end": "the policy of the last step is kept, and every evaluation is in the record",
}


_OF_PEFT = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save", "use_rslora", "use_dora"),
)
# Floats to TRL, which takes them as shares of the training too.
_COUNTS = ("save_steps", "logging_steps", "eval_steps")


@dataclass
class TrainRecipe(BaseRecipe):
    """Train a policy on a task's questions: by GRPO with positives beside it, DPO on pairs, or positives alone."""

    split: str = field(default="train", metadata={"help": "questions trained on, where the task has splits"})
    problems: int | None = field(default=None, metadata={"help": "how many of them, chosen by seed; default all"})
    dtype: str = field(default="float32", metadata={"help": "dtype of the weights; bf16: true computes in bfloat16"})
    rows: int = field(default=64, metadata={"help": "samples decoded at a time, except by TRL itself"})
    algorithm: str = field(
        default="grpo",
        metadata={
            "help": "grpo, with the added term; dpo: pairs of a positive and an own sample; sft: positives alone"
        },
    )
    positive: str = field(
        default="explanation", metadata={"help": f"what is learnt, or wins a pair of DPO: {', '.join(POSITIVES)}"}
    )
    positive_data: str | None = field(
        default=None,
        metadata={
            "help": "positives in place of sampled ones: another run's folder, expo sample's dataset, a file, or "
            "owner/name:split on the hub"
        },
    )
    positive_filter: list[str] | None = field(
        default=None, metadata={"help": f"what a positive must be: {', '.join(WANTED)}"}
    )
    positive_tries: int = field(
        default=1, metadata={"help": "samples drawn for a problem's positive, of which one is taken"}
    )
    positive_choice: str = field(
        default="first",
        metadata={
            "help": "which of the acceptable ones: first, posterior (drawn by importance weight), weighted (all, by "
            "these weights), best_signal (highest log pi(a*|q, c)), best_joint (highest log pi(c, a*|q))"
        },
    )
    positive_tokens: str = field(
        default="all",
        metadata={
            "help": "which tokens are learnt: all, or the answer and the half of the CoT that the hint moves least "
            "(least_moved) or most (most_moved), or a random half (random_half), which is their control"
        },
    )
    positive_temperature: float | None = field(
        default=None, metadata={"help": "for sampling positives; default that of the policy's own samples"}
    )
    hinted_rows: float = field(
        default=0.0,
        metadata={"help": "for sft: the share of positives learnt with the answer in the prompt, as an explanation is"},
    )
    right_losers: bool = field(
        default=True, metadata={"help": "for dpo: whether a loser may happen to be right, as in the paper's objective"}
    )
    loser_tries: int = field(
        default=1, metadata={"help": "for dpo: samples per problem; the first acceptable one is the loser"}
    )
    refresh_steps: int = field(
        default=0,
        metadata={"help": "sample positives, and losers, anew every so many steps; 0: from the initial policy"},
    )
    eval_data: str | None = field(default=None, metadata={"help": "for a jsonl task: the file to evaluate on"})
    eval_split: str = field(default="test", metadata={"help": "questions evaluated on"})
    eval_problems: int | None = field(default=None, metadata={"help": "how many of them; default all"})
    eval_levels: list[int] | None = field(default=None, metadata={"help": "only these levels"})
    eval_samples: int = field(default=4, metadata={"help": "samples per problem, at each evaluation"})
    eval_temperature: float = field(default=0.7, metadata={"help": "of these samples (the paper's: 0.7); 0 is greedy"})
    probe_problems: int = field(default=16, metadata={"help": "training problems whose samples are scored as it runs"})
    probe_initial: bool = field(
        default=False,
        metadata={
            "help": "sample the probes at temperature 1, and score them under the policy before training, for the KL"
        },
    )
    gradient_problems: int = field(
        default=0, metadata={"help": "training problems whose gradients are measured at each evaluation; 0: none"}
    )
    gradient_rollouts: int = field(default=8, metadata={"help": "samples of each, to estimate the slope of J"})
    use_peft: bool = field(
        default=False,
        metadata={"help": "train only a LoRA adapter; this field and the next ones are of TRL's ModelConfig"},
    )
    lora_r: int = field(default=16, metadata={"help": "rank of the adapter's matrices"})
    lora_alpha: int = field(default=32, metadata={"help": "scales the adapter by lora_alpha / lora_r"})
    lora_dropout: float = field(default=0.05, metadata={"help": "share of an adapter's inputs dropped in training"})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "names of layers, or all-linear; default peft's for the policy's architecture"}
    )
    lora_modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "names of other layers to train in full"}
    )
    use_rslora: bool = field(default=False, metadata={"help": "scale the adapter by lora_alpha / sqrt(lora_r)"})
    use_dora: bool = field(default=False, metadata={"help": "weights as magnitude and direction (DoRA)"})
    reward: str | None = field(
        default=None,
        metadata={
            "help": "for grpo: your reward function, as module:function or file.py:function, called as TRL calls one; "
            "default 1 for a right answer and 0 for any other, which is recorded in any case"
        },
    )
    trl: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "fields of TRL's configuration; flat in a recipe"}
    )

    def __post_init__(self) -> None:
        self.check_shared()
        self.eval_temperature = float(self.eval_temperature)
        if TINY.fullmatch(self.policy) and not TASKS[self.task].vocabulary:
            raise ValueError(f"policy {self.policy!r} and task {self.task!r} do not fit: tiny knows chain only")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm: no {self.algorithm!r}; there are {', '.join(ALGORITHMS)}")
        if self.algorithm != "grpo" and self.positive == "none":
            raise ValueError(f"positive: {self.algorithm} learns from positives; choose a kind other than none")
        if self.algorithm == "sft" and self.refresh_steps:
            raise ValueError(
                "refresh_steps: sft learns the positives that were made before its first step; leave it at 0"
            )
        if self.algorithm != "dpo" and (not self.right_losers or self.loser_tries != 1):
            raise ValueError(f"right_losers, loser_tries: only dpo has losers, not {self.algorithm}; leave them out")
        if self.positive == "none" and self.trl.get("beta_sft"):
            raise ValueError("beta_sft: with positive none there is nothing to add; leave out one of the two")
        if self.positive not in POSITIVES:
            raise ValueError(f"positive: no kind {self.positive!r}; the kinds are {', '.join(POSITIVES)}")
        lowest: dict[str, float] = {"positive_tries": 1, "loser_tries": 1, "refresh_steps": 0, "eval_problems": 1}
        if self.positive_temperature is not None and self.positive in ("expert", "answer", "none"):
            raise ValueError(f"positive_temperature: positives of kind {self.positive} are not sampled; leave it out")
        if self.hinted_rows and self.algorithm != "sft":
            raise ValueError(f"hinted_rows: applies only to sft, not to {self.algorithm}; leave it out")
        if not 0 <= self.hinted_rows <= 1:
            raise ValueError(f"hinted_rows must be a share from 0 to 1, got {self.hinted_rows}")
        lowest |= {"gradient_problems": 0, "gradient_rollouts": 3, "probe_problems": int(self.algorithm == "dpo")}
        check_bounds(self, {**lowest, "positive_temperature": 1e-3, "eval_samples": 1, "eval_temperature": 0})
        if self.refresh_steps and self.positive in ("expert", "answer", "none") and self.algorithm != "dpo":
            raise ValueError(f"refresh_steps: positives of kind {self.positive} are not sampled")
        if self.reward and "reward_weights" in self.trl:
            raise ValueError("reward_weights: only your reward affects training; leave it out")
        if self.positive_data and self.positive_tries != 1 and self.algorithm != "dpo":
            raise ValueError("positive_tries: positives of positive_data are not sampled; leave it out")
        self._check_choice()
        self._check_tokens()
        if self.positive_data and self.positive_temperature is not None:
            raise ValueError("positive_temperature: positives of positive_data are not sampled; leave it out")
        if self.reward and self.algorithm != "grpo":
            raise ValueError(f"reward: applies only to grpo; {self.algorithm} has none")
        for name in ("positive_data", "positive_filter"):
            if getattr(self, name) and self.positive not in SAMPLED:
                raise ValueError(f"{name} applies to sampled positives ({', '.join(SAMPLED)}), not to {self.positive}")
        if unknown := set(self.positive_filter or ()) - set(WANTED):
            raise ValueError(f"positive_filter: no {sorted(unknown)[0]!r}; there are {', '.join(WANTED)}")
        if self.positive_data and self.refresh_steps and self.algorithm == "grpo":
            raise ValueError("refresh_steps: positives of positive_data are not sampled; leave it at 0")
        given = [f.name for f in fields(self) if f.name in _OF_PEFT and getattr(self, f.name) != f.default]
        if given and not self.use_peft:
            raise ValueError(f"{given[0]}: applies only to LoRA adapters; also set use_peft")
        if not TASKS[self.task].has_splits:
            self.split = "test"

    def _check_choice(self) -> None:
        if self.positive_choice not in CHOICES:
            hint = "; for right ones set positive_filter: [right]" if self.positive_choice == "right" else ""
            raise ValueError(f"positive_choice: no {self.positive_choice!r}; there are {', '.join(CHOICES)}{hint}")
        if self.positive_choice == "first":
            return
        if self.positive_data:
            raise ValueError("positive_choice: positives of positive_data are not sampled; leave it out")
        if self.positive not in SAMPLED:
            raise ValueError(
                f"positive_choice applies to sampled positives ({', '.join(SAMPLED)}), not to {self.positive}; "
                "leave it out"
            )
        if self.positive_tries < 2:
            raise ValueError(
                f"positive_choice {self.positive_choice}: there is no choice from one sample; set positive_tries to "
                "at least 2, or leave positive_choice out"
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
                f"positive_choice {self.positive_choice}: its weights are those of samples at temperature 1, not "
                f"{temperature:g}; set positive_temperature: 1.0"
            )

    def _check_tokens(self) -> None:
        if self.positive_tokens not in TOKENS:
            raise ValueError(f"positive_tokens: no {self.positive_tokens!r}; there are {', '.join(TOKENS)}")
        if self.positive_tokens == "all":
            return
        if self.positive_data:
            raise ValueError("positive_tokens: positives of positive_data are learnt whole; leave it out")
        if self.positive not in HINTED:
            raise ValueError(
                f"positive_tokens applies only to texts with a hint ({', '.join(HINTED)}), not to {self.positive}; "
                "leave it out"
            )
        if self.algorithm == "dpo":
            raise ValueError("positive_tokens: dpo compares whole texts; leave it out")

    @property
    def texts_each(self) -> int:
        """The most texts that a problem's term has."""
        return self.positive_tries if self.positive_choice == "weighted" else 1

    @property
    def lora(self) -> dict[str, Any]:
        """Fields of `peft.LoraConfig`."""
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
        """The fields of `BaseRecipe` that are others for the problems evaluated on."""
        return {
            "data": self.eval_data or self.data,
            "split": self.eval_split,
            "problems": self.eval_problems,
            "levels": self.eval_levels,
        }

    @property
    def trust_remote_code(self) -> bool:
        """Whether code that the hub id brings along is run; a field of TRL's."""
        return bool(self.trl.get("trust_remote_code", False))

    @property
    def samples_in(self) -> str | None:
        """As it computes in training: bfloat16 on a GPU, unless `bf16` says otherwise."""
        import torch

        return "bfloat16" if self.trl.get("bf16", torch.cuda.is_available()) else None

    @property
    def seed(self) -> int:
        """TRL's: of the choice and order of problems, and of samples."""
        return int(self.trl.get("seed", 42))

    def resolved(self) -> dict[str, Any]:
        """What `recipe.yaml` holds: every field of ours, and those of TRL's configuration that were given."""
        ours = {k: v for k, v in super().resolved().items() if k != "trl"}
        lora = {name: getattr(self, name) for name in _OF_PEFT} if self.use_peft else {}
        return {**ours, **lora, **self.trl}


def read_recipe(values: dict[str, Any]) -> TrainRecipe:
    """The recipe in a flat mapping of our fields and of TRL's configuration's.

    Raises:
        ValueError: for a field that neither has, with the nearest name there is; or a value that does not fit.
    """
    from expo.train.config import configuration, configuration_of

    algorithm = values.get("algorithm", ALGORITHMS[0])
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: no {algorithm!r}; there are {', '.join(ALGORITHMS)}")
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
        raise ValueError(f"TRL cannot read these settings: {error}") from error
    # TRL reads a mapping from JSON, as a flag gives it.
    given = {k: getattr(read, k) if isinstance(getattr(read, k), dict) else v for k, v in given.items()}
    return TrainRecipe(**{k: v for k, v in values.items() if k in ours}, trl=given)


def no_field(name: str, known: Iterable[str]) -> str:
    """That there is no such field, with the algorithms that have it or the nearest name there is."""
    from expo.train.config import configuration_of

    if name == "sampling_dtype":
        return "sampling_dtype: a training samples from the policy as it trains it; leave this flag out"
    others = [a for a in ALGORITHMS if name in {f.name for f in fields(configuration_of(a))}]
    return f"{name} is a field of algorithm {' and '.join(others)}" if others else unknown_field(name, known, "train")


def _number(name: str, value: Any, kind: str) -> Any:
    """A value of a number's field as a number: YAML reads 3e-6 as text. `kind` is the field's type, written out."""
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
