"""The tables of a run and their columns; every record of the toolkit has these shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

SCHEMA = 1

# Kinds of positives, as named in `positives`.
SOURCES = ("own", "explanation", "expert", "own_correct", "wrong_explanation", "nonsense")

# Column -> pandas dtype. Log-probabilities are in nats under the policy itself: temperature 1, plain prompt.
TABLES: dict[str, dict[str, str]] = {
    "samples": {
        "problem": "string",
        "level": "Int64",
        "source": "string",  # one of SOURCES
        "index": "Int64",  # index among the problem's samples of this source
        "question": "string",
        "reference": "string",  # the ground-truth answer a*
        "hint": "string",  # what the sampling prompt revealed: a*, a wrong answer, or nonsense; empty otherwise
        "text": "string",  # (c, a) as scored
        "cot": "string",  # c alone
        "answer": "string",  # the answer that the sampled text itself gives, before it is replaced by a*
        "tokens": "Int64",  # of (c, a), including the end token
        "cot_tokens": "Int64",
        "answer_tokens": "Int64",  # of a* and its closing mark
        "nll_sum": "Float64",  # -log pi(c, a|q)
        "nll_per_token": "Float64",
        "nll_cot": "Float64",  # -log pi(c|q)
        "learning_signal": "Float64",  # log pi(a*|q, c)
        "nll_first": "Float64",  # -log pi of its first 8 tokens, per token
        "nll_prompted": "Float64",  # -log mu(c|q, hint): of the CoT under the prompt it was sampled from
        "status": "string",  # of the sampled answer: correct, wrong, unparsed, timeout; empty for the expert
        "correct": "boolean",
        "truncated": "boolean",
        "leak": "boolean",  # the text says that it was given the answer
        "steps": "Int64",  # found in the CoT: arithmetic statements, or steps as defined by the task's step checker
        "steps_true": "Int64",
    },
    # For a measurement, on request: a hinted CoT token by token, under the plain prompt and under the hinted prompt.
    "tokens": {
        "problem": "string",
        "source": "string",
        "index": "Int64",
        "ids": "object",  # the tokens of the CoT
        "texts": "object",  # one piece per token, joined: the CoT; of several tokens of one character, the last has it
        "plain": "object",  # log pi(t|q, ...) of each token
        "prompted": "object",  # log mu(t|q, hint, ...)
    },
    "skips": {"where": "string", "field": "string", "reason": "string"},
    "metrics": {"step": "Int64", "name": "string", "value": "Float64"},
    # For a training: metrics of the machine, apart from what the recipe determines.
    "timing": {"step": "Int64", "name": "string", "value": "Float64"},
    # For a training: what was learnt in addition to the policy's own samples; `step` is the step at which it was
    # sampled.
    "positives": {
        "step": "Int64",
        "problem": "string",
        "level": "Int64",
        "source": "string",
        "hint": "string",
        "text": "string",  # (c, a*) as trained on
        "ids": "object",  # its tokens
        "cot_tokens": "Int64",  # how many of them belong to c
        "status": "string",  # of the answer in the sampled text
        "leak": "boolean",
        "steps": "Int64",
        "steps_true": "Int64",
        "candidates": "Int64",  # number of samples it was chosen from
        "place": "Int64",  # its index among them, from 0
        "first_text": "boolean",  # whether its tokens equal those of the first of them
        "effective_samples": "Float64",  # effective sample size of the candidates' weights, if weights chose it
        "weight_entropy": "Float64",  # entropy of these weights, nats
        "mask": "object",  # which tokens are learnt; missing if all are
        "weight": "Float64",  # in the term of its problem, which may have several positives
    },
    # For a DPO training: the pairs; `step` is when both texts were sampled. Log-probabilities are sums over tokens.
    "pairs": {
        "step": "Int64",
        "problem": "string",
        "level": "Int64",
        "source": "string",  # of the winner
        "winner": "string",  # (c, a*)
        "winner_ids": "object",
        "winner_tokens": "Int64",
        "loser": "string",  # (c, a) as sampled from the question alone
        "loser_ids": "object",
        "loser_tokens": "Int64",
        "loser_status": "string",
        "loser_truncated": "boolean",
        "tries": "Int64",  # samples from which the loser was chosen
        "right": "Int64",  # how many of them were right
        "ref_winner": "Float64",  # log-probabilities under the reference, the initial policy
        "ref_loser": "Float64",
    },
    # For a DPO training: pairs of watched problems under the policy at `step`; `sampled` is the step of the pair.
    "margins": {
        "step": "Int64",
        "sampled": "Int64",
        "problem": "string",
        "level": "Int64",
        "winner": "Float64",  # log-probabilities
        "loser": "Float64",
        "winner_tokens": "Int64",
        "loser_tokens": "Int64",
        "ref_winner": "Float64",
        "ref_loser": "Float64",
    },
    # For a training: the policy's own samples, one row per group.
    "groups": {
        "step": "Int64",
        "problem": "string",
        "level": "Int64",
        "n": "Int64",
        "correct": "Int64",
        "truncated": "Int64",
        "unparsed": "Int64",
        "tokens": "Int64",  # of all n
    },
    # For an evaluation: every sample, with its grade.
    "completions": {
        "problem": "string",
        "level": "Int64",
        "index": "Int64",  # index among the problem's samples
        "question": "string",
        "reference": "string",  # the ground-truth answer
        "text": "string",  # without its end token
        "ends": "object",  # where each token ends in the text, in characters
        "tokens": "Int64",  # including the end token
        "truncated": "boolean",
        "answer": "string",  # the answer found in it
        "status": "string",
        "steps": "Int64",
        "steps_true": "Int64",
        "leak": "boolean",  # it says that it was given the answer, though it was not
    },
    # For an evaluation: the same samples cut at several token limits and graded by several graders.
    "grades": {
        "grader": "string",
        "limit": "Int64",
        "problem": "string",
        "level": "Int64",
        "n": "Int64",
        "correct": "Int64",
        "unparsed": "Int64",
        "timeout": "Int64",
        "truncated": "Int64",
    },
    # How many of a problem's n samples were right after `step` training steps (0: before training).
    "evaluation": {
        "step": "Int64",
        "problem": "string",
        "level": "Int64",
        "n": "Int64",
        "correct": "Int64",
        "unparsed": "Int64",  # no answer found, or none that can be read
        "timeout": "Int64",
        "truncated": "Int64",  # reached the token limit
        "tokens": "Int64",
        "steps": "Int64",
        "steps_true": "Int64",
        "leaks": "Int64",  # say that they were given the answer, though they were not
        "distinct": "Int64",  # distinct texts
    },
    # For each question: one positive of each kind, and how J, the probability of a right rollout, rises along its
    # gradient. Gradients are of log pi(positive|q) in nats, at temperature 1, over all trainable weights; the positive
    # is (c, a*), or for an own CoT (c, a) as sampled.
    "alignment": {
        "step": "Int64",
        "problem": "string",
        "level": "Int64",
        "source": "string",
        "hint": "string",
        "text": "string",
        "ids": "object",
        "cot_tokens": "Int64",
        "tokens": "Int64",
        "truncated": "boolean",
        "nll_sum": "Float64",
        "nll_per_token": "Float64",
        "learning_signal": "Float64",
        "norm": "Float64",  # of the gradient
        "reward": "boolean",  # whether it would be right as a rollout: graded like one, within the token limit
        "log10_t1": "Float64",  # log10 of the positive's own term; -inf if that term is 0
        "slope": "Float64",  # <grad J, gradient>, estimated from rollouts; the sum of T1 and T2
        "slope_error": "Float64",  # its standard error; missing if all rollouts are right or all wrong
        "repeats": "Float64",  # share of equal pairs among the rollouts: estimates the sum of squared probabilities
        "right": "Int64",
        "rollouts": "Int64",
    },
    # The effect of a step of length `size` along a positive's gradient on J of its question.
    "gains": {
        "problem": "string",
        "level": "Int64",
        "source": "string",
        "size": "Float64",
        "predicted": "Float64",  # size x slope / norm
        "predicted_error": "Float64",
        "realised": "Float64",  # from other rollouts, reweighted by how the step changed their probability
        "realised_error": "Float64",
        "realised_right": "Int64",  # how many of these rollouts were right
        "effective": "Float64",  # effective sample size of the reweighted rollouts
        "exact_before": "Float64",  # J by enumeration; only for the toy
        "exact_after": "Float64",
        "lost": "Float64",  # upper bound on the probability that the enumeration did not follow
    },
    # Inner products of gradients of positives, each pair once, including each positive with itself.
    "gradients": {
        "step": "Int64",
        "problem": "string",
        "source": "string",
        "other_problem": "string",
        "other_source": "string",
        "product": "Float64",
        "norm": "Float64",
        "other_norm": "Float64",
    },
    "votes": {
        "problem": "string",
        "order": "string",  # AB: the self-explanation was shown as A
        "vote": "string",  # first (the self-explanation), second, tie, unparsed, failed
        "reply": "string",
        "truncated": "boolean",
        "error": "string",
        "judge": "string",
        "served_model": "string",
        "request_sha": "string",
    },
}

# Columns added later; older records lack them.
LATER = {
    "samples": ("nll_first", "nll_prompted"),
    "probes": ("nll_first", "nll_prompted", "nll_initial"),
    "completions": ("leak",),
    "evaluation": ("leaks", "distinct"),
    "positives": ("candidates", "place", "first_text", "effective_samples", "weight_entropy", "mask", "weight"),
}

# For a training: watched training problems, scored under the policy at each step. On request, `nll_initial` is the NLL
# of an own sample under the initial policy: -log pi_0(c, a|q).
TABLES["probes"] = {"step": "Int64", **TABLES["samples"], "nll_initial": "Float64"}


def as_frame(table: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Rows as a DataFrame of that table; it has the table's columns even without rows."""
    return pd.DataFrame([dict(row) for row in rows], columns=list(TABLES[table]))
