"""The objectives of Sections 4.1 and 5: DPO's loss, SFT on self-explanations, the KL term.

A sample is a trajectory, that is a CoT with its answer. Functions with a logarithm in them answer in float64; all
others answer in kind. "Tabular" is the tabular-orthonormal model of `theory.improvement`.
"""

from __future__ import annotations

import numpy as np

from theory import lemma2
from theory.inputs import Array, Numbers, Scalars, array, beside, column, like, pair, rewards, simplex
from theory.policies import Policy


def dpo_loss(margin: Numbers | Scalars, beta: Numbers | Scalars) -> Array:
    """DPO's loss of a pair, log(1 + e^(-beta margin)), float64, shape of the arguments. Claims O1, O1-minor.

    The margin is how much log pi_+ grew since the reference minus how much log pi_- did, in nats.
    """
    return np.logaddexp(0, -_positive(beta, "beta") * _floats(margin, "margin"))


def relative_gain(loss: Numbers | Scalars, beta: Numbers | Scalars) -> Array:
    """The margin in nats at which DPO's loss is `loss` > 0: -log(e^loss - 1) / beta, float64. Claim O1-minor.

    Inverse of `dpo_loss`.
    """
    held = _positive(loss, "loss")
    # Neither e^loss, which overflows, nor e^loss - 1, which cancels.
    return -(held + np.log(-np.expm1(-held))) / _positive(beta, "beta")


def odds_gain(pi: Numbers, ref: Numbers, plus: int, minus: int) -> Array:
    """e^margin of a pair, (pi_+ / ref_+) / (pi_- / ref_-), shape (...). Claim O1."""
    pi = simplex(pi)
    ref = beside(ref, pi, "ref")
    plus, minus = pair(plus, minus, pi, ("plus", "minus"))
    if ((ref[..., plus] <= 0) | (pi[..., minus] <= 0)).any():
        raise ValueError("ref must be positive at plus and pi at minus")
    return pi[..., plus] * ref[..., minus] / (ref[..., plus] * pi[..., minus])


def margin_speed(policy: Policy, plus: int, minus: int) -> Array:
    """|s_+ - s_-|^2: how fast the margin of a pair grows on its own gradient at weight 1, shape (...). Claim O1-why."""
    plus, minus = pair(plus, minus, policy.probs, ("plus", "minus"))
    s = policy.scores[..., plus, :] - policy.scores[..., minus, :]
    return (s * s).sum(-1)


def dpo_first_step(policy: Policy, r: Numbers, beta: Numbers | Scalars, *, wrong_only: bool) -> Array:
    """-grad of the mean ExP-DPO loss at theta = ref, shape (..., d), Bayes self-explanations as winners. Claim DPO-eq.

    (beta / 2) grad J / J with losers drawn from pi, as printed; (beta / 2) grad J / (J (1 - J)) with wrong losers only.
    """
    J, beta = column(policy.value(r)), column(like(beta, policy.probs, "beta"))
    if (beta <= 0).any():
        raise ValueError("beta must be greater than 0")
    if ((J <= 0) | ((J >= 1) & wrong_only)).any():
        raise ValueError("r needs a right trajectory, and a wrong one where losers are wrong only")
    return beta / (2 * J * (1 - J) if wrong_only else 2 * J) * policy.gradient(r)


def tabular_sft_gain(pi: Numbers, r: Numbers, mu: Numbers) -> Array:
    """<grad J, E_mu s>: the rate of J on the mean SFT step with samples from `mu`, tabular. Claims SFT-up, SFT-overlap.

    sum_j mu_j pi_j (r_j - J) - sum_l pi_l^2 (r_l - J), shape (...), for rewards in [0, 1] and any mu.
    """
    pi = simplex(pi)
    mu = beside(mu, pi, "mu")
    r = rewards(r, pi)
    J = (pi * r).sum(-1, keepdims=True)
    return ((mu - pi) * pi * (r - J)).sum(-1)


def em_step(pi: Numbers, r: Numbers, eta: Numbers | Scalars) -> Array:
    """(1 - eta) pi + eta posterior, shape (..., L): a damped EM step, for which J' = (1 - eta) J + eta. Claim SFT-em.

    Raises:
        ValueError: for a reward other than 0 and 1, or J = 0.
    """
    pi = simplex(pi)
    r = rewards(r, pi)
    if not np.isin(r, (0, 1)).all():
        raise ValueError("r must be 0 or 1")
    if np.any((pi * r).sum(-1) == 0):
        raise ValueError("r needs a right trajectory: with J = 0 the posterior is 0/0")
    eta = like(eta, pi, "eta")
    if ((eta < 0) | (eta > 1)).any():
        raise ValueError("eta must lie in [0, 1]")
    return (1 - column(eta)) * pi + column(eta) * lemma2.posterior(pi, r)


def kl_optimum(pi: Numbers, r: Numbers, odds: Numbers | Scalars) -> Array:
    """The policy that maximises E r - beta KL(. || pi), shape (..., L). Claims KL-optimum, KL-odds.

    pi_l odds^r_l, normalised; rewards 0 or 1. odds = e^(1 / beta) in place of beta keeps it exact.
    """
    pi = simplex(pi)
    r, odds = rewards(r, pi), like(odds, pi, "odds")
    if (r * (1 - r) != 0).any():
        raise ValueError("r must be 0 or 1")
    if (odds <= 1).any():
        raise ValueError("odds = e^(1 / beta) must be greater than 1")
    tilted = pi * (1 + r * (column(odds) - 1))
    return tilted / tilted.sum(-1, keepdims=True)


def _floats(values: Numbers | Scalars, name: str) -> Array:
    return array(values, name).astype(np.float64)


def _positive(values: Numbers | Scalars, name: str) -> Array:
    out = _floats(values, name)
    if (out <= 0).any():
        raise ValueError(f"{name} must be greater than 0")
    return out
