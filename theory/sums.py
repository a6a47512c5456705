"""Finite sums of any length in proofs: what has to be 0 for a form in a few sums to be a sum over all trajectories.

A finite sum is linear: a form that is linear in some sums, and has no constant, is itself a sum, namely of that form in
their summands. So a statement about a sum over L trajectories is proved for any L by an identity about one of them,
which sympy checks. What remains for a reader is that the summands named are those of the sums named.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import Any

import sympy


def summed(total: Any, term: Any, sums: Mapping[Any, Any]) -> list[Any]:
    """Expressions that are all 0 just where `total` is a linear form in `sums`, without a constant, and its summand is
    `term`; then `total` is the sum of `term`, however many there are.

    `sums` gives the summand of each sum. Every other symbol of `total` is the same in all terms.
    """
    total = sympy.sympify(total)
    curvature = [sympy.expand(sympy.diff(total, a, b)) for a, b in combinations_with_replacement(sums, 2)]
    constant = total.xreplace({s: sympy.Integer(0) for s in sums})
    in_terms = total.xreplace({s: sympy.sympify(x) for s, x in sums.items()})
    return [sympy.expand(in_terms - term), sympy.expand(constant), *curvature]
