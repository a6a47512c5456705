"""Work for routes of benchmarks whose processes need not load what the tests of benchmarks do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def counting(path: Path, name: str, fails_at: int = 99) -> Callable[[], int]:
    """Work that notes when it is done, and fails at some turn."""
    turns: list[int] = []

    def work() -> int:
        turns.append(len(turns))
        if len(turns) == fails_at:
            raise ValueError(f"{name} has had enough")
        with path.open("a", encoding="utf-8") as file:
            file.write(name)
        return len(turns)

    return work


def without_work() -> Callable[[], int]:
    raise ValueError("nothing to do")
