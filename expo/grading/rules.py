"""The user's choices for grading texts, where two ways are defensible."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    r"""How answers are found and compared.

    Attributes:
        boxed_only: only a `\boxed{}` counts as an answer.
        last_number: grade the last number of a text that states no answer.
        tolerance: how far a number may be off, as a fraction of the ground truth; 0: not at all, except for six or more
            printed decimals.

    Raises:
        ValueError: for a tolerance outside this range.
    """

    boxed_only: bool = False
    last_number: bool = True
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.tolerance < 1 and math.isfinite(self.tolerance)):
            raise ValueError(f"tolerance must be at least 0 and below 1, got {self.tolerance}")


USUAL = Rules()
