"""From flags and YAML files to the dataclasses of a job: one parser for all jobs.

Every field of a job's dataclasses is a flag, and a key in the YAML file of `--config`; a flag overrides the file. A
command that cannot be read ends with exit code 2.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from expo.recipe import check_types, unknown_field

_NO_FILE = "--config needs the path of a YAML file"
# Asks for the flags themselves instead of their values.
LIST_FLAGS = "--list-flags"
# The flags that --help lists for a job with many flags; --help-all lists all.
_USUAL = {
    *("help", "config", "output", "task", "data", "policy", "problems", "levels", "samples", "temperature"),
    *("sources", "columns", "max_new_tokens", "algorithm", "positive", "dry_run", "dataset", "rollouts", "before"),
}
_ALL = ("--help-all", "--help_all")
_MANY = 12
# Fields in which `~` is expanded, since a shell leaves it as it is in --output=~/x.
PATHS = {
    *(
        "output",
        "data",
        "eval_data",
        "positive_data",
        "policy",
        "run",
        "runs",
        "figures",
        "study",
        "dataset",
        "file",
        "before",
    ),
}


class Listed(Exception):
    """Raised instead of reading flags if LIST_FLAGS is given; holds the flag of each field."""

    def __init__(self, actions: Iterable[argparse.Action]) -> None:
        super().__init__()
        self.actions = tuple(actions)


@dataclass
class Where:
    """Where the record goes."""

    output: str | None = field(
        default=None, metadata={"help": "the run folder; default runs/<job>/<task>-<policy>-<hash of the recipe>"}
    )


@dataclass
class EvaluateArguments(Where):
    """Where the record goes, and which record it is compared with."""

    before: str | None = field(
        default=None,
        metadata={"help": "the run folder of an earlier evaluation of these problems, to show what has changed since"},
    )


@dataclass
class TrainArguments(Where):
    """Where the record goes, and whether anything is trained."""

    dry_run: bool = field(
        default=False, metadata={"help": "only print the recipe, and the memory, time and disk space that it takes"}
    )
    calibration: str | None = field(
        default=None,
        metadata={"help": "plan for another machine: the file that expo doctor --calibrate wrote there"},
    )
    # Set by TRL's push_to_hub and hub_model_id, which are not part of the recipe, so that a finished run can be pushed.
    repository: str | None = field(default=None, init=False)


@dataclass
class DoctorArguments:
    """What else the doctor looks at."""

    calibrate: bool = field(
        default=False,
        metadata={"help": "measure how fast this machine samples and trains, for expo train --dry_run (a minute)"},
    )
    studies: bool = field(
        default=False, metadata={"help": "list the shipped studies instead, with what their runs still need"}
    )


@dataclass
class DatasetArguments:
    """Where the dataset goes."""

    dataset: str | None = field(
        default=None, metadata={"help": "the dataset folder; default self-explanations/<name of the run folder>"}
    )
    push_to_hub: str | None = field(
        default=None, metadata={"help": "also push to this hub dataset id (private; needs a login: hf auth login)"}
    )


@dataclass
class JudgeArguments:
    """Which record is judged, and by which model."""

    run: str = field(metadata={"help": "the run folder of a measurement"})
    model: str = field(metadata={"help": "the judge's name at its endpoint"})
    base_url: str | None = field(default=None, metadata={"help": "the endpoint; default OPENAI_BASE_URL or OpenAI's"})
    problems: int | None = field(default=None, metadata={"help": "judge only the first n problems"})
    max_tokens: int = field(default=1024, metadata={"help": "token limit of a reply"})
    timeout: float = field(default=300.0, metadata={"help": "seconds to wait for a reply"})


@dataclass
class GradeArguments:
    """What is graded."""

    gold: str | None = field(default=None, metadata={"help": "the ground-truth answer"})
    text: str | None = field(default=None, metadata={"help": "a completion to find the answer in"})
    answer: str | None = field(
        default=None, metadata={"help": "an answer as it would appear in \\boxed{}, instead of --text"}
    )
    file: str | None = field(
        default=None,
        metadata={"help": "a JSONL file whose lines have the fields gold and text, instead of --gold and --text"},
    )
    tolerance: float = field(
        default=0.0, metadata={"help": "how far a number may be off, as a share of the ground truth"}
    )
    output: str | None = field(default=None, metadata={"help": "also write all verdicts to this CSV file"})
    run: str | None = field(
        default=None, metadata={"help": "the run folder of an evaluation; all graders grade its samples"}
    )
    limits: list[int] | None = field(
        default=None,
        metadata={
            "help": "with --run: token limits to cut the samples at; default: the run's limit, half and a quarter of it"
        },
    )


@dataclass
class CompletionArguments:
    """The shell to write the script for."""

    shell: str = field(metadata={"help": "bash, zsh or fish"})


@dataclass
class ReportArguments:
    """Which records are shown, and where the page goes."""

    runs: list[str] = field(
        metadata={
            "help": "run folders, or folders that hold run folders; --runs itself may be left out",
            "metavar": "RUN",
        }
    )
    output: str | None = field(
        default=None,
        metadata={
            "help": "the page; default: report.html in the folder, or in the closest folder that holds all of them"
        },
    )


@dataclass
class StudyArguments:
    """Which study, and where its runs and figures go."""

    study: str = field(
        default="tiny",
        metadata={"help": "a shipped study (expo doctor --studies lists them), or the path of a YAML file"},
    )
    runs: str = field(default="runs", metadata={"help": "the folder that holds the runs of all studies"})
    only_draw: bool = field(
        default=False, metadata={"help": "only draw figures from the records in --runs, without starting runs"}
    )
    check: bool = field(
        default=False,
        metadata={"help": "only check whether all figures still match the files, records, recipes and code here"},
    )
    figures: str | None = field(
        default=None,
        metadata={
            "help": "where figures go; default: runs/<study>/figures for smoke and your own studies, else figures/"
        },
    )


class Flags:
    """The flags of a job; each is a field of a dataclass.

    Args:
        job: its name.
        types: the dataclasses.
        about: the job in a sentence.
        epilog: the text below the list of flags.
        hidden: fields left out of the list.
        unlisted: fields that are read, but that neither the list nor completion offers.
        untyped: fields whose values in the file are not converted here; another reader does that.
        unknown: makes the message about an unknown field from its name and the known fields.
        usage: the first line of the help, if it differs from that of other jobs.
    """

    def __init__(
        self,
        job: str,
        types: Sequence[type],
        about: str,
        *,
        epilog: str | None = None,
        hidden: Iterable[str] = (),
        unlisted: Iterable[str] = (),
        untyped: Iterable[str] = (),
        unknown: Callable[[str, Iterable[str]], str] | None = None,
        usage: str | None = None,
    ) -> None:
        usage = usage or f"expo {job}" + (" [--flag value ...] [--config recipe.yaml]" if types else "")
        self.parser = HfArgumentParser(
            list(types), prog=f"expo {job}", usage=usage, description=about, epilog=epilog, allow_abbrev=False
        )
        self._unknown = unknown or (lambda name, known: unknown_field(name, known, job))
        self._job, self._untyped, self._unlisted = job, set(untyped), set(unlisted)
        left_out = {*hidden, *unlisted}
        self._actions: dict[str, argparse.Action] = {}
        self._required: list[str] = []
        self._given: set[str] = set()
        self._epilog = epilog
        for action in self.parser._actions:
            if action.dest in left_out:
                action.help = argparse.SUPPRESS
            elif any(flag.startswith(("--no_", "--no-")) for flag in action.option_strings):
                action.help = f"the same as --{action.dest} false"
            elif action.default not in (None, argparse.SUPPRESS, []):
                default = action.default
                shown = " ".join(map(str, default)) if isinstance(default, list) else default
                action.help = f"{action.help} (default: {shown})"
            # Parse only what was given: it overrides the file, which may set required fields.
            action.default = argparse.SUPPRESS
            self._required += [action.dest] if action.required else []
            action.required = False
            # A second action for a field is its --no_... flag.
            if action.dest not in ("help", "trl"):
                self._actions.setdefault(action.dest, action)
        if types:
            about_file = "a YAML file with any of these fields"
            self.parser.add_argument("--config", nargs="?", const="", default=argparse.SUPPRESS, help=about_file)
        self._hide_all_but_the_usual()

    def _hide_all_but_the_usual(self) -> None:
        """Leave all but the usual flags to --help-all, unless there are only a few."""
        listed = {a: a.help for a in self.parser._actions if a.help != argparse.SUPPRESS}
        self._others = {a: text for a, text in listed.items() if a.dest not in _USUAL}
        if len(self._actions) <= _MANY:
            return
        for action in self._others:
            action.help = argparse.SUPPRESS
        told = f"These are the usual flags; `expo {self._job} {_ALL[0]}` lists all of them."
        self.parser.epilog = f"{told} {self.parser.epilog or ''}".strip()

    def _print_all(self) -> NoReturn:
        for action, text in self._others.items():
            action.help = text
        self.parser.epilog = self._epilog
        self.parser.print_help()
        raise SystemExit(0)

    def read(self, argv: Sequence[str]) -> tuple[dict[str, Any], str | None]:
        """The values by field, from the file and then the flags, and the name of the file."""
        if set(_ALL) & set(argv):
            self._print_all()
        if LIST_FLAGS in argv:
            offered = {*self._actions, "config"} - self._unlisted
            raise Listed(action for action in self.parser._actions if action.dest in offered)
        flags, rest = self.parser.parse_known_args(argv)
        for unknown in rest[:1]:
            if not unknown.startswith("-"):
                self.parser.error(f"unexpected argument {unknown!r}; a value must follow its flag")
            name = unknown.partition("=")[0].removeprefix("--").replace("-", "_")
            self.parser.error(self._unknown(name, [field for field in self._actions if field not in self._unlisted]))
        given = vars(flags)
        file = given.pop("config", None)
        values = {**(self._file(file) if file is not None else {}), **given}
        if missing := [self._actions[name].metavar or f"--{name}" for name in self._required if name not in values]:
            self.fail(f"the following arguments are required: {', '.join(map(str, missing))}")
        self._given = set(given)
        for name in PATHS & values.keys():
            if isinstance(values[name], str) and values[name].startswith("~"):
                values[name] = str(Path(values[name]).expanduser())
        return values, file

    def fail(self, message: str, file: str | None = None) -> NoReturn:
        """End the command with a message; the file's name precedes it unless it is about a flag that was given."""
        about_a_flag = re.match(r"\w*", message)[0] in self._given  # type: ignore[index]
        self.parser.error(f"{file}: {message}" if file and not about_a_flag else message)
        raise SystemExit(2)

    def _file(self, file: str) -> dict[str, Any]:
        if not file:
            self.parser.error(_NO_FILE)
        try:
            with Path(file).expanduser().open(encoding="utf-8") as stream:
                values = yaml.safe_load(stream)
        except OSError as error:
            self.parser.error(f"{file} cannot be read: {error.strerror}")
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            self.parser.error(f"{file} cannot be read: {error}")
        if not isinstance(values, dict):
            self.parser.error(f"{file} must contain a YAML mapping of fields, got {values!r}")
        if unknown := [name for name in map(str, values) if name not in self._actions]:
            from expo.study import meant_for

            self.fail(meant_for(file, map(str, values), self._job) or self._unknown(unknown[0], self._actions), file)
        try:
            return {name: self._typed(name, value) for name, value in values.items()}
        except argparse.ArgumentError as error:
            self.fail(str(error), file)

    def _typed(self, name: str, value: Any) -> Any:
        """Convert a value of the file as its flag would be: YAML reads 3e-6 and quoted numbers as text."""
        action = self._actions[name]
        is_text = isinstance(value, str) and name not in self._untyped
        if is_text and action.nargs in (None, "?") and action.type not in (None, str):
            return self.parser._get_value(action, value)
        if isinstance(value, list) and action.type is float:
            return [self._number(v) for v in value]
        return value

    @staticmethod
    def _number(value: Any) -> Any:
        """Convert an item such as 3e-3, which is text in YAML; the check of types reports anything else."""
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value


def parse(
    job: str,
    types: Sequence[type],
    argv: Sequence[str],
    about: str,
    usage: str | None = None,
    unlisted: Iterable[str] = (),
) -> list[Any]:
    """The dataclasses of a job, filled from its YAML file and then from its flags; `unlisted`: see `Flags`."""
    flags = Flags(job, types, about, usage=usage, unlisted=unlisted)
    values, file = flags.read(argv)
    try:
        filled = [t(**{f.name: values[f.name] for f in fields(t) if f.name in values}) for t in types]
        for dataclass in filled:
            check_types(dataclass)
    except ValueError as error:
        flags.fail(str(error), file)
    return filled


def parse_train(argv: Sequence[str]) -> tuple[Any, TrainArguments]:
    """The recipe of a training, and where its record goes."""
    from expo.train.recipe import read_recipe

    algorithm = _algorithm(argv)
    if {"-h", "--help"} & set(argv):
        _train_flags(algorithm).read(["--help"])
    from expo.train.config import configuration_of

    flags = _train_flags(algorithm, configuration_of(algorithm))
    values, file = flags.read(argv)
    where = TrainArguments(**{f.name: values.pop(f.name) for f in fields(TrainArguments) if f.name in values})
    repository, wanted = values.pop("hub_model_id", None), values.pop("push_to_hub", False)
    if bool(repository) != bool(wanted):
        flags.fail("push_to_hub: to push a policy, give --push_to_hub true --hub_model_id owner/name", file)
    if repository and not re.fullmatch(r"[^/\s]+/[^/\s]+", str(repository)):
        flags.fail(f"hub_model_id must be owner/name, got {repository!r}", file)
    where.repository = repository
    try:
        check_types(where)
        return read_recipe(values), where
    except ValueError as error:
        flags.fail(str(error), file)


def _train_flags(algorithm: str, configuration: type | None = None) -> Flags:
    """The flags of a training; without TRL's configuration, which takes seconds to import, only those of --help."""
    from expo.train.recipe import TrainRecipe, no_field

    more = [configuration] if configuration else []
    of_trl = {f.name for added in more for f in fields(added)}
    shown = {f.name for f in (*fields(TrainArguments), *fields(TrainRecipe))}
    shown |= {name for added in more for name in added.__annotations__}
    common = ("learning_rate", "max_steps", "num_train_epochs", "per_device_train_batch_size")
    of_algorithm = {"dpo": "DPOConfig", "sft": "SFTConfig"}.get(algorithm, "GRPOConfig")
    return Flags(
        "train",
        [TrainArguments, TrainRecipe, *more],
        "Train with ExP-GRPO, GRPO (--positive none), other positives, ExP-DPO (--algorithm dpo), or SFT.",
        epilog=f"Every field of trl.{of_algorithm} is a flag too: {', '.join(common)}, ...",
        hidden=of_trl - shown | {"trl"},
        untyped=of_trl,
        unknown=no_field,
    )


def _algorithm(argv: Sequence[str]) -> str:
    """The algorithm, which decides which flags exist; empty if it is not given or cannot be read."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config", nargs="?")
    first.add_argument("--algorithm", nargs="?")
    chosen, _ = first.parse_known_args(argv)
    if chosen.algorithm or not chosen.config:
        return chosen.algorithm or ""
    try:
        values = yaml.safe_load(Path(chosen.config).expanduser().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return ""
    return str(values.get("algorithm", "")) if isinstance(values, dict) else ""
