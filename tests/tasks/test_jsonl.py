import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expo.tasks import jsonl
from expo.tasks.problem import DataError, Skip, Task, in_lines

GOOD = b'{"question": "What is 1 + 1?", "answer": "2"}'
LAST = b'{"question": "What is 2 + 2?", "answer": "4"}'


@pytest.fixture
def load(tmp_path: Path):
    """Write lines to a file and load it."""

    def write_and_load(*lines: bytes, end: bytes = b"\n", **options) -> Task:
        path = tmp_path / "own.jsonl"
        path.write_bytes(end.join(lines) + end)
        return jsonl.load(path, **options)

    return write_and_load


def row(**fields: object) -> bytes:
    return json.dumps({"question": "What is 3 + 3?", "answer": "6"} | fields).encode()


def test_every_field_arrives(load, tmp_path: Path) -> None:
    task = load(row(id="a", level=2, expert_cot=" 3 + 3 = 6 ", subject="sums", colour="red"))
    (problem,) = task.problems
    assert (problem.id, problem.question, problem.answer) == ("a", "What is 3 + 3?", "6")
    assert (problem.level, problem.expert_cot, problem.subject) == (2, "3 + 3 = 6", "sums")
    assert problem.where == f"{tmp_path / 'own.jsonl'}:1"
    assert (task.name, task.is_toy, task.skipped) == ("jsonl", False, ())


def test_missing_and_null_optional_fields_are_no_fault(load) -> None:
    task = load(GOOD, row(id=None, level=None, expert_cot=None, subject=None))
    assert task.skipped == ()
    assert [(p.level, p.expert_cot, p.subject) for p in task.problems] == [(None, None, None)] * 2


BAD = [
    (b'{"question": "What is', "line", "not JSON: Unterminated string"),
    (GOOD + GOOD, "line", "not JSON: Extra data"),
    (b"[" + GOOD + b"]", "line", "a list, not an object"),
    (b'"question"', "line", "text, not an object"),
    (b"null", "line", "null, not an object"),
    (b"[" * 100_000, "line", "cannot read this JSON"),
    (b'{"question": "caf\xe9?", "answer": "1"}', "line", "not UTF-8 (byte 0xe9)"),
    (b'{"question": "Q?", "answer": NaN}', "line", "NaN is not a JSON value; write null"),
    (b'{"question": "Q?", "answer": ' + b"9" * 5000 + b"}", "line", "cannot read this JSON"),
    (b'{"answer": "1"}', "question", "missing; the row has only the fields answer"),
    (b'{"Question": "Q?", "answer": "1"}', "question", "missing; the row has only the fields Question, answer"),
    (row(question=None), "question", "null or empty, but text is required"),
    (row(question=" \n"), "question", "empty"),
    (row(question=7), "question", "a number, not text"),
    (row(question=["Q?"]), "question", "a list, not text"),
    (b'{"question": "Q \\ud800?", "answer": "1"}', "question", "surrogate"),
    (b'{"question": "Q?"}', "answer", "missing; the row has only the fields question"),
    (row(answer=None), "answer", "null or empty, but a text or a number is required"),
    (row(answer=""), "answer", "empty"),
    (row(answer=True), "answer", "true or false, not text"),
    (row(answer={"value": 6}), "answer", "an object, not text"),
    (b'{"question": "Q?", "answer": 1e999}', "answer", "too large"),
    (row(id=False), "id", "true or false, not text"),
    (row(id=""), "id", "empty"),
]


@pytest.mark.parametrize(("line", "field", "reason"), BAD)
def test_bad_row_is_named_and_the_rest_is_read(load, tmp_path: Path, line, field, reason) -> None:
    task = load(GOOD, line, LAST)
    assert [p.answer for p in task.problems] == ["2", "4"]
    (skip,) = task.skipped
    assert (skip.where, skip.field) == (f"{tmp_path / 'own.jsonl'}:2", field)
    assert reason in skip.reason
    assert len(skip.reason) < 200


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("expert_cot", "", "empty; the problem is kept without it"),
        ("expert_cot", ["a", "b"], "a list, not text"),
        ("subject", 3, "a number, not text"),
        (
            "level",
            "hard",
            "'hard' is not a whole number; write 3 or \"Level 3\", or order words by --columns level=level:",
        ),
        ("level", 3.5, "3.5 is not a whole number"),
        ("level", -1, "-1 is not a whole number"),
        ("level", True, "True is not a whole number"),
        ("level", [3], "a list is not a whole number"),
        ("level", "x" * 1000, "... is not a whole number"),
    ],
)
def test_an_unusable_optional_field_is_named_and_its_problem_kept(load, field, value, reason) -> None:
    task = load(row(**{field: value}))
    assert getattr(task.problems[0], field) is None
    (skip,) = task.skipped
    assert skip.field == field
    assert reason in skip.reason
    assert len(skip.reason) < 200


@pytest.mark.parametrize(
    ("number", "text"),
    [("18", "18"), ("18.0", "18"), ("0.5", "0.5"), ("-7", "-7"), ("1e-7", "0.0000001"), ("1e3", "1000")],
)
def test_number_as_answer_is_written_out(load, number: str, text: str) -> None:
    task = load(b'{"question": "Q?", "answer": ' + number.encode() + b"}")
    assert task.problems[0].answer == text


@pytest.mark.parametrize("level", [3, 3.0, "3", "3.0", " 3 ", "Level 3", "level 3"])
def test_level_in_any_usual_form(load, level) -> None:
    assert load(row(level=level)).problems[0].level == 3


def test_first_of_two_rows_with_one_id_is_kept(load, tmp_path: Path) -> None:
    task = load(row(id="a"), row(id="a", question="Another?"), row(id="b"))
    assert [p.id for p in task.problems] == ["a", "b"], "the same question under its own id is another problem"
    (skip,) = task.skipped
    assert skip.field == "id"
    assert skip.reason == f"'a' is already used by {tmp_path / 'own.jsonl'}:1; the first is kept"


def test_first_of_two_rows_with_one_question_is_kept(load) -> None:
    task = load(row(answer="6"), GOOD, row(answer="7"))
    assert [p.answer for p in task.problems] == ["6", "2"]
    (skip,) = task.skipped
    assert skip.field == "question"
    assert "own.jsonl:1; the first is kept" in skip.reason


def test_skipped_row_does_not_take_an_id(load) -> None:
    task = load(row(id="a", answer=""), row(id="a"))
    assert [p.id for p in task.problems] == ["a"]
    assert [s.field for s in task.skipped] == ["answer"]


def test_id_hangs_on_the_question_alone(load) -> None:
    (alone,) = load(row()).problems
    shifted = load(GOOD, b"", row(answer="six", level=1)).problems[1]
    assert shifted.id == alone.id
    assert load(row(question="What is  3 + 3?\n")).problems[0].id == alone.id
    assert load(row(question="What is 3 + 4?")).problems[0].id != alone.id


def test_blank_lines_line_ends_and_byte_order_mark(load) -> None:
    plain = load(GOOD, LAST)
    dressed = load(b"\xef\xbb\xbf" + GOOD, b"", b"  ", LAST, end=b"\r\n")
    assert dressed.skipped == ()
    assert [p.id for p in dressed.problems] == [p.id for p in plain.problems]
    assert [p.where.rpartition(":")[2] for p in dressed.problems] == ["1", "4"]


def test_line_separators_inside_text_split_nothing(load) -> None:
    task = load('{"question": "One\u2028two\x85?", "answer": "2"}'.encode())
    assert task.problems[0].question == "One\u2028two\x85?"


def test_very_long_line(load) -> None:
    text = "word " * 1_000_000
    assert load(row(expert_cot=text)).problems[0].expert_cot == text.strip()


def test_answer_that_cannot_be_graded_is_skipped(load) -> None:
    lines = row(answer="no idea"), GOOD
    assert len(load(*lines).problems) == 2
    task = load(*lines, can_parse=str.isdigit)
    assert [p.answer for p in task.problems] == ["2"]
    (skip,) = task.skipped
    assert skip.field == "answer"
    assert "'no idea'" in skip.reason


def test_file_with_no_usable_row_shows_the_first_skips_and_the_format(load, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(row(answer=""), *(row(answer=bad) for bad in (None, True, [], {}, [], None)))
    message = str(caught.value)
    assert f"{tmp_path / 'own.jsonl'}: none of the 7 rows is usable" in message
    assert "own.jsonl:1: answer: empty\n" in message
    # Those of one reason are one line, whose first row is named.
    assert "own.jsonl:2 and 1 more: answer: null or empty" in message
    assert "own.jsonl:3: answer: true or false" in message
    assert all(f"own.jsonl:{n}" not in message for n in (4, 5, 6, 7))
    assert "\n  and 3 more, for other reasons\n" in message
    assert jsonl.FORMAT in message


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"own\.jsonl: no rows"):
        jsonl.load(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        jsonl.load(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"this folder was not written by save_to_disk; give a file in it"):
        jsonl.load(str(tmp_path))


def test_other_formats_are_told_apart(load) -> None:
    with pytest.raises(DataError, match=r"one object, \{\.\.\.\}, per line"):
        load(b"[" + GOOD + b"," + LAST + b"]")
    with pytest.raises(DataError, match="byte 0xff"):
        load('{"question": "Q?", "answer": "1"}'.encode("utf-16"))


def test_format_shown_in_errors_is_itself_read(load) -> None:
    task = load(jsonl.FORMAT.encode())
    assert task.skipped == ()
    assert task.problems[0].expert_cot == "We add: 7 + 5 = 12."


@given(st.lists(st.binary(max_size=40) | st.sampled_from([GOOD, LAST, b'{"question": "Q?"}']), max_size=8))
@settings(deadline=None)
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "own.jsonl"
    path.write_bytes(b"\n".join(lines))
    rows = [line for line in b"\n".join(lines).removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    try:
        task = jsonl.load(path)
    except DataError:
        assert GOOD not in rows
        assert LAST not in rows
    else:
        assert len(task.problems) + len(task.skipped) == len(rows)


def test_skips_of_one_reason_are_one_line() -> None:
    alike = [Skip(f"f:{n}", "answer", "empty") for n in (1, 2, 3)]
    other = [Skip("f:4", "answer", "a list"), Skip("f:5", "id", "empty"), Skip("f:6", "id", "empty")]
    assert in_lines([*alike, *other], 5) == [
        "f:1 and 2 more: answer: empty",
        "f:4: answer: a list",
        "f:5 and 1 more: id: empty",
    ]
    assert in_lines([*alike, *other], 1) == ["f:1 and 2 more: answer: empty", "and 3 more, for other reasons"]
    # The control: three reasons are three lines.
    assert len(in_lines([Skip("f:1", "answer", reason) for reason in "abc"], 3)) == 3
    assert in_lines([], 3) == []
