"""A record whose numbers have no pattern."""

from __future__ import annotations

import pytest

from expo.records import Run

from ..records.positives import Make
from .made import random_samples, random_tokens


@pytest.fixture
def record(make: Make) -> Run:
    run = make("tiny-0", n=40, k=3, temperature=1.0, token_scores=True).run
    rows = random_samples()
    run.write("samples", rows)
    run.write("tokens", random_tokens(rows))
    return run
