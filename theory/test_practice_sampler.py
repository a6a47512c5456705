"""Self-explanations by any sampler: the bound that ExP-SFT raises, its bias, and when its step keeps J from falling."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from theory import lemma2, sampler
from theory.domains import point
from theory.evidence import Pick, for_all, identity, negative_control, no_identity
from theory.inputs import Array, array
from theory.policies import Factorised, Policy, factorised
from theory.relations import Said, both, eq, ge, gt, iff, lt, when

N = 200


def explained(pick: Pick) -> Any:
    """(prior, answers, mixing of parameters, mu): a policy that writes a CoT, then an answer; a sampler of CoTs.

    `mixing` has its logits share parameters. Answers may be impossible; mu may draw a CoT that a* cannot follow.
    """
    prior, m = point(pick, 2, 3, 12), pick(2, 3)
    weights = [(pick(0 if c else 1, 9), *(pick(1, 9) for _ in range(m - 1))) for c in range(len(prior))]
    answers = [tuple(Fraction(x, sum(w)) for x in w) for w in weights]
    mixing = [[pick(-2, 2) for _ in range(2)] for _ in range(len(prior) * (1 + m))]
    return prior, answers, mixing, point(pick, len(prior), len(prior), 9)


def model(prior: Any, answers: Any, mixing: Any) -> tuple[Factorised, Policy, Array]:
    """(the policy, its joint over (c, a) in shared parameters, the places of (c, a*) in it)."""
    held = factorised(prior, answers)
    joint = held.joint
    return held, Policy(joint.probs, joint.scores @ array(mixing)), np.flatnonzero(held.joint_rewards)


def weights_are_unbiased(instance: Any, with_answer: bool = True) -> Said:
    """E_mu w = J, E_mu w s = grad J, E_mu w^2 = J^2 (1 + chi^2(posterior || mu)), w = pi(c, a*|q) / mu(c).

    Not `with_answer`: w = pi(c|q) / mu(c).
    """
    prior, answers, mixing, mu = instance
    held, joint, right = model(prior, answers, mixing)
    x = held.x if with_answer else held.x * 0 + 1
    w, r = sampler.importance(prior, x, mu), held.joint_rewards
    spread = 1 + sampler.chi_squared(lemma2.posterior(prior, held.x), mu)
    return both(
        eq((array(mu) * w).sum(), held.value),
        eq((array(mu) * w) @ joint.scores[right], joint.gradient(r)),
        eq((array(mu) * w * w).sum(), held.value**2 * spread),
    )


def weights_without_the_answer(instance: Any) -> Said:
    """With pi(c|q) alone in the weights."""
    return weights_are_unbiased(instance, with_answer=False)


def test_weights_are_unbiased() -> None:
    for_all(weights_are_unbiased, explained, N)


def test_weights_control_without_the_answer() -> None:
    negative_control(weights_without_the_answer, explained, N)


def bound_error(to_posterior: bool = True) -> sympy.Expr:
    """One CoT's part of E_mu log w - log J + KL(mu || posterior), which is then 0 as a sum over any number of CoTs.

    a is pi(c, a*|q), so a / J the posterior. Not `to_posterior`: KL(posterior || mu).
    """
    a, m, J = sympy.symbols("a m J", positive=True)
    p, q = (m, a / J) if to_posterior else (a / J, m)
    return sympy.expand_log(m * sympy.log(a / m) - m * sympy.log(J) + p * sympy.log(p / q))


def test_bound() -> None:
    identity(bound_error(), "any number of CoTs")


def test_bound_control_other_way_round() -> None:
    no_identity(bound_error(to_posterior=False))


def on_pairs(mu: Any, right: Array, joint: Policy) -> Array:
    """mu over (c, a*), of all pairs (c, a)."""
    out = joint.probs * 0
    out[right] = array(mu)
    return out


def drawable(pick: Pick) -> Any:
    """As `explained`, every CoT may be followed by a*."""
    prior, answers, mixing, mu = explained(pick)
    answers = [a if a[0] else (Fraction(1, 2), *(x / 2 for x in a[1:])) for a in answers]
    return prior, answers, mixing, mu


def bias_is_a_covariance(instance: Any, under_posterior: bool = True) -> Said:
    """E_mu s - grad log J = Cov_posterior(mu / posterior, s). Not `under_posterior`: Cov under mu."""
    prior, answers, mixing, mu = instance
    held, joint, right = model(prior, answers, mixing)
    post, s = lemma2.posterior(prior, held.x), joint.scores[right]
    law, ratio = post if under_posterior else array(mu), array(mu) / post
    covariance = (law * (ratio - law @ ratio)) @ (s - law @ s)
    return eq(sampler.sft_bias(joint, held.joint_rewards, on_pairs(mu, right, joint)), covariance)


def bias_under_the_sampler(instance: Any) -> Said:
    """The covariance under mu."""
    return bias_is_a_covariance(instance, under_posterior=False)


def test_bias() -> None:
    for_all(bias_is_a_covariance, drawable, N)


def test_bias_control_under_the_sampler() -> None:
    negative_control(bias_under_the_sampler, drawable, N)


# When the step keeps J from falling


def tilted(pick: Pick) -> Any:
    """As `drawable`, mu the posterior tilted against the rates <grad J, s>, by 1 to 12 twelfths of what is possible."""
    prior, answers, mixing, _ = drawable(pick)
    held, joint, right = model(prior, answers, mixing)
    post, rates = lemma2.posterior(prior, held.x), joint.scores[right] @ joint.gradient(held.joint_rewards)
    apart = rates - post @ rates
    most = max(apart)
    mu = post * (1 - (Fraction(pick(1, 12), 12) / most if most else 0) * apart)
    return prior, answers, mixing, tuple(mu)


def some_tilted(pick: Pick) -> Any:
    """Of both kinds."""
    return (drawable, tilted)[pick(0, 1)](pick)


def terms(instance: Any) -> tuple[Any, Any, Any]:
    """(rate of J on the mean step, its rate |grad J|^2 / J by Bayes' rule, chi^2(mu || posterior) Var <grad J, s>)."""
    prior, answers, mixing, mu = instance
    held, joint, right = model(prior, answers, mixing)
    g = joint.gradient(held.joint_rewards)
    post, rates = lemma2.posterior(prior, held.x), joint.scores[right] @ g
    spread = (array(mu) - post) ** 2 @ (1 / post)
    return array(mu) @ rates, g @ g / held.value, spread * (post @ (rates - post @ rates) ** 2)


def near_enough(instance: Any, factor: int = 1) -> Said:
    """Where chi^2 Var <= `factor` (|grad J|^2 / J)^2 the mean step does not lower J; right for 1.

    `gain_slack` is how far the two sides are apart.
    """
    rate, of_bayes, spread = terms(instance)
    held, joint, right = model(*instance[:3])
    slack = sampler.gain_slack(joint, held.joint_rewards, on_pairs(instance[3], right, joint))
    return both(eq(slack, of_bayes**2 - spread), when(spread <= factor * of_bayes**2, ge(rate, 0)))


def twice_as_far(instance: Any) -> Said:
    """Where chi^2 is up to 4 times as large."""
    return near_enough(instance, 4)


def test_near_samplers_do_not_lower_j() -> None:
    for_all(near_enough, some_tilted, N // 2)


def test_near_control_twice_as_far() -> None:
    negative_control(twice_as_far, some_tilted, N)


def no_larger_bound(instance: Any, factor: int = 1) -> Said | None:
    """Tilted against the rates, mu lowers J if and only if chi^2 Var > `factor` (|grad J|^2 / J)^2; right for 1."""
    rate, of_bayes, spread = terms(instance)
    return iff(lt(rate, 0), gt(spread, factor * of_bayes**2))


def lowers_when_twice_as_far(instance: Any) -> Said | None:
    """If and only if it is 4 times as large."""
    return no_larger_bound(instance, 4)


def test_bound_is_sharp() -> None:
    for_all(no_larger_bound, tilted, N // 2)


def test_sharp_control_twice_as_far() -> None:
    negative_control(lowers_when_twice_as_far, tilted, N)
