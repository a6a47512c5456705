"""Records written by hand, each test with its own copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from expo.report.picture import Caption
from expo.report.runs import FinishedRun

from .records.positives import Make, writer
from .records.trainings import BASE, levels, write, write_study

T = TypeVar("T")


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[Caption]:
    """The captions of the pictures that a test draws."""
    return _recorded(monkeypatch, lambda caption: caption)


@pytest.fixture
def headings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The headings of the pictures that a test draws."""
    return _recorded(monkeypatch, lambda caption: caption.heading)


def _recorded(monkeypatch: pytest.MonkeyPatch, part: Callable[[Caption], T]) -> list[T]:
    seen: list[T] = []
    caption_of = Caption.of

    def recorded(runs: Sequence[FinishedRun], heading: str, notes: str) -> Caption:
        caption = caption_of(runs, heading, notes)
        seen.append(part(caption))
        return caption

    monkeypatch.setattr(Caption, "of", recorded)
    return seen


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return writer(tmp_path)


@pytest.fixture(scope="session")
def _study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, "all", None)
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        write(folder / f"base-{base}", {**BASE, "policy": base}, {0: levels(0.02)})
    return folder


@pytest.fixture
def folder(_study: Path, tmp_path: Path) -> Path:
    """Trainings of three bases with three methods, and the bases as they were."""
    shutil.copytree(_study, tmp_path, dirs_exist_ok=True)
    return tmp_path
