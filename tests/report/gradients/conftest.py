from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expo.report.gradients.runs import by_policy, find_gradients

from ..records.gradients import write_gradients


@pytest.fixture
def runs(tmp_path: Path) -> list[Any]:
    write_gradients(tmp_path / "runs" / "one")
    return by_policy(find_gradients(tmp_path / "runs"))["tiny"]
