"""What a statement says about an instance: two sides and how they are related, not a bare True.

A statement returns a relation (`eq`, `lt`, ...), several (`both`, `either`, `iff`), or None where its guard is not met.
A checker then sees more than truth: whether the sides vary from instance to instance, and how often each branch was
reached. If a statement is hollow, or says nothing on its domain, its sides do not vary.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_HOLDS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# How many values of a side are counted; more would add nothing.
_MOST = 100


@dataclass(frozen=True)
class Relation:
    """Two sides, and the sign between them; of arrays it must hold everywhere.

    `varies` is a quantity that must vary over a domain where the sides do not, as where both are 1 by definition.
    """

    left: Any
    sign: str
    right: Any
    varies: Any = None

    def __bool__(self) -> bool:
        return bool(np.all(_HOLDS[self.sign](*_alike(self.left, self.right))))

    def parts(self, place: str = "") -> Iterator[tuple[str, Relation]]:
        """Itself, with its place in what it is a part of."""
        yield place, self

    def places(self, place: str = "") -> Iterator[str]:
        """Its place."""
        yield place

    def branches(self, place: str = "") -> Iterator[str]:
        """None."""
        yield from ()


@dataclass(frozen=True)
class Relations:
    """Relations joined: all (`both`, `each`), at least one (`either`), both or neither (`iff`), or one that is asked
    only where a condition is met (`when`)."""

    how: str
    held: tuple[Relation | Relations, ...]
    reached: bool = True

    def __bool__(self) -> bool:
        if not self.reached:
            return True
        if self.how == "iff":
            return len({bool(part) for part in self.held}) == 1
        return any(self.held) if self.how == "either" else all(self.held)

    def parts(self, place: str = "") -> Iterator[tuple[str, Relation]]:
        """Every relation in it that is asked, each with its place."""
        if not self.reached:
            return
        for i, part in enumerate(self.held):
            yield from part.parts(self._place(place, i))

    def places(self, place: str = "") -> Iterator[str]:
        """The places of every relation in it, asked or not."""
        for i, part in enumerate(self.held):
            yield from part.places(self._place(place, i))

    def _place(self, place: str, i: int) -> str:
        here = "*" if self.how == "each" else str(i)
        return f"{place}.{here}" if place else here

    def branches(self, place: str = "") -> Iterator[str]:
        """The places of the relations of an `iff`, each of which must be true at times, and false at times."""
        if not self.reached:
            return
        for i, part in enumerate(self.held):
            here = self._place(place, i)
            if self.how == "iff" and isinstance(part, Relation):
                yield here
            yield from part.branches(here)


Said = Relation | Relations


def eq(left: Any, right: Any, *, varies: Any = None) -> Relation:
    """left == right."""
    return Relation(left, "==", right, varies)


def ne(left: Any, right: Any, *, varies: Any = None) -> Relation:
    """left != right; of arrays: everywhere."""
    return Relation(left, "!=", right, varies)


def lt(left: Any, right: Any, *, varies: Any = None) -> Relation:
    """left < right."""
    return Relation(left, "<", right, varies)


def le(left: Any, right: Any, *, varies: Any = None) -> Relation:
    """left <= right."""
    return Relation(left, "<=", right, varies)


def gt(left: Any, right: Any, *, varies: Any = None) -> Relation:
    """left > right."""
    return Relation(left, ">", right, varies)


def ge(left: Any, right: Any, *, varies: Any = None) -> Relation:
    """left >= right."""
    return Relation(left, ">=", right, varies)


def both(*held: Said) -> Relations:
    """All of them hold."""
    return Relations("both", held)


def each(held: Iterable[Said]) -> Relations:
    """All of them hold, however many there are. They count as one part."""
    return Relations("each", tuple(held))


def either(*held: Said) -> Relations:
    """At least one of them holds."""
    return Relations("either", held)


def when(condition: bool, said: Said) -> Relations:
    """It holds if the condition is met. The number of times that the condition is met is counted."""
    return Relations("when", (said,), bool(condition))


def iff(one: Said, other: Said) -> Relations:
    """Both hold, or neither does."""
    return Relations("iff", (one, other))


@dataclass
class Tally:
    """What instances showed about a statement: how many there were, how many differed, and what its sides were."""

    met: int = 0
    passed_over: int = 0
    _instances: set[str] = field(default_factory=set)
    _sides: dict[str, set[str]] = field(default_factory=dict)
    _truths: dict[str, Counter[bool]] = field(default_factory=dict)
    # How often the sides of a <= or >= were not equal.
    _strict: Counter[str] = field(default_factory=Counter)
    # Parts of an `iff`, which must be both true and false.
    _branches: set[str] = field(default_factory=set)

    def add(self, instance: Any, said: Said) -> None:
        """Count an instance that meets the guard."""
        self.met += 1
        self._instances.add(repr(instance))
        self._branches.update(said.branches())
        for place in said.places():
            self._sides.setdefault(place, set())
            self._truths.setdefault(place, Counter())
        for place, part in said.parts():
            seen = self._sides[place]
            if len(seen) < _MOST:
                seen.add(repr(part.varies) if part.varies is not None else f"{part.left!r} {part.right!r}")
            self._truths[place][bool(part)] += 1
            if part.sign in ("<=", ">="):
                self._strict[place] += not bool(np.all(_HOLDS["=="](*_alike(part.left, part.right))))

    @property
    def counts(self) -> dict[str, Any]:
        """What was counted, to be put on record."""
        return {
            "met": self.met,
            "passed over": self.passed_over,
            "different": len(self._instances),
            "sides": {place: len(seen) for place, seen in self._sides.items()},
            "true": {place: truths[True] for place, truths in self._truths.items()},
        }

    def hollow(self, least: int, values: int) -> str | None:
        """Why these instances show nothing, if they do not: too few differ, a side hardly varies, a branch is rare."""
        if len(self._instances) < least:
            return f"only {len(self._instances)} instances differ, {least} are wanted"
        for place, seen in self._sides.items():
            where = f"part {place}" if place else "it"
            if (asked := self._truths[place].total()) < least:
                return f"{where} is asked of {asked} of {self.met} instances, {least} are wanted"
            if len(seen) < values:
                return f"the sides of {where} take {len(seen)} values, {values} are wanted; declare what `varies`"
        for place in self._strict:
            if not self._strict[place]:
                where = f"part {place}" if place else "it"
                return f"the sides of {where} are equal on all instances: say eq"
        for place in sorted(self._branches):
            true, false = self._truths[place][True], self._truths[place][False]
            if min(true, false) < least:
                return (
                    f"part {place} of an iff is true {true} times and false {false} times, {least} of each are wanted"
                )
        return None


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both sides as arrays if one is; tuples and lists alone are compared as Python does."""
    if not isinstance(left, np.ndarray) and not isinstance(right, np.ndarray):
        return left, right
    sides = [np.array(side, dtype=object) if isinstance(side, tuple | list) else side for side in (left, right)]
    return sides[0], sides[1]
