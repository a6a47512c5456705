"""The checkers are checked: each refutes what is false, and none passes empty."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
import z3

from theory import evidence
from theory.evidence import Pick, Refuted, Vacuous


@pytest.fixture(autouse=True)
def _counts_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here counts are what is tested; --thorough would multiply them."""
    monkeypatch.setattr(evidence, "scale", 1)


def test_thorough_draws_100_times_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "scale", 100)
    seen: list[Any] = []

    def statement(x: Any) -> bool:
        seen.append(x)
        return True

    evidence.for_all(statement, halves, 2)
    assert len(seen) == 200


def halves(pick: Pick) -> Any:
    return Fraction(pick(0, 40), pick(1, 20))


def below_two(x: Any) -> bool:
    return bool(x < 2)


def test_for_all_counts_and_notes_its_instances() -> None:
    seen = []

    def statement(x: Any) -> bool:
        seen.append(x)
        return True

    evidence.for_all(statement, halves, 50)
    assert len(seen) == 50
    assert evidence.notes == [{"strength": "exact", "size": "50 instances", "refutes": False}]


def test_for_all_is_the_same_twice() -> None:
    runs: list[list[Any]] = [[], []]

    for seen in runs:

        def statement(x: Any, seen: list[Any] = seen) -> bool:
            seen.append(x)
            return True

        evidence.for_all(statement, halves, 50)
    assert runs[0] == runs[1]


def test_for_all_refutes() -> None:
    with pytest.raises(Refuted, match=r"below_two fails on \d+"):
        evidence.for_all(below_two, halves)
    assert evidence.notes == []


def test_for_all_does_not_pass_empty() -> None:
    with pytest.raises(Vacuous, match="the guard was met 0 times"):
        evidence.for_all(lambda _: None, halves, 10)
    with pytest.raises(Vacuous, match="10 were wanted"):
        evidence.for_all(lambda x: True if x == 1 else None, lambda pick: pick(1, 400), 10, tries=2)


def test_a_control_must_be_false() -> None:
    evidence.negative_control(below_two, halves)
    with pytest.raises(AssertionError, match="was not refuted"):
        evidence.negative_control(lambda _: True, halves)


def test_a_counterexample_must_fail_and_be_smallest() -> None:
    evidence.counterexample(below_two, halves, Fraction(2))
    with pytest.raises(AssertionError, match="does not fail on the pinned 1"):
        evidence.counterexample(below_two, halves, Fraction(1))
    with pytest.raises(AssertionError, match="smaller than the pinned 5/2"):
        evidence.counterexample(below_two, halves, Fraction(5, 2))


def test_a_sweep_bounds_every_instance_and_lets_no_nan_pass() -> None:
    error = np.zeros(100_000)
    evidence.sweep(error, 1e-12, "why")
    assert evidence.notes == [
        {"strength": "sampled", "size": "100,000 instances, tolerance 1.0e-12 why", "refutes": False}
    ]
    for bad in (1.0, np.nan):
        error[7] = bad
        with pytest.raises(Refuted, match="instance 7"):
            evidence.sweep(error, 1e-12, "why")
    with pytest.raises(AssertionError, match="no number refutes nothing"):
        evidence.refuted_by_sweep(error, 1e-12)
    error[7] = 1
    evidence.refuted_by_sweep(error, 1e-12)
    assert [n["refutes"] for n in evidence.notes] == [False, True]
    for few, tolerance in ((error[:10] * 0, 1e-12), (error, np.inf)):
        with pytest.raises(Vacuous, match="needs 100,000 instances and a finite tolerance"):
            evidence.sweep(few, tolerance, "why")
    with pytest.raises(AssertionError, match="was not refuted"):
        evidence.refuted_by_sweep(np.zeros(100_000), 1e-12)


def test_z3_proves_refutes_and_does_not_guess() -> None:
    x = z3.Real("x")
    evidence.proved(x * x < 0, size="any x")
    with pytest.raises(Refuted, match="counterexample"):
        evidence.proved(x * x < 1, size="any x")
    with pytest.raises(Vacuous, match="contradict"):
        evidence.proved(x > 1, x < 0, x == 5, size="nothing")
    evidence.satisfiable(x * x < 1)
    with pytest.raises(AssertionError, match="was not refuted: unsat"):
        evidence.satisfiable(x * x < 0)


def test_sympy_tells_an_identity_from_none() -> None:
    a, b = sympy.symbols("a b")
    evidence.identity([(a + b) ** 2 - a**2 - 2 * a * b - b**2, a - a], "any a, b")
    with pytest.raises(Refuted, match="not identically 0"):
        evidence.identity(a - b, "any a, b")
    evidence.no_identity(a - b)
    for none in (a - a, 1 / (a - sympy.Rational(1, 3)), sympy.nan * a):
        with pytest.raises(AssertionError, match="is not refuted"):
            evidence.no_identity(none)


def test_sizes_and_names_of_instances() -> None:
    instance = ((Fraction(1, 3), Fraction(2, 7)), 5, np.array([Fraction(1, 9)], dtype=object))
    assert evidence.denominator(instance) == 9
    assert evidence.show(instance) == "((1/3, 2/7), 5, (1/9))"
