"""Toy policies as plain objects: the probabilities of finitely many trajectories and their scores.

A score is s_l = grad_theta log pi_l. Whatever the parametrisation, sum_l pi_l s_l = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from theory.inputs import Array, Numbers, array, index, is_exact, rewards, simplex, together


@dataclass(frozen=True)
class Policy:
    """`probs` (..., L) and `scores` (..., L, d), both exact or both float64."""

    probs: Array
    scores: Array

    @property
    def gram(self) -> Array:
        """Inner products of all pairs of scores, shape (..., L, L)."""
        return np.matmul(self.scores, np.swapaxes(self.scores, -1, -2))

    def value(self, r: Numbers) -> Array:
        """J = sum_l pi_l r_l (Eq 1 for one question), shape (...)."""
        return (self.probs * rewards(r, self.probs)).sum(-1)

    def gradient(self, r: Numbers) -> Array:
        """grad J = sum_l pi_l r_l s_l (Eq 3), shape (..., d)."""
        return ((self.probs * rewards(r, self.probs))[..., None] * self.scores).sum(-2)

    def gain(self, r: Numbers, j: int) -> Array:
        """<grad J, s_j> (Eq 4): the rate at which J grows on a step with sample j and weight 1, shape (...)."""
        j = index(j, self.probs)
        return (self.gradient(r) * self.scores[..., j, :]).sum(-1)


def eye(n: int, kind: Array) -> Array:
    """The identity matrix in the kind of `kind`."""
    return array(np.eye(n, dtype=int)) if is_exact(kind) else np.eye(n)


def softmax(pi: Numbers, logit_gradients: Numbers | None = None) -> Policy:
    """A softmax over a finite set of trajectories: s_l = grad z_l - sum_m pi_m grad z_m.

    `logit_gradients` has shape (..., L, d). Without it the logits are the parameters, orthonormal and one a trajectory:
    the tabular-orthonormal model, Lemma 1's assumptions with C = 1.
    """
    probs = simplex(pi)
    z = eye(probs.shape[-1], probs) if logit_gradients is None else array(logit_gradients, "logit_gradients")
    together(pi=probs, logit_gradients=z)
    if z.ndim < 2 or z.shape[-2] != probs.shape[-1]:
        raise ValueError(f"logit_gradients needs one row for each of the {probs.shape[-1]} trajectories")
    mean = (probs[..., None] * z).sum(-2)
    return Policy(probs, z - mean[..., None, :])


@dataclass(frozen=True)
class Factorised:
    """A policy that writes a CoT, then an answer: `prior` pi(c|q), shape (..., n), `answers` pi(a|q, c), (..., n, m).

    Answer 0 is the right one, a*.
    """

    prior: Array
    answers: Array

    @property
    def x(self) -> Array:
        """X_c = pi(a*|q, c), the probability of the right answer after each CoT, shape (..., n)."""
        return self.answers[..., 0]

    @property
    def value(self) -> Array:
        """J = sum_c pi_c X_c, shape (...)."""
        return (self.prior * self.x).sum(-1)

    @property
    def joint(self) -> Policy:
        """The policy over pairs (c, a), CoTs first; its parameters are the tabular logits of CoTs and of answers.

        Log pi(c, a) = log pi(c) + log pi(a|c), so a score has a CoT block e_c - pi and, in the block of its own CoT,
        an answer block e_a - pi(.|c).
        """
        n, m = self.answers.shape[-2:]
        probs = (self.prior[..., None] * self.answers).reshape(*self.prior.shape[:-1], n * m)
        cot = eye(n, probs) - self.prior[..., None, :]
        blocks = []
        for c, a in product(range(n), range(m)):
            own = eye(m, probs)[a] - self.answers[..., c, :]
            rest = [own if k == c else own * 0 for k in range(n)]
            blocks.append(np.concatenate([cot[..., c, :], *rest], axis=-1))
        return Policy(probs, np.stack(blocks, axis=-2))

    @property
    def joint_rewards(self) -> Array:
        """1 for pairs with the right answer, 0 for the others, in the order of `joint`."""
        n, m = self.answers.shape[-2:]
        return np.tile(np.eye(m, dtype=int)[0], n)


def factorised(prior: Numbers, answers: Numbers) -> Factorised:
    """A CoT -> answer policy, `prior` (..., n) and `answers` (..., n, m); answer 0 is right.

    Raises:
        ValueError: naming the argument that is no distribution.
    """
    pi, a = simplex(prior, "prior"), simplex(answers, "answers")
    together(prior=pi, answers=a)
    if a.ndim < 2 or a.shape[-2] != pi.shape[-1]:
        raise ValueError(f"answers needs one row for each of the {pi.shape[-1]} CoTs, got shape {a.shape}")
    pi = np.array(np.broadcast_to(pi, np.broadcast_shapes(pi.shape, a.shape[:-1])))
    a = np.array(np.broadcast_to(a, (*pi.shape, a.shape[-1])))
    return Factorised(pi, a)


def tree(tables: Sequence[Numbers]) -> Policy:
    """An autoregressive policy with a table of next-token probabilities for every prefix.

    `tables[t]` has shape (V,) * t + (V,): next-token probabilities after each prefix of t tokens. Trajectories are the
    V**T token sequences in lexicographic order; the parameters are the tabular logits of every table, tables and their
    prefixes in that order too, so scores of two sequences share the blocks of their common prefixes.
    """
    if not tables:
        raise ValueError("tables needs at least one level")
    levels = [simplex(t, f"tables[{i}]") for i, t in enumerate(tables)]
    together(**{f"tables[{i}]": t for i, t in enumerate(levels)})
    v, depth = levels[0].shape[-1], len(levels)
    for t, table in enumerate(levels):
        if table.shape != (v,) * (t + 1):
            raise ValueError(f"tables[{t}] must have shape {(v,) * (t + 1)}, got {table.shape}")
    one, zero = eye(2, levels[0])[0]
    probs, scores = [], []
    offsets = np.cumsum([0, *(v ** (t + 1) for t in range(depth))])
    for tokens in product(range(v), repeat=depth):
        p, s = one, np.full(int(offsets[-1]), zero, dtype=levels[0].dtype)
        for t, token in enumerate(tokens):
            row = levels[t][tokens[:t]]
            p = p * row[token]
            at = int(offsets[t]) + v * int(sum(x * v**i for i, x in enumerate(reversed(tokens[:t]))))
            s[at : at + v] = -row
            s[at + token] += one
        probs.append(p)
        scores.append(s)
    return Policy(np.array(probs, dtype=levels[0].dtype), np.stack(scores))
