"""A run is compared with the lock: what shows less than it did, or says something else, is red until it is renewed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from theory.claim import HERE

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
# What is done to the tests or the claims, and what the run says then.
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
    "another statement in words": ("squares are not negative", "squares are negative", "A is not green: is written"),
    "another nearness to the paper": (
        "fidelity: related",
        "fidelity: exact",
        "A is not green: is written in another way",
    ),
    "no more uses": ("  uses: [A]\n", "", "C is not green: is written in another way"),
    "another claim's tests": (
        'expected: proved\n  tests: {holds: ["test_t.py::test_c"]',
        'expected: proved\n  tests: {holds: ["test_t.py::test_a"]',
        "B is not green: is written in another way",
    ),
    "a control of something else": (
        "negative_control(control",
        "negative_control(other_control",
        "A is not green: test_t.py::test_a shares no statement with any negative control",
    ),
    "a claim that is gone with its tests": (
        CLAIMS[CLAIMS.index("- id: B") : CLAIMS.index("- id: C")],
        "",
        "B is not green: has gone",
    ),
}


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "theory", "-p", "no:cacheprovider", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A theory of two claims, with its lock."""
    folder = tmp_path_factory.mktemp("theory") / "theory"
    (folder / "claims").mkdir(parents=True)
    for path in HERE.glob("*.py"):
        if not path.name.startswith("test_"):
            (folder / path.name).write_text(path.read_text())
    (folder / "claims" / "1.yaml").write_text(CLAIMS)
    (folder / "test_t.py").write_text(TESTS)
    unlocked = run(folder.parent)
    assert unlocked.returncode == 1
    assert "A is not green: is new since the lock; if it is meant: pytest theory/ --renew" in unlocked.stdout
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


# What a run says of some of them that is told to renew the lock; nothing of what may be meant.
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
