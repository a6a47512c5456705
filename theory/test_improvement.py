"""Section 3.2: Eqs 1 to 6."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from theory import improvement
from theory.domains import bits, gradients, point
from theory.evidence import Pick, for_all, identity, no_identity, twin
from theory.policies import softmax


def sample(pick: Pick) -> Any:
    """(pi, r, j): a policy, rewards, a sample."""
    pi = point(pick, 2, 6)
    return pi, bits(pick, len(pi)), pick(0, len(pi) - 1)


def sample_of_any_softmax(pick: Pick) -> Any:
    """(pi, logit gradients, r, j): the logits may depend on the parameters in any way."""
    pi, r, j = sample(pick)
    return pi, gradients(pick, len(pi)), r, j


def eq3_error(sign: int) -> list[sympy.Expr]:
    """dJ/dz_k minus `sign` * pi_k (r_k - J), for a softmax over 4 symbolic logits with symbolic rewards."""
    z, r = sympy.symbols("z:4", real=True), sympy.symbols("r:4", real=True)
    total = sum(map(sympy.exp, z))
    pi = [sympy.exp(x) / total for x in z]
    J = sum(p * x for p, x in zip(pi, r, strict=True))
    return [sympy.diff(J, z[k]) - sign * pi[k] * (r[k] - J) for k in range(4)]


def test_eq3_policy_gradient() -> None:
    identity(eq3_error(1), "L = 4, any rewards")


def test_eq3_twin_other_sign() -> None:
    no_identity(eq3_error(-1)[0])


def splits(instance: Any) -> bool:
    """Eq 6: T1 + T2 is the gain, for any logit gradients."""
    pi, z, r, j = instance
    policy = softmax(pi, z)
    return improvement.t1(policy, r, j) + improvement.t2(policy, r, j) == policy.gain(r, j)


def splits_without_reward(instance: Any) -> bool:
    """Eq 6 with T1's reward left out."""
    pi, z, r, j = instance
    return splits((pi, z, r, j)) and improvement.t1(softmax(pi, z), np.ones(len(pi), int), j) == (
        improvement.t1(softmax(pi, z), r, j)
    )


def test_eq6_splits_the_gain() -> None:
    for_all(splits, sample_of_any_softmax)


def test_eq6_twin_without_reward() -> None:
    twin(splits_without_reward, sample_of_any_softmax)


def closed_form(instance: Any) -> bool:
    """The closed forms of T1 and of the gain agree with sums over trajectories, tabular."""
    pi, r, j = instance
    policy = softmax(pi)
    return improvement.tabular_t1(pi, r, j) == improvement.t1(policy, r, j) and (
        improvement.tabular_gain(pi, r, j) == policy.gain(r, j)
    )


def test_eq6_closed_forms() -> None:
    for_all(closed_form, sample)
