"""Training on the samples of any sampler mu, above all self-explanations by a prompt (beyond the paper, Section 5).

`mu` is over trajectories (c, a*), whatever draws them; Bayes' rule would draw from the posterior pi_l r_l / J. Training
on them follows the mean score E_mu s, since the sampler is not differentiated.
"""

from __future__ import annotations

import numpy as np

from theory import lemma2
from theory.inputs import Array, Numbers, Scalars, beside, column, like, simplex, unit
from theory.policies import Policy


def importance(prior: Numbers, x: Numbers, mu: Numbers) -> Array:
    """w_c = pi_c X_c / mu_c = pi(c, a*|q) / mu(c), shape (..., n); 0 where mu draws nothing. Claim ELBO-weights.

    E_mu w = J, E_mu w s = grad J, and E_mu log w is a lower bound of log J.

    Raises:
        ValueError: where mu is 0 and pi(c, a*|q) is not: no weight can make up for what is never drawn.
    """
    pi = simplex(prior, "prior")
    x, mu = unit(x, pi, "x"), beside(mu, pi, "mu")
    right, mu = np.broadcast_arrays(pi * x, mu)
    if np.any((mu == 0) & (right > 0)):
        raise ValueError("mu must be positive wherever prior and x are")
    return right / np.where(mu > 0, mu, mu + 1)


def chi_squared(p: Numbers, q: Numbers) -> Array:
    """chi^2(p || q) = sum_l p_l^2 / q_l - 1, shape (...). Claims ELBO-weights, ELBO-gain.

    Raises:
        ValueError: where q is 0 and p is not.
    """
    p = simplex(p, "p")
    p, q = np.broadcast_arrays(p, beside(q, p, "q"))
    if np.any((q == 0) & (p > 0)):
        raise ValueError("q is 0 where p is not: the divergence is infinite")
    return (p * p / np.where(q > 0, q, q + 1)).sum(-1) - 1


def sft_bias(policy: Policy, r: Numbers, mu: Numbers) -> Array:
    """E_mu s - grad log J, shape (..., d): how training on samples of mu differs from the gradient of log J.

    Claim ELBO-bias.
    """
    gradient, J = policy.gradient(r), _positive(policy.value(r))
    mu = beside(mu, policy.probs, "mu")
    return (mu[..., None] * policy.scores).sum(-2) - gradient / column(J)


def gain_slack(policy: Policy, r: Numbers, mu: Numbers) -> Array:
    """(|grad J|^2 / J)^2 - chi^2(mu || posterior) Var_posterior <grad J, s>, shape (...). Claim ELBO-gain.

    If it is at least 0, the mean step on samples of mu does not lower J, to first order.

    Raises:
        ValueError: where mu draws what the posterior does not.
    """
    gradient, J = policy.gradient(r), _positive(policy.value(r))
    mu = beside(mu, policy.probs, "mu")
    post = lemma2.posterior(policy.probs, r)
    rates = (policy.scores * gradient[..., None, :]).sum(-1)
    mean = (gradient * gradient).sum(-1) / J
    return mean**2 - chi_squared(mu, post) * (post * (rates - column(mean)) ** 2).sum(-1)


def winner_rate(policy: Policy, mu: Numbers, beta: Numbers | Scalars, r: Numbers | None = None) -> Array:
    """The rate of E_mu log pi on the first step of ExP-DPO with winners from mu, theta = ref, shape (...).

    (beta / 2) |m|^2 for m = E_mu s with losers drawn from pi; (beta / 2) <m, m + grad J / (1 - J)> with wrong losers
    only, for which the rewards `r` are given. Claims DPO-winner, DPO-winner-wrong.
    """
    mu, beta = beside(mu, policy.probs, "mu"), like(beta, policy.probs, "beta")
    if (beta <= 0).any():
        raise ValueError("beta must be greater than 0")
    mean = (mu[..., None] * policy.scores).sum(-2)
    step = mean
    if r is not None:
        gradient, J = policy.gradient(r), policy.value(r)
        if np.any(J >= 1):
            raise ValueError("r needs a wrong trajectory where losers are wrong only")
        step = mean + gradient / column(1 - J)
    return beta / 2 * (mean * step).sum(-1)


def _positive(J: Array) -> Array:
    if np.any(J <= 0):
        raise ValueError("r needs a right trajectory: with J = 0 the posterior is 0/0")
    return J
