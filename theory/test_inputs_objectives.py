"""What objectives, grpo, passk and printed refuse, and a few numbers known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import grpo, lemma2, objectives, passk, printed
from theory.policies import softmax

F = Fraction
PI = (F(1, 2), F(1, 3), F(1, 6))
R = (1, 0, 1)

Call = Callable[[], Any]

REFUSED: dict[str, tuple[Call, str]] = {
    "loss of NaN": (lambda: objectives.dpo_loss(float("nan"), 1), "margin holds NaN"),
    "beta 0": (lambda: objectives.dpo_loss(0, 0), "beta must be greater than 0"),
    "loss 0": (lambda: objectives.relative_gain(0, 1), "loss must be greater than 0"),
    "beta below 0": (lambda: objectives.relative_gain(1, -1), "beta must be greater than 0"),
    "a reference of another kind": (
        lambda: objectives.odds_gain(PI, [0.5, 0.25, 0.25], 0, 1),
        "ref and the other distribution mix",
    ),
    "a reference over fewer": (lambda: objectives.odds_gain(PI, (F(1, 2), F(1, 2)), 0, 1), "ref needs 3 probabilities"),
    "a sampler over fewer": (
        lambda: objectives.tabular_sft_gain(PI, R, (F(1, 2), F(1, 2))),
        "mu needs 3 probabilities",
    ),
    "a winner that is the loser": (lambda: objectives.odds_gain(PI, PI, 1, 1), "plus and minus must differ"),
    "a winner without a reference": (lambda: objectives.odds_gain(PI, (0, F(1, 2), F(1, 2)), 0, 1), "ref must be pos"),
    "a loser that cannot be": (
        lambda: objectives.odds_gain((F(1, 2), 0, F(1, 2)), PI, 0, 1),
        "ref must be positive at plus and pi at minus",
    ),
    "a pair of one": (lambda: objectives.margin_speed(softmax(PI), 2, 2), "plus and minus must differ"),
    "no place of that number": (lambda: objectives.margin_speed(softmax(PI), 0, 3), "minus must be a whole number"),
    "no right trajectory": (lambda: lemma2.posterior(PI, (0, 0, 0)), "x must be positive for some CoT"),
    "rewards of another length": (lambda: lemma2.posterior(PI, (1, 0)), "x needs 3 numbers"),
    "one trajectory": (lambda: lemma2.posterior((1,), (1,)), "prior needs at least 2 probabilities"),
    "no first step at J = 0": (
        lambda: objectives.dpo_first_step(softmax(PI), (0, 0, 0), 1, wrong_only=False),
        "r needs a right trajectory",
    ),
    "no wrong loser": (
        lambda: objectives.dpo_first_step(softmax(PI), (1, 1, 1), 1, wrong_only=True),
        "r needs a right trajectory, and a wrong one where losers are wrong only",
    ),
    "a first step at beta 0": (
        lambda: objectives.dpo_first_step(softmax(PI), R, 0, wrong_only=True),
        "beta must be greater than 0",
    ),
    "a sampler that is none": (lambda: objectives.tabular_sft_gain(PI, R, (1, 1, 0)), "mu must sum to 1"),
    "a sampler of another kind": (
        lambda: objectives.tabular_sft_gain(PI, R, [0.5, 0.5, 0.0]),
        "mu and the other distribution mix",
    ),
    "eta above 1": (lambda: objectives.em_step(PI, R, 2), r"eta must lie in \[0, 1\]"),
    "eta below 0": (lambda: objectives.em_step(PI, R, -1), r"eta must lie in \[0, 1\]"),
    "eta of another kind": (lambda: objectives.em_step(PI, R, 0.5), "eta is float beside exact"),
    "partial rewards for a step": (lambda: objectives.em_step(PI, (1, 0, F(1, 2)), 1), "r must be 0 or 1"),
    "beta beyond all bounds": (lambda: objectives.kl_optimum(PI, R, 1), "odds = e.* must be greater than 1"),
    "partial rewards": (lambda: objectives.kl_optimum(PI, (1, 0, F(1, 2)), 2), "r must be 0 or 1"),
    "a KL that is infinite": (lambda: lemma2.kl([0.5, 0.5], [0.0, 1.0]), "q is 0 where p is not"),
    "a p below 0": (lambda: lemma2.kl([1.5, -0.5], [0.5, 0.5]), "p holds a negative probability"),
    "a group of one": (lambda: grpo.advantages([1]), "rewards needs a group of at least 2"),
    "one reward": (lambda: grpo.advantages(np.array(1.0)), "rewards needs a group of at least 2"),
    "0/0": (lambda: grpo.advantages([[1, 0], [1, 1]]), "eps must be positive"),
    "eps below 0": (lambda: grpo.advantages([1, 0], -1), "eps must be one finite number from 0 on"),
    "eps of NaN": (lambda: grpo.advantages([1, 0], float("nan")), "eps must be one finite number from 0 on"),
    "eps without end": (lambda: grpo.advantages([1, 0], float("inf")), "eps must be one finite number from 0 on"),
    "eps that is none": (lambda: grpo.advantages([1, 0], "a"), "eps must be one finite number"),  # type: ignore[arg-type]
    "no right trajectory for a step": (
        lambda: objectives.em_step(PI, (0, 0, 0), 1),
        "r needs a right trajectory: with J = 0",
    ),
    "G beyond float64": (lambda: grpo.weight(0.1, 1001), "G must be at most 1000 beside float p"),
    "ddof 2": (lambda: grpo.advantages([1, 0], ddof=2), "ddof must be 0 or 1"),
    "p above 1": (lambda: grpo.no_signal(F(3, 2), 2), r"p must lie in \[0, 1\]"),
    "p below 0": (lambda: grpo.weight([0.5, -0.5], 2), r"p must lie in \[0, 1\]"),
    "G of 1": (lambda: grpo.weight(F(1, 2), 1), "G must be a whole number from 2 on"),
    "G of 2.5": (lambda: grpo.no_signal(F(1, 2), 2.5), "G must be a whole number"),  # type: ignore[arg-type]
    "G true": (lambda: grpo.weight_terms(F(1, 2), True), "G must be a whole number"),
    "ratio 0": (lambda: grpo.surrogate(0, 1, F(1, 5)), "ratio must be greater than 0"),
    "clip at 0": (lambda: grpo.slope(1, 1, 0), "eps must lie between 0 and 1"),
    "clip at 1": (lambda: grpo.slope(1, 1, 1), "eps must lie between 0 and 1"),
    "a ratio of another kind": (lambda: grpo.slope(F(1), 0.5, F(1, 5)), "advantage is float beside exact"),
    "k above n": (lambda: passk.pass_at_k(4, 1, 5), "k must be from 1 to n = 4"),
    "k of 0": (lambda: passk.variance(4, F(1, 2), 0), "k must be from 1 to n = 4"),
    "c above n": (lambda: passk.plug_in(4, 5, 2), "c must be from 0 to n = 4"),
    "c below 0": (lambda: passk.pass_at_k(4, -1, 2), "c must be from 0 to n = 4"),
    "c of 0.5": (lambda: passk.pass_at_k(4, 0.5, 2), "c must be a whole number"),  # type: ignore[arg-type]
    "n of 0": (lambda: passk.pass_at_k(0, 0, 1), "n must be at least 1, got 0"),
    "n true": (lambda: passk.pass_at_k(True, 1, 1), "n must be a whole number"),
    "a p that is none": (lambda: passk.variance(4, 1.5, 2), r"p must lie in \[0, 1\]"),
    "shares of another kind": (lambda: passk.mixture([0.5], [F(1)], 1), "p is float beside exact"),
    "shares of another length": (lambda: passk.mixture([F(1, 2)], [F(1, 2)] * 2, 1), "p needs 2 numbers"),
    "half a try": (lambda: passk.mixture([F(1, 2)], [F(1)], 0.5), "k must be a whole number"),  # type: ignore[arg-type]
    "no try": (lambda: passk.mixture([F(1, 2)], [F(1)], 0), "k must be at least 1"),
    "a level that is none": (lambda: printed.spread(0), "level must be from 1 to 5"),
    "another level that is none": (lambda: printed.rate("GRPO pass@4", 6), "level must be from 1 to 5"),
    "more than a rounding": (lambda: printed.share((5,), slack=F(3, 2)), r"slack must lie in \[-1, 1\], got 3/2"),
    "less than a rounding": (lambda: printed.share((5,), slack=F(-3, 2)), r"slack must lie in \[-1, 1\], got -3/2"),
    "levels that are none": (lambda: printed.share((5, 6)), "level must be from 1 to 5"),
    "a first level that is none": (lambda: printed.share((6, 5)), "level must be from 1 to 5"),
    "a ninth level that is none": (lambda: printed.share((5,) * 8 + (6,)), "level must be from 1 to 5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_equal_rewards_that_round() -> None:
    # Their mean is 0.1 and a rounding.
    assert not grpo.advantages([0.1, 0.1, 0.1], 1e-9).any()


def test_clipping_in_batches() -> None:
    ratios, advantages = np.array([0.5, 1.0, 1.5]), np.array([[1.0], [-1.0]])
    assert np.array_equal(grpo.surrogate(ratios, advantages, 0.25), [[0.5, 1, 1.25], [-0.75, -1, -1.5]])
    assert np.array_equal(grpo.slope(ratios, advantages, 0.25), [[1, 1, 0], [0, -1, -1]])


def test_logarithms_in_batches() -> None:
    margins = objectives.relative_gain([0.5, np.log(2), 2], [[1], [0.5]])
    assert np.allclose(margins[0], [-np.log(np.expm1(0.5)), 0, -np.log(np.expm1(2))], atol=1e-15)
    assert np.allclose(margins[1], 2 * margins[0], atol=1e-15)
    assert np.allclose(objectives.dpo_loss(margins, [[1], [0.5]]), [[0.5, np.log(2), 2]] * 2, rtol=1e-14)
    assert np.allclose(lemma2.kl([[0.5, 0.5], [1, 0]], [0.25, 0.75]), [np.log(4 / 3) / 2, np.log(4)], rtol=1e-14)
    assert np.isclose(lemma2.kl([F(1, 2), F(1, 2)], [F(1, 4), F(3, 4)]), np.log(4 / 3) / 2, rtol=1e-14)
