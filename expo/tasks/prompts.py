"""All prompts of the toolkit, in one place. A recipe may override any field; each run saves all of them.

`{question}`, `{answer}` and `{nonsense}` are replaced by text, and nothing else is interpreted: braces in a question or
answer, or elsewhere in a template, are safe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

_MARKS = {
    "question": {"question"},
    "explain": {"question", "answer"},
    "nonsense": {"question", "nonsense"},
    "answer_cue": set(),
    "answer_end": set(),
}


@dataclass(frozen=True)
class Prompts:
    """The templates of one kind of task.

    `question` is the plain prompt pi(.|q): own CoTs are sampled under it and *everything* is scored under it.
    `explain` is the question with its answer, pi(.|q, a*): self-explanations are sampled under it (paper, Eq 7).
    `nonsense` is the control: a hint as long as that of `explain`, which says nothing.
    `answer_cue` + answer + `answer_end` closes a CoT, the same for every kind of positive. The learning signal
    scores the answer and `answer_end` (without a closing mark, 1 would be credited as the start of 18).
    `chat` wraps the prompt in the tokenizer's chat template, if it has one.
    """

    question: str
    explain: str
    nonsense: str
    answer_cue: str
    answer_end: str
    chat: bool = True

    def __post_init__(self) -> None:
        for name, kind in (("chat", bool), *((f.name, str) for f in fields(self) if f.name != "chat")):
            if not isinstance(value := getattr(self, name), kind):
                wanted = "true or false" if kind is bool else "text"
                raise ValueError(f"prompts.{name} must be {wanted}, got {value!r}")
        for name, marks in _MARKS.items():
            present = set(re.findall(r"\{(question|answer|nonsense)\}", getattr(self, name)))
            if lacking := sorted(marks - present):
                raise ValueError(f"prompts.{name} must contain {{{lacking[0]}}}: {getattr(self, name)!r}")
            if unfilled := sorted(present - marks):
                raise ValueError(f"prompts.{name} cannot contain {{{unfilled[0]}}}, which is not filled in there")
        if not self.answer_end:
            raise ValueError(
                "prompts.answer_end must not be empty: without a closing mark, 1 would be credited as the start of 18"
            )

    def override(self, changes: dict[str, str | bool] | None) -> Prompts:
        """Replace some fields of these prompts.

        Raises:
            ValueError: if a field does not exist; the message lists those that do.
        """
        changes = changes or {}
        known = {f.name for f in fields(self)}
        if unknown := sorted(str(name) for name in set(changes) - known):
            raise ValueError(f"prompts: unknown field {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
        return replace(self, **changes)  # type: ignore[arg-type]


def fill(template: str, **values: str) -> str:
    """Fill in `{name}` placeholders in one pass, so that braces in a value are never read as placeholders."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


# The common zero-shot wording; the two prompts differ only in the sentence that gives the answer.
_ASK = "Please reason step by step, and put your final answer within \\boxed{}."

TEXT = Prompts(
    question="{question}\n\n" + _ASK,
    explain="{question}\n\nThe correct answer is {answer}. " + _ASK,
    nonsense="{question}\n\n{nonsense}. " + _ASK,
    answer_cue="\n\nThe answer is \\boxed{",
    answer_end="}",
)
