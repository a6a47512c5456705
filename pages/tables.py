"""Numbers from the tables of figures/: one row is chosen by its columns, and shown as a page shows it.

A place is `table.column`, or `table` for its column `mean`; rows are chosen by `column=value`, and `a|b` is either.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pandas as pd

from expo.report.artefacts import read_provenance
from expo.report.words import interval, listed, number, share, signed, spanned
from expo.stats import Interval
from pages.fill import PageError, read

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "figures"
MEAN = "mean over bases"
_TOLD = r"([−+]?\d(?:[\d.,]*\d)?(?: \[[^\]]*\])?)"


@cache
def table(name: str) -> pd.DataFrame:
    """The table of figures/ with this name, as it is on disk."""
    return pd.read_csv(FIGURES / f"{name}.csv", dtype=str, keep_default_na=False)


def rows(place: str, **where: str) -> pd.DataFrame:
    """The rows of a table for which each column has one of the values; numbers are equal if their values are."""
    found = table(place.partition(".")[0])
    # Of curves that show each base, too, the mean.
    if "base" not in where and MEAN in set(found.get("base", ())):
        where = {**where, "base": MEAN}
    for column, values in where.items():
        if column not in found:
            raise PageError(f"{place} has no column {column}, only {', '.join(map(str, found))}")
        wanted = {_key(value) for value in values.split("|")}
        found = found[[_key(value) in wanted for value in found[column]]]
    if found.empty:
        raise PageError(f"{place} has no row with {where}")
    return found


def _key(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def row(place: str, **where: str) -> pd.Series:
    """The one row that is chosen."""
    found = rows(place, **where)
    if len(found) > 1:
        raise PageError(f"{place} has {len(found)} rows with {where}")
    return found.iloc[0]


def _column(place: str) -> str:
    return place.partition(".")[2] or "mean"


def value(place: str, **where: str) -> float:
    """The value; of several rows, their mean."""
    return float(rows(place, **where)[_column(place)].astype(float).mean())


def estimate(place: str, **where: str) -> Interval:
    """The value with its interval."""
    one = row(place, **where)
    # An end of an interval that is 0 but for rounding is 0.
    mean, low, high = (round(float(one[column]), 12) for column in (_column(place), "low", "high"))
    return Interval(mean, low, high, 0)


def num(place: str, **where: str) -> str:
    """Three digits."""
    return number(value(place, **where))


def plus(place: str, **where: str) -> str:
    """Three digits with a sign."""
    return signed(value(place, **where))


def one_of(place: str, **where: str) -> str:
    """A word of the one row, such as a verdict."""
    return str(row(place, **where)[_column(place)])


def count(place: str, **where: str) -> str:
    """The sum of a whole number over the rows that are chosen."""
    return f"{rows(place, **where)[_column(place)].astype(float).sum():,.0f}"


def ci(place: str, **where: str) -> str:
    """`1.20 [1.10, 1.30]`."""
    return interval(estimate(place, **where))


def diff(place: str, **where: str) -> str:
    """`+1.20 [+1.10, +1.30]`."""
    return interval(estimate(place, **where), sign=True)


def pc(place: str, **where: str) -> str:
    """`93 %`; of several rows, their mean."""
    return share(value(place, **where))


def pci(place: str, **where: str) -> str:
    """`93 % [81, 100]`."""
    found = estimate(place, **where)
    return f"{share(found.mean)} [{_bare(found.low)}, {_bare(found.high)}]"


def points(place: str, **where: str) -> str:
    """A difference of shares: `+13 [+9, +16]`, in percentage points."""
    found = estimate(place, **where)
    rounded = [round(100 * x) for x in (found.mean, found.low, found.high)]
    shown = [f"{'+' if x > 0 else '−' if x < 0 else ''}{abs(x)}" for x in rounded]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def bases(place: str, **where: str) -> str:
    """The mean over bases, and the lowest and highest base: `27 % (20 to 38)`."""
    one = row(place, **where)
    low, high = (float(one[side]) for side in ("lowest", "highest"))
    return f"{share(float(one[_column(place)]))} ({_bare(low)} to {_bare(high)})"


def each(place: str, by: str, **where: str) -> str:
    """The shares of several rows, in the order of a column: `93 %, 97 % and 100 %`."""
    return listed([share(float(x)) for x in rows(place, **where).sort_values(by)[_column(place)]])


def counts(place: str, by: str, **where: str) -> str:
    """The whole numbers of several rows, in the order of a column: `1, 2 and 2`."""
    return listed([f"{float(x):.0f}" for x in rows(place, **where).sort_values(by)[_column(place)]])


def span(place: str, **where: str) -> str:
    """The least and greatest share of several rows: `14 to 16 %`."""
    found = rows(place, **where)[_column(place)].astype(float)
    return _span(found.min(), found.max())


def spread(place: str, **where: str) -> str:
    """The lowest and the highest base of several rows: `2.5 to 36 %`."""
    found = rows(place, **where)
    return _span(found["lowest"].astype(float).min(), found["highest"].astype(float).max())


def numbers(place: str, **where: str) -> str:
    """The least and greatest whole number of several rows."""
    return spanned(int(float(x)) for x in rows(place, **where)[_column(place)])


def same(place: str, **where: str) -> str:
    """The number that all rows have."""
    (found,) = {float(x) for x in rows(place, **where)[_column(place)]}
    return number(found)


def how_many(place: str, **where: str) -> str:
    """How many rows."""
    return str(len(rows(place, **where)))


def _span(low: float, high: float) -> str:
    return share(low) if _bare(low) == _bare(high) else f"{_bare(low)} to {share(high)}"


def _bare(x: float) -> str:
    return share(x).removesuffix(" %")


def p1(label: str, quantity: str, temperature: str, what: str = "") -> str:
    """Property 1 at a sampling temperature, of property1-temperature-<label>: the difference, `verdict`, `n`,
    or as a `verb`: `holds`, `is undecided`."""
    where = {"quantity": quantity, "temperature": temperature, "what": "explanation - expert"}
    return _shown(f"property1-temperature-{label}", what, where)


def t1(label: str, source: str, quantity: str, reference: str, what: str = "") -> str:
    """A difference of table1-<label>, or of one run, `label/run`; its `verdict`, `n`, or number alone, `plus`."""
    name, _, run = label.partition("/")
    where = {"source": source, "quantity": quantity, "reference": reference} | ({"run": run} if run else {})
    return _shown(f"table1-{name}.difference", what, where)


def _shown(place: str, what: str, where: dict[str, str]) -> str:
    if what in ("verdict", "verb", "n"):
        word = one_of(f"{place.partition('.')[0]}.{what if what == 'n' else 'verdict'}", **where)
        return f"is {word}" if what == "verb" and word == "undecided" else word
    return plus(place, **where) if what else diff(place, **where)


def wins(label: str, what: str = "rate") -> str:
    """The win rate of fig3-<label> by true steps, or of one run, `label/run`; or its `n`."""
    name, _, run = label.partition("/")
    where = {"judge": "step checker, count", "level": ""} | ({"run": run} if run else {})
    return one_of(f"fig3-{name}.n", **where) if what == "n" else ci(f"fig3-{name}.rate", **where)


def acts(label: str, part: str, kind: str, what: str = "mean") -> str:
    """A share of where-the-answer-acts-<label>, or its `n`."""
    place = f"where-the-answer-acts-{label}"
    return count(f"{place}.n", part=part, kind=kind) if what == "n" else ci(place, part=part, kind=kind)


def above(greater: str, less: str) -> str:
    """Nothing, if the first is greater: a guard beside words that say so. Each is a number or `place column=value ...`.

    Raises:
        PageError: if it is not, so that the words beside it are no longer true.
    """
    first, second = map(_value_of, (greater, less))
    if not first > second:
        raise PageError(f"the words beside it are no longer true: {number(first)} is not above {number(second)}")
    return ""


def _value_of(told: str) -> float:
    place, *where = shlex.split(told)
    try:
        return float(place)
    except ValueError:
        return value(place, **dict(part.split("=", 1) for part in where))


def base_pci(method: str, base: str) -> str:
    """The accuracy of by-base-smollm2-135m-letters after a training of one base, with its interval."""
    return pci("by-base-smollm2-135m-letters", method=method, base=f"smollm2-135m-letters-seed{base}")


def signal_groups(label: str, method: str, levels: str) -> str:
    """The share of a method's groups of by-base-<label> that have right and wrong samples."""
    found = rows(f"by-base-{label}", method=method, trained_on=levels)[["groups", "some_right", "all_right"]]
    sums = found.astype(float).sum()
    return share((sums["some_right"] - sums["all_right"]) / sums["groups"])


def more_than(table_: str, size: str, predictor: str) -> str:
    """By how much a predictor's rank correlation is above that of log-probability."""
    one = row(table_, size=size, predictor=predictor)
    mean, low, high = (float(one[column]) for column in ("more", "more_low", "more_high"))
    return interval(Interval(mean, low, high, 0))


def cell(page: str, row: str, column: str) -> str:
    """A cell of a table of figures/<page>.md, by the first cell of its row and the head of its column."""
    head: list[str] = []
    for line in read(FIGURES / f"{page}.md").splitlines():
        cells = [part.strip() for part in line.strip("|").split(" | ")] if line.startswith("|") else []
        if not cells or (head and cells[0] == row and column in head):
            if cells:
                return cells[head.index(column)]
            head = []
        elif not head:
            head = cells
    raise PageError(f"figures/{page}.md has no row {row!r} with a column {column!r}")


def told(name: str, phrase: str) -> str:
    """The number, with its interval if it has one, that stands for `#` in a phrase of what a figure is said to show."""
    words = str(read_provenance(FIGURES)[name]["reading"])
    found = re.findall(re.escape(phrase).replace(r"\#", _TOLD), words)
    if len(found) != 1:
        raise PageError(f"the reading of {name} has {phrase!r} {len(found)} times")
    return str(found[0])
