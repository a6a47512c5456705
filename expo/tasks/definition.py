"""What a task is: where its problems come from, its prompts, and how its texts are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from expo.tasks.checker import Checker
from expo.tasks.problem import DataError, Skip, Task
from expo.tasks.prompts import TEXT, Prompts


@dataclass(frozen=True)
class Selection:
    """Which problems of a task are asked for; `can_parse` says whether an answer can be graded against."""

    data: str | None = None
    split: str = "test"
    problems: int | None = None
    levels: tuple[int, ...] | None = None
    seed: int = 0
    can_parse: Callable[[str], bool] | None = None
    columns: str | None = None


@dataclass(frozen=True)
class TaskDefinition:
    """Everything that is a task's own. A new task is a module with one of these, entered in `expo.tasks.TASKS`.

    Attributes:
        name: as recipes spell it.
        load: the problems of a selection.
        licence: of the questions, as the hub spells it.
        prompts: as they are where a recipe changes none.
        checker: how texts are checked, from the prompts; it starts no process until it is asked for grades. None for
            texts whose grader and step checker a recipe chooses.
        has_splits: whether problems to train on and problems to evaluate on are told apart by a split.
        reads_file: whether the problems are in a file that the user names.
        reads_columns: whether that file has columns, which the user may name.
        reads_data_folder: whether they are in the folder EXPO_DATA or, without it, on the hub.
        about_splits: what its splits are, for a reader of results.
        other_problems: how to evaluate on other problems than those trained on.
        unfit: the problems that cannot be put to a policy, by id, from its tokenizer's `encode`.
        mentions: what a text says where it mentions an answer, or a part of it; the answer itself, if nothing else is.
        vocabulary: all words of a task whose policies know no others; None for text.
        max_new_tokens: token limit of a sampled completion where a recipe names none.
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
        """Its problems, those left out whose answer no checker could compare.

        Raises:
            DataError: for a missing file or split, or no usable problem.
        """
        if selection.data is not None and not self.reads_file:
            raise DataError(f"--data: the task {self.name} reads no file; leave it out, or take --task jsonl")
        if selection.columns is not None and not self.reads_columns:
            raise DataError(f"--columns belongs to the task jsonl, not to {self.name}")
        if not self.has_splits and selection.split != "test":
            raise DataError(f"{self.name} has no splits; leave --split {selection.split} out")
        return self.load(selection)
