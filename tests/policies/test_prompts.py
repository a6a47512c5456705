"""Prompts: text goes in as text, and a template that cannot work is refused by name."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expo.tasks.chain_task import CHAIN
from expo.tasks.prompts import TEXT, Prompts, fill

BRACES = [
    "{answer}",
    "{question}",
    "{nonsense}",
    "{}",
    "{{answer}}",
    "{0}",
    "{a.b}",
    "\\boxed{\\frac{1}{2}}",
    "{",
    "%s $x",
]


@pytest.mark.parametrize("text", BRACES)
def test_braces_of_a_value_are_text(text: str) -> None:
    assert fill("Q: {question} A: {answer}", question=text, answer="7") == f"Q: {text} A: 7"
    assert fill("Q: {question} A: {answer}", question="1 + 6?", answer=text) == f"Q: 1 + 6? A: {text}"


def test_a_value_is_not_filled_in_turn() -> None:
    template, values = "{question}|{answer}", {"question": "{answer}", "answer": "{question}"}
    assert fill(template, **values) == "{answer}|{question}"
    planted = template
    for name, value in values.items():  # one after the other, as `str.replace` would
        planted = planted.replace(f"{{{name}}}", value)
    assert planted == "{question}|{question}"


@pytest.mark.parametrize("text", BRACES)
def test_braces_of_a_template_are_text_too(text: str) -> None:
    filled = text.replace("{question}", "Q")
    assert fill(f"{{question}} {text}", question="Q") == f"Q {filled}"


def test_backslashes_are_text() -> None:
    assert fill("{question}", question=r"\1 \g<0> \\ \n") == r"\1 \g<0> \\ \n"


@given(st.text(), st.text())
def test_question_and_answer_stand_in_the_prompt_as_they_are(question: str, answer: str) -> None:
    before, _, after = TEXT.explain.partition("{question}")
    middle, _, end = after.partition("{answer}")
    assert fill(TEXT.explain, question=question, answer=answer) == before + question + middle + answer + end


def test_the_plain_prompt_gives_nothing_away() -> None:
    for prompts in (TEXT, CHAIN):
        plain, explain = (fill(t, question="Q", answer="<given>") for t in (prompts.question, prompts.explain))
        assert "<given>" not in plain
        assert "<given>" in explain


def test_override_replaces_what_is_named() -> None:
    changed = TEXT.override({"question": "Q: {question}", "chat": False})
    assert asdict(changed) == asdict(TEXT) | {"question": "Q: {question}", "chat": False}
    assert TEXT.override(None) == TEXT == TEXT.override({})
    assert TEXT.override(asdict(CHAIN)) == CHAIN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questoin": "{question}"}, "prompts: unknown field questoin; choose from answer_cue, .*question"),
        ({1: "{question}"}, "prompts: unknown field 1; choose from "),
        ({"question": "Solve."}, r"prompts\.question must contain \{question\}: 'Solve\.'"),
        ({"explain": "{question}"}, r"prompts\.explain must contain \{answer\}"),
        ({"explain": "{answer}"}, r"prompts\.explain must contain \{question\}"),
        ({"nonsense": "{question}"}, r"prompts\.nonsense must contain \{nonsense\}"),
        ({"question": "{question} {answer}"}, r"prompts\.question cannot contain \{answer\}, which is not filled in"),
        ({"answer_cue": "So {answer}: "}, r"prompts\.answer_cue cannot contain \{answer\}"),
        ({"answer_end": ""}, r"prompts\.answer_end must not be empty"),
        ({"question": None}, r"prompts\.question must be text, got None"),
        ({"chat": "no"}, r"prompts\.chat must be true or false, got 'no'"),
    ],
)
def test_a_change_that_cannot_work_is_named(changes: dict[str, str | bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TEXT.override(changes)


def test_other_braces_are_allowed_in_a_template() -> None:
    assert Prompts("{question} \\boxed{}", "{question} {answer} {x}", "{question} {nonsense}", "\\boxed{", "}").chat
