"""Our scorer against lm-evaluation-harness, and against one forward pass for each quantity, one sample at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from benchmarks.routes import PEERS, Comparison, Route, Work
from benchmarks.worker import Turn
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.policies.scoring import MAX_TOKENS, Sample, score, whole
from expo.positives.kinds import from_expert
from expo.tasks import checker_for, load_task
from expo.tasks.prompts import TEXT

MODEL, PROBLEMS = "smollm2-135m", 12
_HARNESS = ("lm-evaluation-harness", "lm_eval", "build/peers", PEERS)


def comparisons() -> list[Comparison]:
    """CoTs alone, and CoTs with the answer that `expo measure` asks for after each."""
    both = f"{2 * PROBLEMS} CoTs of `stories`, two a question, {MODEL}, float32, batches of {MAX_TOKENS} tokens"
    name, *harness = _HARNESS
    peer = Route(name, partial(by_harness, answers=False), *harness)
    cots = Comparison("scoring/cots", both, (Route("expo", partial(by_score, answers=False)), peer), facts=_apart)
    routes = (
        Route("expo", partial(by_score, answers=True)),
        replace(peer, prepare=partial(by_harness, answers=True)),
        Route("one pass each", by_passes, "transformers"),
    )
    work = f"{both}; and the right answer after each CoT, half of which go on with another one"
    return [cots, Comparison("scoring/cots-and-answers", work, routes, facts=_apart)]


def _apart(ours: list[Turn], peer: list[Turn]) -> dict[str, float]:
    return {"largest difference, nats": max(abs(a - b) for a, b in zip(ours[0].value, peer[0].value, strict=True))}


def _samples(answers: bool) -> tuple[Policy, list[Sample]]:
    """Each question with its expert CoT and with another question's, which needs a branch for its own answer."""
    policy, checker = load_policy(MODEL, TEXT), checker_for("stories")
    problems = load_task("stories", problems=PROBLEMS).problems
    own = [from_expert(policy, p, checker).scored for p in problems]
    checker.close()
    others = [
        replace(s, key=f"{s.key}/other", completion=own[i - 1].completion, cot=own[i - 1].cot)
        for i, s in enumerate(own)
    ]
    both = [*own, *others]
    return policy, both if answers else [whole(s.prompt, s.completion, s.key) for s in both]


def _targets(s: Sample, answers: bool) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What is scored for a sample: pairs of a context and its continuation."""
    asked = [(s.prompt, s.completion)]
    return [*asked, (s.prompt + s.completion[: s.cot] + s.cue, s.answer)] if answers else asked


def by_score(*, answers: bool) -> Work:
    """All log-probabilities, in nats, by this project's scorer."""
    policy, samples = _samples(answers)
    score(policy, samples[:2])

    def work() -> list[float]:
        found = score(policy, samples)
        return [x for s in found for x in ((-s.nll_sum, s.learning_signal) if answers else (-s.nll_sum,))]

    return work


def by_harness(*, answers: bool) -> Work:
    """The same with the harness's `loglikelihood`, given tokens, since it would tokenise a text differently."""
    # Not among what the project installs.
    from lm_eval.models.huggingface import HFLM

    policy, samples = _samples(answers)
    asked = [(None, list(a), list(b)) for s in samples for a, b in _targets(s, answers)]
    rows = MAX_TOKENS // max(len(a) + len(b) for _, a, b in asked)
    harness = HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=rows)
    harness._loglikelihood_tokens(asked[:2], disable_tqdm=True)
    return lambda: [x for x, _ in harness._loglikelihood_tokens(asked, disable_tqdm=True)]


def by_passes() -> Work:
    """The same with a forward pass for each."""
    policy, samples = _samples(answers=True)
    asked = [pair for s in samples for pair in _targets(s, answers=True)]
    _log_prob(policy, *asked[0])
    return lambda: [_log_prob(policy, *pair) for pair in asked]


@torch.inference_mode()
def _log_prob(policy: Policy, context: tuple[int, ...], target: tuple[int, ...]) -> float:
    ids = torch.tensor([context + target], device=policy.device)
    logits = policy.model(ids).logits[0, len(context) - 1 : -1].float()
    targets = torch.tensor(target, device=policy.device)[:, None]
    return float(logits.log_softmax(-1).gather(-1, targets).double().sum())
