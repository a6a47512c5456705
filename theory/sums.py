"""Finite sums of any length in proofs: the conditions under which an expression in a few sums is itself a sum.

A finite sum is linear. So an expression that is linear in some sums, without a constant, is itself a sum, and its
summand is the same expression in their summands. This is why an identity about one trajectory, which sympy checks,
proves a statement about a sum over L trajectories for any L. A reader must still check that the summands named are
those of the sums named.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import Any

import sympy


def summed(total: Any, term: Any, sums: Mapping[Any, Any]) -> list[Any]:
    """Expressions that are all 0 if and only if `total` is a linear form in `sums`, without a constant, with summand
    `term`. Then `total` is the sum of `term`, however many terms there are.

    `sums` gives the summand of each sum. Every other symbol of `total` is the same in all terms.
    """
    total = sympy.sympify(total)
    curvature = [sympy.expand(sympy.diff(total, a, b)) for a, b in combinations_with_replacement(sums, 2)]
    constant = total.xreplace({s: sympy.Integer(0) for s in sums})
    in_terms = total.xreplace({s: sympy.sympify(x) for s, x in sums.items()})
    return [sympy.expand(in_terms - term), sympy.expand(constant), *curvature]
