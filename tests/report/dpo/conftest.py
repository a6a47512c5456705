from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from expo.report.trainings import EvaluatedRun, find_evaluated

from ..records.dpo import ARMS, write_arm


@pytest.fixture(scope="session")
def _arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arms")
    for base in ("tiny-0", "tiny-1", "tiny-2"):
        for (source, refresh), (end, gain) in ARMS.items():
            write_arm(folder, base, source, refresh, end, gain)
    return folder


@pytest.fixture
def runs(_arms: Path, tmp_path: Path) -> list[EvaluatedRun]:
    """Trainings by DPO of three bases with each of `ARMS`."""
    shutil.copytree(_arms, tmp_path / "runs")
    return find_evaluated(tmp_path / "runs")[0]
