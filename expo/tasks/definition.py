"""The definition of a task: where its problems come from, its prompts, and how its texts are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from expo.tasks.checker import Checker
from expo.tasks.problem import DataError, Skip, Task
from expo.tasks.prompts import TEXT, Prompts


@dataclass(frozen=True)
class Selection:
    """Which problems of a task are requested; `can_parse` says whether an answer can be graded against."""

    data: str | None = None
    split: str = "test"
    problems: int | None = None
    levels: tuple[int, ...] | None = None
    seed: int = 0
    can_parse: Callable[[str], bool] | None = None
    columns: str | None = None


@dataclass(frozen=True)
class TaskDefinition:
    """Everything specific to a task. A new task is a module with one of these, registered in `expo.tasks.TASKS`.

    Attributes:
        name: the name in recipes.
        load: reads the problems of a selection.
        licence: licence of the questions, in the hub's spelling.
        prompts: the default prompts, which a recipe may change.
        checker: makes the checker of texts from the prompts; the checker starts no process until it is asked for
            grades. None if a recipe chooses the grader and step checker.
        has_splits: whether a split separates problems to train on from problems to evaluate on.
        reads_file: whether the user gives a file with the problems.
        reads_columns: whether that file has columns that the user may name.
        reads_data_folder: whether they are read from the folder EXPO_DATA or, if unset, from the hub.
        about_splits: a description of its splits, for readers of results.
        other_problems: how to evaluate on problems other than those trained on.
        unfit: finds the problems that do not suit a policy, by id, from its tokenizer's `encode`.
        mentions: the ways a text may mention an answer, or a part of it; by default only the answer itself.
        vocabulary: all words of a task whose policies know no others; None for free text.
        max_new_tokens: the default token limit of a sampled completion.
    """

    name: str
    load: Callable[[Selection], Task]
    licence: str = "other"
    prompts: Prompts = TEXT
    checker: Callable[[Prompts], Checker] | None = None
    has_splits: bool = True
    reads_file: bool = False
    reads_columns: bool = False
    reads_data_folder: bool = False
    about_splits: str = ""
    other_problems: str = "give --eval_split another split"
    unfit: Callable[[Task, Callable[[str], Sequence[int]]], dict[str, Skip]] = lambda *_: {}
    mentions: Callable[[str], Sequence[str]] = lambda answer: (answer,)
    vocabulary: frozenset[str] | None = field(default=None, repr=False)
    max_new_tokens: int = 256

    def select(self, selection: Selection) -> Task:
        """Load its problems, without those whose answer no checker can compare.

        Raises:
            DataError: for a missing file or split, or no usable problem.
        """
        if selection.data is not None and not self.reads_file:
            raise DataError(f"--data: task {self.name} reads no file; leave it out, or choose --task jsonl")
        if selection.columns is not None and not self.reads_columns:
            raise DataError(f"--columns applies only to task jsonl, not to {self.name}; leave it out")
        if not self.has_splits and selection.split != "test":
            raise DataError(f"--split: task {self.name} has no splits; leave {selection.split} out")
        return self.load(selection)
