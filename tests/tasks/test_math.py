import json
import os
from pathlib import Path

import pytest

from expo.tasks import math
from expo.tasks.problem import DataError

REAL = os.environ.get("EXPO_DATA")


def row(solution: str = r"We add. So $1+1=\boxed{2}$.", **fields: object) -> str:
    base = {"problem": "What is $1+1$?", "level": "Level 3", "type": "Algebra", "solution": solution}
    return json.dumps(base | fields)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of math/test.jsonl in an EXPO_DATA folder."""
    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    path = tmp_path / "math" / "test.jsonl"
    path.parent.mkdir()
    return path


def test_row_becomes_a_problem(data: Path) -> None:
    data.write_text(row())
    task = math.load()
    (problem,) = task.problems
    assert (problem.question, problem.answer, problem.level) == ("What is $1+1$?", "2", 3)
    assert (problem.subject, problem.expert_cot) == ("Algebra", "We add. So $1+1=2$.")
    assert problem.id.startswith("math-test-")
    assert (task.name, task.is_toy, problem.where) == ("math", False, f"{data}:1")


def test_problem_keeps_its_id_in_a_subset(data: Path) -> None:
    data.write_text(row(problem="Another?") + "\n" + row())
    in_all = math.load().problems
    data.write_text(row())
    assert math.load().problems[0].id == in_all[1].id != in_all[0].id


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"So $x=\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"So $S=\boxed{\{0,1\}}$.", r"\{0,1\}"),
        (r"So $S=\boxed{\left\{ x : x < 1 \right.}$.", r"\left\{ x : x < 1 \right."),
        (r"So $x=\boxed 5$.", "5"),
        (r"So $x=\boxed5.$", "5"),
        (r"So \fbox{12} it is.", "12"),
        (r"Draw \fbox{A}. So $x=\boxed{7}$.", "7"),
        (r"One way $\boxed{\dfrac 12}$. OR another: $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
    ],
)
def test_answer_is_the_last_box(data: Path, solution: str, answer: str) -> None:
    data.write_text(row(solution))
    assert math.load().problems[0].answer == answer


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("[]", "line", "a list, not an object"),
        (row(level="Level ?"), "level", "'Level ?' is not one of"),
        (row(level="Level 6"), "level", "'Level 6' is not one of"),
        (row(level=None), "level", "null or empty, but text is required"),
        (row("It is 2."), "solution", "no \\boxed answer"),
        (row(r"It is $\boxed{2$."), "solution", "never closed"),
        (row(r"It is $\boxed{}$."), "solution", "the last \\boxed is empty"),
        (row(r"They are $\boxed{2}$ and $\boxed{3}$."), "solution", "boxes different answers (2, 3)"),
        (row(), "question", "the first is kept"),
    ],
)
def test_bad_row_is_named_and_the_rest_is_read(data: Path, line: str, field: str, reason: str) -> None:
    data.write_text(f"{row()}\n{line}\n{row(problem='Another?')}\n")
    task = math.load()
    assert len(task.problems) == 2
    (skip,) = task.skipped
    assert (skip.where, skip.field) == (f"{data}:2", field)
    assert reason in skip.reason


def test_missing_type_is_no_fault(data: Path) -> None:
    data.write_text(row(type=None))
    task = math.load()
    assert (task.problems[0].subject, task.skipped) == (None, ())


def test_test_rows_never_stand_in_for_train(data: Path) -> None:
    data.write_text(row())
    with pytest.raises(DataError, match=r"math/train\.jsonl: no such file \(splits of math in EXPO_DATA: test\)"):
        math.load("train")


# Sentences of our own in the shapes that MATH's solutions have.
COTS = {
    "a bare statement goes": (
        r"There are $3\cdot 4=12$ rows. Hence the answer is $\boxed{12}$.",
        r"There are $3\cdot 4=12$ rows.",
    ),
    "so does one that only names the unknown": (
        r"We get $2x=8$. So $x=\boxed{4}$.",
        r"We get $2x=8$.",
    ),
    "a last step stays, with its result": (
        r"There are 100 in all. Without them $100-82=\boxed{18}$ are left.",
        r"There are 100 in all. Without them $100-82=18$ are left.",
    ),
    "a single sentence stays": (r"It is plainly $\boxed{5}$ here.", r"It is plainly $5$ here."),
    "second solutions and drawings after it go": (
        "First $1+1=\\boxed{2}$.\n\nOR\n\nCount: $\\boxed{2}$.\n\n[asy]\ndraw(A);\n[/asy]",
        "First $1+1=2$.",
    ),
    "a full stop inside the formula ends a sentence": (
        r"We have $x=1.$  Then \[y = 2.\]The value is $\boxed{3}.$",
        r"We have $x=1.$  Then \[y = 2.\]",
    ),
    "even where no capital letter follows": (
        r"We have $x=1.$  the sum is $\boxed{3}$.",
        r"We have $x=1.$",
    ),
    "a display that a capital letter follows ends one": (
        "Add \\begin{align*}\na &= 1 \\\\[2pt]\nb &= 2\n\\end{align*}Thus we need $\\boxed{3}$.",
        "Add \\begin{align*}\na &= 1 \\\\[2pt]\nb &= 2\n\\end{align*}",
    ),
    "a display in mid-sentence does not": (
        r"It holds. From \[a = 1\] and so on we see $\boxed{3}$.",
        r"It holds. From \[a = 1\] and so on we see $3$.",
    ),
    "nothing is cut inside an environment": (
        "We add.\n\\begin{align*}\nx &= 1. \\\\\n\n&= \\boxed{2}.\n\\end{align*}\nDone.",
        "We add.\n\\begin{align*}\nx &= 1. \\\\\n\n&= 2.\n\\end{align*}",
    ),
    "a paragraph break in mid-sentence does not end one": (
        "It is a sum. Then we see\n\n$\\boxed{2}$.",
        "It is a sum.",
    ),
    "dollars as money open no formula": (
        r"It costs \$3. It is worth more. The gain is $\boxed{2}$ dollars.",
        r"It costs \$3. It is worth more.",
    ),
    "decimals end nothing": (r"It is 3.5 of 7. That is half, or $\boxed{0.5}$.", "It is 3.5 of 7."),
}


@pytest.mark.parametrize(("solution", "cot"), COTS.values(), ids=COTS)
def test_expert_cot(solution: str, cot: str) -> None:
    assert math.expert_cot(solution) == cot


def leaves_nothing_open(text: str) -> bool:
    """Whether no formula, environment or drawing of the text is cut in two."""
    pairs = ((r"\begin{", r"\end{"), ("[asy]", "[/asy]"))
    return text.replace(r"\$", "").count("$") % 2 == 0 and all(text.count(a) == text.count(b) for a, b in pairs)


def test_a_cut_formula_is_seen() -> None:
    assert leaves_nothing_open(r"It costs \$3, so $x=3$. \begin{align*}a\end{align*}")
    for cut in ("So $x=3", r"So \begin{align*}a", "See [asy]draw(A);"):
        assert not leaves_nothing_open(cut)


@pytest.mark.skipif(not REAL, reason="EXPO_DATA is not set: no folder with the real math/test.jsonl")
def test_real_rows_are_read_or_named() -> None:
    task = math.load()
    rows = Path(task.problems[0].where.rpartition(":")[0]).read_text().splitlines()
    assert len(task.problems) + len(task.skipped) == len(rows) in (911, 5000)
    assert all(s.field in ("level", "solution", "question") for s in task.skipped)
    assert len(task.skipped) < 0.01 * len(rows)
    for problem in task.problems:
        cot = problem.expert_cot
        assert cot
        assert "boxed" not in cot
        assert leaves_nothing_open(cot), problem.id
    assert {p.level for p in task.problems} == {1, 2, 3, 4, 5}
    assert len({p.subject for p in task.problems}) == 7


def test_rows_of_math_500_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"problem": "1 + 1?", "solution": r"It is $1+1=\boxed{2}$.", "level": 2, "subject": "Algebra", "answer": "2"},
        {"problem": "1 + 2?", "solution": r"It is $1+2=\boxed{3}$.", "level": "6", "subject": "Algebra"},
    ]
    (tmp_path / "math").mkdir()
    (tmp_path / "math" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    task = math.load("test")
    assert [(p.level, p.subject) for p in task.problems] == [(2, "Algebra")]
    assert task.skipped[0].field == "level"


@pytest.mark.parametrize(
    "solution",
    [
        r"Each pen costs $3 and she buys four of them. That makes $3 \cdot 4 = 12$ in all. The answer is $\boxed{12}$.",
        r"We have $x = 12. So it is a dozen. The answer is $\boxed{12}$.",
    ],
)
def test_a_dollar_too_many_leaves_no_answer_in_the_expert_cot(solution: str) -> None:
    cot = math.expert_cot(solution)
    assert "The answer is" not in cot
    assert cot.endswith((" in all.", "a dozen."))
