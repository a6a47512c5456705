"""Win rates from a model judge: which of two chains of thought has more correct steps?

For Figure 3 of the paper (ExPO, Zhou et al. 2025) GPT-4o was asked this about a self-explanation and an own
CoT. The judge's prompt and the order of the texts are not printed, so both are ours. Every pair is asked in
both orders, since judges favour a position (Zheng et al. 2023, arXiv:2306.05685), and only a vote that
survives the swap is a win. Any OpenAI-compatible endpoint can judge. Replies are read, never evaluated.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

if TYPE_CHECKING:
    import openai

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
COLUMNS = ["problem", "order", "vote", "reply", "truncated", "error", "judge", "served_model", "request_sha"]
ORDERS = ("AB", "BA")  # the first letter is the one that `first` was shown under
_SCORES = {"first": 1.0, "tie": 0.5, "second": 0.0}
_MARKS = r"[\s*_`'\"#>.()\[\]]*"
_VERDICT_LINE = re.compile(rf"{_MARKS}(?i:(?:final )?verdict){_MARKS}:{_MARKS}(A|B|(?i:tie)){_MARKS}")
_VERDICT_ALONE = re.compile(rf"{_MARKS}(A|B|(?i:tie)){_MARKS}")

_Key = tuple[str, str]  # problem, order
_Row = dict[str, Any]


class JudgeError(RuntimeError):
    """The endpoint gives no votes; the message names it and the mend."""


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
    """Mean of per-problem scores (win 1, tie 0.5, loss 0) with its 95 % interval; NaN without problems."""

    rate: float
    low: float
    high: float
    problems: int
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class VoteSummary:
    """What a judge's votes amount to, and how far to trust them.

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


def parse_verdict(reply: str) -> str | None:
    """The verdict "A", "B" or "TIE" of a reply, or None.

    What counts is the last line that is `Verdict: A`, `Verdict: B` or `Verdict: TIE` and nothing more, or a
    whole reply that is one of the three words and nothing more. Markdown emphasis, quotes, brackets and full
    stops are ignored; A and B must be capitals. Prose is no verdict ("A careful count shows that B ...").
    """
    lines = [match for line in reply.splitlines() if (match := _VERDICT_LINE.fullmatch(line))]
    match = lines[-1] if lines else _VERDICT_ALONE.fullmatch(reply)
    return match[1].upper() if match else None


def judge_pairs(
    pairs: Sequence[Pair],
    *,
    model: str,
    base_url: str | None = None,
    api_key: str | None = None,
    prompt: str = JUDGE_PROMPT,
    max_tokens: int = MAX_TOKENS,
    concurrency: int = 4,
    done: pd.DataFrame | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Ask the judge about every pair in both orders, at temperature 0, and keep the raw votes.

    Args:
        pairs: one pair per problem id.
        model: the judge's name, as its endpoint spells it.
        base_url: the endpoint, such as `http://127.0.0.1:8000/v1`; None means that of the `openai` client.
        api_key: None reads OPENAI_API_KEY; without that either, an endpoint other than OpenAI's gets a dummy.
        prompt: template with the fields {question}, {answer}, {a} and {b}.
        max_tokens: cap on a reply; a reply cut short is marked `truncated`.
        concurrency: requests in flight at once.
        done: votes of an earlier call. Those with the same judge, prompt, texts and `max_tokens` are taken
            over and not asked again, unless they failed. To survive a kill, judge in slices and save each.
        progress: show a bar.

    Returns:
        Two rows per pair, with `COLUMNS`: `vote` is "first", "second", "tie", "unparsed" (no verdict in
        `reply`) or "failed" (no reply after the client's own retries, reason in `error`); `served_model` is
        what the endpoint says that it ran. `attrs` holds prompt, temperature and `max_tokens`.

    Raises:
        JudgeError: if the endpoint is unreachable, refuses the key or does not know the model before it has
            answered anything, or if every request failed.
        ValueError: for a problem id that occurs twice, or a prompt that lacks a field.
        ImportError: if the `openai` client is not installed.
    """
    requests = _requests(pairs, prompt)
    shas = {key: _sha(model, max_tokens, content) for key, content in requests.items()}
    rows = {} if done is None or done.empty else _taken_over(done, shas)
    pending = {key: content for key, content in requests.items() if key not in rows}
    if pending:
        with _client(base_url, api_key) as client:
            answers = _ask_all(client, pending, model, max_tokens, concurrency, progress)
        for key, answer in answers.items():
            asked = {"problem": key[0], "order": key[1], "judge": model, "request_sha": shas[key]}
            rows[key] = asked | answer
    votes = pd.DataFrame([rows[key] for key in requests], columns=COLUMNS)
    votes.attrs = {"prompt": prompt, "temperature": 0, "max_tokens": max_tokens}
    return votes


def votes_on(votes: pd.DataFrame, pairs: Sequence[Pair], model: str, prompt: str = JUDGE_PROMPT) -> pd.DataFrame:
    """The votes that `judge_pairs` would not ask for again, or all if an earlier version asked for every one."""
    asked = {_sha(model, MAX_TOKENS, content) for content in _requests(pairs, prompt).values()}
    now = votes["request_sha"].isin(asked)
    return votes[now] if now.any() else votes


def pair_scores(votes: pd.DataFrame) -> pd.DataFrame:
    """Per problem, `score` (1 win, 0 loss, 0.5 tie or disagreement; NaN if a vote is missing) and `disagree`.

    A win or a loss is a vote that both orders agree on. A tie in one order alone is a disagreement.

    Raises:
        ValueError: if the votes come from several judges, or a problem has two votes in one order.
    """
    if votes["judge"].nunique() > 1:
        raise ValueError(f"votes of several judges {sorted(votes['judge'].unique())}: summarize each alone")
    twice = votes.loc[votes.duplicated(["problem", "order"]), "problem"]
    if len(twice):
        raise ValueError(f"problem {twice.iloc[0]!r} has two votes in one order: keep one run of the judge")
    table = votes.pivot(index="problem", columns="order", values="vote")
    table = table.reindex(index=votes["problem"].unique(), columns=list(ORDERS))
    one, other = (table[order].map(_SCORES).astype(float) for order in ORDERS)
    judged = one.notna() & other.notna()
    score = one.where(one == other, 0.5).where(judged)
    return pd.DataFrame({"score": score, "disagree": judged & (one != other)})


def win_rate(scores: Iterable[float], *, resamples: int = 10_000, seed: int = 0) -> WinRate:
    """Mean of one score in {0, 0.5, 1} per problem, with a percentile bootstrap 95 % interval by problem.

    Serves any comparison that scores problems so, such as a step checker's. Where all scores are equal the
    interval has no width, so show the number of problems beside it.

    Raises:
        ValueError: for a score other than 0, 0.5 and 1 (NaN included).
    """
    values = np.asarray(list(scores), dtype=float)
    counts = np.array([(values == score).sum() for score in _SCORES.values()])
    n = len(values)
    if counts.sum() != n:
        raise ValueError("win_rate: scores must be 0, 0.5 or 1; drop the problems that have none first")
    wins, ties, losses = (int(count) for count in counts)
    if not n:
        return WinRate(np.nan, np.nan, np.nan, n, wins, ties, losses)
    # With three possible scores, resampling problems is a multinomial draw of their counts.
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    low, high = np.quantile(draws @ [*_SCORES.values()] / n, [0.025, 0.975])
    return WinRate(float(values.mean()), float(low), float(high), n, wins, ties, losses)


def summarize_votes(votes: pd.DataFrame, *, resamples: int = 10_000, seed: int = 0) -> VoteSummary:
    """Win rate of `first` over `second`, with the judge's position bias and the votes that it lost.

    Raises:
        ValueError: as `pair_scores`.
    """
    pairs = pair_scores(votes)
    judged = pairs[pairs["score"].notna()]
    decided = votes[votes["vote"].isin(["first", "second"])]
    for_a = (decided["vote"] == "first") == (decided["order"] == "AB")
    return VoteSummary(
        win_rate=win_rate(judged["score"], resamples=resamples, seed=seed),
        disagreement=float(judged["disagree"].mean()),
        a_share=float(for_a.mean()),
        left_out=len(pairs) - len(judged),
        votes=len(votes),
        unparsed=int((votes["vote"] == "unparsed").sum()),
        failed=int((votes["vote"] == "failed").sum()),
    )


def _requests(pairs: Sequence[Pair], prompt: str) -> dict[_Key, str]:
    """The message for each problem and order."""
    lacking = [field for field in ("{question}", "{answer}", "{a}", "{b}") if field not in prompt]
    if lacking:
        raise ValueError(f"the judge's prompt lacks {', '.join(lacking)}: put each field in once")
    requests: dict[_Key, str] = {}
    for pair in pairs:
        if (pair.problem, "AB") in requests:
            raise ValueError(f"problem {pair.problem!r} occurs twice: judge one pair per problem id")
        for order, a, b in (("AB", pair.first, pair.second), ("BA", pair.second, pair.first)):
            content = prompt.format(question=pair.question, answer=pair.answer, a=a, b=b)
            requests[pair.problem, order] = content
    return requests


def _sha(model: str, max_tokens: int, content: str) -> str:
    return hashlib.sha256(json.dumps([model, max_tokens, content]).encode()).hexdigest()[:16]


def _taken_over(done: pd.DataFrame, shas: dict[_Key, str]) -> dict[_Key, _Row]:
    """The earlier rows that answer one of these requests."""
    kept = done.loc[done["vote"] != "failed", COLUMNS].itertuples(index=False, name=None)
    rows = [dict(zip(COLUMNS, values, strict=True)) for values in kept]
    found = {(row["problem"], row["order"]): row for row in rows}
    return {key: row for key, row in found.items() if shas.get(key) == row["request_sha"]}


def _client(base_url: str | None, api_key: str | None) -> openai.OpenAI:
    try:
        import openai
    except ImportError as error:
        message = "the model judge needs the openai client: pip install 'expo-toolkit[judge]'"
        raise ImportError(message) from error
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if not key and not (base_url or os.environ.get("OPENAI_BASE_URL")):
        raise JudgeError("no key for OpenAI's own endpoint: set OPENAI_API_KEY, or name another by base_url")
    # The client refuses to start without a key; a server that wants none ignores it.
    return openai.OpenAI(base_url=base_url, api_key=key or "none")


def _ask_all(
    client: openai.OpenAI,
    pending: dict[_Key, str],
    model: str,
    max_tokens: int,
    concurrency: int,
    progress: bool,
) -> dict[_Key, _Row]:
    """The judge's part of a row for each request."""
    answers: dict[_Key, _Row] = {}
    answered = False
    pool = ThreadPoolExecutor(concurrency)
    try:
        futures = {pool.submit(_ask, client, model, max_tokens, key, text): key for key, text in pending.items()}
        for future in tqdm(as_completed(futures), total=len(futures), desc="judge", disable=not progress):
            try:
                answer = future.result()
            except JudgeError as error:
                # Once some votes are in, an endpoint that goes away must not take them along.
                if not answered:
                    raise
                answer = _failed(str(error))
            answered = answered or answer["vote"] != "failed"
            answers[futures[future]] = answer
    finally:
        pool.shutdown(cancel_futures=True)
    if not answered:
        raise JudgeError(f"{client.base_url}: model {model!r} answered no request; the last: {answer['error']}")
    return answers


def _ask(client: openai.OpenAI, model: str, max_tokens: int, key: _Key, content: str) -> _Row:
    """One request. Raises JudgeError for what every further request would meet as well."""
    import openai

    url = client.base_url
    try:
        response = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": content}],
            temperature=0,
            max_tokens=max_tokens,
        )
    except openai.APIConnectionError as error:
        reason = error.__cause__ or error
        # A server that closes a connection after an error is there, and the next request may be answered.
        if type(reason).__name__ in ("ReadError", "WriteError", "RemoteProtocolError"):
            return _failed(f"the connection was closed ({reason})")
        raise JudgeError(f"{url}: no connection ({reason}); start the server or mend base_url") from error
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise JudgeError(f"{url}: refused ({error.message}); mend api_key or OPENAI_API_KEY") from error
    except openai.NotFoundError as error:
        mend = f"check the model's name, {model!r}, and base_url, which mostly ends in /v1"
        raise JudgeError(f"{url}: not found ({error.message}); {mend}") from error
    except openai.APIError as error:
        return _failed(error.message)
    # The client hands back a web page or a foreign JSON as it is.
    if not getattr(response, "choices", None):
        return _failed("no choices in the reply: is base_url an OpenAI-compatible endpoint, ending in /v1?")
    choice = response.choices[0]
    if choice.message is None:
        return _failed("no message in the reply's first choice")
    # JSON may hold half of a surrogate pair, which is no text that can be written.
    reply = (choice.message.content or "").encode("utf-8", "replace").decode()
    return {
        "vote": _vote(parse_verdict(reply), key[1]),
        "reply": reply,
        "truncated": choice.finish_reason == "length",
        "error": "",
        "served_model": response.model,
    }


def _vote(verdict: str | None, order: str) -> str:
    if verdict is None:
        return "unparsed"
    if verdict == "TIE":
        return "tie"
    return "first" if verdict == order[0] else "second"


def _failed(reason: str) -> _Row:
    return {"vote": "failed", "reply": "", "truncated": False, "error": reason, "served_model": ""}
