"""What every function on policies promises: a batch is its rows, floats follow exact numbers, kinds are not mixed.

An argument that is wrong in itself is refused by name; batches of different sizes are left to NumPy.

Each function is called with the same small batch of two exact instances; integers and flags hold for the whole batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

from theory import (
    choices,
    combined,
    grpo,
    improvement,
    lemma1,
    lemma2,
    natural,
    objectives,
    passk,
    policies,
    properties,
    sampler,
    shifts,
)
from theory.policies import Factorised, Policy, softmax

F = Fraction
PI = [[F(1, 2), F(1, 3), F(1, 6)], [F(1, 4), F(1, 4), F(1, 2)]]
Q = [[F(1, 6), F(1, 6), F(2, 3)], [F(2, 5), F(1, 5), F(2, 5)]]
X = [[F(1, 4), F(1, 2), F(3, 4)], [F(1, 3), F(2, 3), F(1, 6)]]
R = [[1, 0, 1], [0, 1, 1]]
V = [[F(1), F(-2), F(3, 2)], [F(-3), F(1, 2), F(2)]]
DONORS = [[F(0), F(1, 3), F(2, 3)], [F(0), F(3, 4), F(1, 4)]]
ANSWERS = [
    [[F(1, 2), F(1, 4), F(1, 4)], [F(1, 3), F(1, 3), F(1, 3)], [F(1, 6), F(2, 3), F(1, 6)]],
    [[F(1, 5), F(1, 5), F(3, 5)], [F(3, 4), F(1, 8), F(1, 8)], [F(1, 2), F(1, 6), F(1, 3)]],
]
POLICY = softmax(PI, [[[F(1), F(0)], [F(2), F(-1)], [F(-1), F(3)]], [[F(0), F(1)], [F(3), F(1)], [F(2), F(-3)]]])
UP, DOWN, PART = [F(3, 2), F(5)], [F(1, 3), F(3, 4)], [F(1, 7), F(1, 5)]


class Case(NamedTuple):
    """A function with valid arguments; lists and policies hold one instance a row."""

    f: Callable[..., Any]
    args: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.f.__module__.removeprefix('theory.')}.{self.f.__name__}"


def case(f: Callable[..., Any], **args: Any) -> Case:
    return Case(f, {k: np.array(v, dtype=object) if isinstance(v, list) else v for k, v in args.items()})


def floats(value: Any) -> Any:
    if isinstance(value, Policy):
        return Policy(value.probs.astype(np.float64), value.scores.astype(np.float64))
    return value.astype(np.float64) if isinstance(value, np.ndarray) else value


CASES = [
    case(policies.softmax, pi=PI, logit_gradients=[[V[0], R[0], X[0]], [V[1], R[1], X[1]]]),
    case(policies.factorised, prior=PI, answers=ANSWERS),
    case(Policy.value, self=POLICY, r=X),
    case(Policy.gradient, self=POLICY, r=X),
    case(Policy.gain, self=POLICY, r=X, j=1),
    case(improvement.t1, policy=POLICY, r=X, j=2),
    case(improvement.t2, policy=POLICY, r=X, j=2),
    case(improvement.tabular_t1, pi=PI, r=X, j=1),
    case(improvement.tabular_t2, pi=PI, r=X, j=1),
    case(improvement.tabular_gain, pi=PI, r=X, j=1),
    case(improvement.second_derivative, pi=PI, r=X, v=V),
    case(improvement.remainder_bound, v=V),
    case(lemma1.cross_term, pi=PI, j=0, k=2),
    case(lemma1.derivative, pi=PI, j=0, k=1, donors=DONORS),
    case(lemma1.donors_proportional, pi=PI, j=1),
    case(lemma1.donors_equal, pi=PI, j=1),
    case(lemma1.donors_single, pi=PI, j=1, donor=2),
    case(lemma1.threshold, pi=PI, j=0, k=2),
    case(lemma1.limit, pi=PI, j=0, k=2),
    case(lemma1.sft_derivative, pi=PI, j=0, k=2),
    case(lemma2.posterior, prior=PI, x=X),
    case(lemma2.iterated, prior=PI, x=X, times=3),
    case(lemma2.gap, prior=PI, x=X),
    case(lemma2.gini, prior=PI, x=X),
    case(lemma2.tempered, p=PI, tau=F(1, 3)),
    case(lemma2.prompted, prior=PI, x=X, mu=Q),
    case(lemma2.tv, p=PI, q=Q),
    case(lemma2.kl, p=PI, q=Q),
    case(lemma2.tv_radius, prior=PI, x=X),
    case(lemma2.kl_radius, prior=PI, x=X),
    case(lemma2.nearest_tv, prior=PI, x=X),
    case(lemma2.critical_tv, prior=PI, x=X),
    case(properties.transfer, prior=PI, i=0, j=1, amount=PART),
    case(properties.uneven, prior=PI, i=0, up=[F(1, 9), F(0)], j=1, down=PART),
    case(properties.logit_gain, prior=PI, x=X, i=0, alpha=UP, j=2, beta=DOWN),
    case(properties.pair_rate, prior=PI, x=X, i=2, j=0),
    case(properties.sample_rates, prior=PI, answers=ANSWERS, c=1, a=0),
    case(shifts.stepped, pi=PI, factors=Q),
    case(shifts.ratio, pi=PI, i=0, alpha=UP, j=2, beta=DOWN),
    case(shifts.push, pi=PI, i=0, alpha=UP, j=2, beta=DOWN),
    case(shifts.gradient_step, pi=PI, i=1),
    case(shifts.first_order, pi=PI, v=V),
    case(shifts.second_order, pi=PI, v=V),
    case(objectives.dpo_loss, margin=UP, beta=DOWN),
    case(objectives.relative_gain, loss=UP, beta=DOWN),
    case(objectives.odds_gain, pi=PI, ref=Q, plus=0, minus=1),
    case(objectives.margin_speed, policy=POLICY, plus=0, minus=1),
    case(objectives.dpo_first_step, policy=POLICY, r=X, beta=DOWN, wrong_only=True),
    case(objectives.tabular_sft_gain, pi=PI, r=X, mu=Q),
    case(objectives.em_step, pi=PI, r=R, eta=PART),
    case(objectives.kl_optimum, pi=PI, r=R, odds=UP),
    case(grpo.advantages, rewards=R, eps=0.5, ddof=1),
    case(grpo.no_signal, p=PART, G=5),
    case(grpo.weight_terms, p=PART, G=5),
    case(grpo.weight, p=PART, G=5),
    case(grpo.surrogate, ratio=UP, advantage=[F(-1), F(2)], eps=DOWN),
    case(grpo.slope, ratio=UP, advantage=[F(-1), F(2)], eps=DOWN),
    case(natural.fisher, policy=POLICY),
    case(natural.natural_gain, policy=POLICY, r=X, j=1),
    case(natural.natural_length, policy=POLICY, j=1),
    case(natural.pseudo_inverse, matrix=[[V[0], X[0]], [V[1], X[1]]]),
    case(sampler.importance, prior=PI, x=X, mu=Q),
    case(sampler.chi_squared, p=PI, q=Q),
    case(sampler.sft_bias, policy=POLICY, r=X, mu=Q),
    case(sampler.gain_slack, policy=POLICY, r=X, mu=Q),
    case(sampler.winner_rate, policy=POLICY, mu=Q, beta=DOWN, r=X),
    case(combined.reach, ratio=PART, G=5, ddof=1),
    case(combined.reach_unscaled, ratio=PART, G=5),
    case(combined.least_share, policy=POLICY, r=R, mu=Q),
    case(choices.resampled, prior=PI, x=X, mu=Q, K=3),
    case(choices.best_of, mu=Q, score=V, K=3),
    case(passk.variance, n=6, p=PART, k=4),
    case(passk.mixture, p=X, weights=PI, k=3),
]
# An exponential is not rational: floats alone.
APART = {"prior": floats(np.array(PI)), "x": floats(np.array(X))}
CASES += [Case(lemma2.nearest_kl, APART), Case(lemma2.critical_kl, APART)]
# Without an axis for instances.
SINGLE = {
    policies.tree,
    policies.eye,
    improvement.from_sums,
    improvement.tree_gain,
    improvement.tree_inner,
    passk.pass_at_k,
    passk.plug_in,
}
# What these answer depends on places alone, not on probabilities.
PLACES = {lemma1.donors_equal, lemma1.donors_single}
every = pytest.mark.parametrize("c", CASES, ids=lambda c: c.name)


def row(value: Any, i: int) -> Any:
    if isinstance(value, Policy):
        return Policy(value.probs[i], value.scores[i])
    return value[i] if isinstance(value, np.ndarray) else value


def batched(c: Case) -> list[str]:
    """The arguments with an axis for instances."""
    return [k for k, v in c.args.items() if isinstance(v, np.ndarray | Policy)]


def parts(result: Any) -> list[np.ndarray]:
    """The arrays of a result, whatever holds them."""
    if isinstance(result, Policy):
        return [result.probs, result.scores]
    if isinstance(result, Factorised):
        return [result.prior, result.answers, np.asarray(result.value), *parts(result.joint), result.joint.gram]
    return [np.asarray(x) for x in result] if isinstance(result, tuple) else [np.asarray(result)]


def test_none_is_left_out() -> None:
    modules = (
        *(policies, improvement, lemma1, lemma2, properties, shifts, objectives, grpo, passk),
        *(natural, sampler, combined, choices),
    )
    public = {
        f
        for module in modules
        for name, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public - {c.f for c in CASES} == SINGLE


@every
def test_a_batch_is_its_rows(c: Case) -> None:
    got = parts(c.f(**c.args))
    rows = [parts(c.f(**{k: row(v, i) for k, v in c.args.items()})) for i in (0, 1)]
    for batch, *single in zip(got, *rows, strict=True):
        assert batch.shape == (2, *single[0].shape)
        if batch.dtype == object:
            assert all(isinstance(x, Fraction) for x in batch.flat)
            assert np.array_equal(batch, np.stack(single))
        else:
            assert np.allclose(batch, np.stack(single), rtol=1e-13, atol=0)
    alike = all(np.array_equal(a, b) for a, b in zip(*rows, strict=True))
    assert alike == (c.f in PLACES), "two rows alike would show nothing"


@every
def test_one_argument_for_all_rows(c: Case) -> None:
    """An argument without the batch axis goes with every row of the others."""
    for name in batched(c) if len(batched(c)) > 1 else ():
        first = row(c.args[name], 0)
        got = parts(c.f(**{**c.args, name: first}))
        rows = [parts(c.f(**{k: first if k == name else row(v, i) for k, v in c.args.items()})) for i in (0, 1)]
        for batch, *single in zip(got, *rows, strict=True):
            batch = np.broadcast_to(batch, (2, *single[0].shape))
            assert np.allclose(batch.astype(float), np.stack(single).astype(float), rtol=1e-13, atol=0), name


def test_rewards_of_pairs_are_those_of_one_row() -> None:
    many, one = policies.factorised(PI, ANSWERS), policies.factorised(PI[0], ANSWERS[0])
    assert many.joint_rewards.tolist() == one.joint_rewards.tolist() == [1, 0, 0] * 3


@every
def test_floats_follow_exact_numbers(c: Case) -> None:
    exact = parts(c.f(**c.args))
    for got, want in zip(parts(c.f(**{k: floats(v) for k, v in c.args.items()})), exact, strict=True):
        assert got.dtype == np.float64
        assert np.allclose(got, want.astype(np.float64), rtol=1e-12, atol=1e-16)


def _spoilt(c: Case) -> list[tuple[str, dict[str, Any]]]:
    """The arguments of a case with one of them made impossible, and its name."""
    held = {k: floats(v) for k, v in c.args.items()}
    out = []
    for name, value in held.items():
        wrong: list[Any] = []
        if isinstance(value, np.ndarray):
            nan = value.copy()
            nan.flat[-1] = np.nan
            mixed = value.astype(object)
            mixed.flat[0] = F(1, 2)
            wrong = [nan, mixed, np.full(value.shape, "a"), [[0.5], [0.25, 0.25]]]
        elif isinstance(value, float | Fraction):
            wrong = [float("nan"), -1.0]
        elif isinstance(value, int) and not isinstance(value, bool):
            wrong = [-1, 0.5]
        out += [(name, {**held, name: x}) for x in wrong]
    return out


@every
def test_a_refusal_names_the_argument(c: Case) -> None:
    for name, args in _spoilt(c):
        with pytest.raises(ValueError, match=rf"^{name}\b"):
            c.f(**args)


# Logarithms answer in float64 whatever they are given.
SEVERAL = [c for c in CASES if len(batched(c)) > 1 and c.f not in (objectives.dpo_loss, objectives.relative_gain)]


@pytest.mark.parametrize("c", [c for c in SEVERAL if c.args is not APART], ids=lambda c: c.name)
def test_kinds_are_not_mixed(c: Case) -> None:
    for name in batched(c):
        with pytest.raises(ValueError, match="float"):
            c.f(**{**c.args, name: floats(c.args[name])})
        exact = c.args[name]
        # Whole numbers go with either kind.
        if isinstance(exact, Policy) or any(isinstance(x, Fraction) for x in exact.flat):
            with pytest.raises(ValueError, match="float"):
                c.f(**{**{k: floats(v) for k, v in c.args.items()}, name: exact})
