"""Every prompt the toolkit uses, in one place. A recipe may override any field; each run saves them all.

`{question}`, `{answer}` and `{nonsense}` are filled in as text, nothing else is interpreted: braces in a
question or answer are safe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Prompts:
    """The templates of one kind of task.

    `question` is the plain prompt pi(.|q): own CoTs are sampled under it and *everything* is scored under it.
    `explain` is the question with its answer, pi(.|q, a*): self-explanations are sampled under it (paper, Eq 7).
    `nonsense` is the control: as long a hint as `explain` gives, which says nothing.
    `answer_cue` + answer + `answer_end` closes a CoT, the same for every kind of positive. The learning signal
    scores the answer and `answer_end` (without a closing mark, 1 would be credited as the start of 18).
    `chat` wraps the prompt in the tokenizer's chat template, where it has one.
    """

    question: str
    explain: str
    nonsense: str
    answer_cue: str
    answer_end: str
    chat: bool = True

    def __post_init__(self) -> None:
        for name, needed in (("question", ["{question}"]), ("explain", ["{question}", "{answer}"])):
            for mark in needed:
                if mark not in getattr(self, name):
                    raise ValueError(f"prompts.{name} must contain {mark}: {getattr(self, name)!r}")

    def override(self, changes: dict[str, str | bool] | None) -> Prompts:
        """These prompts with some fields replaced.

        Raises:
            ValueError: if a field does not exist, naming those that do.
        """
        changes = changes or {}
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"prompts: no field {unknown}; the fields are {sorted(known)}")
        return replace(self, **changes)  # type: ignore[arg-type]


def fill(template: str, **values: str) -> str:
    """Put values into `{name}` marks in one pass, so that a value's own braces are never read as marks."""
    marks = "|".join(map(re.escape, values))
    return re.sub(r"\{(" + marks + r")\}", lambda found: values[found[1]], template)


# The usual zero-shot words; the two prompts differ only in the sentence that gives the answer.
_ASK = "Please reason step by step, and put your final answer within \\boxed{}."

TEXT = Prompts(
    question="{question}\n\n" + _ASK,
    explain="{question}\n\nThe correct answer is {answer}. " + _ASK,
    nonsense="{question}\n\n{nonsense}. " + _ASK,
    answer_cue="\n\nThe answer is \\boxed{",
    answer_end="}",
)

CHAIN = Prompts(
    question="<bos> {question} <think>",
    explain="<bos> {question} key {answer} <think>",
    nonsense="<bos> {question} key {nonsense} <think>",
    answer_cue="<ans>",
    answer_end="<eos>",
    chat=False,
)

BY_KIND = {"math": TEXT, "chain": CHAIN}
