"""Win rates from a model judge: which of two chains of thought has more correct steps?

For Figure 3 of the paper (ExPO, Zhou et al. 2025), GPT-4o was asked this about a self-explanation and an own CoT. The
paper does not print the judge's prompt or the order of the texts, so both are ours. Every pair is asked in both orders,
since judges favour a position (Zheng et al. 2023, arXiv:2306.05685), and only a vote that survives the swap is a win.
Any OpenAI-compatible endpoint can be the judge. Replies are read, never evaluated.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from expo.judge.endpoint import Asking, Key, Row, ask_all, connect
from expo.stats import Interval, bootstrap_rate, finite_sample

# The three verdicts share a line: a judge that only repeats its instructions must not cast a vote.
JUDGE_PROMPT = """\
Below are a question, its reference answer and two solutions, A and B. Find the one with more correct steps.

A step is one inference or calculation that moves towards the answer. It is correct if it follows from the \
question and the steps before it. Do not count a step that restates the question, repeats an earlier step or \
only asserts the reference answer. Length, style and the order of the two solutions do not matter.

<question>
{question}
</question>
<reference_answer>
{answer}
</reference_answer>
<solution_a>
{a}
</solution_a>
<solution_b>
{b}
</solution_b>

Count the correct steps of each solution. Then end with one line that says "Verdict: A", "Verdict: B", or \
"Verdict: TIE" if the counts are equal."""

MAX_TOKENS = 1024  # of a reply
SECONDS = 300.0  # timeout of a reply
COLUMNS = ["problem", "order", "vote", "reply", "truncated", "error", "judge", "served_model", "request_sha"]
ORDERS = ("AB", "BA")  # the first letter is the label under which `first` was shown
_FIELD = re.compile(r"\{(?:question|answer|a|b)\}")
_SCORES = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class Pair:
    """Two texts to compare on one problem. A win is a win of `first`."""

    problem: str
    question: str
    answer: str
    first: str
    second: str


@dataclass(frozen=True)
class WinRate:
    """Mean of per-problem scores (win 1, tie 0.5, loss 0) with its 95 % intervals; NaN without problems."""

    rate: float
    low: float
    high: float
    finite_sample: Interval
    problems: int
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class VoteSummary:
    """The result of a judge's votes, and how far it can be trusted.

    `win_rate` covers the problems with two parsed votes; `left_out` counts the others.
    `disagreement` is the share of those problems whose vote changed with the order.
    `a_share` is the share of the decided votes (no ties) that went to the text shown as A: near 0.5 for a
    judge without position bias, 1 for one that always says A. `unparsed` and `failed` count votes.
    """

    win_rate: WinRate
    disagreement: float
    a_share: float
    left_out: int
    votes: int
    unparsed: int
    failed: int


def judge_pairs(
    pairs: Sequence[Pair],
    *,
    model: str,
    base_url: str | None = None,
    api_key: str | None = None,
    prompt: str = JUDGE_PROMPT,
    max_tokens: int = MAX_TOKENS,
    concurrency: int = 4,
    seconds: float = SECONDS,
    done: pd.DataFrame | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Ask the judge about every pair in both orders, at temperature 0, and keep the raw votes.

    Args:
        pairs: one pair per problem id.
        model: the judge's name, as its endpoint spells it.
        base_url: the endpoint, such as `http://127.0.0.1:8000/v1`; None means the default of the `openai` client.
        api_key: None reads OPENAI_API_KEY; without that either, an endpoint other than OpenAI's gets a dummy.
        prompt: template with the fields {question}, {answer}, {a} and {b}.
        max_tokens: cap on a reply; a reply cut short is marked `truncated`.
        concurrency: requests in flight at once.
        seconds: the timeout of a reply.
        done: votes of an earlier call. Those with the same judge, prompt, texts and `max_tokens` are reused and not
            asked again, unless they failed. To survive a kill, judge in slices and save each slice.
        progress: show a bar.

    Returns:
        Two rows per pair, with `COLUMNS`: `vote` is "first", "second", "tie", "unparsed" (no verdict in
        `reply`) or "failed" (no reply after the client's own retries, reason in `error`); `served_model` is the model
            that the endpoint reports. `attrs` holds prompt, temperature and `max_tokens`.

    Raises:
        JudgeError: if the endpoint is unreachable, rejects the key or does not know the model before its first answer,
            or if every request failed.
        ValueError: if a problem id occurs twice, or the prompt lacks a field.
        ImportError: if the `openai` client is not installed.
    """
    requests = _requests(pairs, prompt)
    shas = {key: _sha(model, max_tokens, content) for key, content in requests.items()}
    rows = {} if done is None or done.empty else _taken_over(done, shas)
    pending = {key: content for key, content in requests.items() if key not in rows}
    if pending:
        with connect(base_url, api_key, seconds) as client:
            answers = ask_all(client, pending, model, Asking(max_tokens), concurrency, progress)
        for key, answer in answers.items():
            asked = {"problem": key[0], "order": key[1], "judge": model, "request_sha": shas[key]}
            rows[key] = asked | answer
    votes = pd.DataFrame([rows[key] for key in requests], columns=COLUMNS)
    votes.attrs = {"prompt": prompt, "temperature": 0, "max_tokens": max_tokens}
    return votes


def votes_on(votes: pd.DataFrame, pairs: Sequence[Pair], model: str, prompt: str = JUDGE_PROMPT) -> pd.DataFrame:
    """The votes that `judge_pairs` would reuse; all of them if an earlier version would have asked for every one."""
    asked = {_sha(model, MAX_TOKENS, content) for content in _requests(pairs, prompt).values()}
    now = votes["request_sha"].isin(asked)
    return votes[now] if now.any() else votes


def pair_scores(votes: pd.DataFrame) -> pd.DataFrame:
    """Per problem, `score` (1 win, 0 loss, 0.5 tie or disagreement; NaN if a vote is missing) and `disagree`.

    A win or a loss is a vote on which both orders agree. A tie in only one order is a disagreement.

    Raises:
        ValueError: if the votes come from several judges, or a problem has two votes in one order.
    """
    if votes["judge"].nunique() > 1:
        raise ValueError(f"votes of several judges {sorted(votes['judge'].unique())}; summarize each judge separately")
    twice = votes.loc[votes.duplicated(["problem", "order"]), "problem"]
    if len(twice):
        raise ValueError(f"problem {twice.iloc[0]!r} has two votes in one order; keep one run of the judge")
    table = votes.pivot(index="problem", columns="order", values="vote")
    table = table.reindex(index=votes["problem"].unique(), columns=list(ORDERS))
    ab, ba = (table[order].map(_SCORES).astype(float) for order in ORDERS)
    judged = ab.notna() & ba.notna()
    score = ab.where(ab == ba, 0.5).where(judged)
    return pd.DataFrame({"score": score, "disagree": judged & (ab != ba)})


def win_rate(scores: Iterable[float]) -> WinRate:
    """Mean of one score in {0, 0.5, 1} per problem, with its bootstrap and finite-sample 95 % intervals.

    Raises:
        ValueError: for a score other than 0, 0.5 and 1 (NaN included).
    """
    values = np.asarray(list(scores), dtype=float)
    wins, ties, losses = (int((values == score).sum()) for score in _SCORES.values())
    if wins + ties + losses != len(values):
        raise ValueError("win_rate: scores must be 0, 0.5 or 1; drop problems without a score first")
    rate = bootstrap_rate(values)
    return WinRate(rate.mean, rate.low, rate.high, finite_sample(values), rate.n, wins, ties, losses)


def summarize_votes(votes: pd.DataFrame) -> VoteSummary:
    """Win rate of `first` over `second`, with the judge's position bias and the number of lost votes.

    Raises:
        ValueError: see `pair_scores`.
    """
    pairs = pair_scores(votes)
    judged = pairs[pairs["score"].notna()]
    decided = votes[votes["vote"].isin(["first", "second"])]
    for_a = (decided["vote"] == "first") == (decided["order"] == "AB")
    return VoteSummary(
        win_rate=win_rate(judged["score"]),
        disagreement=float(judged["disagree"].astype(float).mean()),
        a_share=float(for_a.astype(float).mean()),
        left_out=len(pairs) - len(judged),
        votes=len(votes),
        unparsed=int((votes["vote"] == "unparsed").sum()),
        failed=int((votes["vote"] == "failed").sum()),
    )


def _filled(prompt: str, pair: Pair, a: str, b: str) -> str:
    """Fill in the prompt's four fields. Other braces are plain text, and so are braces in the values."""
    texts = {"{question}": pair.question, "{answer}": pair.answer, "{a}": a, "{b}": b}
    return _FIELD.sub(lambda field: texts[field[0]], prompt)


def why_unread(votes: pd.DataFrame) -> str:
    """Explain why votes could not be read; empty if all could."""
    unread = votes[votes["vote"] == "unparsed"]
    failed = votes[votes["vote"] == "failed"]
    told = []
    if cut := int(unread["truncated"].astype(bool).sum()):
        told.append(f"{cut} replies were cut at the token limit; raise --max_tokens")
    if empty := int((unread["reply"].str.strip() == "").sum()):
        told.append(f"{empty} replies were empty")
    rest = unread[~unread["truncated"].astype(bool) & (unread["reply"].str.strip() != "")]
    if len(rest):
        last = rest["reply"].iloc[0].strip().splitlines()[-1][:120]
        told.append(
            f'{len(rest)} replies have no line "Verdict: A", "Verdict: B" or "Verdict: TIE"; one of them ends '
            f"with {last!r}"
        )
    if len(failed):
        told.append(f"{len(failed)} requests failed; the last error: {failed['error'].iloc[-1]}")
    return "; ".join(told)


def _requests(pairs: Sequence[Pair], prompt: str) -> dict[Key, str]:
    """The message for each problem and order."""
    lacking = [field for field in ("{question}", "{answer}", "{a}", "{b}") if field not in prompt]
    if lacking:
        raise ValueError(f"the judge's prompt lacks {', '.join(lacking)}; use each field at least once")
    requests: dict[Key, str] = {}
    for pair in pairs:
        if (pair.problem, "AB") in requests:
            raise ValueError(f"problem {pair.problem!r} occurs twice; judge one pair per problem id")
        for order, a, b in (("AB", pair.first, pair.second), ("BA", pair.second, pair.first)):
            requests[pair.problem, order] = _filled(prompt, pair, a, b)
    return requests


def _sha(model: str, max_tokens: int, content: str) -> str:
    return hashlib.sha256(json.dumps([model, max_tokens, content]).encode()).hexdigest()[:16]


def _taken_over(done: pd.DataFrame, shas: dict[Key, str]) -> dict[Key, Row]:
    """The earlier rows that answer one of these requests."""
    kept = done.loc[done["vote"] != "failed", COLUMNS].itertuples(index=False, name=None)
    rows = [dict(zip(COLUMNS, values, strict=True)) for values in kept]
    by_key = {(row["problem"], row["order"]): row for row in rows}
    return {key: row for key, row in by_key.items() if shas.get(key) == row["request_sha"]}
