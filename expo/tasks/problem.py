"""The `Problem` type that every task yields, and the `Task` that holds the problems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sized
from dataclasses import dataclass, replace

from expo.text import plural


class DataError(ValueError):
    """Data that cannot be used at all; the message names the file, the line, the field and the fix."""


@dataclass(frozen=True)
class Problem:
    """A question with its ground-truth answer `a*` and, if the source has them, level and expert CoT.

    `answer` is the canonical answer text: what is scored as `a*` and what a completion is graded against.
    `expert_cot` is the worked solution `c_E` without its final-answer statement.
    `where` names the source, as `file:line` if there is a file.
    """

    id: str
    question: str
    answer: str
    level: int | None = None
    expert_cot: str | None = None
    subject: str | None = None
    where: str = ""


@dataclass(frozen=True)
class Skip:
    """A row of the source that was left out: its place, the field at fault, and the reason."""

    where: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.reason}"


def counted(skips: Sized) -> str:
    """`1 row or field`, `3 rows or fields`: how many skips there are."""
    return plural(len(skips), "row or field", "rows or fields")


def in_lines(skips: Iterable[Skip], most: int) -> list[str]:
    """Skips as lines of text: one line for all with the same field and reason, and at most `most` lines."""
    alike: dict[tuple[str, str], list[Skip]] = {}
    for skip in skips:
        alike.setdefault((skip.field, skip.reason), []).append(skip)
    lines = []
    for first, *others in alike.values():
        where = f"{first.where} and {len(others)} more" if others else first.where
        lines.append(str(replace(first, where=where)))
    left = sum(map(len, list(alike.values())[most:]))
    return lines[:most] + ([f"and {left} more, for other reasons"] if left else [])


@dataclass(frozen=True)
class Task:
    """Problems of one source. Results on a toy must be labelled as a toy wherever they are shown."""

    name: str
    problems: tuple[Problem, ...]
    skipped: tuple[Skip, ...] = ()
    source: str = ""
    is_toy: bool = False

    def choose(self, n: int | None, seed: int = 0, levels: Iterable[int] | None = None) -> Task:
        """Choose the same `n` problems for the same seed, whatever the order or size of the source.

        Problems are ranked by a hash of seed and id, so a larger `n` extends a smaller one.
        The source's order is kept. `levels` keeps only problems of those levels.

        Raises:
            DataError: if no problem is left.
        """
        wanted = None if levels is None else set(levels)
        pool = [p for p in self.problems if wanted is None or p.level in wanted]
        if n is not None:
            ranked = sorted(pool, key=lambda p: hashlib.sha256(f"{seed}:{p.id}".encode()).digest())
            kept = {p.id for p in ranked[:n]}
            pool = [p for p in pool if p.id in kept]
        if not pool:
            raise DataError(
                f"{self.source or self.name}: no problem left ({len(self.problems)} read, "
                f"{len(self.skipped)} skipped, levels {sorted(wanted) if wanted else 'any'}); widen "
                "--levels or fix the data"
            )
        return replace(self, problems=tuple(pool))
