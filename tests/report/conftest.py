"""Records written by hand, each test with its own copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .records.positives import Make, writer
from .records.trainings import BASE, levels, write, write_study


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
