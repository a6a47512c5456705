"""The kinds of answers: a number with its unit, a time, a ratio, a pair, an interval, words."""

from __future__ import annotations

from dataclasses import dataclass, field

from expo.grading.expression import Node
from expo.grading.units import Unit


@dataclass(frozen=True)
class Quantity:
    """A formula, with its unit if it has one.

    `places` is the number of decimals of a plain decimal, 0 for any other formula; `senses` are words such as north,
    loss, BC.
    """

    node: Node
    unit: Unit = field(default_factory=Unit)
    percent: bool = False
    places: int = 0
    senses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Choice:
    """A single letter."""

    letter: str


@dataclass(frozen=True)
class Words:
    """Plain words, in lower case except for short ones."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Date:
    """A day, with or without a year."""

    day: int | None
    month: int
    year: int | None


@dataclass(frozen=True)
class Time:
    """A time of day; `half` is "a", "p" or empty."""

    hour: int
    minute: int
    second: int
    half: str


@dataclass(frozen=True)
class Ratio:
    """Numbers separated by colons."""

    parts: tuple[Quantity, ...]


@dataclass(frozen=True)
class Numeral:
    """Digits in a base."""

    digits: str
    base: int


@dataclass(frozen=True)
class Congruence:
    """A number up to multiples of a modulus."""

    node: Node
    modulus: Node


@dataclass(frozen=True)
class Collection:
    """Items in brackets: "()", "[]", "[)", "(]" or "{}"; "," means without brackets, " " in a row."""

    kind: str
    items: tuple[Form, ...]


@dataclass(frozen=True)
class Named:
    """name = value, for one or several names; names are texts without spaces."""

    names: tuple[str, ...]
    values: tuple[Form, ...]


@dataclass(frozen=True)
class Equation:
    """A chain of sides joined by =, of which the first is not a name."""

    sides: tuple[str | Quantity, ...]


@dataclass(frozen=True)
class Relation:
    """A chain of sides joined by <, >, \\le, \\ge or \\ne."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Union:
    """A union of sets of numbers: intervals, relations, sets of points."""

    parts: tuple[Form, ...]


Form = (
    Quantity
    | Choice
    | Words
    | Date
    | Time
    | Ratio
    | Numeral
    | Congruence
    | Collection
    | Named
    | Equation
    | Relation
    | Union
)
