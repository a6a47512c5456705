"""The task of last letters: its words, splits and checkers, with planted mistakes."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from expo.grading.answers import Status
from expo.measure.run import measure
from expo.recipe import MeasureRecipe
from expo.setup import load_problems
from expo.tasks import Task, checker_for, letters, load_task
from expo.tasks.problem import DataError, Problem
from tests.conftest import build

SETS = letters.read_words()
CHECKER = checker_for("letters")
problems = st.lists(st.sampled_from(SETS["train"]), min_size=2, max_size=5, unique=True).map(
    lambda words: letters._problem(words, "train")
)


def graded(problem: Problem, answer: str) -> Status:
    (grade,) = CHECKER.grade([(problem, f"\nfood ends in d.\nAnswer: ({answer})")])
    return grade.status


def test_the_documented_problem() -> None:
    problem = letters._problem(["food", "wind", "stone"], "train")
    assert problem.question == "What are the last letters of food wind stone?"
    assert (problem.answer, problem.level) == ("d, d, e", 3)
    assert letters.own_steps(["food", "wind"]) == ["food ends in d.", "wind ends in d."]
    assert problem.expert_cot == (
        "the final character of food is d; the final character of wind is d; the final character of stone is e."
    )
    assert letters._problem(["read", "land"], "warmup").expert_cot == "read ends in d. land ends in d."


def test_the_word_sets_share_no_word_and_have_each_letter_equally_often() -> None:
    words = [word for listed in SETS.values() for word in listed]
    assert len(set(words)) == len(words) == 130
    for listed in SETS.values():
        assert len(set(Counter(word[-1] for word in listed).values())) == 1
        assert len({word[-1] for word in listed}) == 13


@pytest.mark.slow
def test_every_word_is_one_token_of_smollm2_with_a_space_and_without() -> None:
    from expo.policies.load import load_policy

    policy = load_policy("smollm2-135m", letters.LETTERS)
    task = Task("letters", tuple(letters._problem([word], "new") for listed in SETS.values() for word in listed))
    assert not letters.unfit(task, policy.encode)
    planted = Task("letters", (letters._problem(["food", "zyzzyva"], "new"),))
    assert ["'zyzzyva' is" in str(skip) for skip in letters.unfit(planted, policy.encode).values()] == [True]
    # The cue, the answer and its end have the tokens of one text.
    prompts = letters.LETTERS
    parts = [prompts.answer_cue, "d, d, e", prompts.answer_end]
    assert [i for part in parts for i in policy.encode(part)] == policy.encode("".join(parts))


@given(problems, st.data())
def test_only_the_letters_in_their_order_are_right(problem: Problem, data: st.DataObject) -> None:
    right = problem.answer.split(", ")
    assert graded(problem, problem.answer) is Status.CORRECT
    i = data.draw(st.integers(0, len(right) - 1))
    changed = [*right[:i], data.draw(st.sampled_from([c for c in "abcdxyz" if c != right[i]])), *right[i + 1 :]]
    shuffled = data.draw(st.permutations(right))
    for wrong in (changed, right[:-1], [*right, right[0]], shuffled, [c.upper() for c in right]):
        assert (graded(problem, ", ".join(wrong)) is Status.CORRECT) == (wrong == right)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("\nAnswer: (d, d)", Status.CORRECT),
        ("Answer: ( d, d )\n", Status.CORRECT),
        ("Answer: (d, e)\nAnswer: (d, d)", Status.CORRECT),
        ("Answer: (d, d)\nAnswer: (d, e)", Status.WRONG),
        ("Answer: (d d)", Status.WRONG),
        ("Answer: (D, D)", Status.WRONG),
        ("Answer: (d, d", Status.UNPARSED),
        ("Answer: (d, d) or (d, e)", Status.UNPARSED),
        ("Answer: (d, d)) no", Status.UNPARSED),
        ("Answer: ()", Status.UNPARSED),
        ("(d, d)", Status.UNPARSED),
        ("d, d", Status.UNPARSED),
        ("", Status.UNPARSED),
    ],
)
def test_an_answer_stands_between_the_cue_and_its_end_alone(text: str, status: Status) -> None:
    (grade,) = CHECKER.grade([(letters._problem(["food", "wind"], "train"), text)])
    assert grade.status is status


@pytest.mark.parametrize(
    ("cot", "truth"),
    [
        ("food ends in d. wind ends in d.", [True, True]),
        ("the final character of food is d; the final character of wind is d.", [True, True]),
        ("food ends in d. the final character of wind is d.", [True, True]),
        ("food ends in d.", [True]),
        ("food ends in o. wind ends in d.", [False, True]),
        ("wind ends in d. food ends in d.", [False, False]),
        ("food ends in d. wind ends in d. stone ends in e.", [True, True, False]),
        ("food ends in dd. wind ends in D.", [False, False]),
        ("Let us see.\nfood ends in d.", [False, False]),
        ("", []),
        (" . ; ", []),
    ],
)
def test_a_step_is_true_at_the_place_of_its_word_alone(cot: str, truth: list[bool]) -> None:
    problem = letters._problem(["food", "wind"], "train")
    assert [true for _, true in CHECKER.steps(problem, cot)] == truth


@given(problems, st.integers(0, 5))
def test_hints_of_controls_have_the_form_of_the_answer(problem: Problem, seed: int) -> None:
    wrong = CHECKER.wrong_answer(problem, [problem], seed)
    letters_of = set(problem.answer.split(", "))
    assert (wrong is None) == (len(letters_of) == 1)
    if wrong:
        assert all(a != b for a, b in zip(wrong.split(", "), problem.answer.split(", "), strict=True))
    said = CHECKER.nonsense(problem, seed).split(", ")
    assert len(said) == problem.level
    assert all(digit.isdigit() for digit in said)


def test_splits_share_no_problem_and_name_their_words() -> None:
    found = {split: letters.load(split, 60, levels=[2]).problems for split in letters.SET_OF}
    asked = [p.question for listed in found.values() for p in listed]
    assert len(set(asked)) == len(asked) == 60 * len(found)
    for split, listed in found.items():
        pool = SETS[letters.SET_OF[split]]
        assert all(set(letters.words_of(p.question)) <= set(pool) for p in listed)
        assert all(f"letters-{split}-" in p.id for p in listed)


def test_the_same_arguments_give_the_same_problems_and_more_extend_fewer() -> None:
    few, more = (letters.load("train", n, 3, [3]).problems for n in (10, 30))
    assert more[:10] == few
    assert letters.load("train", 10, 4, [3]).problems != few
    assert len(letters.load("train", 30, 3, [3]).problems) == 30


def test_a_level_with_few_problems_gives_all_it_has() -> None:
    levels = Counter(p.level for p in letters.load("warmup", 200, levels=[1, 2]).problems)
    assert levels.total() == 200
    assert 30 < levels[1] <= 52


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "nowhere.json"}, "nowhere.json: cannot be read"),
        ({"split": "dev"}, "split: unknown split 'dev'; choose from warmup, known, train, rate, test, new"),
        ({"levels": [0, 2]}, r"levels: \[0, 2\] must be between 1 and 52"),
        ({"levels": [53]}, r"levels: \[53\] must be between 1 and 52, the number of words in the set train"),
        (
            {"levels": [1], "problems": 90},
            r"problems: 90 requested, but split train has only about \d+ with levels \[1\]; request fewer",
        ),
        ({"problems": 0}, "problems: must be at least 1, got 0"),
        ({"problems": -1}, "problems: must be at least 1, got -1"),
        ({"columns": "question=Q"}, "--columns applies only to task jsonl, not to letters"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task("letters", **{"split": "train", "problems": 5, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"train": ["food"]}, "it must hold the sets warmup, train, new"),
        ({"warmup": [], "train": ["food"], "new": ["bird"]}, r"warmup must be a list of words, got \[\]"),
        ({"warmup": ["Read"], "train": ["food"], "new": ["bird"]}, "warmup: 'Read' must be two or more lowercase"),
        ({"warmup": ["two words"], "train": ["food"], "new": ["bird"]}, "'two words' must be"),
        ({"warmup": [7], "train": ["food"], "new": ["bird"]}, "warmup: 7 must be"),
        ({"warmup": ["read"], "train": ["food", "read"], "new": ["bird"]}, "'read' is in warmup and in train"),
        (
            {"warmup": ["read", "read"], "train": ["food"], "new": ["bird"]},
            "'read' is twice in warmup; list each",
        ),
    ],
)
def test_a_file_of_words_that_cannot_be_used_is_named(tmp_path: Path, sets: object, message: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(json.dumps(sets), encoding="utf-8")
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        load_task("letters", data=str(path), problems=1)
    path.write_text("[", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        load_task("letters", data=str(path), problems=1)


def test_other_word_sets_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"warmup": ["ab"], "train": ["cd", "ef", "gh"], "new": ["ij"]}), encoding="utf-8")
    task = load_task("letters", data=str(path), split="train", problems=1, levels=[2])
    assert set(letters.words_of(task.problems[0].question)) <= {"cd", "ef", "gh"}


def test_an_answer_that_holds_the_mark_of_its_end_is_named() -> None:
    recipe = MeasureRecipe(task="letters", levels=[2], problems=3, prompts={"answer_end": ","})
    with pytest.raises(
        DataError, match=r"letters: answers such as '\w, \w' contain prompts\.answer_end; choose another"
    ):
        load_problems(recipe, recipe.checker())


def test_words_of_several_tokens_are_left_out_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = build("llama")  # a byte-level tokenizer: every word has several tokens
    monkeypatch.setattr("expo.setup.load_policy", lambda *args, **more: policy)
    recipe = MeasureRecipe(task="letters", split="test", problems=3, max_new_tokens=4)
    with pytest.raises(
        DataError, match=r"no usable problems; the first: letters-test-\w+: question: '\w+' is \d+ tokens"
    ):
        measure(recipe, tmp_path / "run", progress=False)


def test_rows_of_a_user_are_checked_by_name_and_those_that_cannot_be_are_skips(tmp_path: Path) -> None:
    rows = [
        {"question": "What are the last letters of food wind?", "answer": "d, d"},
        {"question": "What are the last letters of food stone?", "answer": "d"},
        {"question": "Spell food.", "answer": "f, o"},
        {"question": "What are the last letters of rock milk?", "answer": "k), k"},
        {"question": "What are the last letters of wind food?", "answer": "d, o"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = MeasureRecipe(
        task="jsonl",
        data=str(path),
        grader="exact",
        step_checker="letters",
        prompts={"answer_cue": " Answer: (", "answer_end": ")"},
    )
    checker = recipe.checker()
    task = load_problems(recipe, checker)
    assert [p.answer for p in task.problems] == ["d, d"]
    reasons = " ".join(map(str, task.skipped))
    assert "answer: the answer has 1 letters, but the question has 2 words" in reasons
    assert "question: cannot read the question; it must look like" in reasons
    assert "answer: the words end in d, d, but the answer is d, o" in reasons
    (problem,) = task.problems
    texts = ["food ends in d. wind ends in d. Answer: (d, d)", "Answer: (d d)"]
    assert [g.status for g in checker.grade([(problem, text) for text in texts])] == [Status.CORRECT, Status.WRONG]
    assert checker.steps(problem, texts[0][: checker.cot_end(texts[0])]) == [
        ("food ends in d.", True),
        ("wind ends in d.", True),
    ]
    # A problem of another answer gives the wrong one.
    other = replace(problem, id="other", answer="e, e")
    assert checker.wrong_answer(problem, [problem, other], 0) == "e, e"
    assert checker.wrong_answer(problem, [problem], 0) is None
    assert recipe.resolved()["grader"] == "exact"
    assert "grader" not in MeasureRecipe(task="jsonl", data=str(path)).resolved()


def test_the_recipe_of_the_docs_grades_its_row(tmp_path: Path) -> None:
    page = Path("docs/GRADING.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)
    (row,) = re.findall(r'`(\{"question".*?\})`', page)
    path = tmp_path / "mine.jsonl"
    path.write_text(row, encoding="utf-8")
    recipe = MeasureRecipe(**{**yaml.safe_load(written), "data": str(path)})
    checker = recipe.checker()
    (problem,) = load_problems(recipe, checker).problems
    texts = [f"food ends in d. wind ends in d.\nAnswer: ({answer})" for answer in ("d, d", "d d")]
    assert [g.status for g in checker.grade([(problem, text) for text in texts])] == [Status.CORRECT, Status.WRONG]
    assert [true for _, true in checker.steps(problem, "food ends in d. wind ends in n.")] == [True, False]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grader": "extact"}, "grader: unknown value 'extact'; choose from math, exact"),
        (
            {"step_checker": "none such"},
            "step_checker: unknown value 'none such'; choose from arithmetic, letters, none",
        ),
        ({"task": "letters", "grader": "exact"}, "grader: task letters sets this itself; leave it out"),
        ({"task": "chain", "step_checker": "none"}, "step_checker: task chain sets this itself"),
        ({"grader": "exact", "prompts": {"answer_cue": " "}}, "prompts.answer_cue: the exact grader needs more than"),
        ({"task": "letters", "prompts": {"answer_end": "\n"}}, "prompts.answer_end: the exact grader needs more than"),
        ({"grader": "exact", "tolerance": 0.1}, "apply only to the math grader, which grader exact does not use"),
        ({"task": "letters", "boxed_only": True}, "apply only to the math grader, which letters does not use"),
    ],
)
def test_a_grader_that_does_not_fit_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MeasureRecipe(**fields)  # type: ignore[arg-type]
