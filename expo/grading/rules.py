"""What a user may choose of how texts are graded, where two ways are defensible."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    r"""How answers are found and compared.

    Attributes:
        boxed_only: only a `\boxed{}` states an answer.
        last_number: a text that states no answer is graded by its last number.
        tolerance: how far a number may be off, as a share of the ground truth; 0: not at all, but for six or more
            printed decimals.

    Raises:
        ValueError: for a tolerance that is no share.
    """

    boxed_only: bool = False
    last_number: bool = True
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.tolerance < 1 and math.isfinite(self.tolerance)):
            raise ValueError(f"tolerance must be a share from 0 up to 1, got {self.tolerance}")


USUAL = Rules()
