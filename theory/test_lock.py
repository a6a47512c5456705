"""A run is compared with the lock: what shows less than it did, or says something else, is red until it is renewed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from theory import ledger

CLAIMS = """
- id: A
  where: nowhere
  statement: squares are not negative
  expected: exact
  tests: {holds: ["test_t.py::test_a"], negative_controls: ["test_t.py::test_b"]}
- id: B
  where: nowhere
  statement: numbers are not negative
  expected: proved
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
    return [X >= bound, X < low]

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
    "one more assumption": ("proved(*below(1)", "proved(X >= 5, *below(1)", "B is not green: .*constraints"),
    "another statement in words": ("squares are not negative", "squares are negative", "A is not green: is written"),
    "no more uses": ("  uses: [A]\n", "", "B is not green: is written in another way"),
    "another claim's tests": (
        'holds: ["test_t.py::test_c"]',
        'holds: ["test_t.py::test_a"]',
        "B is not green: is written in another way",
    ),
    "a control of something else": (
        "negative_control(control",
        "negative_control(other_control",
        "A is not green: test_t.py::test_a shares no statement with any negative control",
    ),
    "a claim that is gone with its tests": (CLAIMS[CLAIMS.index("- id: B") :], "", "B is not green: has gone"),
}


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "theory", "-p", "no:cacheprovider", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A theory of two claims, with its lock."""
    folder = tmp_path_factory.mktemp("theory") / "theory"
    (folder / "claims").mkdir(parents=True)
    for name in ("__init__.py", "conftest.py", "ledger.py", "evidence.py", "relations.py", "lock.py", "ties.py"):
        (folder / name).write_text((ledger.HERE / name).read_text())
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


def test_what_is_meant_is_renewed_and_what_is_hollow_is_not(locked: Path, tmp_path: Path) -> None:
    for name, code in (("fewer instances", 0), ("a hollow statement", 1)):
        folder = tmp_path / str(code)
        shutil.copytree(locked, folder / "theory")
        before, after, _ = SABOTAGES[name]
        file = folder / "theory" / "test_t.py"
        file.write_text(file.read_text().replace(before, after))
        assert run(folder, "--renew").returncode == code
        assert run(folder).returncode == code


def test_all_sabotages_at_once_are_named(locked: Path, tmp_path: Path) -> None:
    shutil.copytree(locked, tmp_path / "theory")
    for before, after, _ in SABOTAGES.values():
        for file in (tmp_path / "theory" / "claims" / "1.yaml", tmp_path / "theory" / "test_t.py"):
            file.write_text(file.read_text().replace(before, after))
    done = run(tmp_path)
    assert done.returncode == 1
    assert "A is not green" in done.stdout
    assert "B is not green" in done.stdout
