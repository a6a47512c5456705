"""GSM8K: grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168; MIT licence)."""

from __future__ import annotations

import re

from expo.tasks.definition import TaskDefinition
from expo.tasks.problem import Problem, Task
from expo.tasks.row import Row, RowError
from expo.tasks.source import Hub, benchmark, collect, selected

HUB = Hub(
    "openai/gsm8k",
    "main",
    "740312add88f781978c0658806c59bc2815b9866",
    r'{"question": "What is 7 + 5?", "answer": "We add: 7 + 5 = 12.\n#### 12"}',
)

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def load(split: str = "test") -> Task:
    """Read a split (train has 7,473 rows, test 1,319) from the folder EXPO_DATA if it is set, else from the hub.

    A row `{"question", "answer"}` holds a worked solution, then `#### 18`. `answer` becomes the number after the mark,
    without thousands commas; `expert_cot` becomes the solution before it, without calculator marks (`<<3*4=12>>`). Its
    last line keeps the last step and the result. There are no levels. The id `gsm8k-test-17` has the row's number,
    counted from 0 as on the hub.

    Raises:
        DataError: if the split is missing, the hub cannot be reached, or no row is usable.
    """
    source, rows = benchmark("gsm8k", split, HUB)
    return collect("gsm8k", source, rows, lambda row: _problem(row, split))


def _problem(row: Row, split: str) -> Problem:
    solution, mark, final = row.text("answer").rpartition("####")
    answer = final.replace(",", "").strip()
    if not mark:
        raise RowError("answer", "no line '#### <number>' with the final answer")
    if not _NUMBER.fullmatch(answer):
        raise RowError("answer", f"{final.strip()!r} after #### is not a number")
    return Problem(
        id=f"gsm8k-{split}-{row.number}",
        question=row.text("question"),
        answer=answer,
        expert_cot=_CALCULATOR.sub("", solution).strip() or None,
        where=row.where,
    )


TASK = TaskDefinition(
    name="gsm8k", load=lambda chosen: selected(load(chosen.split), chosen), licence="mit", reads_data_folder=True
)
