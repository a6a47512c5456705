"""A hinted CoT under the prompt it was sampled from: its log-probability there, token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from expo.policies.policy import Policy
from expo.policies.scoring import Score, score, whole
from expo.positives.kinds import Positive, sampling_prompt


def score_prompted(
    policy: Policy, positives: Sequence[Positive], on_scored: Callable[[], object] = lambda: None
) -> dict[str, np.ndarray]:
    """log mu(t|q, hint, ...) of each CoT token of each hinted positive, by key: nats, at temperature 1."""
    hinted = [p for p in positives if p.hint]
    samples = [
        whole(sampling_prompt(policy, p.problem, p.source, p.hint), p.scored.completion[: p.scored.cot], p.scored.key)
        for p in hinted
        if p.scored.cot
    ]
    scores = score(policy, samples, on_scored=lambda _: on_scored())
    # An empty CoT has probability 1.
    none = {p.scored.key: np.zeros(0) for p in hinted}
    return none | {sample.key: s.completion for sample, s in zip(samples, scores, strict=True)}


def pieces(policy: Policy, ids: Sequence[int]) -> list[str]:
    """Each token's part of the text of `ids`; many tokenizers drop the space from a token decoded alone."""
    text = policy.decode(ids)
    ends = policy.token_ends(ids, text)
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def token_row(policy: Policy, p: Positive, s: Score, prompted: np.ndarray) -> Mapping[str, object]:
    """One row of `tokens.parquet`."""
    ids = p.scored.completion[: p.scored.cot]
    return {
        "problem": p.problem.id,
        "source": p.source,
        "index": p.index,
        "ids": list(ids),
        "texts": pieces(policy, ids),
        "plain": s.completion[: p.scored.cot].tolist(),
        "prompted": prompted.tolist(),
    }
