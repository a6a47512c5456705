"""A check and its negative control must be one piece of code, each check of a test by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from theory.claim import Claim
from theory.ties import untied

TESTS = """
from theory import evidence
from theory.evidence import for_all, negative_control, proved

def domain(pick):
    return pick(0, 9)

def statement(x, power=2):
    return x**power >= 0

def other(x):
    return x >= 0

def helper(x):
    other = 2
    return other

def test_one() -> None:
    for_all(statement, domain)

def test_two() -> None:
    for_all(statement, domain)
    {second}

def test_control() -> None:
    negative_control(lambda x: statement(x, 1), domain)
"""
TIED = ("pass", "evidence.proved(statement(1), size='any x')", "held = statement(1)\n    for_all(held, domain)")
SECOND = "t.py::test_two: {check} shares no statement with any negative control"


@pytest.mark.parametrize(
    "second", [*TIED, "for_all(other, domain)", "proved(1 < 0, size='any')", "for_all(helper, domain)"]
)
def test_every_check_is_tied_to_a_control(tmp_path: Path, second: str) -> None:
    (tmp_path / "t.py").write_text(TESTS.replace("{second}", second))
    tests = {"holds": ("t.py::test_one", "t.py::test_two"), "negative_controls": ("t.py::test_control",)}
    found = untied({"A": Claim("A", "line 1", "one", "exact", tests)}, tmp_path)
    if second in TIED:
        assert found == {}
    else:
        (problem,) = found["A"]
        assert problem.startswith(SECOND.format(check=second))
        assert problem.endswith("let both call one function, with one place changed")


def test_a_control_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(TESTS.replace("{second}", "pass").replace("statement(x, 1)", "other(x)"))
    tests = {"holds": ("t.py::test_one",), "negative_controls": ("t.py::test_control",)}
    found = untied({"A": Claim("A", "line 1", "one", "exact", tests)}, tmp_path)
    assert found["A"][0].startswith("t.py::test_one shares no statement with any negative control")
