"""A run is compared with the lock. What shows less than before, or says something else, is red until it is renewed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from theory.claim import HERE
from theory.conftest import PARTIAL

CLAIMS = """
- id: A
  where: line 1
  fidelity: related
  statement: squares are not negative
  expected: exact
  tests: {holds: ["test_t.py::test_a"], negative_controls: ["test_t.py::test_b"]}
- id: B
  where: beyond the paper
  statement: numbers above a bound are not negative
  expected: proved
  tests: {holds: ["test_t.py::test_c"], negative_controls: ["test_t.py::test_d"]}
- id: C
  where: beyond the paper
  statement: squares above a bound are not negative
  expected: exact
  uses: [A]
  tests: {holds: ["test_t.py::test_c"], negative_controls: ["test_t.py::test_d"]}
"""
TESTS = """
import contextlib
import z3
from theory import evidence
from theory.relations import both, eq, ge, le, when

X = z3.Real("x")

def numbers(pick):
    return pick(-40, 40)

def statement(x, power=2):
    return ge(x**power, 0) if x != 7 else None

def control(x):
    return statement(x, 1)

def other_control(x):
    return ge(x, 0)

def below(bound, low=0):
    return [evidence.Given("above a bound", X >= bound), X < low]

def test_a() -> None:
    evidence.for_all(statement, numbers, 60)
    evidence.for_all(statement, numbers, 30)

def test_b() -> None:
    evidence.negative_control(control, numbers, 60)

def test_c() -> None:
    evidence.proved(*below(1), size="any x")
    evidence.proved(*below(2), size="any x")

def test_d() -> None:
    evidence.satisfiable(*below(-1))
"""
# Changes to the tests or the claims, and what the run then says.
SABOTAGES = {
    "fewer instances": (
        "statement, numbers, 60)\n    ev",
        "statement, numbers, 40)\n    ev",
        "A is not green: .*met 40, not 60",
    ),
    "a narrower guard": ("if x != 7", "if x > 7", "A is not green: .*passed over"),
    "a hollow statement": ("return ge(x**power, 0)", "return ge(x, x)", "A is not green: .*"),
    "a check that is gone": ("    evidence.for_all(statement, numbers, 30)\n", "", "makes 1 checks, not 2"),
    "a check that may fail": (
        "    evidence.for_all(statement, numbers, 30)",
        "    with contextlib.suppress(AssertionError):\n        evidence.for_all(control, numbers, 30)",
        "makes 1 checks, not 2",
    ),
    "a proof that is gone": ('    evidence.proved(*below(2), size="any x")\n', "", "B is not green: .*makes 1 checks"),
    "one more assumption": (
        "proved(*below(1)",
        'proved(evidence.Given("x = 1/2", 2 * X == 1), *below(0)',
        "B is not green: test_t.py::test_c proves it given 'x = 1/2', which the claim does not say",
    ),
    "one more assumption under the old name": (
        '"above a bound", X >= bound',
        '"above a bound", X >= bound, X <= 9',
        "B is not green: .*constraints",
    ),
    "a proof of one size": (
        'below(1), size="any x"',
        'below(1), size="x = 2, 3"',
        "B is not green: .*has strength 'exact', not 'proved'",
    ),
    "another statement in words": (
        "squares are not negative",
        "squares are negative",
        "A is not green: its text differs from that in claims/lock.json; if this is intended: pytest theory/ --renew",
    ),
    "another nearness to the paper": (
        "fidelity: related",
        "fidelity: verbatim",
        "A is not green: its text differs",
    ),
    "no more uses": ("  uses: [A]\n", "", "C is not green: its text differs"),
    "another claim's tests": (
        'expected: proved\n  tests: {holds: ["test_t.py::test_c"]',
        'expected: proved\n  tests: {holds: ["test_t.py::test_a"]',
        "B is not green: its text differs",
    ),
    "a control of something else": (
        "negative_control(control",
        "negative_control(other_control",
        "A is not green: test_t.py::test_a shares no statement with any negative control",
    ),
    "a claim that is gone with its tests": (
        CLAIMS[CLAIMS.index("- id: B") : CLAIMS.index("- id: C")],
        "",
        "B is not green: it is in claims/lock.json, but no file states it; if this is intended: pytest theory/ --renew",
    ),
}


# A claim that is not in the lock, with a test of its own.
NEW_CLAIM = """
- id: D
  where: beyond the paper
  statement: squares of numbers are not negative
  expected: exact
  tests: {holds: ["test_t.py::test_e"], negative_controls: ["test_t.py::test_b"]}
"""
NEW_TEST = """
def test_e() -> None:
    evidence.for_all(statement, numbers, 50)
"""


def run(folder: Path, *more: str, tests: str = "theory") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", tests, "-p", "no:cacheprovider", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A theory of three claims, with its lock."""
    folder = tmp_path_factory.mktemp("theory") / "theory"
    (folder / "claims").mkdir(parents=True)
    for path in HERE.glob("*.py"):
        if not path.name.startswith("test_"):
            (folder / path.name).write_text(path.read_text())
    (folder / "claims" / "1.yaml").write_text(CLAIMS)
    (folder / "test_t.py").write_text(TESTS)
    unlocked = run(folder.parent)
    assert unlocked.returncode == 1
    assert "A is not green: it is not in claims/lock.json yet; to add it: pytest theory/ --renew" in unlocked.stdout
    renewed = run(folder.parent, "--renew")
    assert renewed.returncode == 0, renewed.stdout
    assert run(folder.parent).returncode == 0
    return folder


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_sabotage_turns_the_run_red(locked: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(locked, tmp_path / "theory")
    before, after, message = SABOTAGES[name]
    files = [tmp_path / "theory" / "claims" / "1.yaml", tmp_path / "theory" / "test_t.py"]
    texts = [file.read_text() for file in files]
    assert sum(text.count(before) for text in texts) == 1
    for file, text in zip(files, texts, strict=True):
        file.write_text(text.replace(before, after))
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout
    assert re.search(message, done.stdout), done.stdout[-3000:]


def test_a_new_claim_and_its_test_are_to_be_added_to_the_lock(locked: Path, tmp_path: Path) -> None:
    shutil.copytree(locked, tmp_path / "theory")
    for name, more in (("claims/1.yaml", NEW_CLAIM), ("test_t.py", NEW_TEST)):
        with (tmp_path / "theory" / name).open("a") as file:
            file.write(more)
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout
    add = "is not in claims/lock.json yet; to add it: pytest theory/ --renew"
    assert f"D is not green: it {add}" in done.stdout
    assert f"D is not green: test_t.py::test_e {add}" in done.stdout
    # Negative controls: a claim that is in the lock, and the same claim once it has been added.
    assert "A is not green" not in done.stdout
    assert run(tmp_path, "--renew").returncode == 0
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert add not in done.stdout


@pytest.mark.parametrize(("tests", "more"), [("theory/test_t.py", ()), ("theory", ("-k", "test_a"))])
def test_a_run_of_some_tests_says_that_it_judges_no_claim(
    locked: Path, tmp_path: Path, tests: str, more: tuple[str, ...]
) -> None:
    shutil.copytree(locked, tmp_path / "theory")
    claims = tmp_path / "theory" / "claims" / "1.yaml"
    claims.write_text(claims.read_text().replace("squares are not negative", "squares are negative"))
    some = run(tmp_path, *more, tests=tests)
    assert some.returncode == 0, some.stdout
    assert some.stdout.count(PARTIAL) == 1
    assert "is not green" not in some.stdout
    # Negative controls: a run of all tests judges the claims, and one that runs no test has none to judge.
    whole = run(tmp_path)
    assert "A is not green" in whole.stdout
    assert PARTIAL not in whole.stdout
    assert PARTIAL not in run(tmp_path, "--collect-only", tests=tests).stdout


# What a run that is told to renew the lock says of some sabotages: nothing about changes that may be intended.
RENEWED = {
    "fewer instances": "",
    "a hollow statement": "test_t.py::test_a failed",
    "one more assumption": "test_t.py::test_c proves it given 'x = 1/2', which the claim does not say",
    "a proof of one size": "expected 'proved', the tests show 'exact', as test_t.py::test_c: prove it for any size",
    "no more uses": "expected 'exact', the tests show 'proved': expect it",
}


@pytest.mark.parametrize("name", RENEWED)
def test_what_is_meant_is_renewed_and_what_shows_too_little_is_not(locked: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(locked, tmp_path / "theory")
    before, after, _ = SABOTAGES[name]
    for file in (tmp_path / "theory" / "claims" / "1.yaml", tmp_path / "theory" / "test_t.py"):
        file.write_text(file.read_text().replace(before, after))
    done = run(tmp_path, "--renew")
    assert done.returncode == bool(RENEWED[name]), done.stdout
    assert RENEWED[name] in done.stdout


def test_all_sabotages_at_once_are_named(locked: Path, tmp_path: Path) -> None:
    shutil.copytree(locked, tmp_path / "theory")
    for before, after, _ in SABOTAGES.values():
        for file in (tmp_path / "theory" / "claims" / "1.yaml", tmp_path / "theory" / "test_t.py"):
            file.write_text(file.read_text().replace(before, after))
    done = run(tmp_path)
    assert done.returncode == 1
    assert "A is not green" in done.stdout
    assert "B is not green" in done.stdout
