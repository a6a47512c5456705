"""The exact probability that a policy is right on a question: a tree of its completions, pruned where unlikely."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from expo.gradients.examples import evaluating
from expo.grading.answers import Status
from expo.policies.policy import Policy
from expo.policies.sampling import ContextError
from expo.positives.closing import question_ids
from expo.tasks import Checker
from expo.tasks.problem import Problem

FLOOR = 1e-6
MOST = 4096


@dataclass(frozen=True)
class Success:
    """J of one question lies between `right` and `right + lost`: `lost` is the probability that was pruned."""

    right: float
    lost: float


@torch.inference_mode()
def success(
    policy: Policy,
    checker: Checker,
    problem: Problem,
    *,
    max_new_tokens: int,
    floor: float = FLOOR,
    most: int = MOST,
) -> Success:
    """The probability that a completion sampled at temperature 1 is right, graded as in `evaluate`.

    Prefixes less likely than `floor` are pruned, and only the `most` most likely ones of each length are kept. Suited
    to small policies that are sure of most of their tokens: all prefixes run at once, one row each. Probability that
    was not followed is reported as lost.

    Raises:
        ContextError: if question and token limit exceed the policy's context.
    """
    asked = question_ids(policy, problem)
    if len(asked) + max_new_tokens > policy.context:
        raise ContextError(
            f"{problem.id}: {len(asked)} tokens and {max_new_tokens} new ones exceed the context of {policy.context}"
        )
    with evaluating(policy):
        done = _leaves(policy, torch.tensor([asked], device=policy.device), max_new_tokens, floor, most)
    texts = [(problem, policy.decode(row.tolist())) for rows, _ in done for row in rows]
    chances = torch.cat([log_probs for _, log_probs in done]).exp()
    right = torch.tensor([g.status is Status.CORRECT for g in checker.grade(texts)], device=chances.device)
    total, correct = float(chances.sum()), float(chances[right].sum()) if len(texts) else 0.0
    return Success(correct, max(0.0, 1.0 - total))


def _leaves(policy: Policy, prompt: Tensor, limit: int, floor: float, most: int) -> list[tuple[Tensor, Tensor]]:
    """Completions with their log-probabilities, grouped by length."""
    cache = DynamicCache()
    entered, ids, log_probs = prompt, prompt[:, :0], torch.zeros(1, dtype=torch.float64, device=policy.device)
    ends = torch.tensor(sorted(policy.eos_ids), device=policy.device)
    done: list[tuple[Tensor, Tensor]] = []
    for _ in range(limit):
        logits = policy.model(entered, past_key_values=cache, use_cache=True).logits[:, -1]
        children = log_probs[:, None] + logits.double().log_softmax(-1)
        parents, tokens = (children > torch.tensor(floor).log()).nonzero(as_tuple=True)
        likely = children[parents, tokens]
        if len(likely) > most:
            likely, kept = likely.topk(most)
            parents, tokens = parents[kept], tokens[kept]
        ids = torch.cat([ids[parents], tokens[:, None]], 1)
        ended = torch.isin(tokens, ends)
        done.append((ids[ended], likely[ended]))
        ids, log_probs, tokens, parents = ids[~ended], likely[~ended], tokens[~ended], parents[~ended]
        if not len(ids):
            break
        cache.reorder_cache(parents)
        entered = tokens[:, None]
    return [*done, (ids, log_probs)]
