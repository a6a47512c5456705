"""Checkers: what a test of a claim calls, and what it leaves on record.

A statement says how two sides are related for one instance (`theory/relations.py`), or None if its guard is not met. A
bare True is rejected, since it would show nothing.
A domain draws an instance from `pick(low, high)`, whole numbers from low to high, so that the same domain serves seeded
random instances (`for_all`) and hypothesis' search for a smaller counterexample (`counterexample`).

Every checker notes its strength and size; `theory/conftest.py` ties the notes to the test that ran. Only this module
says that something was proved, exact or sampled; a claim's file cannot.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import sympy
import z3

from theory.claim import MEANING
from theory.instances import denominator, show
from theory.relations import Relation, Relations, Said, Tally

Pick = Callable[[int, int], int]
Domain = Callable[[Pick], Any]
Statement = Callable[[Any], Said | None]
# A check means little if fewer instances differ or reach a branch, or if the sides of a relation take fewer values.
LEAST, VALUES = 12, 4

# Filled by the checkers of the running test, emptied by theory/conftest.py before each one.
notes: list[dict[str, Any]] = []
# Set by --thorough.
scale = 1


class Refuted(AssertionError):
    """A statement that fails on an instance, which the message shows."""


class Vacuous(AssertionError):
    """A check that means nothing: its guard is rarely met, its instances are alike, or its sides hardly vary."""


def note(strength: str, size: str, *, refutes: bool = False, **counts: Any) -> None:
    """Record what the running test showed, and how strongly.

    `strength` is proved, exact, sampled, or table (sums over printed numbers); `refutes` distinguishes a counterexample
    from what was found to hold; `counts` are what it rests on.
    """
    notes.append({"strength": strength, "size": size, "refutes": refutes, **counts})


def for_all(statement: Statement, domain: Domain, n: int = 1000, tries: int = 30, least: int = LEAST) -> None:
    """Check a statement on `n` random instances that meet its guard, exactly and from a fixed seed.

    Raises:
        Refuted: with the first instance on which it fails.
        Vacuous: if `tries` times as many draws do not bring `n` instances that meet the guard; if fewer than `least` of
            them differ or reach a branch, or the sides of a relation hardly vary.
        TypeError: if the statement returns no relation.
    """
    n *= scale
    rng = random.Random(getattr(statement, "__qualname__", "statement"))
    tally = Tally()
    for _ in range(tries * n):
        instance = domain(rng.randint)
        said = asked(statement, instance)
        if said is None:
            tally.passed_over += 1
            continue
        if not said:
            raise Refuted(f"{_name(statement)} fails on {show(instance)} (instance {tally.met + 1})")
        tally.add(instance, said)
        if tally.met == n:
            if why := tally.hollow(least, VALUES):
                raise Vacuous(f"{_name(statement)}: {why}")
            note("exact", f"{n:,} instances", **tally.counts)
            return
    raise Vacuous(f"{_name(statement)}: the guard was met {tally.met} times in {tries * n} draws, {n} were wanted")


def asked(statement: Statement, instance: Any) -> Said | None:
    """What a statement says of an instance; None where its guard is not met.

    Raises:
        TypeError: if it says no relation.
    """
    said = statement(instance)
    if said is None or isinstance(said, Relation | Relations):
        return said
    raise TypeError(f"{_name(statement)} must return a relation (eq, lt, ..., both, when), or None; got {said!r}")


def negative_control(statement: Statement, domain: Domain, n: int = 1000) -> None:
    """A negative control of a claim: `for_all`, the same checker, must refute it."""
    try:
        for_all(statement, domain, n)
    except Refuted as refuted:
        note("exact", f"refuted: {refuted}", refutes=True)
        return
    raise AssertionError(f"{_name(statement)} is a negative control, and was not refuted")


def counterexample(statement: Statement, domain: Domain, pinned: Any, size: Callable[[Any], Any] | None = None) -> None:
    """A literal claim is false: the pinned instance refutes it, and hypothesis finds no smaller one in the domain.

    This is a search: it may miss a smaller one, and it does not look outside of the domain, which the note names.
    `size` orders instances, by default by the largest denominator in them.
    """
    size = size or denominator
    assert _fails(statement, pinned), f"{_name(statement)} does not fail on the pinned {show(pinned)}"
    found = find(lambda x: _fails(statement, x), domain)
    assert size(found) >= size(pinned), f"smaller than the pinned {show(pinned)}: {show(found)}"
    note("exact", f"counterexample {show(pinned)}, a search of {_where(domain)} found none smaller", refutes=True)


def _where(domain: Domain) -> str:
    """The name of a domain with its module, or the name of its test if the domain has none."""
    name: str = domain.__qualname__.partition(".<locals>")[0]
    return f"{domain.__module__.removeprefix('theory.')}.{name}"


def _fails(statement: Statement, instance: Any) -> bool:
    said = asked(statement, instance)
    return said is not None and not said


def find(condition: Callable[[Any], bool], domain: Domain, examples: int = 2000) -> Any:
    """The smallest instance that hypothesis finds to meet a condition, by a search; raises if it finds none."""

    @st.composite
    def instances(draw: st.DrawFn) -> Any:
        return domain(lambda low, high: draw(st.integers(low, high)))

    settings = hypothesis.settings(
        max_examples=examples * scale,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    return hypothesis.find(instances(), condition, settings=settings)


def sweep(error: Any, tolerance: Any, why: str) -> None:
    """At least 100,000 float instances: each entry of `error` is at most `tolerance`, derived as `why` says.

    Raises:
        Refuted: naming the worst instance.
        Vacuous: for fewer than 100,000 instances, or a tolerance that is not finite.
    """
    error, tolerance = np.broadcast_arrays(np.asarray(error, dtype=float), np.asarray(tolerance, dtype=float))
    if error.size < 100_000 or not np.isfinite(tolerance).all():
        raise Vacuous(f"a sweep needs 100,000 instances and a finite tolerance, got {error.size} instances")
    # Not `error > tolerance`: a NaN must fail.
    bad = ~(error <= tolerance)
    if bad.any():
        at = int(np.argmax(bad))
        raise Refuted(f"instance {at}: error {error.flat[at]:.3g} beyond {tolerance.flat[at]:.3g}; {bad.sum()} fail")
    one = tolerance.max() == tolerance.min()
    within = f"tolerance {tolerance.max():.1e}" if one else "each within"
    note("sampled", f"{error.size:,} instances, {within} {why}", instances=error.size)


def refuted_by_sweep(error: Any, tolerance: Any) -> None:
    """A negative control of a sweep: `sweep`, the same checker, must refute it by errors that are numbers."""
    assert np.isfinite(error).all(), "an error that is no number refutes nothing"
    try:
        sweep(error, tolerance, "")
    except Refuted as refuted:
        note("exact", f"refuted: {refuted}", refutes=True)
        return
    raise AssertionError("a negative control was not refuted by the sweep")


class Given:
    """An assumption of a proof in z3: constraints, and the name that the claim gives them (`Claim.says`)."""

    def __init__(self, name: str, *constraints: Any) -> None:
        self.name, self.constraints = name, constraints


def proved(*negation: Any, size: str) -> None:
    """z3 finds no counterexample: the claim's negation cannot be satisfied.

    The last argument is the negated conclusion. The assumptions (`Given`) come before it, and can be satisfied. `size`
    says what it is proved for. Only "any ...", all that the claim is about, makes the claim proved. Any other text
    names some sizes, and makes it exact.

    Raises:
        Refuted: with a model that meets the negation.
        Vacuous: if the assumptions contradict each other.
        TypeError: for an assumption without a name.
    """
    assumed = negation[:-1]
    if unnamed := [a for a in assumed if not isinstance(a, Given)]:
        raise TypeError(f"an assumption without a name: {unnamed[0]}; write Given('its name in the claim', ...)")
    constraints = _flat(negation)
    result, model = _solve(constraints)
    if result == z3.sat:
        raise Refuted(f"counterexample: {model}")
    assert result == z3.unsat, f"z3 gave no verdict: {result}"
    if _solve(_flat(assumed))[0] == z3.unsat:
        raise Vacuous("the assumptions contradict each other")
    names = [a.name for a in assumed]
    told = " and ".join(name for name in names if name not in MEANING)
    note(_covering(size), f"z3, {size}{told and f', given {told}'}", constraints=_named(constraints), assuming=names)


def _covering(size: str) -> str:
    """How strong a proof is for what it covers."""
    return "proved" if size.startswith("any ") else "exact"


def satisfiable(*constraints: Any) -> None:
    """A negative control in z3: the control's negation has a model."""
    flat = _flat(constraints)
    result, model = _solve(flat)
    assert result == z3.sat, f"a negative control was not refuted: {result}"
    note("exact", f"refuted: {model}", refutes=True, constraints=_named(flat))


def _flat(constraints: tuple[Any, ...]) -> tuple[Any, ...]:
    """Constraints without the names of assumptions."""
    return tuple(c for held in constraints for c in (held.constraints if isinstance(held, Given) else (held,)))


def _named(constraints: tuple[Any, ...]) -> list[str]:
    """A checksum of each constraint as it is written."""
    # Not simplified: the order of its parts then depends on what else the process has made.
    return [hashlib.sha256(c.sexpr().encode()).hexdigest()[:8] for c in constraints]


def _solve(constraints: tuple[Any, ...]) -> tuple[Any, Any]:
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*constraints)
    result = solver.check()
    return result, solver.model() if result == z3.sat else None


def identity(difference: Any, size: str) -> None:
    """sympy simplifies every given expression to 0; `size` as for `proved`.

    Raises:
        Refuted: with what is left of an expression that is not 0.
        Vacuous: if there is no expression.
    """
    expressions = difference if isinstance(difference, list | tuple) else [difference]
    if not expressions:
        raise Vacuous("an identity of nothing")
    for expression in expressions:
        left = sympy.simplify(expression)
        if left != 0:
            raise Refuted(f"not identically 0: {left}")
    note(_covering(size), f"sympy, {size}", identities=len(expressions))


def no_identity(difference: Any) -> None:
    """A negative control of an identity: what sympy leaves is not 0 at some point."""
    left = sympy.simplify(difference)
    symbols = sorted(left.free_symbols, key=str)
    value = sympy.simplify(left.subs({s: sympy.Rational(1, i + 3) for i, s in enumerate(symbols)}))
    assert value.is_finite, f"a negative control is not refuted: {value}"
    assert value != 0, f"a negative control is not refuted: {value}"
    note("exact", f"refuted: {left} is not 0", refutes=True)


def table(what: str, *, refutes: bool = False, rows: int = 1) -> None:
    """Record that the test is arithmetic on numbers that the paper prints, and the number of rows.

    Raises:
        Vacuous: if there is no row.
    """
    if rows < 1:
        raise Vacuous(f"{what}: of no row")
    note("table", what, refutes=refutes, rows=rows)


def _name(statement: Statement) -> str:
    return getattr(statement, "__name__", "statement")
