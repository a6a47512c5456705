"""Instances: how large a counterexample is, and how it is shown."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np


def denominator(instance: Any) -> int:
    """The largest denominator in an instance: how large a counterexample is."""
    if isinstance(instance, Fraction):
        return instance.denominator
    if isinstance(instance, list | tuple | np.ndarray):
        return max((denominator(x) for x in instance), default=1)
    return 1


def show(instance: Any) -> str:
    """An instance in short: Fractions as 1/3."""
    if isinstance(instance, tuple | list | np.ndarray):
        return "(" + ", ".join(show(x) for x in instance) + ")"
    return str(instance)
