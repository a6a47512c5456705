"""The tables of a run and their columns; every record of the toolkit has one of these shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

SCHEMA = 1

# Kinds of positives, as `positives` tells them.
SOURCES = ("own", "explanation", "expert", "own_correct", "wrong_explanation", "nonsense")

# Column -> pandas dtype. Log-probabilities are in nats under the policy itself: temperature 1, plain prompt.
TABLES: dict[str, dict[str, str]] = {
    "samples": {
        "problem": "string",
        "level": "Int64",
        "source": "string",  # one of SOURCES
        "index": "Int64",  # which of the problem's samples of this source
        "question": "string",
        "reference": "string",  # the ground-truth answer a*
        "hint": "string",  # what the sampling prompt gave away: a*, a wrong answer, nonsense; else empty
        "text": "string",  # (c, a) as scored
        "cot": "string",  # c alone
        "answer": "string",  # the answer the sampled text itself gives, before a* is put in its place
        "tokens": "Int64",  # of (c, a), end token included
        "cot_tokens": "Int64",
        "answer_tokens": "Int64",  # of a* and its closing mark
        "nll_sum": "Float64",  # -log pi(c, a|q)
        "nll_per_token": "Float64",
        "nll_cot": "Float64",  # -log pi(c|q)
        "learning_signal": "Float64",  # log pi(a*|q, c)
        "nll_first": "Float64",  # -log pi of its first 8 tokens, per token
        "nll_prompted": "Float64",  # -log mu(c|q, hint): of the CoT under the prompt that it was sampled from
        "status": "string",  # of the sampled answer: correct, wrong, unparsed, timeout; empty for the expert
        "correct": "boolean",
        "truncated": "boolean",
        "leak": "boolean",  # the text says that it was given the answer
        "steps": "Int64",  # found in the CoT: arithmetic statements, or what the task's step checker takes for one
        "steps_true": "Int64",
    },
    # Of a measurement, on request: a hinted CoT token by token, under the plain prompt and under the hinted one.
    "tokens": {
        "problem": "string",
        "source": "string",
        "index": "Int64",
        "ids": "object",  # the tokens of the CoT
        "texts": "object",  # of each token, the CoT if joined; the last of several for one character has it
        "plain": "object",  # log pi(t|q, ...) of each token
        "prompted": "object",  # log mu(t|q, hint, ...)
    },
    "skips": {"where": "string", "field": "string", "reason": "string"},
    "metrics": {"step": "Int64", "name": "string", "value": "Float64"},
    # Of a training: what the machine took, apart from what the recipe decides.
    "timing": {"step": "Int64", "name": "string", "value": "Float64"},
    # Of a training: what was learnt beside the policy's own samples; `step` is when it was sampled.
    "positives": {
        "step": "Int64",
        "problem": "string",
        "level": "Int64",
        "source": "string",
        "hint": "string",
        "text": "string",  # (c, a*) as it is trained on
        "ids": "object",  # its tokens
        "cot_tokens": "Int64",  # how many of them are c
        "status": "string",  # of the sampled text's own answer
        "leak": "boolean",
        "steps": "Int64",
        "steps_true": "Int64",
        "candidates": "Int64",  # samples that it was chosen from
        "place": "Int64",  # its place among them, from 0
        "first_text": "boolean",  # whether it has the tokens of the first of them
        "effective_samples": "Float64",  # of the candidates' weights, where it was chosen by them
        "weight_entropy": "Float64",  # of these weights, nats
        "mask": "object",  # which tokens are learnt; missing where all are
        "weight": "Float64",  # in the term of its problem, which may have several
    },
    # Of a training by DPO: what was learnt; `step` is when both were sampled. Log-probabilities are sums over tokens.
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
        "tries": "Int64",  # samples from which the loser was taken
        "right": "Int64",  # how many of them were right
        "ref_winner": "Float64",  # log-probabilities under the reference, the initial policy
        "ref_loser": "Float64",
    },
    # Of a training by DPO: pairs of watched problems under the policy of `step`; `sampled` is the step of the pair.
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
    # Of a training: the policy's own samples, one row a group.
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
    # Of an evaluation: every sample, graded.
    "completions": {
        "problem": "string",
        "level": "Int64",
        "index": "Int64",  # which of the problem's samples
        "question": "string",
        "reference": "string",  # the ground-truth answer
        "text": "string",  # without its end token
        "ends": "object",  # where each token ends in the text, in characters
        "tokens": "Int64",  # end token included
        "truncated": "boolean",
        "answer": "string",  # that was found in it
        "status": "string",
        "steps": "Int64",
        "steps_true": "Int64",
        "leak": "boolean",  # it says that it was given the answer, which it was not
    },
    # Of an evaluation: the same samples cut at several token limits and graded by several graders.
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
    # How many of a problem's n samples were right, after `step` steps of training (0: none).
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
        "leaks": "Int64",  # say that they were given the answer, which they were not
        "distinct": "Int64",  # texts that differ
    },
    # Of a question: one positive of each kind, and how J, the chance of a right rollout, rises along its gradient.
    # Gradients are of log pi(positive|q) in nats, at temperature 1, over all trainable weights; the positive is
    # (c, a*), an own CoT (c, a) as sampled.
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
        "reward": "boolean",  # whether it would be right as a rollout: graded, within the token limit
        "log10_t1": "Float64",  # of the term of the positive itself; -inf where that is 0
        "slope": "Float64",  # <grad J, gradient>, estimated from rollouts; T1 and T2 together
        "slope_error": "Float64",  # its standard error; missing where rollouts are all right or all wrong
        "repeats": "Float64",  # share of pairs of rollouts that are the same: the sum of squared probabilities
        "right": "Int64",
        "rollouts": "Int64",
    },
    # What a step of length `size` along a positive's gradient does to J of its question.
    "gains": {
        "problem": "string",
        "level": "Int64",
        "source": "string",
        "size": "Float64",
        "predicted": "Float64",  # size x slope / norm
        "predicted_error": "Float64",
        "realised": "Float64",  # from other rollouts, weighted by what the step made of their probability
        "realised_error": "Float64",
        "realised_right": "Int64",  # of these rollouts, how many were right
        "effective": "Float64",  # rollouts that so many weighted ones are worth
        "exact_before": "Float64",  # J by enumeration; of the toy
        "exact_after": "Float64",
        "lost": "Float64",  # probability that the enumeration did not follow, at most
    },
    # Inner products of gradients of positives, each pair once, with itself too.
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

# Columns that records did not have at first; they are missing there.
LATER = {
    "samples": ("nll_first", "nll_prompted"),
    "probes": ("nll_first", "nll_prompted", "nll_initial"),
    "completions": ("leak",),
    "evaluation": ("leaks", "distinct"),
    "positives": ("candidates", "place", "first_text", "effective_samples", "weight_entropy", "mask", "weight"),
}

# Of a training: problems of the training set watched while it runs, scored under the policy of the time.
# On request, `nll_initial` is the NLL of an own sample under the initial policy: -log pi_0(c, a|q).
TABLES["probes"] = {"step": "Int64", **TABLES["samples"], "nll_initial": "Float64"}


def as_frame(table: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Rows as that table, whose columns are there without a row too."""
    return pd.DataFrame([dict(row) for row in rows], columns=list(TABLES[table]))
