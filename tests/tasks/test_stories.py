import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from expo.tasks import load_task, stories
from expo.tasks.problem import DataError, Problem

TASK = stories.load()
NUMBER = r"\d+(?:\.\d+)?(?:/\d+)?"
STATEMENT = re.compile(rf"({NUMBER}) ([-+*/]) ({NUMBER}) = ({NUMBER})")
SAID_IN_WORDS = {"two": 2, "twice": 2, "rectangular": 2, "three": 3, "third": 3, "quarter": 4, "fifth": 5}
SAID_IN_WORDS |= {"grams": 1000}  # to kilograms


def value(text: str) -> Fraction:
    top, _, bottom = text.partition("/")
    return Fraction(top) / Fraction(bottom or 1)


def numbers_in(text: str) -> set[Fraction]:
    return {value(number) for number in re.findall(NUMBER, text)}


def faults(problem: Problem) -> list[str]:
    """What is wrong with a worked solution, checked without the toolkit's own step checker."""
    found = []
    given = numbers_in(problem.question)
    known = {n for word, n in SAID_IN_WORDS.items() if re.search(rf"\b{word}\b", problem.question)}
    known |= given | {value(n) / 100 for n in re.findall(rf"({NUMBER}) percent", problem.question)}
    used: set[Fraction] = set()
    steps = STATEMENT.findall(problem.expert_cot or "")
    for left, sign, right, result in steps:
        a, b, c = value(left), value(right), value(result)
        if {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] != c:
            found.append(f"{left} {sign} {right} is not {result}")
        found += [f"{n} comes from nowhere" for n in (a, b) if n not in known]
        known.add(c)
        used |= {a, b}
    if len(steps) != problem.level or (problem.expert_cot or "").count("=") != problem.level:
        found.append(f"{len(steps)} steps at level {problem.level}")
    if steps and value(steps[-1][3]) != value(problem.answer):
        found.append("the last result is not the answer")
    percents = {value(n) for n in re.findall(rf"({NUMBER}) percent", problem.question)}
    found += [f"{n} is given and never used" for n in given - used - percents]
    if value(problem.answer) in given:
        found.append("the question states the answer")
    return found


@pytest.mark.parametrize("problem", TASK.problems, ids=lambda p: p.id)
def test_solution_is_right_step_by_step(problem: Problem) -> None:
    assert faults(problem) == []


@pytest.mark.parametrize("problem", TASK.problems, ids=lambda p: p.id)
def test_checker_refutes_a_changed_result_in_any_step(problem: Problem) -> None:
    assert problem.expert_cot is not None
    for step in STATEMENT.finditer(problem.expert_cot):
        at = step.start(4)
        wrong = problem.expert_cot[:at] + "7" + problem.expert_cot[at:]
        assert any("is not" in fault for fault in faults(replace(problem, expert_cot=wrong)))


def test_checker_refutes_other_faults() -> None:
    good = TASK.problems[0]
    assert "the last result is not the answer" in faults(replace(good, answer="137"))
    assert "1 steps at level 2" in faults(replace(good, level=2))
    assert "99 comes from nowhere" in faults(replace(good, expert_cot="It is 8 * 99 = 792."))
    assert "5 is given and never used" in faults(replace(good, question=good.question + " He has 5 dogs."))
    assert "the question states the answer" in faults(replace(good, question=good.question + " Is it 136?"))


def test_five_levels_of_twelve_and_nothing_skipped() -> None:
    assert Counter(p.level for p in TASK.problems) == dict.fromkeys(range(1, 6), 12)
    assert [p.id for p in TASK.problems] == [f"stories-{k}-{n:02}" for k in range(1, 6) for n in range(1, 13)]
    assert TASK.skipped == ()
    assert (TASK.name, TASK.is_toy) == ("stories", False)


def test_no_two_alike() -> None:
    assert len({p.question for p in TASK.problems}) == 60
    assert len({p.expert_cot for p in TASK.problems}) == 60
    # Same numbers in another dress would be the same problem.
    assert len({(p.level, frozenset(numbers_in(p.question)), p.answer) for p in TASK.problems}) == 60


def test_voice_is_a_schoolbook_and_no_answer_mark_is_left() -> None:
    for problem in TASK.problems:
        for mark in ("####", "boxed", "<<", "Step ", "Let's", "let's", "**", "\n", "answer is", "!"):
            assert mark not in (problem.expert_cot or ""), problem.id
        assert problem.question.endswith("?")


def test_stories_have_no_splits() -> None:
    with pytest.raises(DataError, match="--split: task stories has no splits; leave train out"):
        load_task("stories", split="train")
