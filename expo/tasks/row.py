"""A row of a source, and the reason if it cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from expo.tasks.problem import Skip

T = TypeVar("T")


class RowError(ValueError):
    """A row that cannot be used. Raised while reading a row; `collect` turns it into a `Skip`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class Row:
    """One object of the source. `number` counts the source's rows from 0, including unreadable ones.

    `spoiled` says for some fields what happened to their text when it was read; `names` has the source's names of
    fields, and `columns` its other columns.
    """

    where: str
    number: int
    fields: dict[str, Any]
    notices: list[Skip] = field(default_factory=list)
    spoiled: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def called(self, name: str) -> str:
        """The source's name of a field."""
        return self.names.get(name, name)

    def text(self, name: str, needed: str = "text") -> str:
        """The stripped text of a required field; `needed` describes what it may hold.

        Raises:
            RowError: if it is missing, empty, spoiled or not text.
        """
        value = self.fields.get(name)
        name, key = self.called(name), name
        if value is None:
            there = self.columns or tuple(self.fields)
            if all(part in there for part in name.split("+")):
                raise RowError(name, f"null or empty, but {needed} is required")
            hint = f"; if one of them holds the {key}, add --columns {key}=ITS_NAME" if self.columns else ""
            raise RowError(name, f"missing; the row has only the fields {', '.join(map(printable, there))}{hint}")
        if not isinstance(value, str):
            raise RowError(name, f"{kind(value)}, not text; write it in quotes")
        if not value.strip():
            raise RowError(name, "empty")
        if key in self.spoiled:
            raise RowError(name, self.spoiled[key])
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowError(name, "contains half of a surrogate pair (a \\ud800 to \\udfff escape)") from None
        return value.strip()

    def optional_text(self, name: str) -> str | None:
        """The text of an optional field, which may be missing or null; an unusable one is noted and left out."""
        return None if self.fields.get(name) is None else self.noting(lambda: self.text(name))

    def noting(self, read: Callable[[], T]) -> T | None:
        """What `read` makes of an optional field; an unusable one is noted and left out."""
        try:
            return read()
        except RowError as bad:
            self.notices.append(Skip(self.where, bad.field, f"{bad.reason}; the problem is kept without it"))
            return None


def printable(name: str) -> str:
    """A name that can be printed and written: half a surrogate pair is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def kind(value: object) -> str:
    """The kind of a value, in words."""
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        Decimal: "a number",
        str: "text",
        list: "a list",
    }
    return "null" if value is None else names.get(type(value), "an object")


def digest(question: str) -> str:
    """An id for a question that does not change when rows are added or removed; white space is normalised."""
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()[:16]
