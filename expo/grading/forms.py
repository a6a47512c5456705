"""What kinds of thing an answer can be: a number with its unit, a time, a ratio, a pair, an interval, words."""

from __future__ import annotations

from dataclasses import dataclass, field

from expo.grading.expression import Node
from expo.grading.units import Unit


@dataclass(frozen=True)
class Quantity:
    """A formula, with its unit if it has one.

    `places` are the decimals of a plain decimal, 0 for any other formula; `senses` words such as north, loss, BC.
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
    """Plain words, in lower case but for short ones."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Date:
    """A day, with or without its year."""

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
    """Numbers joined by colons."""

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
    """Items in brackets of a kind: "()", "[]", "[)", "(]", "{}"; "," without brackets, " " in a row."""

    kind: str
    items: tuple[Form, ...]


@dataclass(frozen=True)
class Named:
    """name = value, once or for several names; the names are texts without spaces."""

    names: tuple[str, ...]
    values: tuple[Form, ...]


@dataclass(frozen=True)
class Equation:
    """A chain of sides joined by =, whose first is no name."""

    sides: tuple[str | Quantity, ...]


@dataclass(frozen=True)
class Relation:
    """A chain of sides joined by <, >, \\le, \\ge or \\ne."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Union:
    """Sets of numbers taken together: intervals, relations, sets of points."""

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
