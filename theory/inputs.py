"""What every function of this package requires of its arguments; each error names the argument.

Exact arrays have dtype object and hold Fractions, float arrays have dtype float64; the two are never mixed in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

# Rounding of a float sum of L probabilities is below L * 2**-53; this leaves room for ten million of them.
SUM_TOLERANCE = 1e-9

Array = np.ndarray
Numbers = Sequence[Any] | np.ndarray
# One number, or one for each instance of a batch.
Scalars = Fraction | float | np.ndarray


def array(values: Numbers | Scalars, name: str = "values") -> Array:
    """Values as an exact array (Fractions) or a float64 one; whole numbers on their own are exact.

    Raises:
        ValueError: for Fractions mixed with floats, NaN or infinity, rows of different lengths, or anything that is not
            a real number.
    """
    try:
        raw = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is ragged: all its rows need one length") from error
    if raw.dtype.kind == "f":
        out = raw.astype(np.float64)
    elif raw.dtype.kind in "iub":
        return _fractions(raw)
    elif raw.dtype == object:
        kinds = {_kind(x, name) for x in raw.flat}
        if kinds == {"exact", "float"}:
            raise ValueError(f"{name} mixes Fractions and floats: give all of one kind")
        if kinds <= {"exact", "whole"}:
            return _fractions(raw)
        out = raw.astype(np.float64)
    else:
        raise ValueError(f"{name} must hold real numbers, got dtype {raw.dtype}")
    if not np.isfinite(out).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return out


def _kind(x: object, name: str) -> str:
    if isinstance(x, Fraction):
        return "exact"
    if isinstance(x, int | np.integer | np.bool_):
        return "whole"
    if isinstance(x, float | np.floating):
        return "float"
    raise ValueError(f"{name} must hold real numbers, got {x!r}")


def _fractions(raw: Array) -> Array:
    out = np.empty(raw.size, dtype=object)
    out[:] = [x if isinstance(x, Fraction) else Fraction(int(x)) for x in raw.flat]
    return out.reshape(raw.shape)


def is_exact(x: Array) -> bool:
    """Whether an array holds Fractions."""
    return x.dtype == object


def together(**arrays: Array) -> None:
    """Refuse exact arrays together with float ones; arrays of zeros and ones go with either (use `like`).

    Raises:
        ValueError: naming the arguments.
    """
    exact = {name: is_exact(a) for name, a in arrays.items()}
    if len(set(exact.values())) > 1:
        names = " and ".join(sorted(exact))
        raise ValueError(f"{names} mix exact and float: give all of one kind")


def like(values: Numbers | Scalars, reference: Array, name: str) -> Array:
    """`values` in the kind of `reference`; whole numbers go with either kind.

    Raises:
        ValueError: for Fractions with a float reference, or floats with an exact one.
    """
    held = array(values, name)
    if is_exact(held) and not is_exact(reference):
        raw = np.asarray(values)
        if raw.dtype.kind not in "iub" and any(isinstance(x, Fraction) for x in raw.flat):
            raise ValueError(f"{name} is exact beside float probabilities: give all of one kind")
        return held.astype(np.float64)
    if is_exact(reference) and not is_exact(held):
        raise ValueError(f"{name} is float beside exact probabilities: give all of one kind")
    return held


def simplex(values: Numbers, name: str = "pi", *, low: int = 2) -> Array:
    """Probabilities on the last axis: at least `low` of them, none negative, their sum 1.

    Exact sums must be 1; float sums may miss it by `SUM_TOLERANCE`.

    Raises:
        ValueError: naming the argument and what is wrong with it.
    """
    out = array(values, name)
    if out.ndim == 0 or out.shape[-1] < low:
        size = 0 if out.ndim == 0 else out.shape[-1]
        raise ValueError(f"{name} needs at least {low} probabilities on its last axis, got {size}")
    if (out < 0).any():
        raise ValueError(f"{name} holds a negative probability")
    total = out.sum(-1)
    wrong = total != 1 if is_exact(out) else np.abs(total - 1) > SUM_TOLERANCE
    if np.any(wrong):
        first = np.atleast_1d(total)[np.atleast_1d(wrong)][0]
        raise ValueError(f"{name} must sum to 1, got {first}")
    return out


def rewards(values: Numbers, pi: Array, name: str = "r") -> Array:
    """One reward in [0, 1] a trajectory, in the kind of `pi`; 1 is a right answer, 0 a wrong one.

    Raises:
        ValueError: naming the argument.
    """
    return unit(values, pi, name)


def unit(values: Numbers, pi: Array, name: str) -> Array:
    """Numbers in [0, 1], one for each entry of `pi`'s last axis, in the kind of `pi`.

    Raises:
        ValueError: naming the argument.
    """
    out = like(values, pi, name)
    if out.shape[-1:] != pi.shape[-1:]:
        raise ValueError(f"{name} needs {pi.shape[-1]} numbers on its last axis, as many as there are probabilities")
    if ((out < 0) | (out > 1)).any():
        raise ValueError(f"{name} must lie in [0, 1]")
    return out


def probability(p: Numbers | Scalars, name: str = "p") -> Array:
    """One number in [0, 1], or an array of them, in kind.

    Raises:
        ValueError: naming the argument.
    """
    held = array(p, name)
    return unit(held, held, name)


def beside(values: Numbers, pi: Array, name: str) -> Array:
    """Another distribution over the trajectories of `pi`, in its kind.

    Raises:
        ValueError: naming the argument.
    """
    p = simplex(values, name)
    together(**{"the other distribution": pi, name: p})
    if p.shape[-1] != pi.shape[-1]:
        raise ValueError(f"{name} needs {pi.shape[-1]} probabilities, as many as the other distribution has")
    return p


def index(j: int, pi: Array, name: str = "j") -> int:
    """A place on the last axis of `pi`, counted from 0.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(j, bool) or not isinstance(j, int | np.integer) or not 0 <= j < pi.shape[-1]:
        raise ValueError(f"{name} must be a whole number from 0 to {pi.shape[-1] - 1}, got {j!r}")
    return int(j)


def pair(j: int, k: int, pi: Array, names: tuple[str, str] = ("j", "k")) -> tuple[int, int]:
    """Two different places on the last axis of `pi`.

    Raises:
        ValueError: if one is none, or both are the same.
    """
    a, b = index(j, pi, names[0]), index(k, pi, names[1])
    if a == b:
        raise ValueError(f"{names[0]} and {names[1]} must differ, both are {a}")
    return a, b


def column(x: Any) -> Array:
    """One number for each instance, shape (...), with an axis added for the probabilities, (..., 1)."""
    return np.asarray(x)[..., None]


def pushed(pi: Numbers, i: int, alpha: Scalars, j: int, beta: Scalars) -> tuple[Array, int, int, Array, Array]:
    """Two pushes of Appendix B: z_i rises by log alpha, z_j falls by -log beta.

    Raises:
        ValueError: as `simplex`, `pair` and `like` say, for alpha below 1, or beta outside (0, 1].
    """
    pi = simplex(pi)
    i, j = pair(i, j, pi, ("i", "j"))
    up, down = like(alpha, pi, "alpha"), like(beta, pi, "beta")
    if np.any(up < 1):
        raise ValueError("alpha must be at least 1: it pushes up")
    if np.any(down <= 0) or np.any(down > 1):
        raise ValueError("beta must lie in (0, 1]: it pushes down")
    return pi, i, j, up, down
