"""The checkers are checked: each refutes what is false, and none passes without content."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
import z3

from theory import evidence, instances
from theory.evidence import Given, Pick, Refuted, Statement, Vacuous
from theory.relations import Said, both, each, either, eq, ge, gt, iff, le, lt, ne, when


@pytest.fixture(autouse=True)
def _counts_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here counts are what is tested; --thorough would multiply them."""
    monkeypatch.setattr(evidence, "scale", 1)


def test_thorough_draws_100_times_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "scale", 100)
    seen: list[Any] = []

    def statement(x: Any) -> Said:
        seen.append(x)
        return ge(x, 0)

    evidence.for_all(statement, halves, 2)
    assert len(seen) == 200


def halves(pick: Pick) -> Any:
    return Fraction(pick(0, 40), pick(1, 20))


def below_two(x: Any) -> Said:
    return lt(x, 2)


def not_negative(x: Any) -> Said:
    return ge(x, 0)


def test_for_all_counts_and_notes_its_instances() -> None:
    seen = []

    def statement(x: Any) -> Said | None:
        seen.append(x)
        return both(ge(x, 0), when(x > 3, gt(x, 3))) if x < 20 else None

    evidence.for_all(statement, halves, 50)
    (note,) = evidence.notes
    assert {k: note[k] for k in ("strength", "size", "refutes")} == {
        "strength": "exact",
        "size": "50 instances",
        "refutes": False,
    }
    assert (note["met"], note["passed over"]) == (50, len(seen) - 50)
    met = [x for x in seen if x < 20]
    assert note["different"] == len(set(met))
    assert note["sides"] == {"0": len(set(met)), "1.0": len({x for x in met if x > 3})}
    assert note["true"] == {"0": 50, "1.0": sum(x > 3 for x in met)}


def test_for_all_is_the_same_twice() -> None:
    runs: list[list[Any]] = [[], []]

    for seen in runs:

        def statement(x: Any, seen: list[Any] = seen) -> Said:
            seen.append(x)
            return ge(x, 0)

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
        evidence.for_all(lambda x: eq(x, 1) if x == 1 else None, lambda pick: pick(1, 400), 10, tries=2)


def test_a_hollow_statement_is_refused() -> None:
    bare: Any
    for bare in (True, 1, "yes", np.bool_(True)):

        def statement_of(_: Any, bare: Any = bare) -> Any:
            return bare

        with pytest.raises(TypeError, match="must return a relation"):
            evidence.for_all(statement_of, halves)
    hollow: dict[str, Statement] = {
        "the sides of it take 1 values, 4 are wanted": lambda _: eq(0, 0),
        "the sides of part 1 take 1 values": lambda x: both(ge(x, 0), eq(1, 1)),
        "the sides of part 0 take 2 values": lambda x: both(eq(x > 1, x > 1), ge(x, 0)),
        r"part 1\.0 is asked of 0 of 1000": lambda x: both(ge(x, 0), when(x < 0, eq(x, 0))) if x >= 0 else None,
        "the sides of it are equal on all instances: say eq": lambda x: ge(x, x),
        "part 0 of an iff is true 1000 times and false 0 times": lambda x: iff(ge(x, 0), le(-x, 0)),
    }
    for why, statement in hollow.items():
        with pytest.raises(Vacuous, match=why):
            evidence.for_all(statement, halves)
    # Where the sides are constant by what is stated, what varies is declared, and must.
    evidence.for_all(lambda x: eq(x - x, 0, varies=x), halves)
    with pytest.raises(Vacuous, match="the sides of it take 1 values"):
        evidence.for_all(lambda x: eq(x - x, 0, varies=3), halves)


def test_a_domain_of_few_instances_is_refused() -> None:
    with pytest.raises(Vacuous, match="only 1 instances differ, 12 are wanted"):
        evidence.for_all(not_negative, lambda _: Fraction(1, 2))
    with pytest.raises(Vacuous, match="only 11 instances differ"):
        evidence.for_all(not_negative, lambda pick: pick(0, 10))
    # A domain that has no more says so.
    evidence.for_all(not_negative, lambda pick: pick(0, 10), least=11)


def test_relations_hold_as_they_say() -> None:
    one, two = Fraction(1), Fraction(2)
    assert [bool(r(one, two)) for r in (eq, ne, lt, le, gt, ge)] == [False, True, True, True, False, False]
    assert [bool(r(two, two)) for r in (eq, ne, lt, le, gt, ge)] == [True, False, False, True, False, True]
    array = np.array([one, two], dtype=object)
    assert eq(array, (one, two))
    assert not eq(array, (one, one))
    assert not ne(array, (one, one))
    assert gt((1, 0), (0, 5))  # as Python orders tuples
    yes, no = eq(one, one), eq(one, two)
    assert [bool(x) for x in (both(yes, yes), both(yes, no), either(no, yes), either(no, no))] == [
        True,
        False,
        True,
        False,
    ]
    assert [bool(x) for x in (iff(yes, yes), iff(no, no), iff(yes, no))] == [True, True, False]
    assert [bool(x) for x in (when(False, no), when(True, no), each([yes, yes]), each([yes, no]))] == [
        True,
        False,
        True,
        False,
    ]


def test_a_control_must_be_false() -> None:
    evidence.negative_control(below_two, halves)
    with pytest.raises(AssertionError, match="was not refuted"):
        evidence.negative_control(not_negative, halves)


def test_a_counterexample_must_fail_and_no_smaller_one_be_found() -> None:
    evidence.counterexample(below_two, halves, Fraction(2))
    evidence.counterexample(below_two, lambda pick: halves(pick), Fraction(2))
    here = "test_evidence.test_a_counterexample_must_fail_and_no_smaller_one_be_found"
    assert [n["size"] for n in evidence.notes] == [
        f"counterexample 2, a search of {place} found none smaller" for place in ("test_evidence.halves", here)
    ]
    with pytest.raises(AssertionError, match="does not fail on the pinned 1"):
        evidence.counterexample(below_two, halves, Fraction(1))
    with pytest.raises(AssertionError, match="smaller than the pinned 5/2"):
        evidence.counterexample(below_two, halves, Fraction(5, 2))


def test_a_sweep_bounds_every_instance_and_lets_no_nan_pass() -> None:
    error = np.zeros(100_000)
    evidence.sweep(error, 1e-12, "why")
    assert evidence.notes == [
        {
            "strength": "sampled",
            "size": "100,000 instances, tolerance 1.0e-12 why",
            "refutes": False,
            "instances": 100_000,
        }
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
        evidence.proved(Given("above 1", x > 1), Given("below 0", x < 0), x == 5, size="nothing")
    evidence.satisfiable(x * x < 1)
    with pytest.raises(AssertionError, match="was not refuted: unsat"):
        evidence.satisfiable(x * x < 0)


def test_a_proof_names_what_it_assumes() -> None:
    x, root = z3.Reals("x root")
    odd, known = Given("x above 1", x > 1, x > 0), Given("a square root", root > 0, root * root == x)
    evidence.proved(odd, known, root <= 1, size="any x")
    (note,) = evidence.notes
    assert note["assuming"] == ["x above 1", "a square root"]
    assert len(note["constraints"]) == 5
    # What the symbols mean is not told again.
    assert note["size"] == "z3, any x, given x above 1"
    evidence.satisfiable(odd, x <= 2)
    with pytest.raises(Refuted, match="counterexample"):
        evidence.proved(known, root <= 1, size="any x")
    with pytest.raises(TypeError, match=r"an assumption without a name: x > 1; write Given"):
        evidence.proved(x > 1, x <= 0, size="any x")


def test_only_a_proof_of_any_size_is_one() -> None:
    x = z3.Real("x")
    for size in ("any x", "x = 2, 3", "L = 4"):
        evidence.proved(x * x < 0, size=size)
        evidence.identity(sympy.Integer(0), size)
    assert [n["strength"] for n in evidence.notes] == ["proved"] * 2 + ["exact"] * 4


def test_sympy_tells_an_identity_from_none() -> None:
    a, b = sympy.symbols("a b")
    evidence.identity([(a + b) ** 2 - a**2 - 2 * a * b - b**2, (a - b) * (a + b) - a**2 + b**2], "any a, b")
    assert evidence.notes[-1]["identities"] == 2
    with pytest.raises(Vacuous, match="an identity of nothing"):
        evidence.identity([], "any a, b")
    with pytest.raises(Refuted, match="not identically 0"):
        evidence.identity(a - b, "any a, b")
    evidence.no_identity(a - b)
    for none in (a - a, 1 / (a - sympy.Rational(1, 3)), sympy.nan * a):
        with pytest.raises(AssertionError, match="is not refuted"):
            evidence.no_identity(none)


def test_sizes_and_names_of_instances() -> None:
    instance = ((Fraction(1, 3), Fraction(2, 7)), 5, np.array([Fraction(1, 9)], dtype=object))
    assert instances.denominator(instance) == 9
    assert instances.show(instance) == "((1/3, 2/7), 5, (1/9))"
